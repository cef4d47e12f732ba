"""Tests of faithfulness: worked by hand, against every order of pixels, against NumPy, weights."""

from __future__ import annotations

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attention import (
    center_map,
    deletion,
    grad_cam,
    grad_cam_plus_plus,
    insertion,
    lime,
    max_sensitivity,
    random_maps,
    randomization_check,
)
from aad_tf.attention.faithfulness import weighted_layers
from aad_tf.classifier import Classifier
from aad_tf.export import export_saved_model, load_classifier
from aad_tf.models import CBAM
from aad_tf.types import Bounds
from tests.networks import (
    SHAPE,
    SubclassedNetwork,
    batch_norm_network,
    bytes_of,
    called,
    linear_network,
    random_images,
    small_network,
)

CONTRIBUTIONS = np.array([[1.5, -0.5], [0.25, 3.0]], np.float32)
PIXELS = np.array([[0.5, 1.0], [1.0, 0.5]], np.float32)


@pytest.fixture(scope="module")
def weighing() -> Classifier:
    """Images of 2x2 pixels; the logit of class 0 is their weighted sum, that of class 1 is 0."""
    images = keras.Input((2, 2, 1))
    features = keras.layers.Conv2D(1, 1, use_bias=False, name="features")(images)
    logits = keras.layers.Dense(2, use_bias=False)(keras.layers.Flatten()(features))
    model = keras.Model(images, logits)
    kernel = np.stack([(CONTRIBUTIONS / PIXELS).ravel(), np.zeros(4)], axis=1)
    model.set_weights([np.ones((1, 1, 1, 1)), kernel])
    return Classifier.from_keras(model, "features")


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.from_keras(small_network(), "conv")


def sigmoid(values):
    return 1 / (1 + np.exp(-np.asarray(values)))


def test_curves_by_hand(weighing):
    """Contributions 3, 1.5, 0.25, -0.5 go in this order, or come."""
    images, maps = PIXELS[np.newaxis, ..., np.newaxis], CONTRIBUTIONS[np.newaxis]
    removed = deletion(weighing, images, maps, [0], num_steps=4, fill=0.0)
    expected = sigmoid([4.25, 1.25, -0.25, -0.5, 0.0])
    np.testing.assert_allclose(removed.probabilities, [expected], rtol=1e-6)
    np.testing.assert_array_equal(removed.fractions, [0, 0.25, 0.5, 0.75, 1])
    area = (expected[0] / 2 + expected[1:4].sum() + expected[4] / 2) / 4
    np.testing.assert_allclose(removed.area, [area], rtol=1e-6)
    shown = insertion(weighing, images, maps, [0], num_steps=2, start=0.0)
    np.testing.assert_allclose(shown.probabilities, [sigmoid([0, 4.5, 4.25])], rtol=1e-6)
    # Of the other class, and with two steps of two pixels each.
    other = deletion(weighing, images, maps, [1], num_steps=2, fill=0.0)
    np.testing.assert_allclose(other.probabilities, [sigmoid([-4.25, 0.25, 0])], rtol=1e-6)


def test_the_order_of_true_contributions_is_the_best_of_all(weighing):
    orders = np.array(list(itertools.permutations(range(4))), np.float32).reshape(-1, 2, 2)
    images = np.repeat(PIXELS[np.newaxis, ..., np.newaxis], len(orders), axis=0)
    labels = np.zeros(len(orders), int)
    best = (CONTRIBUTIONS.ravel().argsort().argsort()).reshape(2, 2)
    (true,) = np.flatnonzero((orders == best).all((1, 2)))
    removed = deletion(weighing, images, orders, labels, num_steps=4, fill=0.0).area
    shown = insertion(weighing, images, orders, labels, num_steps=4, start=0.0).area
    assert np.argmin(removed) == true == np.argmax(shown)
    assert np.sum(removed == removed[true]) == 1


