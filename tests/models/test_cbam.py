"""CBAM: gates worked by hand, the original code's values, gradients, and use as a Keras layer."""

from __future__ import annotations

import itertools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import Classifier
from aad_tf.attention import grad_cam
from aad_tf.models import CBAM, ChannelGate, SpatialGate
from tests.models import cbam_reference as reference


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def original(dtype="float64", **options):
    """CBAM with the weights of the reference."""
    layer = CBAM(reference.REDUCTION, dtype=dtype, **options)
    layer.build((None, reference.SIDE, reference.SIDE, reference.CHANNELS))
    layer.set_weights(reference.weights())
    return layer


@pytest.fixture(scope="module")
def golden():
    return {
        name: np.array(value)
        for name, value in json.loads(reference.FILE.read_text(encoding="utf-8")).items()
    }


def test_channel_gate_by_hand():
    # Two channels of two places; means 2, -1 and largest values 3, 0. One hidden unit adds both
    # channels: relu(2 - 1) + relu(3 + 0) = 1 + 3; the scores are 0.5 and -0.25 of that plus twice
    # their bias 0.1.
    inputs = np.array([[[[1.0, 0.0], [3.0, -2.0]]]], "float32")
    gate = ChannelGate(reduction=2)
    gate.build(inputs.shape)
    weights = [[1.0], [1.0]], [0.0], [[0.5, -0.25]], [0.1, 0.1]
    gate.set_weights(list(map(np.array, weights)))
    expected = sigmoid(np.array([0.5 * 4 + 0.2, -0.25 * 4 + 0.2]))
    np.testing.assert_allclose(gate.gate(inputs)[0, 0, 0], expected, atol=1e-6)
    np.testing.assert_allclose(gate(inputs), inputs * expected, atol=1e-6)


def test_spatial_gate_by_hand():
    # One place with channels 1, 5: largest 5, mean 3; the middle of the kernel weighs them with 2
    # and -1, so 7; normalized with mean 3, variance 4 - 1e-5, gamma 0.5, beta -1: 0.5 * 2 - 1 = 0.
    inputs = np.array([[[[1.0, 5.0]]]], "float32")
    gate = SpatialGate(kernel_size=3)
    gate.build(inputs.shape)
    kernel = np.zeros((3, 3, 2, 1))
    kernel[1, 1, :, 0] = 2.0, -1.0
    gate.set_weights([kernel, *np.array([[0.5], [-1.0], [3.0], [4.0 - 1e-5]])])
    np.testing.assert_allclose(gate.gate(inputs), [[[[0.5]]]], atol=1e-6)
    gate.set_weights([kernel, *np.array([[0.5], [1.0], [3.0], [4.0 - 1e-5]])])
    np.testing.assert_allclose(gate(inputs), inputs * sigmoid(2.0), atol=1e-6)


def test_both_layers_of_a_fresh_gate_begin_with_numbers_of_their_own():
    for initializer in (None, "glorot_uniform", keras.initializers.HeNormal()):
        gate = ChannelGate(reduction=2, kernel_initializer=initializer)
        gate.build((None, 4, 4, 64))
        kernels = [weight.numpy().ravel() for weight in gate.weights if weight.name == "kernel"]
        assert abs(np.corrcoef(kernels)[0, 1]) < 0.1
    # One object for both gates of several modules.
    modules = [CBAM(2, kernel_initializer=keras.initializers.HeNormal()) for _ in range(2)]
    shared = keras.initializers.HeNormal()
    modules += [CBAM(2, kernel_initializer=shared) for _ in range(2)]
    for module in modules:
        module.build((None, 4, 4, 64))
    for module, other in itertools.combinations(modules, 2):
        for gate in ("channel", "spatial"):
            first, second = (getattr(each, gate).weights[0].numpy() for each in (module, other))
            assert np.abs(first - second).max() > 0
    # Uniform within 1 / sqrt(inputs) by default, as in the original code.
    first = ChannelGate(reduction=2)
    first.build((None, 4, 4, 64))
    assert 0.95 / 8 < np.abs(first.hidden.kernel).max() <= 1 / 8


