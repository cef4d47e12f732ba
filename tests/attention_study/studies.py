"""Studies of a few cells, as long as wanted, killed between two batches if wanted."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from aad_tf.attacks import step_ll
from aad_tf.attention_study import Options, study_attention
from tests.attention_study.conftest import batches_of

OPTIONS = Options(cells=(4, 8), features=(2,))
ATTACK = step_ll(0.05, 2)


def study(classifier, output, dataset=None, attack=ATTACK, **changes):
    arguments = {"batch_size": 2, "options": OPTIONS, **changes}
    return study_attention(classifier, dataset or batches_of(), attack, output=output, **arguments)


def many(count=37, size=4, start=0):
    """So many different images with boxes, from the one at `start` on."""
    generator = np.random.default_rng(5)
    images = generator.uniform(size=(count, 4, 4, 2)).astype(np.float32)
    corners = np.sort(generator.uniform(size=(count, 1, 2, 2)), axis=2)
    labels = generator.integers(0, 2, count).astype(np.int32)
    examples = {
        "image": images,
        "label": labels,
        "boxes": corners.reshape(count, 1, 4).astype(np.float32),
        "box_labels": labels[:, None],
    }
    return tf.data.Dataset.from_tensor_slices(examples).skip(start).batch(size)


class KilledError(Exception):
    """Stands for a kill between two batches."""


def kill_after(images):
    def progress(state):
        if state.done >= images:
            raise KilledError

    return progress
