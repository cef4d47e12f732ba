"""A loss that is not finite stops a fit and is named with its epoch, batch and term."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from aad_tf.callbacks import StopOnNonFiniteLoss
from aad_tf.defenses import AADModel
from tests.callbacks.small_fits import FGSM, compiled, fit, plain, quadrants, small_network

layers = keras.layers


def linear_network(**kwargs):
    """Has no ReLU or max pooling, which may turn NaN into 0."""
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(4)]
    )
    return compiled(model, **kwargs)


def broken_at(example):
    images, labels = quadrants()
    images[example, 0, 0, 0] = np.nan
    return images, labels


def fit_in_order(model, images, labels, callbacks):
    return model.fit(images, labels, batch_size=10, shuffle=False, verbose=0, callbacks=callbacks)


def test_non_finite_loss_stops_training_and_keeps_good_weights(tmp_path):
    keep = keras.callbacks.ModelCheckpoint(tmp_path / "kept.keras", save_freq=1)
    with pytest.raises(FloatingPointError, match="in epoch 1, batch 2: loss is nan"):
        fit_in_order(linear_network(), *broken_at(example=13), [StopOnNonFiniteLoss(), keep])
    kept = keras.saving.load_model(tmp_path / "kept.keras")
    assert all(np.isfinite(weight).all() for weight in kept.get_weights())


def test_non_finite_loss_in_blocks_of_steps():
    model = linear_network(steps_per_execution=2)
    with pytest.raises(FloatingPointError, match="batch 2 or one of the 1 before it"):
        fit_in_order(model, *broken_at(example=0), [StopOnNonFiniteLoss()])


def test_non_finite_loss_of_validation():
    message = r"epoch 1, at its end: val_loss is nan \(finite: loss is \d"
    with pytest.raises(FloatingPointError, match=message):
        fit(linear_network(), [StopOnNonFiniteLoss()], validation_data=broken_at(example=3))


def test_non_finite_loss_of_a_defence_names_the_term():
    model = AADModel(small_network(), attack=FGSM)
    model.compile(keras.optimizers.SGD(1e30), run_eagerly=True)
    with pytest.raises(FloatingPointError, match="classification_loss is (nan|inf)"):
        fit(model, [StopOnNonFiniteLoss()], epochs=9)


def test_finite_losses_and_other_metrics_pass():
    callback = StopOnNonFiniteLoss()
    callback.set_model(plain())
    callback.on_epoch_begin(0)
    callback.on_train_batch_end(0, {"loss": 1.0, "ratio": float("nan")})
    with pytest.raises(FloatingPointError, match="out_loss is -inf"):
        callback.on_train_batch_end(0, {"loss": 1.0, "out_loss": float("-inf")})