def test_a_fresh_spatial_gate_is_a_half_everywhere():
    inputs = reference.features().astype("float32")
    np.testing.assert_array_equal(SpatialGate()(inputs), inputs / 2)


def test_equals_the_original_code_in_inference(golden):
    inputs = tf.constant(reference.features())
    layer = original()
    np.testing.assert_allclose(layer(inputs), golden["inference"], atol=1e-12)
    np.testing.assert_allclose(layer.channel(inputs), golden["channel"], atol=1e-12)
    channel, spatial = layer.gates(inputs)
    np.testing.assert_allclose(inputs * channel * spatial, golden["inference"], atol=1e-12)


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_equals_the_original_code_and_its_gradients(golden, mode):
    inputs = tf.constant(reference.features())
    layer = original()
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=mode == "training")
        total = tf.reduce_sum(outputs**2)
    np.testing.assert_allclose(outputs, golden[mode], atol=1e-10)
    np.testing.assert_allclose(tape.gradient(total, inputs), golden[f"{mode}_gradient"], atol=1e-8)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("mixed_bfloat16", 0.06)])
def test_other_precisions_are_close(golden, dtype, tolerance):
    outputs = original(dtype)(reference.features().astype("float32"))
    assert outputs.dtype == keras.dtype_policies.get(dtype).compute_dtype
    np.testing.assert_allclose(
        tf.cast(outputs, tf.float64), golden["inference"], atol=tolerance, rtol=tolerance
    )


def test_gradients_of_gradients_by_finite_differences():
    inputs = tf.constant(reference.features()[:1])
    layer, direction = original(), tf.constant(reference.pseudorandom(1, 5, 5, 8, start=99))

    def slope(values):
        with tf.GradientTape() as tape:
            tape.watch(values)
            total = tf.reduce_sum(layer(values) ** 2)
        return tf.reduce_sum(tape.gradient(total, values) * direction)

    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = slope(inputs)
    found = tf.reduce_sum(tape.gradient(value, inputs) * direction)
    step = 1e-5
    expected = (slope(inputs + step * direction) - slope(inputs - step * direction)) / (2 * step)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_channels_first_is_the_same_transposed(golden):
    inputs = reference.features().transpose(0, 3, 1, 2)
    layer = CBAM(reference.REDUCTION, data_format="channels_first", dtype="float64")
    layer.build(inputs.shape)
    layer.set_weights(reference.weights())
    outputs = layer(inputs).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(outputs, golden["inference"], atol=1e-12)
    channel, spatial = layer.gates(inputs)
    assert channel.shape == (2, 8, 1, 1) and spatial.shape == (2, 1, 5, 5)


def functional():
    images = keras.Input((6, 6, 3))
    net = keras.layers.Conv2D(8, 3, activation="relu", name="conv")(images)
    net = CBAM(4, 3, kernel_regularizer="l2", name="cbam")(net)
    return keras.Model(images, keras.layers.Dense(2)(keras.layers.GlobalMaxPooling2D()(net)))


def sequential():
    layers = keras.layers
    return keras.Sequential(
        [
            *(keras.Input((6, 6, 3)), layers.Conv2D(8, 3, activation="relu", name="conv")),
            *(CBAM(1, 3), ChannelGate(2), SpatialGate(3)),
            *(layers.GlobalMaxPooling2D(), layers.Dense(2)),
        ]
    )


def channels_first_in_mixed_precision():
    """The convolution is of channels_last, for CPUs have no other."""
    policy = keras.dtype_policies.get("mixed_bfloat16")
    layers = keras.layers
    images = keras.Input((6, 6, 3))
    net = layers.Conv2D(8, 3, activation="relu", name="conv", dtype=policy)(images)
    net = layers.Permute((3, 1, 2), dtype=policy)(net)
    net = CBAM(4, 3, data_format="channels_first", dtype=policy, name="cbam")(net)
    assert net.shape == (None, 8, 4, 4) and net.dtype == "bfloat16"
    net = layers.GlobalMaxPooling2D(data_format="channels_first", dtype=policy)(net)
    return keras.Model(images, layers.Dense(2, dtype="float32")(net))


