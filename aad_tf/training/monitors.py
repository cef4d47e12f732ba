"""Callbacks that measure attention after each epoch of a run, if its config asks for them.

With `monitor_examples=n` the first n validation examples are attacked, and `history.csv` gets the
columns

    val_attention_iou                    overlap of clean and attacked attention areas
    val_attention_iou_empty              fraction of pairs without any area
    val_attention_iou_zero_clean         fraction of clean images whose Grad-CAM map is zero
    val_attention_iou_zero_attacked      the same of attacked images
    gradient_share_classification, ..._rectification, ..._preservation
                                         of AAD: fractions of the gradient, in training mode

and with `snapshot_epochs` the first 8 validation images are drawn into `attention/` of the model
directory. All depend on what a checkpoint holds, so a resumed run has the history of one without a
break.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import numpy as np

from aad_tf import data, model_directory
from aad_tf.callbacks import AttentionIoU, AttentionSnapshots, GradientShares

if TYPE_CHECKING:
    from aad_tf.training.run import TrainingRun

_DRAWN = 8


def monitors(run: TrainingRun) -> list[keras.callbacks.Callback]:
    """Makes the callbacks on attention that a run's config asks for.

    With `monitor_examples` they are `AttentionIoU`, the overlap of attention on clean and attacked
    validation examples, and for `"aad"` `GradientShares`, the fraction of the gradient that comes
    from each loss; with `snapshot_epochs` `AttentionSnapshots`, figures of attention.

    Args:
        run: the training run, whose strategy exists already. Every worker reads all validation
            examples that are measured.

    Returns:
        Callbacks, to be listed before those that read or write their logs; none by default.

    Raises:
        DatasetNotFoundError: the data are missing.
    """
    config = run.config
    count = 0
    if config.monitor_examples:
        # Shares of the gradient are those of a whole batch: some losses are summed over it.
        count = max(config.monitor_examples, config.batch_size)
    if config.snapshot_epochs:
        count = max(count, _DRAWN)
    if count == 0:
        return []
    batches = data.evaluation_batches(
        config.dataset, "validation", count, run.data_dir, count, image_size=config.image_size
    )
    images, labels = map(np.concatenate, zip(*batches.as_numpy_iterator(), strict=True))
    attack = config.monitor_attack or config.defense.attack
    found: list[keras.callbacks.Callback] = []
    if config.monitor_examples:
        examples = images[: config.monitor_examples], labels[: config.monitor_examples]
        found.append(AttentionIoU(examples, attack, seed=config.seed, batch_size=config.batch_size))
        if config.defense.kind == "aad":
            first = slice(config.batch_size)
            found.append(GradientShares(images[first], labels[first], training=True))
    if config.snapshot_epochs:
        found.append(
            AttentionSnapshots(
                images[:_DRAWN],
                labels[:_DRAWN],
                run.directory / model_directory.ATTENTION,
                attack or None,
                every=config.snapshot_epochs,
                class_names=data.info(config.dataset, run.data_dir).class_names or None,
                before_training=True,
            )
        )
    return found
