"""Data sets as tf.data: images float32 [0, 1], labels int32, deterministic order."""

from __future__ import annotations

from aad_tf.data.augmentation import AUGMENTATIONS
from aad_tf.data.batches import available, evaluation_batches, info, load, training_batches
from aad_tf.data.boxes.adapters import from_tuples, with_keras_cv
from aad_tf.data.boxes.batches import boxed_available, boxed_batches, boxed_info
from aad_tf.data.boxes.formats import canonical_boxes, check_boxes, object_masks
from aad_tf.data.description import DatasetInfo, DatasetNotFoundError
from aad_tf.data.sharding.sharing import ReplicaShare, steps_per_epoch

__all__ = [
    "AUGMENTATIONS",
    "DatasetInfo",
    "DatasetNotFoundError",
    "ReplicaShare",
    "available",
    "boxed_available",
    "boxed_batches",
    "boxed_info",
    "canonical_boxes",
    "check_boxes",
    "evaluation_batches",
    "from_tuples",
    "info",
    "load",
    "object_masks",
    "steps_per_epoch",
    "training_batches",
    "with_keras_cv",
]
