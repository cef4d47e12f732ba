"""Attacks from text, the numbers they refuse, and the threat model they state."""

from __future__ import annotations

import numpy as np
import pytest

from aad_tf.attacks import (
    PRESETS,
    AwayFromLabel,
    GradientSignAttack,
    a3,
    attack_to_dict,
    fgsm,
    ifgsm,
    iter_ll,
    nfgsm,
    parse_attack,
    pgd,
    rs_fgsm,
    step_ll,
)
from aad_tf.attacks.parsing import parse_number, split_attacks
from aad_tf.classifier import Classifier
from tests.networks import random_images, small_network


def opaque_objective(classifier, images, labels):
    """An objective that shows no logits."""
    raise NotImplementedError


@pytest.mark.parametrize(
    ("text", "attack"),
    [
        ("fgsm(epsilon=0.15)", fgsm(0.15)),
        ("fgsm(8/255)", fgsm(8 / 255)),
        (" ifgsm( 0.15, num_steps = 3 ) ", ifgsm(0.15, 3)),
        ("step_ll(0.05, 2, label_smoothing=0.1)", step_ll(0.05, 2, 0.1)),
        ("iter_ll(epsilon=2*4/255)", iter_ll(8 / 255)),
        ("pgd(8/255, 2/255, 10)", pgd(8 / 255, 2 / 255, 10)),
        ("pgd(0.1, 0.02, 4, random_start=False)", pgd(0.1, 0.02, 4, random_start=False)),
        ("pgd(0.1, 0.02, 4, restarts=5)", pgd(0.1, 0.02, 4, restarts=5)),
        (
            "a3(step_ll(epsilon=4/255, num_steps=3), sigma=10)",
            a3(step_ll(4 / 255, num_steps=3), 10),
        ),
        (
            "a3(attack=pgd(0.1, 0.02, 4, restarts=2), sigma=-1/2, reduction='sum', threshold=0.2)",
            a3(pgd(0.1, 0.02, 4, restarts=2), -0.5, "sum", threshold=0.2),
        ),
    ],
)
def test_text_gives_the_preset(text, attack):
    parsed = parse_attack(text)
    assert parsed == attack
    assert parsed.name == text.replace(" ", "")
    assert parse_attack(parsed.name) == parsed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "fgms(0.1)",
            r"Unknown attack 'fgms'. Did you mean 'fgsm'.* Known: a3, aad_total, apgd, auto_attack",
        ),
        ("fgsm(eps=0.1)", "'fgsm' has no argument 'eps'. Did you mean 'epsilon'"),
        ("fgsm", r"Expected an attack like pgd\(epsilon=8/255.*got 'fgsm'"),
        ("fgsm(0.1", "Expected an attack like"),
        ("fgsm(0.1) + 1", "Expected an attack like"),
        ("fgsm(open('x'))", "Expected an attack like"),
        ("a.fgsm(0.1)", "Expected an attack like"),
        ("fgsm()", r"Attack 'fgsm\(\)': .*missing 1 required positional argument: 'epsilon'"),
        ("fgsm('0.1')", "must be a number"),
        ("fgsm(0.1, 0.0, 3)", "takes from 1 to 2 positional arguments but 3 were given"),
        ("fgsm(0.1, epsilon=0.2)", "multiple values for argument 'epsilon'"),
        ("fgsm(8/0)", "Expected an attack like"),
        ("fgsm('8'/255)", "Expected an attack like"),
        ("fgsm(**numbers)", "has no argument None"),
        ("fgsm(fgsm(0.1))", "Expected an attack like"),
        ("a3(fgsm(0.1))", "missing 1 required positional argument: 'sigma'"),
        ("a3(fgms(0.1), 10)", "Unknown attack 'fgms'. Did you mean 'fgsm'"),
        ("a3(fgsm(eps=0.1), 10)", "'fgsm' has no argument 'eps'"),
        ("a3(0.1, sigma=10)", "attack must be a GradientSignAttack.*got 0.1"),
        ("a3(fgsm(0.1), sigma=fgsm(0.1))", "sigma must be a number"),
    ],
)
def test_text_that_is_no_attack(text, message):
    with pytest.raises(ValueError, match=message):
        parse_attack(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [("8/255", 8 / 255), (" 0.15 ", 0.15), ("-4", -4.0), ("-1/4", -0.25), ("1e-3", 0.001)],
)
def test_numbers_are_read_as_arguments_are(text, number):
    assert parse_number(text) == number
    assert parse_attack(f"a3(fgsm(0.1), sigma={text})").objective.sigma == number


@pytest.mark.parametrize(
    "text", ["a/b", "", "8/", "1/0", "1/2/x", "(1, 2)", "'1'", "True", "1e999", "nan", "fgsm(0.1)"]
)
def test_text_that_is_no_number(text):
    with pytest.raises(ValueError, match="Expected a number such as 0.15 or 8/255, got "):
        parse_number(text)