def test_random_maps_give_what_a_map_without_information_does(weighing):
    images = np.repeat(PIXELS[np.newaxis, ..., np.newaxis], 200, axis=0)
    labels = np.zeros(200, int)
    noise = deletion(weighing, images, random_maps(range(200), (2, 2)), labels, fill=0.0).area
    truth = np.repeat(CONTRIBUTIONS[np.newaxis], 200, axis=0)
    # To rounding, which differs between processors.
    assert deletion(weighing, images, truth, labels, fill=0.0).area.max() <= noise.min() + 1e-6
    # The mean over all 24 orders, within 4 standard errors.
    orders = np.array(list(itertools.permutations(range(4))), np.float32).reshape(-1, 2, 2)
    every = deletion(weighing, images[:24], orders, labels[:24], fill=0.0).area
    assert abs(noise.mean() - every.mean()) < 4 * every.std() / np.sqrt(200)


def test_ties_go_to_the_earlier_pixel(weighing):
    images = PIXELS[np.newaxis, ..., np.newaxis]
    rows = np.array([[[4.0, 3.0], [2.0, 1.0]]])
    expected = deletion(weighing, images, rows, [0], num_steps=4)
    for constant in (np.zeros((1, 2, 2)), np.full((1, 3, 3), 0.1), np.full((1, 1, 1), 7.0)):
        found = deletion(weighing, images, constant, [0], num_steps=4)
        np.testing.assert_array_equal(found.probabilities, expected.probabilities)


def numpy_curve(classifier, first, last, maps, class_id, counts):
    """One image after the other, pixel by pixel."""
    order = np.argsort(-maps.ravel(), kind="stable")
    probabilities = []
    for count in counts:
        mixed = first.reshape(-1, first.shape[-1]).copy()
        mixed[order[:count]] = last.reshape(mixed.shape)[order[:count]]
        logits = classifier.predict_logits(mixed.reshape(1, *first.shape)).numpy()[0]
        weights = np.exp(logits - logits.max())
        probabilities.append(weights[class_id] / weights.sum())
    return probabilities


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_batches_agree_with_one_image_after_the_other(classifier, batch_size):
    images, labels = random_images(5), np.array([0, 1, 2, 0, 1])
    maps = random_maps(range(5), SHAPE[:2])
    empty = np.full(SHAPE, 0.25, np.float32)
    removed = deletion(
        classifier, images, maps, labels, num_steps=9, fill=0.25, batch_size=batch_size
    )
    shown = insertion(
        classifier, images, maps, labels, num_steps=9, start=[0.25], batch_size=batch_size
    )
    counts = np.round(np.linspace(0, 64, 10)).astype(int)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        for found, ends in ((removed, (image, empty)), (shown, (empty, image))):
            expected = numpy_curve(classifier, *ends, maps[index], label, counts)
            np.testing.assert_allclose(found.probabilities[index], expected, rtol=2e-5)
    np.testing.assert_allclose(removed.fractions, counts / 64)


def test_one_graph_for_all_steps_and_batches(classifier):
    images, labels = random_images(5), np.zeros(5, int)
    maps = random_maps(range(5), (3, 3))
    for count, steps in ((5, 3), (2, 7), (1, 100)):
        deletion(classifier, images[:count], maps[:count], labels[:count], num_steps=steps)
        insertion(classifier, images[:count], maps[:count], labels[:count], num_steps=steps)
    assert classifier.compiled["exchanged_pixels"].experimental_get_tracing_count() == 1


def test_what_removed_pixels_become():
    """Of a network that gives the mean pixel, the ends of the curves tell the fill."""
    model = Classifier.from_keras(linear_network([1.0, 0.0], size=30), "scores")
    images = np.zeros((1, 30, 30, 1), np.float32)
    images[0, 15, 15, 0] = 1.0
    maps, ends = images[..., 0], {}
    for fill in ("mean", "blur", 0.5, 0.0):
        curve = deletion(model, images, maps, [0], num_steps=900, fill=fill)
        ends[fill] = np.log(1 / curve.probabilities[0] - 1) * -900  # the sum of pixels
    np.testing.assert_allclose(ends["mean"][[0, 1, 900]], [1, 1 / 900, 1], atol=1e-3)
    np.testing.assert_allclose(ends[0.5][[0, 900]], [1, 450], rtol=1e-3)
    # A Gaussian of 11 pixels keeps the sum; its peak is the square of that along a line.
    peak = (1 / np.exp(-(np.arange(-5, 6) ** 2) / 50).sum()) ** 2
    np.testing.assert_allclose(ends["blur"][[0, 1, 900]], [1, peak, 1], atol=1e-3)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("fill", ["mean", "blur"])
