"""Configs: what they accept, what they refuse, and their way through JSON."""

from __future__ import annotations

import dataclasses
import json

import pytest

from aad_tf import configs
from aad_tf.configs import DefenseConfig, ExperimentConfig, for_replicas


def test_a_config_survives_json() -> None:
    config = ExperimentConfig(
        dataset="mnist",
        defense=DefenseConfig("aad", "step_ll(epsilon=0.15, num_steps=2)", losses="paper"),
        evaluation_attacks=("fgsm(epsilon=0.15)",),
    )
    assert configs.from_dict(json.loads(json.dumps(configs.to_dict(config)))) == config


def test_stored_configs_of_earlier_versions_hid_pixels_in_black() -> None:
    stored = {"defense": {"kind": "aad", "attack": "fgsm(epsilon=0.1)"}}
    assert configs.from_stored(stored).defense.fill == "0"
    assert configs.from_stored(stored).defense.attention_losses.fill == 0.0
    now = configs.to_dict(configs.from_dict(stored))
    assert configs.from_stored(now).defense.attention_losses.fill is None
    assert configs.from_stored({"defense": {"kind": "none"}}) == ExperimentConfig()


def test_stored_configs_of_earlier_versions_took_the_mean_of_the_preservation_loss() -> None:
    defense = {"kind": "aad", "attack": "fgsm(epsilon=0.1)", "losses": "reference_code"}
    stored = configs.from_stored({"defense": defense}).defense
    assert stored.attention_losses.preservation_over == "batch_mean"
    now = configs.from_stored({"defense": {**defense, "fill": ""}}).defense
    assert now.attention_losses.preservation_over == "batch_sum"


def test_an_unknown_key_lists_the_near_ones() -> None:
    with pytest.raises(ValueError, match="Unknown config key 'epoch'.*Did you mean 'epochs'"):
        configs.from_dict({"epoch": 3})
    with pytest.raises(ValueError, match=r"Unknown config key 'defense.atack'.*'attack'"):
        configs.from_dict({"defense": {"atack": "fgsm(0.1)"}})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0: only a network that has weights"),
        (
            {
                "epochs": 0,
                "initial_weights": "runs/plain",
                "defense": {"kind": "adversarial", "attack": "fgsm(epsilon=0.1)"},
            },
            "epochs must be at least 1 with defense.kind 'adversarial', got 0",
        ),
        ({"epochs": -1, "initial_weights": "runs/plain"}, "epochs must be at least 0"),
        ({"train_examples": -1}, "train_examples must be at least 0"),
        ({"batch_size": -5}, "batch_size must be at least 1"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"seed": 2**31}, "seed must be at most 2147483647, got 2147483648"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0 and finite, got 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0 and finite, got nan"),
        ({"learning_rate": float("inf")}, "learning_rate must be above 0 and finite, got inf"),
        ({"decay_epochs": float("inf")}, "decay_epochs must be above 0 and finite, got inf"),
        (
            {"optimizer_options": {"learning_rate": 0.5}},
            "optimizer_options has no learning_rate, got 0.5: set learning_rate",
        ),
        ({"precision": "bfloat16"}, "Did you mean.*'mixed_bfloat16'"),
        ({"defense": {"kind": "add"}}, "Unknown defense.kind 'add'.*'aad'"),
        ({"defense": {"kind": "aad", "attack": "fgsm(epsilon=8)"}}, "8/255"),
        ({"defense": {"fill": "0.5"}}, "defense.fill has no effect with defense.kind 'none'"),
        ({"defense": {"beta": 1.0}}, "defense.beta has no effect.*only 'trades' weighs"),
        ({"defense": {"pairing": (1.0, 1.0)}}, "defense.pairing has no effect.*only 'pairing'"),
        (
            {"defense": {"kind": "aad", "attack": "fgsm(epsilon=0.1)", "fill": "128"}},
            r"defense.fill must be in \[0, 1\], got 128",
        ),
        ({"defense": {"attention_noise": "share"}}, "Did you mean 'shared'"),
        (
            {"defense": {"attention_noise": "none"}},
            "defense.attention_noise has no effect with defense.kind 'none'",
        ),
        ({"defense": {"losses": "papers"}}, "Did you mean 'paper'"),
        ({"defense": {"loss_parts": {"rectificaton": "l2"}}}, "Did you mean 'rectification'"),
        ({"defense": {"loss_parts": {"rectification": "l3"}}}, "Unknown distance 'l3'"),
        (
            {"defense": {"kind": "ensemble", "attack": "fgsm(epsilon=0.1)"}},
            "'ensemble' needs defense.sources: model directories",
        ),
        (
            {"defense": {"kind": "adversarial", "attack": "fgsm(epsilon=0.1)", "sources": ["a"]}},
            "defense.sources has no effect with defense.kind 'adversarial'",
        ),
        ({"monitor_attack": "fgsm(epsilon=0.1)"}, "no effect without monitor_examples or snap"),
        ({"monitor_examples": 9}, "monitor_examples needs monitor_attack"),
        ({"evaluation_attacks": ["pdg(epsilon=0.1)"]}, "Did you mean 'pgd'"),
    ],
)
def test_values_that_cannot_be_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        configs.from_dict(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": "5"}, "'epochs' must be int"),
        ({"defense": {"weights": 8.0}}, "'defense.weights' must be a sequence"),
        ({"defense": {"sources": "runs/plain"}}, "'defense.sources' must be a sequence"),
        ({"model_options": [1]}, "'model_options' must be a mapping"),
    ],
)
def test_values_of_another_type_are_refused(values: dict, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        configs.from_dict(values)


def test_whole_numbers_serve_as_floats() -> None:
    assert configs.from_dict({"defense": {"weights": [8, 4, 1]}}).defense.weights == (8.0, 4.0, 1.0)


PAPER = ExperimentConfig(batch_size=1600, replica_batch_size=32, learning_rate=0.045)


@pytest.mark.parametrize(("replicas", "batch_size", "rate"), [(50, 1600, 0.045), (2, 64, 0.0018)])
def test_batch_and_learning_rate_follow_the_replicas(replicas, batch_size, rate):
    found = for_replicas(PAPER, replicas)
    assert (found.batch_size, found.replica_batch_size) == (batch_size, 0)
    assert found.learning_rate == pytest.approx(rate)
    # What a run was trained with is trained with again.
    assert for_replicas(found, replicas) == found


def test_a_global_batch_is_divided_and_changes_nothing():
    config = ExperimentConfig(batch_size=100)
    assert for_replicas(config, 4) == config
    with pytest.raises(ValueError, match=r"batch_size 100 does not divide among 3 .*=99.*=33"):
        for_replicas(config, 3)
    with pytest.raises(ValueError, match="steps_per_execution=5 on 2 replicas"):
        for_replicas(dataclasses.replace(config, steps_per_execution=5), 2)
    with pytest.raises(ValueError, match="replicas"):
        for_replicas(config, 0)
