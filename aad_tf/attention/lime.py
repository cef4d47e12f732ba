"""LIME for image classifiers (Ribeiro et al. 2016), as used in [AAD App. A]."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from sklearn.linear_model import Ridge

from aad_tf.attention.grad_cam import class_scores
from aad_tf.attention.superpixels import Segmentation, mean_colors, superpixels
from aad_tf.classifier import Classifier, checked_inputs
from aad_tf.utils.checks import check_count, check_number
from aad_tf.utils.ops import at_least_float32


class LimeExplanation(NamedTuple):
    """LIME explanations of a batch: how much each superpixel adds to the probability of a class.

    Attributes:
        segments: int32 `[batch, H, W]`, the superpixel that each pixel belongs to, numbered from 0
            in each image.
        weights: one float64 array `[superpixels]` per image: the coefficients of the local linear
            model. A positive weight means that the superpixel increases the probability.
        scores: float64 `[batch]`, R^2 of the local models on their weighted samples, at most 1.

    Example:
        >>> LimeExplanation(np.array([[[0, 0, 1]]]), (np.array([0.5, -0.1]),), np.ones(1)).map()
        array([[[ 0.5,  0.5, -0.1]]])
    """

    segments: np.ndarray
    weights: tuple[np.ndarray, ...]
    scores: np.ndarray

    @property
    def segment_counts(self) -> np.ndarray:
        """Number of superpixels of each image, int `[batch]`."""
        return np.array([len(weights) for weights in self.weights])

    def top_features(self, count: int) -> np.ndarray:
        """Marks the superpixels of highest weight, [AAD Tables 7 and 8].

        Args:
            count: number of superpixels to mark in each image; fewer are marked where fewer have a
                positive weight.

        Returns:
            bool `[batch, H, W]`, True in the pixels of marked superpixels.

        Raises:
            TypeError: count not an integer.
            ValueError: count below 1.
        """
        check_count(count, "count")
        kept = []
        for weights in self.weights:
            best = np.argsort(-weights, kind="stable")[:count]
            kept.append((weights > 0) & np.isin(np.arange(len(weights)), best))
        return self._painted(kept)

    def map(self) -> np.ndarray:
        """Returns the weight of the superpixel that each pixel is in, float64 `[batch, H, W]`."""
        return self._painted(self.weights)

    def _painted(self, values: Sequence[np.ndarray]) -> np.ndarray:
        pairs = zip(values, self.segments, strict=True)
        return np.stack([entries[labels] for entries, labels in pairs])


def lime(
    classifier: Classifier,
    images: Any,
    class_ids: Any,
    *,
    num_samples: int = 1000,
    num_segments: int = 50,
    batch_size: int = 50,
    kernel_width: float = 0.25,
    seed: int | Sequence[int] = 0,
    segmentation: Segmentation = None,
    hide_color: float | Sequence[float] | None = None,
) -> LimeExplanation:
    """Explains predictions by hiding superpixels: LIME (Ribeiro et al. 2016), [AAD App. A].

    For each image, samples with randomly hidden superpixels are classified. A ridge regression of
    the class's probability on which superpixels are shown, weighted by similarity to the whole
    image, yields one weight per superpixel. Settings that are not arguments are those of the `lime`
    package. The explanation of an image does not depend on the other images of the batch.

    Args:
        classifier: the network; runs in inference mode.
        images: float `[batch, H, W, C]` within the classifier's bounds.
        class_ids: int `[batch]`, the class that is explained for each image.
        num_samples: samples per image, at least 2; the first shows the whole image. Equal samples
            are classified once.
        num_segments: number of superpixels to aim at; `segment_counts` of the result gives the
            number that was found.
        batch_size: number of samples that are classified at a time.
        kernel_width: positive width of the kernel exp(-d^2 / width^2)^(1/2) that weighs a sample at
            cosine distance d from the whole image.
        seed: an integer, which together with the pixels of an image determines its samples; or one
            integer per image, which alone determines them, so that an image and its adversarial
            image can have the same samples.
        segmentation: how images are divided into superpixels: `"slic"` (also None), into about
            `num_segments`; `"quickshift"`, which finds their number itself; a function from an
            image `[H, W, 3]` in [0, 1] to int labels `[H, W]`; or the labels, int `[batch, H, W]`
            or `[H, W]`.
        hide_color: colour of hidden pixels within the classifier's bounds: one number, or one per
            channel; None for the mean colour of each superpixel.

    Returns:
        A LimeExplanation: `segments`, int32 `[batch, H, W]`, the superpixel of each pixel;
        `weights`, for each image one number per superpixel; and `scores`, R^2 of each fit.

    Raises:
        ImportError: `"slic"` or `"quickshift"` without scikit-image.
        TypeError: no Classifier, images not floating point, classes not numbers, or counts not
            integers.
        ValueError: images of wrong rank or shape, with NaN or out of range, unknown classes, a
            number out of range, or an unknown segmentation.
        RuntimeError: a call inside a `tf.function`.

    Example:
        >>> explanation = lime(classifier, images, labels)
        >>> mask = explanation.top_features(8)  # [batch, H, W]
    """
    images, class_ids = checked_inputs(classifier, images, class_ids, name="class_ids")
    check_count(num_samples, "num_samples", least=2)
    check_count(batch_size, "batch_size")
    if check_number(kernel_width, "kernel_width") <= 0:
        raise ValueError(f"kernel_width must be positive, got {kernel_width}.")
    pixels = images.numpy()
    seeds = image_seeds(seed, pixels)
    segments = superpixels(
        pixels, segmentation, num_segments=num_segments, bounds=classifier.bounds
    )
    models = []
    for index, (image, labels) in enumerate(zip(pixels, segments, strict=True)):
        hidden = _hidden(image, labels, hide_color, classifier)
        switches = sample_switches(labels.max() + 1, num_samples, seeds[index])
        inputs = (image, hidden, labels, class_ids[index])
        probabilities = _probabilities(classifier, inputs, switches, batch_size)
        models.append(fit_local_model(switches, probabilities, kernel_width))
    weights, scores = zip(*models, strict=True)
    return LimeExplanation(segments, weights, np.array(scores))


def sample_switches(num_segments: int, num_samples: int, seed: Any) -> np.ndarray:
    """Draws which superpixels each LIME sample of an image shows.

    The first sample shows all superpixels; in the others each is shown with probability 1/2.

    Args:
        num_segments: number of superpixels of the image.
        num_samples: number of samples.
        seed: an integer or a list of integers, as `numpy.random.default_rng` takes it.

    Returns:
        bool `[num_samples, num_segments]`, True where a superpixel is shown.
    """
    generator = np.random.default_rng(seed)
    switches = generator.integers(0, 2, (num_samples, num_segments), dtype=np.uint8) > 0
    switches[0] = True
    return switches


def fit_local_model(
    switches: np.ndarray, probabilities: np.ndarray, kernel_width: float
) -> tuple[np.ndarray, float]:
    """Fits LIME's local model: ridge regression of the probability on the switches.

    The penalty is the sum of the squares of the coefficients; the intercept is free. A sample
    weighs exp(-d^2 / kernel_width^2)^(1/2), where d is its cosine distance from the sample that
    shows all superpixels.

    Args:
        switches: bool `[samples, superpixels]`, True where a sample shows a superpixel.
        probabilities: `[samples]`, probability of the class that the network gives each sample.
        kernel_width: positive; the smaller it is, the more weight have samples that show nearly
            all superpixels.

    Returns:
        The coefficients, float64 `[superpixels]`, and R^2 of the weighted regression, at most 1.
    """
    # Cosine distance of a row from the row of ones: of k among n it shows, 1 - sqrt(k / n).
    distances = 1.0 - np.sqrt(switches.mean(axis=1))
    nearness = np.sqrt(np.exp(-(distances**2) / kernel_width**2))
    model = Ridge(alpha=1.0, fit_intercept=True)
    rows = switches.astype(np.float64)
    model.fit(rows, probabilities, sample_weight=nearness)
    return model.coef_, float(model.score(rows, probabilities, sample_weight=nearness))


def image_seeds(seed: Any, images: np.ndarray) -> list[Any]:
    """Makes one seed per image for random numbers that do not depend on the rest of the batch.

    Args:
        seed: a non-negative integer, which is combined with a hash of each image's pixels; or one
            non-negative integer per image, which is taken as it is.
        images: `[batch, H, W, C]` of any dtype. The hash is that of their bytes, so the same pixels
            in float32 and in float64 have different seeds.

    Returns:
        For each image an integer or a list of integers, as `numpy.random.default_rng` takes it.

    Raises:
        TypeError: a seed that is not an integer.
        ValueError: a negative seed, or another number of seeds than images.
    """
    if np.ndim(seed) == 0:
        whole = check_count(seed, "seed", least=0)
        digests = (hashlib.blake2b(image.tobytes(), digest_size=16) for image in images)
        return [[whole, int.from_bytes(digest.digest(), "little")] for digest in digests]
    if np.shape(seed) != (len(images),):
        raise ValueError(
            f"seed must be one integer, or one per image ({len(images)}), got {np.shape(seed)}."
        )
    return [check_count(entry, "seed", least=0) for entry in np.asarray(seed)]


def _hidden_probabilities(
    classifier: Classifier,
    image: tf.Tensor,
    hidden: tf.Tensor,
    labels: tf.Tensor,
    class_id: tf.Tensor,
    switches: tf.Tensor,
) -> tf.Tensor:
    """Probability `[batch]` of a class where `switches` `[batch, superpixels]` hide superpixels."""
    shown = tf.gather(switches, labels, axis=1)
    batch = tf.where(shown[..., tf.newaxis], image, hidden)
    logits = classifier(batch, training=False).logits
    class_ids = tf.fill(tf.shape(logits)[:1], class_id)
    return class_scores(tf.nn.softmax(at_least_float32(logits)), class_ids)


def _probabilities(
    classifier: Classifier, inputs: tuple[Any, ...], switches: np.ndarray, batch_size: int
) -> np.ndarray:
    # A few superpixels leave few different samples. Batches never mix images: their sizes, and
    # with them the last bits of the results, then depend on the image alone.
    packed = np.packbits(switches, axis=1)
    _, first, again = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    image = tf.TensorSpec(classifier.input_shape, classifier.dtype)
    labels = tf.TensorSpec(classifier.input_shape[:2], tf.int32)
    class_id, shown = tf.TensorSpec((), tf.int32), tf.TensorSpec((None, None), tf.bool)
    function = classifier.cached_function(
        "lime",
        lambda *inputs: _hidden_probabilities(classifier, *inputs),
        [image, image, labels, class_id, shown],
    )
    batches = np.array_split(switches[first], math.ceil(len(first) / batch_size))
    fixed = [tf.convert_to_tensor(value) for value in inputs]
    found = [function(*fixed, tf.constant(batch)).numpy() for batch in batches]
    return np.concatenate(found).astype(np.float64)[again.reshape(-1)]


def _hidden(
    image: np.ndarray, labels: np.ndarray, color: Any, classifier: Classifier
) -> np.ndarray:
    if color is None:
        return mean_colors(image, labels)
    values = constant_color(color, classifier, "hide_color")
    return np.broadcast_to(values, image.shape).astype(image.dtype)


def constant_color(color: Any, classifier: Classifier, name: str) -> np.ndarray:
    """Checks a colour for the images of a classifier.

    Args:
        color: one number for all channels, or one per channel, in the unit of the images.
        classifier: the network whose images it is for.
        name: name of the argument in the error message.

    Returns:
        The colour as a float64 array, scalar or `[channels]`.

    Raises:
        ValueError: another number of channels, or a colour outside of the pixel range.
    """
    values, channels = np.asarray(color, np.float64), classifier.input_shape[-1]
    if values.shape not in ((), (channels,)):
        raise ValueError(
            f"{name} must be a number or {channels} of them, one per channel, got {color}."
        )
    lower, upper = classifier.bounds
    if not np.all((values >= lower) & (values <= upper)):
        raise ValueError(f"{name} must lie in [{lower}, {upper}], got {color}.")
    return values
