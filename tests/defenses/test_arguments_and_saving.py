"""Saving a defence saves its network; half precision is scaled; arguments that contradict."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from aad_tf import AADModel, AdversarialModel, StandardModel, data, models
from aad_tf.attacks import fgsm, pgd, step_ll


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
