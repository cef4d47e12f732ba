"""LIME: worked by hand, then its promises of repeatability, then what it refuses."""

from __future__ import annotations

import itertools
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attention import LimeExplanation, lime, superpixels
from aad_tf.attention.lime import fit_local_model, sample_switches
from aad_tf.attention.superpixels import mean_colors
from aad_tf.classifier import Classifier
from aad_tf.types import Bounds
from tests.networks import bytes_of, random_images, small_network

layers = keras.layers
WHITE = np.ones((1, 4, 4, 1), np.float32)
QUARTERS = np.kron([[0, 1], [2, 3]], np.ones((2, 2), int))


def classifier_of_quarters(weights) -> Classifier:
    """Logits 0 and the sum of each quarter's mean times its weight, for images [4, 4, 1]."""
    keep = layers.Conv2D(1, 1, use_bias=False, name="keep")
    means = layers.AveragePooling2D(2)
    scores = layers.Dense(2, use_bias=False)
    model = keras.Sequential([keras.Input((4, 4, 1)), keep, means, layers.Flatten(), scores])
    keep.set_weights([np.ones((1, 1, 1, 1))])
    scores.set_weights([np.stack([np.zeros(4), weights], axis=1)])
    return Classifier.from_keras(model, "keep")


def noise(count: int = 3) -> np.ndarray:
    return random_images(count)


def blocks(classifier, images, class_ids, **options) -> LimeExplanation:
    """LIME of 8 x 8 images in sixteen blocks, with few samples."""
    labels = np.arange(16).reshape(4, 4).repeat(2, 0).repeat(2, 1)
    settings = {"segmentation": labels, "num_samples": 60, "batch_size": 16, **options}
    return lime(classifier, images, class_ids, **settings)


def test_local_model_worked_by_hand():
    # One superpixel, shown (probability 1, distance 0) and hidden (0, distance 1). This width
    # weights the hidden sample by 1/3: mean 3/4, variance and covariance 1/16 + 9/48 = 1/4, so
    # ridge gives (1/4) / (1/4 + 1) = 0.2. Residuals 0.2 and -0.6: R^2 = 1 - 0.16 / 0.25 = 0.36.
    width = 1 / np.sqrt(2 * np.log(3))
    weights, score = fit_local_model(np.array([[True], [False]]), np.array([1.0, 0.0]), width)
    np.testing.assert_allclose(weights, [0.2], rtol=1e-12)
    assert score == pytest.approx(0.36, rel=1e-12)


def test_like_superpixels_have_equal_weights():
    switches = np.array(list(itertools.product([True, False], repeat=4)))
    both = switches[:, 1].astype(float) * switches[:, 2] + switches[:, 0]
    weights, _ = fit_local_model(switches, both, 0.25)
    assert weights[1] == pytest.approx(weights[2], abs=1e-12)
    assert weights[0] > weights[1] > 0


def test_the_superpixel_that_decides_alone_has_all_the_weight():
    classifier = classifier_of_quarters([0.0, 0.0, 2.0, 0.0])
    explanation = lime(classifier, WHITE, [1], segmentation=QUARTERS, hide_color=0.0)
    # sigmoid(2) with it and 1/2 without: linear in the switch, so the weight is the difference,
    # less what the ridge takes (some hundred samples' worth of weight against alpha 1).
    step = 1 / (1 + np.exp(-2)) - 0.5
    np.testing.assert_allclose(explanation.weights[0], [0, 0, step, 0], atol=0.03 * step)
    assert explanation.scores[0] > 0.999
    assert (explanation.top_features(1)[0] == (QUARTERS == 2)).all()
    other = lime(classifier, WHITE, [0], segmentation=QUARTERS, hide_color=0.0)
    np.testing.assert_allclose(other.weights[0], -explanation.weights[0], atol=1e-6)


def test_weights_of_a_linear_network_are_its_own():
    # Logits this small leave the softmax linear: dp = dlogit / 4.
    slopes = np.array([0.04, 0.01, -0.02, 0.01])
    classifier = classifier_of_quarters(slopes)
    explanation = lime(classifier, WHITE, [1], segmentation=QUARTERS, hide_color=0)
    np.testing.assert_allclose(explanation.weights[0], slopes / 4, atol=0.0005)
    first, second = explanation.weights[0][[1, 3]]
    assert first == pytest.approx(second, rel=0.05)


