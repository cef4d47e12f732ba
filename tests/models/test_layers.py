"""Local response normalization against a loop in NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.models import LocalResponseNormalization
from aad_tf.models.layers import network_dtypes, slim_l2

SETTINGS = {"depth_radius": 4, "bias": 1.0, "alpha": 0.001 / 9.0, "beta": 0.75}
STRONG = {"depth_radius": 2, "bias": 0.5, "alpha": 0.3, "beta": 0.6}


def numpy_normalization(x, depth_radius, bias, alpha, beta):
    result = np.empty_like(x)
    for channel in range(x.shape[-1]):
        low, high = max(0, channel - depth_radius), channel + depth_radius + 1
        energy = np.sum(np.square(x[..., low:high]), axis=-1)
        result[..., channel] = x[..., channel] / (bias + alpha * energy) ** beta
    return result


@pytest.fixture
def values():
    return np.random.RandomState(3).normal(scale=5.0, size=(2, 3, 4, 11))


@pytest.mark.parametrize("settings", [SETTINGS, STRONG])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    # 16-bit results are exact up to the rounding of input and output.
    [("float32", 1e-5), ("float64", 1e-12), ("float16", 2e-3), ("bfloat16", 2e-2)],
)
def test_equals_numpy(values, settings, dtype, tolerance):
    layer = LocalResponseNormalization(**settings, dtype=dtype)
    result = layer(tf.cast(values, dtype))
    assert result.dtype == dtype
    expected = numpy_normalization(values, **settings)
    np.testing.assert_allclose(tf.cast(result, tf.float64), expected, rtol=tolerance)


def test_hand_worked_ones():
    # Windows of 2, 3 and 2 ones around the three channels: 1 / (1 + 1 * window).
    layer = LocalResponseNormalization(depth_radius=1, bias=1.0, alpha=1.0, beta=1.0)
    result = layer(tf.ones([1, 1, 1, 3]))
    np.testing.assert_allclose(np.ravel(result), [1 / 3, 1 / 4, 1 / 3], rtol=1e-6)


def test_gradients_of_both_implementations_agree(values):
    gradients = {}
    for dtype in ("float32", "float64"):
        layer = LocalResponseNormalization(**STRONG, dtype=dtype)
        inputs = tf.constant(values, dtype)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(tf.sin(layer(inputs)))
        gradients[dtype] = tape.gradient(loss, inputs).numpy()
    np.testing.assert_allclose(gradients["float32"], gradients["float64"], atol=1e-5)


def test_config_survives_serialization():
    layer = LocalResponseNormalization(**STRONG, name="norm", dtype="float64")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.get_config() == layer.get_config()
    assert (copy.depth_radius, copy.bias, copy.alpha, copy.beta) == (2, 0.5, 0.3, 0.6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth_radius": -1}, "depth_radius must be at least 0, got -1"),
        ({"depth_radius": 1.5}, "depth_radius must be an integer, got 1.5"),
        ({"bias": 0.0}, "bias must be positive, got 0.0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises((TypeError, ValueError), match=message):
        LocalResponseNormalization(**settings)


@pytest.mark.parametrize(
    ("dtype", "compute", "edge"),
    [
        ("float32", "float32", "float32"),
        ("float64", "float64", "float64"),
        ("mixed_bfloat16", "bfloat16", "float32"),
        ("mixed_float16", "float16", "float32"),
    ],
)
def test_network_dtypes(dtype, compute, edge):
    policy, found = network_dtypes(dtype)
    assert (policy.compute_dtype, found) == (compute, edge)


def test_slim_l2_has_the_factor_one_half():
    # 0.1 * (1 + 4 + 9) / 2
    assert float(slim_l2(0.1)(tf.constant([1.0, 2.0, 3.0]))) == pytest.approx(0.7)
    assert slim_l2(0.0) is None
    with pytest.raises(ValueError, match="weight_decay must be at least 0, got -0.1"):
        slim_l2(-0.1)