def test_images_of_half_precision_are_filled_as_those_of_single_precision(dtype, fill):
    """Both fills keep the mean of an image, of which the logit of class 0 is four times."""
    model = Classifier.from_keras(linear_network([4.0, 0.0], size=30, dtype=dtype), "scores")
    images = np.zeros((1, 30, 30, 1), np.float32)
    images[:, 7:22, 5:25] = 1.0
    curves = [
        deletion(model, images, images[..., 0], [0], num_steps=1, fill=fill),
        insertion(model, images, images[..., 0], [0], num_steps=1, start=fill),
    ]
    for curve in curves:
        np.testing.assert_allclose(curve.probabilities, [[sigmoid(4 / 3)] * 2], atol=0.005)


def test_random_maps_depend_on_their_seed_alone():
    maps = random_maps([3, 4], (5, 6))
    np.testing.assert_array_equal(random_maps([4], (5, 6))[0], maps[1])
    assert maps.shape == (2, 5, 6) and np.any(maps[0] != maps[1])


def test_center_map_falls_with_the_distance_from_the_centre():
    found = center_map((3, 5))
    assert np.unravel_index(found.argmax(), found.shape) == (1, 2)
    np.testing.assert_array_equal(found, found[::-1, ::-1])
    # One cell to the side is a fifth of the width, a quarter is the standard deviation.
    np.testing.assert_allclose(found[1, 3], np.exp(-(0.2**2) / (2 * 0.25**2)), rtol=1e-6)


def constant_maps(classifier, images, class_ids):
    return np.ones((len(images), 2, 3), np.float32)


def mean_pixels(classifier, images, class_ids):
    """A map of one cell: the mean of the image."""
    return tf.reduce_mean(images, axis=(1, 2))[:, tf.newaxis]


def test_sensitivity_of_known_maps(classifier):
    images, labels = random_images(3), [0, 1, 2]
    np.testing.assert_array_equal(max_sensitivity(constant_maps, classifier, images, labels), 0)
    found = max_sensitivity(
        mean_pixels, classifier, images, labels, radius=0.1, num_draws=7, seed=[5, 6, 7]
    )
    for index in range(3):
        generator = np.random.default_rng(5 + index)
        noise = [generator.uniform(-0.1, 0.1, SHAPE) for _ in range(7)]
        means = [np.clip(images[index] + each, 0, 1).mean() for each in noise]
        mean = images[index].mean()
        expected = np.max(np.abs(np.array(means) - mean)) / mean
        np.testing.assert_allclose(found[index], expected, rtol=1e-4)


def test_sensitivity_of_an_image_is_its_own_and_grows_with_the_radius(classifier):
    images, labels = random_images(4), np.array([0, 1, 2, 0])
    found = max_sensitivity(grad_cam, classifier, images, labels, seed=3)
    alone = max_sensitivity(grad_cam, classifier, images[2:3], labels[2:3], seed=3)
    np.testing.assert_allclose(alone, found[2:3], rtol=1e-4)
    wider = max_sensitivity(grad_cam, classifier, images, labels, seed=3, radius=0.2)
    more = max_sensitivity(grad_cam, classifier, images, labels, seed=3, num_draws=20)
    assert (wider > found).all() and (more >= found).all() and found.min() > 0
    # In the unit of the images.
    network = keras.Sequential([keras.layers.Rescaling(1 / 255), classifier.model])
    gray = Classifier.from_keras(network, "conv", Bounds(0, 255), input_shape=SHAPE)
    same = max_sensitivity(grad_cam, gray, 255 * images, labels, seed=[1, 2, 3, 4])
    expected = max_sensitivity(grad_cam, classifier, images, labels, seed=[1, 2, 3, 4])
    np.testing.assert_allclose(same, expected, rtol=1e-3)


