"""LIME equals the `lime` package on the same samples, and agrees with it on other samples."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from lime.lime_base import LimeBase
from lime.lime_image import LimeImageExplainer
from scipy.stats import spearmanr
from sklearn.datasets import load_digits

from aad_tf.attention import LimeExplanation, lime
from aad_tf.attention.lime import fit_local_model, sample_switches
from aad_tf.attention.superpixels import mean_colors
from aad_tf.classifier import Classifier

layers = keras.layers
SEGMENTS = np.arange(16).reshape(4, 4).repeat(4, 0).repeat(4, 1)
SAMPLES = 1500
SEED = 5


class FixedSwitches:
    """Stands in for the random numbers of the package: hands out given on/off vectors."""

    def __init__(self, switches: np.ndarray) -> None:
        self.switches = switches

    def randint(self, low: int, high: int | None = None, size: int | None = None) -> np.ndarray:
        # Its other draw is a single number: the seed of a segmentation that is not used.
        return 0 if size is None else self.switches.astype(int).ravel()


def tinted_digits(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Handwritten digits, 16 x 16 RGB, each in another colour."""
    digits = load_digits()
    large = digits.images[:count].repeat(2, 1).repeat(2, 2)[..., np.newaxis] / 16
    tints = np.random.default_rng(0).uniform(0.5, 1, (count, 1, 1, 3))
    return (large * tints).astype(np.float32), digits.target[:count]


def trained(images: np.ndarray, labels: np.ndarray) -> Classifier:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input(images.shape[1:]),
            layers.Conv2D(8, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, jit_compile=False)
    model.fit(images, labels, epochs=4, verbose=0)
    return Classifier.from_keras(model)


@pytest.fixture(scope="module")
def subject() -> tuple[Classifier, np.ndarray, np.ndarray]:
    images, labels = tinted_digits(800)
    classifier = trained(images, labels)
    logits = classifier.predict_logits(tf.constant(images)).numpy()
    assert (logits.argmax(axis=-1) == labels).mean() > 0.9
    return classifier, images[:4], labels[:4]


def probabilities(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    logits = classifier.predict_logits(tf.constant(images, classifier.dtype))
    return tf.nn.softmax(logits).numpy()


def theirs(classifier, image, class_id, *, switches=None, **options) -> LimeExplanation:
    """The package's explanation of one image as a LimeExplanation."""
    explainer = LimeImageExplainer(feature_selection="none", random_state=SEED)
    if switches is not None:
        explainer.random_state = FixedSwitches(switches)
    channels = classifier.input_shape[-1]
    found = explainer.explain_instance(
        image,
        lambda batch: probabilities(classifier, batch[..., :channels]),
        labels=(class_id,),
        top_labels=None,
        num_samples=SAMPLES,
        segmentation_fn=lambda _: SEGMENTS,
        batch_size=100,
        **options,
    )
    weights = np.array([weight for _, weight in sorted(found.local_exp[class_id])])
    _, mask = found.get_image_and_mask(class_id, positive_only=True, num_features=3)
    np.testing.assert_array_equal(
        LimeExplanation(SEGMENTS[np.newaxis], (weights,), np.ones(1)).top_features(3)[0], mask
    )
    return LimeExplanation(SEGMENTS[np.newaxis], (weights,), np.array([found.score]))


def ours(classifier, image, class_id, **options) -> LimeExplanation:
    images = image[np.newaxis].astype(np.float32)
    return lime(
        classifier, images, [class_id], num_samples=SAMPLES, segmentation=SEGMENTS, **options
    )


@pytest.mark.parametrize("hide_color", [None, 0.0])
def test_weights_are_equal_on_the_same_samples(subject, hide_color):
    classifier, images, labels = subject
    switches = sample_switches(16, SAMPLES, SEED)
    for image, label in zip(images, labels, strict=True):
        found = ours(classifier, image, label, seed=[SEED], hide_color=hide_color)
        expected = theirs(classifier, image, label, switches=switches, hide_color=hide_color)
        np.testing.assert_allclose(found.weights[0], expected.weights[0], atol=1e-6)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
        assert np.abs(found.weights[0]).max() > 0.05


def test_gray_images_have_equal_weights():
    images, labels = tinted_digits(400)
    gray = images[..., :1]
    classifier = trained(gray, labels)
    found = ours(classifier, gray[1], labels[1], seed=[SEED])
    expected = theirs(
        classifier, gray[1, ..., 0], labels[1], switches=sample_switches(16, SAMPLES, SEED)
    )
    np.testing.assert_allclose(found.weights[0], expected.weights[0], atol=1e-6)


@pytest.mark.parametrize("hide_color", [None, 0.5])
def test_superpixels_rank_alike_on_samples_of_their_own(subject, hide_color):
    classifier, images, labels = subject
    for image, label in zip(images, labels, strict=True):
        found = ours(classifier, image, label, hide_color=hide_color).weights[0]
        expected = theirs(classifier, image, label, hide_color=hide_color).weights[0]
        # Hiding blank paper by its own colour changes nothing: such superpixels have rank 0,
        # and noise alone orders them, between two seeds of one library as well.
        hidden = mean_colors(image, SEGMENTS) if hide_color is None else hide_color
        changed = np.abs(image - hidden).max(axis=-1) > 1e-6
        matter = np.unique(SEGMENTS[changed])
        assert len(matter) >= 9
        assert spearmanr(found[matter], expected[matter]).statistic > 0.9


@pytest.mark.parametrize("width", [0.1, 0.25, 2.0])
def test_local_models_are_equal(width):
    rng = np.random.default_rng(0)
    switches, values = rng.integers(0, 2, (200, 12)), rng.uniform(size=(200, 1))
    switches[0], switches[1] = 1, 0
    distances = 1 - switches.sum(axis=1) / np.sqrt(12 * np.maximum(switches.sum(axis=1), 1))
    base = LimeBase(lambda d: np.sqrt(np.exp(-(d**2) / width**2)), random_state=0)
    _, pairs, score, _ = base.explain_instance_with_data(
        switches, values, distances, 0, 12, feature_selection="none"
    )
    weights, fitted = fit_local_model(switches > 0, values[:, 0], width)
    np.testing.assert_allclose(weights, [weight for _, weight in sorted(pairs)], atol=1e-10)
    assert fitted == pytest.approx(score, abs=1e-10)