def images_of(shape=(3, 6, 6, 3)):
    return np.random.RandomState(0).uniform(size=shape).astype("float32")


@pytest.mark.parametrize("build", [functional, sequential, channels_first_in_mixed_precision])
def test_saved_and_loaded(build, tmp_path):
    keras.utils.set_random_seed(0)
    model, images = build(), images_of()
    before = model.get_weights()
    model.compile("adam", "mse")
    # Adam, for gradients are small; the spatial convolution has one once gamma is no longer 0.
    model.fit(images, np.ones((3, 2)), epochs=2, verbose=0)
    assert {weight.dtype for weight in model.weights} == {"float32"}
    changed = zip(model.weights, before, strict=True)
    assert [weight.path for weight, old in changed if np.array_equal(weight, old)] == []
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(images), model(images))
    model.save_weights(tmp_path / "model.weights.h5")
    fresh = build()
    fresh.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(fresh(images), model(images))
    model.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(str(tmp_path / "exported"))
    tolerance = 1e-6 if model.layers[1].compute_dtype == "float32" else 1e-2
    np.testing.assert_allclose(exported.serve(images), model(images), atol=tolerance)


def test_in_a_subclassed_model_and_under_grad_cam():
    class Attending(keras.Model):
        def __init__(self):
            super().__init__()
            self.features = keras.layers.Conv2D(8, 3, activation="relu")
            self.cbam = CBAM(4, 3)
            self.head = keras.layers.Dense(2)

        def call(self, images, training=None):
            net = self.cbam(self.features(images), training=training)
            return self.head(tf.reduce_max(net, axis=[1, 2]))

    model = Attending()
    model(images_of())
    maps = grad_cam(Classifier.from_keras(model), images_of(), [0, 1, 1])
    assert maps.shape == (3, 4, 4) and np.isfinite(maps).all()


def test_config_holds_every_argument():
    positional = 2, 5, "channels_first", keras.regularizers.L2(0.5)
    layer = CBAM(*positional, kernel_initializer="ones", name="attention", dtype="mixed_bfloat16")
    copy = CBAM.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    copy.build((None, 8, 4, 4))
    kernels = [weight.numpy() for weight in copy.weights if weight.name == "kernel"]
    assert len(kernels) == 3 and all(np.all(kernel == 1) for kernel in kernels)
    assert (copy.channel.reduction, copy.spatial.kernel_size, copy.data_format) == (
        *(2, 5),
        "channels_first",
    )
    assert copy.channel.dtype_policy.name == "mixed_bfloat16"
    assert copy.compute_output_shape((None, 8, None, None)) == (None, 8, None, None)
    for gate in (
        ChannelGate(3, kernel_initializer="ones"),
        SpatialGate(5, kernel_regularizer="l1"),
    ):
        assert type(gate).from_config(gate.get_config()).get_config() == gate.get_config()


def test_regularizers_reach_all_kernels():
    model = functional()
    model(images_of())
    kernels = [weight for weight in model.get_layer("cbam").weights if weight.name == "kernel"]
    assert len(kernels) == 3
    expected = sum(0.01 * np.sum(np.square(kernel)) for kernel in kernels)
    np.testing.assert_allclose(sum(model.losses), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: CBAM(0), ValueError, "reduction of channel"),
        (lambda: ChannelGate(1.5), TypeError, "reduction of"),
        (lambda: CBAM(kernel_size=4), ValueError, "must be odd.*got 4"),
        (lambda: CBAM(data_format="nhwc"), ValueError, "data_format"),
        (lambda: CBAM()(np.ones((1, 4, 4, 8))), ValueError, "at most 8"),
        (lambda: CBAM()(np.ones((1, 4, 8))), ValueError, r"takes feature maps \[batch, height"),
        (lambda: SpatialGate().build((None, 4, 4, None)), ValueError, "number of channels"),
    ],
)
def test_bad_arguments(make, error, match):
    with pytest.raises(error, match=match):
        make()
