"""The local linear model of LIME: its samples and its fit (Ribeiro et al. 2016)."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge

from aad_tf.utils.checks import check_count


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
    """Fits the weighted ridge regression of LIME.

    Args:
        switches: bool `[samples, superpixels]`, which superpixels a sample shows.
        probabilities: `[samples]`, what the network says to it.
        kernel_width: as for `lime`.

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
        return [[whole, _digest(image)] for image in images]
    if np.shape(seed) != (len(images),):
        raise ValueError(
            f"seed must be one integer, or one per image ({len(images)}), got {np.shape(seed)}."
        )
    return [check_count(entry, "seed", least=0) for entry in np.asarray(seed)]


def _digest(image: np.ndarray) -> int:
    return int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=16).digest(), "little")


def check_width(value: float) -> None:
    """Raises TypeError or ValueError unless a kernel width is a positive finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)):
        raise TypeError(f"kernel_width must be a number, got {value!r}.")
    if not 0 < value < math.inf:
        raise ValueError(f"kernel_width must be positive and finite, got {value}.")
