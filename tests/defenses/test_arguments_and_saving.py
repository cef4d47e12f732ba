"""Saving a defence saves its network; half precision is scaled; arguments that contradict."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from aad_tf import (
    AADModel,
    AdversarialModel,
    EnsembleAdversarialModel,
    StandardModel,
    data,
    models,
)
from aad_tf.attacks import GradientSignAttack, fgsm, pgd, step_ll
from tests.networks import small_network


def test_model_checkpoint_keeps_the_network(tmp_path: Path) -> None:
    network = models.build("lenet", (28, 28, 1), 10)
    model = AdversarialModel(network, attack=fgsm(0.1))
    model.compile("adam")
    images, labels = next(iter(data.evaluation_batches("digits", "train", 64)))
    path = tmp_path / "best.keras"
    keep = keras.callbacks.ModelCheckpoint(path, monitor="loss", save_best_only=True)
    model.fit(images, labels, verbose=0, callbacks=[keep])
    loaded = keras.saving.load_model(path)
    np.testing.assert_allclose(loaded(images), network(images), atol=1e-6)


DEFENSES = {
    "adversarial": AdversarialModel,
    "aad": AADModel,
    "ensemble": lambda network, attack: EnsembleAdversarialModel(
        network, sources=[small_network(seed=1)], attack=attack
    ),
}


@pytest.mark.parametrize("defense", DEFENSES)
def test_an_attack_may_be_text(defense: str) -> None:
    model = DEFENSES[defense](small_network(), attack="step_ll(epsilon=8/255, num_steps=2)")
    assert model.attack == step_ll(8 / 255, num_steps=2)


@pytest.mark.parametrize("defense", DEFENSES)
@pytest.mark.parametrize(
    ("attack", "error", "message"),
    [
        (None, TypeError, "attack must be an attack such as .*, or its text .*, got None"),
        (0.1, TypeError, "attack must be an attack"),
        (GradientSignAttack, TypeError, "attack must be an attack"),
        ("fgsm(0.1", ValueError, "Expected an attack like"),
        ("fsgm(0.1)", ValueError, "Unknown attack 'fsgm'. Did you mean 'fgsm'"),
    ],
)
def test_what_is_no_attack_is_refused_at_once(defense, attack, error, message) -> None:
    with pytest.raises(error, match=message):
        DEFENSES[defense](small_network(), attack=attack)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"seed": 0.5}, TypeError, "seed must be an integer"),
        ({"label_smoothing": float("nan")}, ValueError, r"label_smoothing must be in \[0, 1\)"),
        ({"losses": 3}, TypeError, "losses must be AADLosses or the name of a preset, got 3"),
    ],
)
def test_other_arguments_are_checked(options, error, message) -> None:
    with pytest.raises(error, match=message):
        AADModel(small_network(), attack=fgsm(0.1), **options)


@pytest.mark.parametrize(
    "arguments",
    [
        {"attack": step_ll(0.1, num_steps=2), "rounds": "last"},
        {"attack": pgd(0.1, step_size=0.05, num_steps=2, restarts=2)},
    ],
)
def test_one_update_a_round_takes_every_round_as_it_is(arguments: dict) -> None:
    network = models.build("lenet", (28, 28, 1), 10)
    with pytest.raises(ValueError, match="goes with neither rounds= nor an attack with restarts"):
        AADModel(network, update_per_round=True, **arguments)


def test_float16_is_trained_with_loss_scaling() -> None:
    half = models.build("lenet", (28, 28, 1), 10, dtype="mixed_float16")
    model = StandardModel(half)
    model.compile("adam")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    images, labels = next(iter(data.evaluation_batches("digits", "train", 32)))
    history = model.fit(images, labels, epochs=3, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][-1] < history["loss"][0]


def test_float32_is_trained_without_it() -> None:
    model = StandardModel(models.build("lenet", (28, 28, 1), 10))
    model.compile("adam")
    assert type(model.optimizer) is keras.optimizers.Adam
