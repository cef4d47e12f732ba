"""A training step that exchanges what a real one exchanges and computes next to nothing."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

# There is no public way to the functions that were traced.
from tensorflow.python.eager import context

from aad_tf.defenses import StandardModel
from aad_tf.defenses.base import moving_statistics
from aad_tf.distribute import mean_over_replicas, share_of_examples


class Exchange(StandardModel):
    """All-reduces tensors of the shapes of the gradients, and all else that workers exchange.

    These are the number of examples, gradients, moving statistics, the count of updates, and the
    logs: the same calls as in a step of training, so they are packed alike. Run in one process,
    what remains is what `fit` and the bookkeeping of a step take.
    """

    def _update(
        self, images: tf.Tensor, labels: tf.Tensor, weights: Any, adversarial: Any
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        dtype = self.classifier.dtype
        examples = tf.shape(images)[0]
        share = share_of_examples(examples, dtype)
        # Weights have the shapes of gradients.
        values = [tf.identity(variable) for variable in self.trainable_variables]
        sums = tf.distribute.get_replica_context().all_reduce("SUM", values)
        self.optimizer.iterations.assign_add(1)
        mean_over_replicas(moving_statistics(self.network))
        # Something must use every sum, or unpacking it would be left out.
        total = share * tf.add_n([tf.cast(tf.reshape(value, [-1])[0], dtype) for value in sums])
        logits = tf.zeros((examples, self.classifier.num_classes), dtype)
        return total, {}, {"clean": logits}


def collectives_of_a_step() -> list[int]:
    """How many all-reduces each traced step of training holds, in the order of tracing."""
    traced = context.context()
    names = [bytes(name).decode() for name in map(_as_bytes, traced.list_function_names())]
    steps = [name for name in names if name.startswith("__inference_one_step_on_data_")]
    steps.sort(key=lambda name: int(name.rpartition("_")[2]))
    return [
        sum(node.op == "CollectiveReduceV2" for node in traced.get_function_def(name).node_def)
        for name in steps
    ]


def _as_bytes(name: str | bytes) -> bytes:
    return name.encode() if isinstance(name, str) else name
