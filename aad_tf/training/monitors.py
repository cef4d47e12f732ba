"""What a run measures of attention after each epoch, where its config asks for it.

With `monitor_examples` the first so many validation examples are attacked and `history.csv` gets
the columns

    val_attention_iou                    overlap of clean and attacked attention areas
    val_attention_iou_empty              fraction of pairs without any area
    val_attention_iou_zero_clean         fraction of clean images whose Grad-CAM map is zero
    val_attention_iou_zero_attacked      the same of attacked images
    gradient_share_classification, ..._rectification, ..._preservation
                                         of AAD: fractions of the gradient, in training mode

and with `snapshot_epochs` the first images are drawn into `attention/`. All depend on what a
checkpoint holds, so a run that was interrupted has the history of one that was not.
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
    """The callbacks that a run's config asks for; to be called when its strategy is there.

    Args:
        run: whose validation examples are measured on; every worker reads them all.

    Returns:
        Callbacks, to stand before those that watch or write their logs; none by default.
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
                before_training=True,
            )
        )
    return found
