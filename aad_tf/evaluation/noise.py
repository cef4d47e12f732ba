"""Noise for random starts that depends on the example alone."""

from __future__ import annotations

import numpy as np


def unit_noise(seed: int, index: int, restart: int, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform noise that depends on the example and the restart alone.

    Batches, order and resumption leave it the same. The bits are those of NumPy's Philox, whose
    stream is fixed; `Generator` may change between versions.

    Args:
        seed: any integer.
        index: place of the example in the data set, from 0.
        restart: from 0.
        shape: shape of the result.

    Returns:
        float32 in [-1, 1), multiples of 2**-23.

    Example:
        >>> unit_noise(seed=0, index=3, restart=0, shape=(28, 28, 1)).shape
        (28, 28, 1)
    """
    size = int(np.prod(shape))
    key = np.array([seed % 2**64, index], np.uint64)
    philox = np.random.Philox(key=key, counter=np.array([0, 0, 0, restart], np.uint64))
    bits = philox.random_raw((size + 1) // 2).astype("<u8").view("<u4")[:size] >> 8
    return (bits.astype(np.float32) * np.float32(2**-23) - np.float32(1)).reshape(shape)