def test_a_map_of_zeros_has_no_relative_change(classifier):
    first = []

    def zeros_first(classifier, images, class_ids):
        first.append(images)
        return np.full((len(images), 2, 2), 0.0 if len(first) == 1 else 1.0)

    assert np.isnan(max_sensitivity(zeros_first, classifier, random_images(1), [0]))
    zeros = max_sensitivity(lambda *_: np.zeros((1, 2, 2)), classifier, random_images(1), [0])
    assert zeros == 0


def learnt_network() -> Classifier:
    """A network of some width whose channels mean something: each prefers a corner."""
    keras.utils.set_random_seed(2)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((12, 12, 1)),
            layers.Conv2D(16, 3, activation="relu", name="conv1"),
            layers.BatchNormalization(name="norm"),
            layers.Conv2D(16, 3, activation="relu", name="conv2"),
            layers.Flatten(),
            layers.Dense(4, name="scores"),
        ]
    )
    return Classifier.from_keras(model, "conv2")


@pytest.mark.parametrize("map_function", [grad_cam, grad_cam_plus_plus])
def test_randomising_layer_by_layer(map_function):
    classifier = learnt_network()
    before = bytes_of(classifier.model.variables)
    images, labels = random_images(40, (12, 12, 1), seed=1), np.arange(40) % 4
    compiled = map_function(classifier, images, labels).numpy()
    steps = randomization_check(map_function, classifier, images, labels, seed=1)
    assert [step.layer for step in steps] == ["none", "scores", "conv2", "norm", "conv1"]
    assert bytes_of(classifier.model.variables) == before
    np.testing.assert_array_equal(map_function(classifier, images, labels), compiled)
    # With every weight in place a map is the same; where it has no differences, none is known.
    known = ~np.isnan(steps[0].rank_correlation)
    assert known.sum() > 20 and (steps[0].rank_correlation[known] == 1.0).all()
    assert (steps[0].iou == 1.0).all()
    again = randomization_check(map_function, classifier, images, labels, seed=1)
    np.testing.assert_equal(again, steps)


def test_a_network_with_every_layer_randomised_is_another_one():
    """Over several draws, since one other network may happen to look alike."""
    classifier = learnt_network()
    images, labels = random_images(10, (12, 12, 1), seed=1), np.arange(10) % 4
    draws = [
        randomization_check(grad_cam, classifier, images, labels, seed=seed) for seed in range(8)
    ]
    last = np.array([steps[-1].rank_correlation for steps in draws])
    means = np.nanmean(last, axis=1)
    assert abs(means.mean()) < 0.15
    assert np.nanmean([steps[-1].iou for steps in draws]) < 0.6


def test_maps_that_ignore_the_network_fail_the_check(classifier):
    images = random_images(4)
    steps = randomization_check(lambda c, x, y: x[..., 0], classifier, images, [0, 1, 2, 0])
    assert [step.rank_correlation.tolist() for step in steps] == [[1.0] * 4] * 3


def test_the_network_is_put_back_after_an_error(classifier):
    before = bytes_of(classifier.model.variables)
    calls = []

    def fails(*arguments):
        calls.append(bytes_of(classifier.model.variables))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return grad_cam(*arguments)

    with pytest.raises(KeyboardInterrupt):
        randomization_check(fails, classifier, random_images(), [0, 1, 2, 0])
    assert calls[2] != before and calls[3] != calls[2]
    assert bytes_of(classifier.model.variables) == before


