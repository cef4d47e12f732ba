"""Half precision is scaled; attacks as text; arguments that contradict each other."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from aad_tf import (
    AADModel,
    AdversarialModel,
    EnsembleAdversarialModel,
    PairingModel,
    StandardModel,
    TradesModel,
)
from aad_tf.attacks import GradientSignAttack, auto_attack, fgsm, pgd, step_ll
from tests.networks import random_images, small_network

DEFENSES = {
    "adversarial": AdversarialModel,
    "trades": TradesModel,
    "pairing": PairingModel,
    "aad": AADModel,
    "ensemble": lambda network, attack: EnsembleAdversarialModel(
        network, sources=[small_network(seed=1)], attack=attack
    ),
}


@pytest.mark.parametrize("defense", DEFENSES)
def test_an_attack_may_be_text(defense: str) -> None:
    model = DEFENSES[defense](small_network(), attack="step_ll(epsilon=8/255, num_steps=2)")
    assert model.attack == step_ll(8 / 255, num_steps=2)


@pytest.mark.parametrize(
    ("attack", "error", "message"),
    [
        (None, TypeError, "attack must be an attack such as .*, or its text .*, got None"),
        (0.1, TypeError, "attack must be an attack"),
        (GradientSignAttack, TypeError, "attack must be an attack"),
        (fgsm, TypeError, r"Call it: fgsm\(epsilon=...\)"),
        (auto_attack(0.1), TypeError, "got the cascade auto_attack, which is for evaluations"),
        ("fgsm(0.1", ValueError, "Expected an attack like"),
        ("fsgm(0.1)", ValueError, "Unknown attack 'fsgm'. Did you mean 'fgsm'"),
    ],
)
def test_what_is_no_attack_is_refused_at_once(attack, error, message) -> None:
    for make in (AdversarialModel, AADModel):
        with pytest.raises(error, match=message):
            make(small_network(), attack=attack)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"seed": 0.5}, TypeError, "seed must be an integer"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"seed": 2**31}, ValueError, "seed must be at most 2147483647, got 2147483648"),
        ({"label_smoothing": float("nan")}, ValueError, r"label_smoothing must be in \[0, 1\)"),
        ({"losses": 3}, TypeError, "losses must be AADLosses or the name of a preset, got 3"),
    ],
)
def test_other_arguments_are_checked(options, error, message) -> None:
    with pytest.raises(error, match=message):
        AADModel(small_network(), attack=fgsm(0.1), **options)


def test_the_largest_seed_gives_the_seeds_of_attacks() -> None:
    model = AADModel(small_network(), attack=fgsm(0.1), seed=2**31 - 1)
    np.testing.assert_array_equal(model.attack_seed(), [2**31 - 1, 0])


@pytest.mark.parametrize(
    "arguments",
    [
        {"attack": step_ll(0.1, num_steps=2), "rounds": "last"},
        {"attack": pgd(0.1, step_size=0.05, num_steps=2, restarts=2)},
    ],
)
def test_one_update_per_round_takes_every_round_as_it_is(arguments: dict) -> None:
    with pytest.raises(ValueError, match="goes with neither rounds= nor an attack with restarts"):
        AADModel(small_network(), update_per_round=True, **arguments)


def test_only_float16_is_trained_with_loss_scaling() -> None:
    single = StandardModel(small_network())
    single.compile("adam")
    assert type(single.optimizer) is keras.optimizers.Adam
    model = StandardModel(small_network(dtype="mixed_float16"))
    model.compile("adam")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    history = model.fit(random_images(12), np.arange(12) % 3, epochs=6, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][-1] < history["loss"][0]
