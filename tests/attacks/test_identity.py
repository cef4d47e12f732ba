"""An attack is its parameters: written as data, read back equal, told apart by them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from aad_tf.attacks import (
    AttackCascade,
    AwayFromLabel,
    GaussianNoise,
    GradientSignAttack,
    TowardsFirstLeastLikely,
    TowardsLeastLikely,
    a3,
    apgd,
    attack_call,
    attack_from_dict,
    attack_from_record,
    attack_to_dict,
    auto_attack,
    fab,
    fgsm,
    ifgsm,
    iter_ll,
    nfgsm,
    parse_attack,
    pgd,
    preset_of,
    quick_cascade,
    recorded_parameters,
    register_kind,
    rs_fgsm,
    square,
    step_ll,
    trades_pgd,
    with_unique_names,
)
from aad_tf.attention.areas import MeanThreshold, TopCells
from aad_tf.types import Bounds

RESULTS = Path(__file__).parents[2] / "results"

CALLS = {
    "fgsm(epsilon=0.1)": fgsm(0.1),
    "fgsm(epsilon=8/255,label_smoothing=0.1)": fgsm(8 / 255, label_smoothing=0.1),
    "ifgsm(epsilon=12/255)": ifgsm(12 / 255),
    "ifgsm(epsilon=0.1,num_steps=5,step_size=0.05)": ifgsm(0.1, 5, 0.05),
    "step_ll(epsilon=4/255,num_steps=3,relabel=False)": step_ll(4 / 255, 3, relabel=False),
    "step_ll(epsilon=0.15)": step_ll(0.15),
    "iter_ll(epsilon=0.1,relabel=True)": iter_ll(0.1, relabel=True),
    "iter_ll(epsilon=0.1,num_steps=1)": iter_ll(0.1, 1),
    "pgd(epsilon=0.3,step_size=0.01,num_steps=40)": pgd(0.3, 0.01, 40),
    "pgd(epsilon=0.3,step_size=0.01,num_steps=40,random_start=False)": pgd(0.3, 0.01, 40, False),
    "pgd(epsilon=0.3,step_size=0.01,num_steps=40,restarts=5)": pgd(0.3, 0.01, 40, restarts=5),
    "rs_fgsm(epsilon=0.3)": rs_fgsm(0.3),
    "rs_fgsm(epsilon=8/255,step_size=8/255)": rs_fgsm(8 / 255, 8 / 255),
    "nfgsm(epsilon=8/255)": nfgsm(8 / 255),
    "nfgsm(epsilon=0.3,start_radius=0.3)": nfgsm(0.3, 0.3),
    "trades_pgd(epsilon=0.3,step_size=0.01,num_steps=40)": trades_pgd(0.3, 0.01, 40),
    "trades_pgd(epsilon=8.0,step_size=2.0,num_steps=2,deviation=0.255)": trades_pgd(
        8.0, 2.0, 2, 0.255
    ),
    "apgd(epsilon=8/255)": apgd(8 / 255),
    "apgd(epsilon=0.1,num_steps=5,loss='dlr',restarts=2)": apgd(0.1, 5, "dlr", 2),
    "apgd(epsilon=0.1,loss='targeted_dlr',num_targets=3)": apgd(
        0.1, loss="targeted_dlr", num_targets=3
    ),
    "apgd(epsilon=0.1,target=3)": apgd(0.1, target=3),
    "fab(epsilon=None,num_targets=4)": fab(None, num_targets=4),
    "square(epsilon=0.1,num_queries=100)": square(0.1, 100),
    "auto_attack(epsilon=8/255)": auto_attack(8 / 255),
    "quick_cascade(epsilon=0.1,num_steps=5)": quick_cascade(0.1, 5),
    "a3(apgd(epsilon=0.1,loss='targeted_dlr'),sigma=2.0)": a3(apgd(0.1, loss="targeted_dlr"), 2),
    "a3(step_ll(epsilon=4/255,num_steps=3),sigma=-10.0)": a3(step_ll(4 / 255, 3), -10),
    "a3(pgd(epsilon=0.1,step_size=0.05,num_steps=2),sigma=0.5,reduction='sum',threshold=0.2)": a3(
        pgd(0.1, 0.05, 2), 0.5, "sum", threshold=0.2
    ),
}
NO_CALLS = {
    "cells": a3(fgsm(0.1), 10, threshold=TopCells(10), explained="prediction"),
    "mean": a3(ifgsm(0.1), 10, threshold=MeanThreshold()),
    "cascade": AttackCascade((step_ll(0.1), "step_ll(0.1, relabel=False)"), ("one", "two")),
    "noisy": GradientSignAttack(
        AwayFromLabel(), 0.1, 2, 0.2, True, noise=GaussianNoise(0.01), name="noisy"
    ),
    "composed": GradientSignAttack(TowardsFirstLeastLikely(0.2), 0.1, 7, 0.25, True, 3),
}


@pytest.mark.parametrize("attack", [*CALLS.values(), *NO_CALLS.values()], ids=repr)
def test_parameters_written_as_json_rebuild_the_attack(attack):
    parameters = json.loads(json.dumps(attack_to_dict(attack)))
    assert attack_from_dict(parameters) == attack
    record = json.loads(json.dumps(attack.threat_model()))
    assert attack_from_record(record) == attack
    assert attack_from_record(record).name == attack.name


def test_parameters_of_pgd_by_hand():
    assert attack_to_dict(dataclasses.replace(pgd(0.3, 0.01, 40), name="mine")) == {
        "kind": "gradient_sign",
        "objective": {"kind": "away_from_label", "label_smoothing": 0.0},
        "step_size": 0.01,
        "num_steps": 40,
        "epsilon": 0.3,
        "random_start": True,
        "restarts": 1,
    }


def test_parameters_of_nfgsm_by_hand():
    parameters = attack_to_dict(nfgsm(0.3))
    assert parameters.pop("noise") == {"kind": "uniform_noise", "radius": 0.6}
    assert parameters == {
        **attack_to_dict(pgd(0.3, 0.3, 1)),
        "epsilon": None,
    }


def test_parameters_of_a3_by_hand():
    assert attack_to_dict(a3(step_ll(0.1), 10, threshold=TopCells(5)))["objective"] == {
        "kind": "a3",
        "objective": {"kind": "towards_least_likely", "label_smoothing": 0.0},
        "sigma": 10.0,
        "reduction": "mean",
        "scale": "max",
        "threshold": {"kind": "top_cells", "count": 5},
        "explained": "label",
    }


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kind": "nonsense"}, "kind 'nonsense', known are .*gradient_sign.*register_kind"),
        ({}, "kind None, known are"),
        (
            {**attack_to_dict(fgsm(0.1)), "momentum": 0.9},
            "does not hold the fields of 'gradient_sign'.*momentum",
        ),
        ({"kind": "gradient_sign"}, "does not hold the fields of 'gradient_sign'.*objective"),
        ({**attack_to_dict(fgsm(0.1)), "epsilon": -8}, "epsilon must be finite and not negative"),
    ],
)
def test_parameters_that_are_no_attack(parameters, message):
    with pytest.raises(ValueError, match=message):
        attack_from_dict(parameters)


@dataclasses.dataclass(frozen=True)
class UnregisteredObjective:
    """An objective of a user, who did not register it."""

    weight: float = 2.0
    name = "unregistered"


def test_objectives_that_are_not_registered_are_described_but_not_rebuilt():
    parameters = attack_to_dict(GradientSignAttack(UnregisteredObjective(3.0), 0.1))
    assert parameters["objective"] == {
        "kind": f"{__name__}.UnregisteredObjective",
        "weight": 3.0,
    }
    with pytest.raises(ValueError, match="UnregisteredObjective.*Register its class"):
        attack_from_dict(parameters)


def test_functions_are_described_alike_in_every_process():
    def distance(*arguments):
        raise NotImplementedError

    described = attack_to_dict(GradientSignAttack(distance, 0.1))["objective"]
    assert described["kind"].endswith("distance")
    assert "0x" not in described["repr"]


def test_kinds_are_registered_once():
    with pytest.raises(ValueError, match="'gradient_sign' is that of GradientSignAttack already"):
        register_kind("gradient_sign")(UnregisteredObjective)
    with pytest.raises(TypeError, match="int must be a dataclass"):
        register_kind("a_new_kind")(int)


@pytest.mark.parametrize("call", CALLS)
def test_attacks_as_calls(call):
    attack = CALLS[call]
    assert attack_call(attack) == call
    assert parse_attack(call) == attack
    assert preset_of(attack) == call.removeprefix("a3(").split("(")[0]


@pytest.mark.parametrize("name", NO_CALLS)
def test_attacks_that_no_text_builds(name):
    assert attack_call(NO_CALLS[name]) is None


def test_the_preset_an_attack_was_made_by_comes_first():
    assert fgsm(0.1) == ifgsm(0.1, num_steps=1)
    assert preset_of(fgsm(0.1)) == "fgsm"
    assert preset_of(ifgsm(0.1, num_steps=1)) == "ifgsm"
    assert preset_of(a3(ifgsm(0.1, num_steps=1), 1)) == "ifgsm"
    assert preset_of(parse_attack("a3(ifgsm(0.1, num_steps=1), 1)")) == "ifgsm"


def test_every_committed_record_rebuilds_its_attack():
    models = []
    for path in sorted(RESULTS.rglob("*.summary.json")):
        summary = json.loads(path.read_text())
        models += [entry["threat_model"] for entry in summary.get("attacks", [])]
        models += [summary["study"]["attack"]] if "study" in summary else []
    assert len(models) > 50
    for model in models:
        attack = attack_from_record(model)
        rebuilt = attack.threat_model(Bounds(*model.get("bounds", (0.0, 1.0))))
        # APGD has no step size of its own to record.
        assert all(rebuilt[key] == model[key] for key in ("steps", "step_size"))
        assert recorded_parameters(model) == attack_to_dict(attack)


def older(attack):
    """A threat model as it was written before it held parameters."""
    model = attack.threat_model()
    del model["parameters"]
    return model


def test_older_records_are_read_by_their_label():
    attack = parse_attack("a3(step_ll(epsilon=4/255, num_steps=3), sigma=10)")
    assert attack_from_record(older(attack)) == attack


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (older(step_ll(0.1)), "names its attack 'step_ll' and lacks its parameters"),
        (
            {**older(parse_attack("step_ll(0.1)")), "steps": 2},
            "builds an attack of steps 1, recorded is 2",
        ),
        ({"epsilon": 0.1}, "must hold its name under 'attack'"),
    ],
)
def test_older_records_that_name_no_attack(record, message):
    with pytest.raises(ValueError, match=message):
        attack_from_record(record)


def test_names_stay_where_they_differ():
    attacks = (fgsm(0.1), ifgsm(0.1))
    assert with_unique_names(attacks) == attacks
    assert [attack.name for attack in with_unique_names(attacks)] == ["fgsm", "ifgsm"]


def test_equal_names_become_parameters():
    composed = [GradientSignAttack(TowardsLeastLikely(), size, name="mine") for size in (0.1, 0.2)]
    named = with_unique_names([fgsm(0.1), fgsm(0.2), ifgsm(0.1), *composed])
    assert [attack.name for attack in named[:3]] == [
        "fgsm(epsilon=0.1)",
        "fgsm(epsilon=0.2)",
        "ifgsm",
    ]
    assert named[3].name.startswith("mine(kind='gradient_sign',objective.kind=")
    assert "step_size=0.1," in named[3].name
    assert list(named) == [fgsm(0.1), fgsm(0.2), ifgsm(0.1), *composed]


def test_the_same_attack_twice_is_refused():
    with pytest.raises(ValueError, match=r"attacks holds fgsm\(epsilon=0.1\) more than once"):
        with_unique_names([fgsm(0.1), fgsm(0.1)])


def test_epsilon_after_iterations_by_hand():
    accumulating, projected = step_ll(0.1, 3), ifgsm(0.1, 4, 0.04)
    assert [accumulating.epsilon_after(n) for n in (0, 1, 3)] == pytest.approx([0, 0.1, 0.3])
    assert [projected.epsilon_after(n) for n in (1, 2, 3)] == pytest.approx([0.04, 0.08, 0.1])
    assert pgd(0.1, 0.02, 4).epsilon_after(1) == 0.1
    assert GradientSignAttack(AwayFromLabel(), 0.5, 3).epsilon_after(3, (-1, 1)) == 0.75
    with pytest.raises(ValueError, match="num_steps must be at most 3, .*got 4"):
        accumulating.epsilon_after(4)


def test_numbers_of_numpy_are_written_as_numbers():
    sizes = np.linspace(0.05, 0.15, 3)
    found = with_unique_names([pgd(each, np.float32(0.25), np.int64(2)) for each in sizes])
    assert found[0].name == "pgd(epsilon=0.05,step_size=0.25,num_steps=2)"
    assert [parse_attack(each.name) for each in found] == list(found)