class Gate(keras.layers.Layer):
    """A layer with a weight of its own and another layer inside."""

    def __init__(self) -> None:
        super().__init__(name="gate")
        self.scores = keras.layers.Dense(3, name="scores")
        self.scale = self.add_weight(shape=(), initializer="ones")

    def call(self, inputs):
        return self.scores(inputs) * self.scale


class GatedNetwork(keras.Model):
    """Two gates of one name, whose inner layers have the name of a layer outside."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = keras.layers.Conv2D(4, 3, name="scores")
        self.pool = keras.layers.GlobalAveragePooling2D()
        self.gates = [Gate(), Gate()]

    def call(self, images):
        values = self.pool(self.scores(images))
        for gate in self.gates:
            values = gate(values)
        return values


def test_every_kind_of_network_names_its_layers():
    nested = keras.Sequential([keras.Input(SHAPE), batch_norm_network()])
    names = ["scores", "norm2", "conv2", "norm1", "conv1"]
    subclassed = SubclassedNetwork()
    for model, expected in (
        (batch_norm_network(), names),
        (nested, [f"{nested.layers[0].name}/{name}" for name in names]),
        (subclassed, [subclassed.scores.name, "conv"]),
        (GatedNetwork(), ["gate_2", "gate_2/scores", "gate", "gate/scores", "scores"]),
    ):
        classifier = Classifier.from_keras(called(model), input_shape=SHAPE)
        found = weighted_layers(classifier)
        assert [name for name, _ in found] == expected
        weights = [weight for _, own in found for weight in own]
        assert sorted(map(id, weights)) == sorted(map(id, model.weights))


def test_layers_of_gates_are_told_apart():
    values = images = keras.Input(SHAPE)
    for number in (1, 2):
        values = keras.layers.Conv2D(4, 3, padding="same", name=f"conv{number}")(values)
        values = CBAM(2, name=f"cbam{number}")(values)
    logits = keras.layers.Dense(3, name="scores")(keras.layers.Flatten()(values))
    classifier = Classifier.from_keras(keras.Model(images, logits))
    gate = ["spatial/normalization", "spatial/convolution", "channel/scores", "channel/hidden"]
    assert [name for name, _ in weighted_layers(classifier)] == [
        "scores",
        *(f"cbam2/{name}" for name in gate),
        "conv2",
        *(f"cbam1/{name}" for name in gate),
        "conv1",
    ]


QUARTERS = np.kron(np.arange(4).reshape(2, 2), np.ones((4, 4), int))


def test_lime_is_a_map_function_too(classifier):
    images, labels = random_images(2), [0, 1]
    shared = functools.partial(lime, num_samples=16, segmentation=QUARTERS, seed=[0, 0])

    def maps_of(*arguments):
        return shared(*arguments).map()

    explanation, maps = (function(classifier, images, labels) for function in (shared, maps_of))
    for curve in (deletion, insertion):
        found, expected = (
            curve(classifier, images, each, labels, num_steps=4) for each in (explanation, maps)
        )
        np.testing.assert_array_equal(found.area, expected.area)
    found, expected = (
        max_sensitivity(function, classifier, images, labels, num_draws=2)
        for function in (shared, maps_of)
    )
    np.testing.assert_array_equal(found, expected)
    assert (found > 0).all()
    steps, expected = (
        randomization_check(function, classifier, images, labels) for function in (shared, maps_of)
    )
    np.testing.assert_equal(steps, expected)
    np.testing.assert_array_equal(steps[0].rank_correlation, 1.0)
    assert (steps[1].rank_correlation < 1).all()


def test_samples_that_images_share_make_lime_less_sensitive(classifier):
    images, labels = random_images(2), [0, 1]
    options = {"num_samples": 16, "segmentation": QUARTERS}
    shared, drawn = (
        max_sensitivity(
            functools.partial(lime, **options, seed=seed),
            *(classifier, images, labels),
            num_draws=3,
            radius=1e-4,
        )
        for seed in ([0, 0], 0)
    )
    assert (shared < 0.1).all() and (shared < drawn).all()


def test_an_exported_network_has_curves_but_no_layers(classifier, tmp_path):
    export_saved_model(classifier, tmp_path / "exported")
    loaded = load_classifier(tmp_path / "exported")
    images, maps = random_images(2), random_maps(range(2), (4, 4))
    found, expected = (deletion(each, images, maps, [0, 1]).area for each in (loaded, classifier))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    with pytest.raises(TypeError, match="Load its .keras file"):
        randomization_check(grad_cam, loaded, images, [0, 1])


GOOD_MAPS = np.zeros((4, 2, 2), np.float32)
CURVE_MISTAKES = [
    (
        {"maps": GOOD_MAPS[:3]},
        ValueError,
        r"maps must have shape \[batch, h, w\] with a batch of 4",
    ),
    ({"maps": GOOD_MAPS[..., None]}, ValueError, "maps must have shape"),
    ({"maps": [np.zeros((2, 2)), np.zeros((3, 3))] * 2}, ValueError, "maps must have shape"),
    ({"maps": np.zeros((4, 2, 2), int)}, TypeError, "maps must be floating point"),
    ({"maps": GOOD_MAPS + np.nan}, ValueError, "maps hold NaN"),
    ({"num_steps": 0}, ValueError, "num_steps must be at least 1"),
    ({"num_steps": 2.5}, TypeError, "num_steps"),
    ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
    ({"fill": "blurr"}, ValueError, "Did you mean 'blur'"),
    ({"fill": 2.0}, ValueError, r"fill must lie in \[0.0, 1.0\]"),
    ({"fill": [0.0, 0.0]}, ValueError, "fill must be a number or 1 of them"),
    ({"images": random_images() + 1}, ValueError, "images"),
    ({"class_ids": [0, 1, 2, 3]}, ValueError, "class_ids"),
    ({"classifier": "network"}, TypeError, "classifier must be a Classifier"),
]


@pytest.mark.parametrize(("changes", "error", "message"), CURVE_MISTAKES)
@pytest.mark.parametrize("function", [deletion, insertion])
def test_bad_input_of_curves(classifier, function, changes, error, message):
    good = {"classifier": classifier, "images": random_images(), "maps": GOOD_MAPS}
    arguments = {**good, "class_ids": [0, 1, 2, 0], **changes}
    if function is insertion and "fill" in arguments:
        arguments["start"] = arguments.pop("fill")
        message = message.replace("fill", "start")
    with pytest.raises(error, match=message):
        function(**arguments)


@pytest.mark.parametrize(
    ("function", "changes", "error", "message"),
    [
        (max_sensitivity, {"radius": 0.0}, ValueError, r"radius must lie in \(0, 1.0\]"),
        (max_sensitivity, {"radius": 2.0}, ValueError, "the width of the pixel range; got 2.0"),
        (max_sensitivity, {"radius": "far"}, TypeError, "radius must be a number"),
        (max_sensitivity, {"num_draws": 0}, ValueError, "num_draws must be at least 1"),
        (max_sensitivity, {"seed": [1]}, ValueError, "one per image"),
        (max_sensitivity, {"map_function": GOOD_MAPS}, TypeError, "as grad_cam is"),
        (randomization_check, {"map_function": "lime"}, TypeError, "as grad_cam is"),
        (randomization_check, {"seed": -1}, ValueError, "seed must be at least 0"),
        (
            randomization_check,
            {"map_function": lambda c, x, y: x},
            ValueError,
            r"maps of map_function must have shape \[batch, h, w\]",
        ),
        (
            max_sensitivity,
            {"map_function": lambda c, x, y: (np.zeros((4, 2, 2)), np.zeros(4))},
            ValueError,
            r"maps of map_function must have shape \[batch, h, w\].*several shapes",
        ),
    ],
)
def test_bad_input_of_the_other_tests(classifier, function, changes, error, message):
    arguments = {"map_function": grad_cam, "images": random_images(), "class_ids": [0, 1, 2, 0]}
    with pytest.raises(error, match=message):
        function(**{"classifier": classifier, **arguments, **changes})
