"""Data sets as tf.data: images float32 [0, 1], labels int32, deterministic order."""

from __future__ import annotations

from aad_tf.data.augmentation import AUGMENTATIONS
from aad_tf.data.batches import available, evaluation_batches, info, load, training_batches
from aad_tf.data.description import DatasetInfo, DatasetNotFoundError

__all__ = [
    "AUGMENTATIONS",
    "DatasetInfo",
    "DatasetNotFoundError",
    "available",
    "evaluation_batches",
    "info",
    "load",
    "training_batches",
]
