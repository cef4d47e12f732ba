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
    """What each superpixel of each image adds to the probability of a class.

    Attributes:
        segments: int32 `[batch, H, W]`, the superpixel of each pixel, numbered from 0.
        weights: for each image, float64 `[superpixels]`: coefficients of the local linear model.
        scores: float64 `[batch]`, R^2 of the local models on their weighted samples.
    """

    segments: np.ndarray
    weights: tuple[np.ndarray, ...]
    scores: np.ndarray

    @property
    def segment_counts(self) -> np.ndarray:
        """Number of superpixels of each image, int `[batch]`."""
        return np.array([len(weights) for weights in self.weights])

    def top_features(self, count: int) -> np.ndarray:
        """The superpixels of highest weight for the class, [AAD Tables 7 and 8].

        Args:
            count: superpixels to keep in each image; fewer are kept where fewer have a positive
                weight.

        Returns:
            bool `[batch, H, W]`.

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
        """The weight of each pixel's superpixel, float64 `[batch, H, W]`."""
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

    Superpixels are hidden at random; a ridge regression, weighted by nearness to the whole image,
    then says how much each of them adds to the probability of the class. Settings that are not
    arguments are those of the `lime` package. The numbers of an image do not depend on the images
    beside it, so batches can be cut anywhere.

    Args:
        classifier: the network.
        images: float `[batch, H, W, C]` within the classifier's bounds.
        class_ids: int `[batch]`, the target class of each image.
        num_samples: images with hidden superpixels to draw, the whole image being the first; at
            least 2. Those drawn twice are predicted once.
        num_segments: superpixels to aim at; `explanation.segment_counts` says how many came out.
        batch_size: images predicted at a time.
        kernel_width: width of the kernel exp(-d^2 / width^2)^(1/2) over cosine distances d.
        seed: the samples of an image follow from this and from its pixels; or from `seed[i]`
            alone, so that an image and its adversarial one can share samples.
        segmentation: `"slic"` (the default), `"quickshift"`, a function or labels, as for
            `superpixels`.
        hide_color: what hidden pixels become: a number or one per channel; None for the mean colour
            of their superpixel.

    Returns:
        A LimeExplanation.

    Raises:
        ImportError: `"slic"` or `"quickshift"` without scikit-image.
        TypeError: no Classifier, images not floating point, classes or counts not integers.
        ValueError: wrong rank or shape, NaN, values out of range.

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
    """Draws which superpixels are shown: all in the first sample, a fair coin each elsewhere.

    Args:
        num_segments: superpixels of the image.
        num_samples: rows to draw.
        seed: entropy for `numpy.random.default_rng`.

    Returns:
        bool `[num_samples, num_segments]`.
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
        switches: bool `[samples, superpixels]`, which superpixels a sample shows.
        probabilities: `[samples]`, which the network gives the class.
        kernel_width: positive; the smaller, the more samples near the whole image count.

    Returns:
        Coefficients `[superpixels]` and R^2, weighted by the kernel.
    """
    # Cosine distance of a row from the row of ones: of k among n it shows, 1 - sqrt(k / n).
    distances = 1.0 - np.sqrt(switches.mean(axis=1))
    nearness = np.sqrt(np.exp(-(distances**2) / kernel_width**2))
    model = Ridge(alpha=1.0, fit_intercept=True)
    rows = switches.astype(np.float64)
    model.fit(rows, probabilities, sample_weight=nearness)
    return model.coef_, float(model.score(rows, probabilities, sample_weight=nearness))


def image_seeds(seed: Any, images: np.ndarray) -> list[Any]:
    """Entropy for `sample_switches`: a seed with the pixels of each image, or one per image."""
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
    """A colour of a classifier's images as float64, a number or `[channels]`.

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