def test_features_and_map_by_hand():
    segments = np.array([[[0, 1], [2, 2]], [[0, 0], [1, 1]]], np.int32)
    weights = (np.array([0.5, -0.25, 0.75]), np.array([-1.0, 0.0]))
    explanation = LimeExplanation(segments, weights, np.ones(2))
    assert explanation.segment_counts.tolist() == [3, 2]
    assert explanation.map().tolist() == [[[0.5, -0.25], [0.75, 0.75]], [[-1, -1], [0, 0]]]
    nothing = [[False, False], [False, False]]
    assert explanation.top_features(1).tolist() == [[[False, False], [True, True]], nothing]
    for count in (2, 3, 9):
        expected = [[[True, False], [True, True]], nothing]
        assert explanation.top_features(count).tolist() == expected
    with pytest.raises(ValueError, match="count must be at least 1"):
        explanation.top_features(0)


def test_mean_colors_by_hand():
    image = np.array([[[0.0, 1.0], [0.5, 0.0]], [[1.0, 0.5], [0.25, 0.25]]])
    means = mean_colors(image, np.array([[0, 0], [0, 1]]))
    assert means.tolist() == [[[0.5, 0.5], [0.5, 0.5]], [[0.5, 0.5], [0.25, 0.25]]]


def test_switches_start_with_the_whole_image_and_are_fair():
    switches = sample_switches(20, 2000, 0)
    assert switches[0].all() and switches.dtype == bool
    # Six standard deviations of the mean of 40,000 coins.
    assert abs(switches[1:].mean() - 0.5) < 0.015
    np.testing.assert_array_equal(switches, sample_switches(20, 2000, 0))


def test_results_depend_on_neither_the_other_images_nor_the_position():
    classifier = Classifier.from_keras(small_network())
    images, class_ids = noise(3), [0, 1, 2]
    together = blocks(classifier, images, class_ids)
    turned = blocks(classifier, images[::-1], class_ids[::-1])
    for index in range(3):
        alone = blocks(classifier, images[index : index + 1], class_ids[index : index + 1])
        for other, position in ((alone, 0), (turned, 2 - index)):
            assert other.weights[position].tobytes() == together.weights[index].tobytes()
            assert other.scores[position] == together.scores[index]


def test_seeds():
    classifier = Classifier.from_keras(small_network())
    images = np.concatenate([noise(1), noise(1) * 0.5])

    def weights(seed, count=2):
        return blocks(classifier, images[:count], [1] * count, seed=seed).weights

    assert weights(3)[0].tobytes() == weights(3)[0].tobytes()
    assert np.abs(weights(3)[0] - weights(4)[0]).max() > 1e-6
    # A seed per image is used as it is: the same samples for both, and in any batch.
    assert weights([7, 5])[0].tobytes() == weights([7], 1)[0].tobytes()
    assert weights([5, 7])[0].tobytes() != weights([7, 5])[0].tobytes()


def test_batch_size_does_not_matter_beyond_rounding():
    classifier = Classifier.from_keras(small_network())
    found = [blocks(classifier, noise(1), [1], batch_size=size).weights[0] for size in (1, 7, 500)]
    np.testing.assert_allclose(found[1:], [found[0]] * 2, atol=1e-6)


def test_one_trace_whatever_the_numbers():
    classifier = Classifier.from_keras(small_network())
    for count, samples, parts in ((2, 30, 4), (1, 17, 9), (3, 2, 16)):
        lime(classifier, noise(count), [0] * count, num_samples=samples, num_segments=parts)
    assert classifier.compiled["lime"].experimental_get_tracing_count() == 1


def test_explaining_changes_no_variable():
    model = small_network(middle=[layers.BatchNormalization(), layers.Dropout(0.5)])
    before = bytes_of(model.variables)
    blocks(Classifier.from_keras(model), noise(), [0, 1, 2])
    assert bytes_of(model.variables) == before