@pytest.mark.parametrize("separator", [",", ";", " , "])
def test_lists_are_split_at_their_top_level(separator):
    texts = ["a3(step_ll(4/255, 3), sigma=10)", "fgsm(0.1)", "a3(fgsm(0.1), sigma=-10)"]
    assert split_attacks(separator.join(texts) + separator) == texts
    assert split_attacks(f" {separator} ") == []


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: fgsm(-0.1), ValueError, "epsilon must be finite and not negative, got -0.1"),
        (lambda: fgsm(float("nan")), ValueError, "epsilon must be finite, got nan"),
        (lambda: fgsm("0.1"), TypeError, "epsilon must be a number"),
        (lambda: ifgsm(0.1, num_steps=-3), ValueError, "num_steps must be at least 1, got -3"),
        (lambda: step_ll(0.1, num_steps=0), ValueError, "num_steps must be at least 1, got 0"),
        (lambda: iter_ll(0.1, num_steps=1.5), TypeError, "num_steps must be an integer"),
        (lambda: step_ll(-2.0), ValueError, "epsilon must be finite"),
        (lambda: fgsm(0.1, 50), ValueError, r"label_smoothing must be in \[0, 1\], got 50"),
        (lambda: step_ll(0.1, 1, -3), ValueError, r"label_smoothing must be in \[0, 1\], got -3"),
        (lambda: step_ll(0.1, 1, 2, False), ValueError, r"label_smoothing must be in \[0, 1\]"),
        (lambda: fgsm(0.1, 1.5, target=1), ValueError, r"label_smoothing must be in \[0, 1\]"),
        (lambda: AwayFromLabel(float("nan")), ValueError, "label_smoothing must be finite"),
        (lambda: fgsm(0.1, "a"), TypeError, "label_smoothing must be a number, got 'a'"),
        (lambda: pgd(0.1, -2, 5), ValueError, "step_size must be finite"),
        (lambda: pgd(0.1, 0.02, 5, restarts=0), ValueError, "restarts must be at least 1"),
        (
            lambda: pgd(0.1, 0.02, 5, random_start=False, restarts=2),
            ValueError,
            "restarts=2 without random_start repeats the same attack",
        ),
        (
            lambda: GradientSignAttack(AwayFromLabel(), 0.1, random_start=True),
            ValueError,
            "random_start needs an epsilon",
        ),
        (lambda: a3(fgsm(0.1), float("nan")), ValueError, "sigma must be finite, got nan"),
        (lambda: a3(fgsm(0.1), "10"), TypeError, "sigma must be a number, got '10'"),
        (lambda: a3(AwayFromLabel(), 10), TypeError, "attack must be a GradientSignAttack"),
        (lambda: a3(a3(fgsm(0.1), 3), 3), ValueError, "attention-augmented already"),
        (
            lambda: a3(GradientSignAttack(opaque_objective, 0.1), 3),
            TypeError,
            r"needs an objective with from_logits\(logits, labels\)",
        ),
        (
            lambda: a3(fgsm(0.1), 3, reduction="max"),
            ValueError,
            "Unknown reduction .max.*Known: mean, sum",
        ),
        (lambda: a3(fgsm(0.1), 3, scale=2), ValueError, "Unknown scale 2.*Known: max, none"),
        (
            lambda: a3(fgsm(0.1), 3, explained=0),
            ValueError,
            "Unknown explained 0.*Known: label, prediction",
        ),
        (
            lambda: a3(fgsm(0.1), 3, threshold="batch_mean"),
            ValueError,
            "threshold must be 'mean', .*must not depend on the other images",
        ),
        (lambda: a3(fgsm(0.1), 3, threshold=51), ValueError, r"threshold must be in \[0, 1\)"),
    ],
)
def test_bad_numbers(build, error, message):
    with pytest.raises(error, match=message):
        build()


@pytest.mark.parametrize(
    ("images", "labels", "error", "message"),
    [
        (random_images() * 255, [0] * 4, ValueError, "divide by 255"),
        (np.zeros((4, 8, 8, 1), np.uint8), [0] * 4, TypeError, "uint8"),
        (random_images(), [0, 1, 2, 3], ValueError, r"labels must lie in \[0, 3\)"),
        (random_images(), [0] * 3, ValueError, r"one entry per image \(4\), got 3"),
    ],
)
def test_bad_input(images, labels, error, message):
    classifier = Classifier.from_keras(small_network())
    for run in (fgsm(0.1), step_ll(0.1, 2).rounds):
        with pytest.raises(error, match=message):
            run(classifier, images, labels)


@pytest.mark.parametrize(
    ("attack", "reach"),
    [
        (fgsm(0.1), 0.1),
        (step_ll(0.1, num_steps=3), 0.3),
        (step_ll(0.4, num_steps=3), 1.0),
        (ifgsm(0.1, num_steps=2, step_size=0.02), 0.04),
        (ifgsm(0.1, num_steps=2, step_size=0.08), 0.1),
        (pgd(0.1, 0.02, num_steps=2), 0.1),
        (rs_fgsm(0.1), 0.1),
        (nfgsm(0.1), 0.3),
        (nfgsm(0.5), 1.0),
    ],
)
def test_reach_by_hand(attack, reach):
    assert attack.total_epsilon == pytest.approx(reach)


def test_threat_model_of_pgd():
    attack = pgd(8 / 255, 2 / 255, 10, restarts=2)
    assert attack.threat_model() == {
        "attack": "pgd",
        "norm": "linf",
        "epsilon": 8 / 255,
        "epsilon_255": pytest.approx(8.0),
        "projected": True,
        "steps": 10,
        "step_size": 2 / 255,
        "random_start": True,
        "restarts": 2,
        "objective": "away_from_label",
        "labels": "true",
        "parameters": attack_to_dict(attack),
    }


@pytest.mark.parametrize("name", PRESETS)
def test_threat_models_name_their_attack(name):
    arguments = {"epsilon": 0.1}
    if name in ("pgd", "trades_pgd"):
        arguments |= {"step_size": 0.02, "num_steps": 2}
    threat = PRESETS[name](**arguments).threat_model()
    assert threat["attack"] == name
    assert threat["projected"] is (name not in ("step_ll", "nfgsm"))
