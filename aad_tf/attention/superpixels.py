"""Superpixels: patches of similar colour, which LIME hides or shows as a whole, [AAD App. A]."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from aad_tf.types import Bounds
from aad_tf.utils.checks import check_bounds, check_count, near_names

# None, a name, a function from an image to labels, or labels.
Segmentation = Any


def superpixels(
    images: np.ndarray,
    segmentation: Segmentation = None,
    *,
    num_segments: int = 50,
    bounds: Bounds = Bounds(0.0, 1.0),
) -> np.ndarray:
    """Divides each image into superpixels: patches of similar colour.

    Args:
        images: float `[batch, H, W, C]` within `bounds`.
        segmentation: one of
            `"slic"` or None: about `num_segments` superpixels, whatever the size of the image;
            `"quickshift"`, with the settings of the `lime` package: it finds their number itself,
                some fifty in photographs of 300 x 300 pixels, a few in 64 x 64;
            a function from an image `[H, W, 3]` in [0, 1] (a gray image has three equal channels)
                to integer labels `[H, W]`;
            integer labels `[batch, H, W]`, or `[H, W]` for all images.
        num_segments: number of superpixels to aim at, at least 2; only `"slic"` uses it.
        bounds: pixel range of `images`.

    Returns:
        int32 `[batch, H, W]`, the superpixel of each pixel; those of each image are numbered from 0
        without gaps.

    Raises:
        ImportError: `"slic"` or `"quickshift"` without scikit-image.
        TypeError: labels or a `num_segments` that are not integers.
        ValueError: an unknown name, labels of another shape than the images, fewer than 2 segments,
            or images with other than 1 or 3 channels with `"slic"` or `"quickshift"`.

    Example:
        >>> labels = superpixels(images, "slic", num_segments=50)
    """
    check_count(num_segments, "num_segments", least=2)
    bounds = check_bounds(bounds)
    segmentation = "slic" if segmentation is None else segmentation
    if not isinstance(segmentation, str) and not callable(segmentation):
        return _given(segmentation, images.shape[:3])
    function = _named(segmentation, num_segments) if isinstance(segmentation, str) else segmentation
    if isinstance(segmentation, str) and images.shape[-1] not in (1, 3):
        raise ValueError(
            f"segmentation {segmentation!r} takes gray or RGB images, got {images.shape[-1]} "
            f"channels. Pass a function or the labels instead."
        )
    scaled = np.clip((images - bounds.lower) / (bounds.upper - bounds.lower), 0.0, 1.0)
    scaled = np.repeat(scaled, 3, axis=-1) if images.shape[-1] == 1 else scaled
    return np.stack([_numbered(_checked(function(image), image.shape[:2])) for image in scaled])


def mean_colors(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Replaces the pixels of each superpixel by their mean colour, as the `lime` package hides it.

    Args:
        image: float `[H, W, C]`.
        labels: int `[H, W]`, the superpixel of each pixel, numbered from 0 without gaps.

    Returns:
        `[H, W, C]` in the dtype of `image`.
    """
    flat, sizes = labels.ravel(), np.bincount(labels.ravel())
    pixels = image.reshape(len(flat), -1).astype(np.float64)
    means = np.stack([np.bincount(flat, channel) / sizes for channel in pixels.T], axis=-1)
    return means[labels].astype(image.dtype)


def _named(name: str, num_segments: int) -> Callable[[np.ndarray], np.ndarray]:
    algorithms: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "slic": lambda image: _skimage(name).slic(
            image, n_segments=num_segments, compactness=10.0, start_label=0, channel_axis=-1
        ),
        "quickshift": lambda image: _skimage(name).quickshift(
            image, kernel_size=4, max_dist=200, ratio=0.2, channel_axis=-1
        ),
    }
    if name not in algorithms:
        raise ValueError(f"Unknown segmentation {name!r}.{near_names(name, algorithms)}")
    return algorithms[name]


def _skimage(name: str) -> ModuleType:
    try:
        from skimage import segmentation
    except ImportError as error:
        raise ImportError(
            f"segmentation {name!r} needs scikit-image. Install it with: pip install 'aad_tf[lime]'"
        ) from error
    return segmentation


def _given(labels: Any, shape: tuple[int, ...]) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim == 2:
        labels = np.broadcast_to(labels, (shape[0], *labels.shape))
    return np.stack([_numbered(image) for image in _checked(labels, shape)])


def _checked(labels: Any, shape: tuple[int, ...]) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != tuple(shape):
        raise ValueError(
            f"segmentation must label the pixels of the images, shape {tuple(shape)}, got "
            f"{labels.shape}."
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"segmentation must consist of integers, got dtype {labels.dtype}.")
    return labels


def _numbered(labels: np.ndarray) -> np.ndarray:
    numbered = np.unique(labels, return_inverse=True)[1]
    return numbered.reshape(labels.shape).astype(np.int32)
