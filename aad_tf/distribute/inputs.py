"""Data sets that feed every replica its own part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from aad_tf.data import ReplicaSlice


def distributed(
    strategy: tf.distribute.Strategy,
    batches: Callable[[ReplicaSlice], tf.data.Dataset],
    endless: bool = False,
) -> Any:
    """Makes the input pipelines of this process.

    Args:
        strategy: of training.
        batches: from the replicas that this process feeds to a data set with one element for
            each of them, in order, such as `aad_tf.data.training_batches` makes them.
        endless: the data set never ends, so workers need not agree at each step whether it has.

    Returns:
        What `fit` takes: a plain data set with one replica, else a distributed one. Where this
        process feeds several replicas, give `fit` and `evaluate` the number of steps: Keras would
        count an element for each replica.

    Example:
        >>> distributed(strategy, lambda fed: training_batches("mnist", 64, 0, replica_slice=fed))
    """
    if strategy.num_replicas_in_sync == 1:
        return batches(ReplicaSlice())

    def pipeline(context: tf.distribute.InputContext) -> tf.data.Dataset:
        total = context.num_replicas_in_sync
        local = total // context.num_input_pipelines
        dataset = batches(ReplicaSlice(context.input_pipeline_id * local, local, total))
        if endless:
            dataset = dataset.apply(
                tf.data.experimental.assert_cardinality(tf.data.experimental.INFINITE_CARDINALITY)
            )
        return dataset

    return strategy.distribute_datasets_from_function(pipeline)
