"""Data sets as tf.data: images float32 [0, 1], labels int32, deterministic order.

Batches have one of two forms. Training and evaluation (`Model.fit`, `aad_tf.evaluate_robustness`)
take tuples (images, labels), which `training_batches` and `evaluation_batches` give. A study of
attention (`aad_tf.attention_study.study_attention`) takes dictionaries of "image", "label", "boxes"
and "box_labels", which `boxed_batches` gives, and `from_tuples` of any data set, with boxes or
without; `batches.map(lambda batch: (batch["image"], batch["label"]))` is the way back. Both forms
of a split hold the same images in the same order.
"""

from __future__ import annotations

from aad_tf.data.augmentation import AUGMENTATIONS
from aad_tf.data.batches import available, evaluation_batches, info, load, training_batches
from aad_tf.data.boxes import check_boxes, object_masks
from aad_tf.data.boxes.adapters import canonical_boxes, from_tuples, with_keras_cv
from aad_tf.data.boxes.batches import boxed_available, boxed_batches, boxed_info
from aad_tf.data.description import SPLITS, DatasetInfo, DatasetNotFoundError
from aad_tf.data.folders import image_folder, image_folder_info
from aad_tf.data.sharding.slices import ReplicaSlice, steps_per_epoch

__all__ = [
    "AUGMENTATIONS",
    "DatasetInfo",
    "DatasetNotFoundError",
    "SPLITS",
    "ReplicaSlice",
    "available",
    "boxed_available",
    "boxed_batches",
    "boxed_info",
    "canonical_boxes",
    "check_boxes",
    "evaluation_batches",
    "from_tuples",
    "image_folder",
    "image_folder_info",
    "info",
    "load",
    "object_masks",
    "steps_per_epoch",
    "training_batches",
    "with_keras_cv",
]
