"""Data sets as `tf.data.Dataset`: float32 images in [0, 1], int32 labels, deterministic order.

Batches have one of two forms. For training and evaluation (`Model.fit`,
`aad_tf.evaluate_robustness`), `training_batches` and `evaluation_batches` return tuples
(images, labels). For attention studies (`aad_tf.attention_study.study_attention`), `boxed_batches`
returns dictionaries with "image", "label", "boxes" and "box_labels"; `from_tuples` makes such
dictionaries of any data set with or without boxes. To convert them to tuples, use
`batches.map(lambda batch: (batch["image"], batch["label"]))`. Both forms of a split hold the same
images in the same order.
"""

from __future__ import annotations

from aad_tf.data.augmentation import AUGMENTATIONS
from aad_tf.data.batches import available, evaluation_batches, info, load, training_batches
from aad_tf.data.boxes import check_boxes, object_masks
from aad_tf.data.boxes.adapters import canonical_boxes, from_tuples, with_keras_cv
from aad_tf.data.boxes.batches import boxed_available, boxed_batches, boxed_info
from aad_tf.data.description import SPLITS, DatasetInfo, DatasetNotFoundError
from aad_tf.data.folders import image_folder, image_folder_info
from aad_tf.data.sharding.slices import ReplicaRange, steps_per_epoch

__all__ = [
    "AUGMENTATIONS",
    "DatasetInfo",
    "DatasetNotFoundError",
    "SPLITS",
    "ReplicaRange",
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
