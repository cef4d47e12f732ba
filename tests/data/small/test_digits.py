"""The embedded digits: against scikit-learn's arrays and a NumPy resize."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from sklearn.datasets import load_digits

from aad_tf import data

COUNTS = {"train": 1297, "validation": 140, "test": 360}


def arrays(split):
    images, labels = next(iter(data.evaluation_batches("digits", split, 2000)))
    return images.numpy(), labels.numpy()


def resize_matrix():
    """Bilinear interpolation from 8 to 28 points between pixel centres, along one axis."""
    positions = np.clip((np.arange(28) + 0.5) * 8 / 28 - 0.5, 0, 7)
    low = np.minimum(np.floor(positions).astype(int), 6)
    weight = positions - low
    matrix = np.zeros((28, 8))
    matrix[np.arange(28), low] += 1 - weight
    matrix[np.arange(28), low + 1] += weight
    return matrix


def count_examples(images, labels):
    return Counter(
        (image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)
    )


def test_info():
    info = data.info("digits")
    assert info.name == "digits"
    assert info.image_shape == (28, 28, 1)
    assert (info.num_classes, info.class_names) == (10, tuple("0123456789"))
    assert info.num_examples == COUNTS
    assert info.source == "scikit-learn digits 8x8 resized to 28x28"
    assert len(info.fingerprint) == 16 and int(info.fingerprint, 16) >= 0
    assert info == data.info("digits")


def test_splits_hold_every_digit_once():
    original = load_digits()
    expected = count_examples(original.images.astype(int), original.target)
    # The resize loses nothing: its inverse gives the 17 gray levels back.
    inverse = np.linalg.pinv(resize_matrix())
    found = Counter()
    for split, count in COUNTS.items():
        images, labels = arrays(split)
        assert images.shape == (count, 28, 28, 1)
        levels = inverse @ images[..., 0].astype("float64") @ inverse.T * 16
        np.testing.assert_allclose(levels, levels.round(), rtol=0, atol=1e-4)
        found += count_examples(levels.round().astype(int), labels)
    assert found == expected


def test_first_test_image_equals_a_numpy_resize():
    image, label = next(iter(data.load("digits", "test")))
    index = np.random.RandomState(0).permutation(1797)[1297 + 140]
    original = load_digits()
    assert int(label) == original.target[index]
    expected = resize_matrix() @ (original.images[index] / 16) @ resize_matrix().T
    np.testing.assert_allclose(image[..., 0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("split", sorted(COUNTS))
def test_range_and_dtypes(split):
    images, labels = arrays(split)
    assert images.dtype == np.float32 and labels.dtype == np.int32
    assert images.min() == 0.0
    assert 0.99 < images.max() <= 1.0
    assert set(labels) == set(range(10))