def test_double_precision_networks():
    classifier = Classifier.from_keras(small_network(dtype="float64"))
    assert np.isfinite(blocks(classifier, random_images(2, dtype="float64"), [0, 1]).map()).all()


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (8, 3), (28, 1), (96, 3)])
def test_slic_gives_near_the_number_asked_for(size, channels):
    ramp = np.linspace(0, 1, size, dtype=np.float32)
    image = np.stack([np.add.outer(ramp, ramp) / 2] * channels, axis=-1)[None]
    labels = superpixels(image, "slic", num_segments=16)
    assert labels.shape == (1, size, size) and labels.dtype == np.int32
    assert np.unique(labels).tolist() == list(range(labels.max() + 1))
    assert 8 <= labels.max() + 1 <= 24
    np.testing.assert_array_equal(superpixels(image, num_segments=16), labels)


def test_quickshift_separates_what_differs():
    image = np.zeros((1, 32, 32, 1), np.float32)
    image[:, :, 16:] = 1.0
    labels = superpixels(image, "quickshift")[0]
    assert not set(labels[:, :16].ravel()) & set(labels[:, 16:].ravel())


def test_labels_are_numbered_without_gaps_and_shared():
    expected = [[[0, 2], [1, 2]]] * 2
    assert superpixels(np.zeros((2, 2, 2, 5)), [[-4, 9], [3, 9]]).tolist() == expected


def test_functions_see_rgb_in_the_unit_range():
    seen = []

    def halves(image):
        seen.append(image)
        return np.arange(4).reshape(2, 2) // 2

    image = np.array([[-1.0, 0.0], [0.5, 1.0]]).reshape(1, 2, 2, 1)
    labels = superpixels(image, halves, bounds=Bounds(-1.0, 1.0))
    assert labels.tolist() == [[[0, 0], [1, 1]]]
    np.testing.assert_allclose(seen[0], np.stack([[[0, 0.5], [0.75, 1]]] * 3, axis=-1))


def test_missing_scikit_image_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ImportError, match=r"pip install 'aad_tf\[lime\]'"):
        superpixels(noise(), "slic")
    assert superpixels(noise(1), np.zeros((8, 8), int)).shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"images": noise() * 255}, ValueError, "divide by 255"),
        ({"class_ids": [0, 1, 3]}, ValueError, r"class_ids must lie in \[0, 3\)"),
        ({"classifier": None}, TypeError, "must be a Classifier"),
        ({"num_samples": 1}, ValueError, "num_samples must be at least 2"),
        ({"num_samples": 9.0}, TypeError, "num_samples must be an integer"),
        ({"num_segments": 1}, ValueError, "num_segments must be at least 2"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"kernel_width": 0.0}, ValueError, "kernel_width must be positive"),
        ({"kernel_width": "wide"}, TypeError, "kernel_width must be a number"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"seed": [1, 2]}, ValueError, r"one per image \(3\)"),
        ({"segmentation": "slick"}, ValueError, "Did you mean 'slic'"),
        ({"segmentation": np.zeros((2, 8, 8), int)}, ValueError, r"shape \(3, 8, 8\)"),
        ({"segmentation": np.zeros((8, 8))}, TypeError, "integers, got dtype float64"),
        ({"segmentation": lambda image: image}, ValueError, r"got \(8, 8, 3\)"),
        ({"hide_color": 2.0}, ValueError, r"hide_color must lie in \[0.0, 1.0\]"),
        ({"hide_color": [0.0, 0.0]}, ValueError, "hide_color must be a number or 1"),
    ],
)
def test_bad_input(changes, error, message):
    arguments = {
        "classifier": Classifier.from_keras(small_network()),
        "images": tf.constant(noise()),
        "class_ids": [0, 1, 2],
        **changes,
    }
    with pytest.raises(error, match=message):
        lime(**arguments)


def test_channels_that_have_no_color():
    with pytest.raises(ValueError, match="gray or RGB images, got 2"):
        superpixels(np.zeros((1, 4, 4, 2)), "slic")
