"""What a training step needs on several replicas at once and Keras 3 lacks.

That is clipping of global gradients, one loss scale for all, dropout and random starts that differ
between replicas, and moving statistics that do not. Most functions are called in a training step,
by every replica. With one replica they change nothing and cost nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf

# Sets the dropout streams of replicas apart; a large odd number, so that neighbouring seeds of
# neighbouring runs do not meet.
_SEED_STRIDE = 1_000_003
# Keras has no public way to the seed generators of a model.
_SEED_STATE = "seed_generator_state"


def is_multi_worker(strategy: tf.distribute.Strategy) -> bool:
    """Says whether a strategy is a `MultiWorkerMirroredStrategy` that connects several workers.

    Args:
        strategy: any strategy of TensorFlow.

    Returns:
        True for such a strategy; False for others, also for that of a single worker.

    Example:
        >>> is_multi_worker(tf.distribute.get_strategy())
        False
    """
    return (
        isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        and strategy.extended._in_multi_worker_mode()
    )


def replicas_in_sync() -> int:
    """Returns the number of replicas of the strategy in scope; 1 without a strategy.

    Example:
        >>> replicas_in_sync()
        1
    """
    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def _replica_context_or_none() -> tf.distribute.ReplicaContext | None:
    """The context of the replica that runs this code; None if it is the only one, or none does."""
    return tf.distribute.get_replica_context() if replicas_in_sync() > 1 else None


def _number(replica: tf.distribute.ReplicaContext) -> tf.Tensor:
    return tf.cast(replica.replica_id_in_sync_group, tf.int32)


def replica_loss_weight(local: tf.Tensor, dtype: tf.DType) -> tf.Tensor | float:
    """The fraction of the global batch's examples that this replica holds, the weight of its loss.

    The optimizer adds up the gradients of all replicas. So a mean over the local batch is
    multiplied by this weight to give the mean over the global batch, also where the batches of
    replicas differ in size. Losses are scaled for replicas nowhere else.

    Args:
        local: int32 scalar, number of examples of this replica.
        dtype: floating-point dtype of the loss.

    Returns:
        A scalar in [0, 1]; the weights of all replicas add up to 1.

    Example:
        >>> weight = replica_loss_weight(tf.constant(32), tf.float32)  # 0.5 on two equal replicas
    """
    if _replica_context_or_none() is None:
        return 1.0
    return tf.cast(local, dtype) / global_batch_size(local, dtype)


def global_batch_size(local: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """The number of examples of a batch on all replicas together.

    Args:
        local: int32 scalar, number of examples of this replica.
        dtype: dtype of the result.

    Returns:
        A scalar, the same on every replica.

    Example:
        >>> examples = global_batch_size(tf.constant(32), tf.float32)  # 64 on two equal replicas
    """
    replica, local = _replica_context_or_none(), tf.cast(local, dtype)
    if replica is None:
        return local
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, local)


def mean_over_replicas(variables: Sequence[keras.Variable]) -> None:
    """Sets variables that each replica has changed separately to their mean over replicas.

    Keras 3 leaves the moving statistics of BatchNormalization to each replica, so that workers
    drift apart and the saved network has those of one of them. One all-reduce serves all.

    Args:
        variables: those of one replica; the same ones, in the same order, on every replica.

    Example:
        >>> mean_over_replicas(network.non_trainable_variables)  # in a training step
    """
    replica = _replica_context_or_none()
    if replica is None or not variables:
        return
    # A variable's value as read lies on no device, which a collective needs to know.
    values = [tf.identity(variable) for variable in variables]
    means = replica.all_reduce(tf.distribute.ReduceOp.MEAN, values)
    for variable, mean in zip(variables, means, strict=True):
        variable.assign(mean)


def uses_gradient_clipping(optimizer: keras.optimizers.Optimizer) -> bool:
    """Says whether an optimizer clips gradients.

    Args:
        optimizer: any optimizer of Keras.

    Returns:
        True if its `clipnorm`, `global_clipnorm` or `clipvalue` is set.

    Example:
        >>> uses_gradient_clipping(keras.optimizers.SGD(global_clipnorm=1.0))
        True
    """
    limits = (optimizer.clipnorm, optimizer.global_clipnorm, optimizer.clipvalue)
    return any(limit for limit in limits)


def clip_global_gradients(
    optimizer: keras.optimizers.Optimizer, gradients: Sequence[tf.Tensor | None]
) -> list[tf.Tensor | None]:
    """Clips the sum of all replicas' gradients, as a single device would clip its gradient.

    Keras clips each replica's gradient before it adds them up, which is not the same. With an
    optimizer that does not clip, or with one replica, gradients are returned unchanged.

    Args:
        optimizer: applies the gradients next; its clipping arguments are used.
        gradients: of this replica, one per variable; None where a variable has none.

    Returns:
        One entry per variable: the clipped sum divided by the number of replicas, so that the
        optimizer's sum over replicas gives the clipped sum.

    Example:
        >>> optimizer = keras.optimizers.SGD(clipnorm=1.0)
        >>> gradients = clip_global_gradients(optimizer, [tf.ones(3)])  # then optimizer.apply
    """
    replica = _replica_context_or_none()
    if replica is None or not uses_gradient_clipping(optimizer):
        return list(gradients)
    present = [gradient for gradient in gradients if gradient is not None]
    sums = iter(replica.all_reduce(tf.distribute.ReduceOp.SUM, present))
    whole = [None if gradient is None else next(sums) for gradient in gradients]
    # Equal parts of what is clipped already: the optimizer's own clipping finds nothing to do.
    clipped = optimizer._clip_gradients(whole)
    return [None if part is None else part / replicas_in_sync() for part in clipped]


def propagate_nonfinite(gradients: Sequence[tf.Tensor | None]) -> list[tf.Tensor | None]:
    """Makes all gradients NaN on every replica if any gradient is not finite on any replica.

    Keras's LossScaleOptimizer skips an update whose gradients overflow, and looks at those of its
    own replica only. A replica that skipped alone would leave the others waiting.

    Args:
        gradients: of this replica, one per variable; None where a variable has none.

    Returns:
        One entry per variable; the given gradients if those of all replicas are finite.

    Example:
        >>> gradients = propagate_nonfinite([tf.ones(3), None])
    """
    replica = _replica_context_or_none()
    if replica is None:
        return list(gradients)
    present = [gradient for gradient in gradients if gradient is not None]
    finite = [tf.reduce_all(tf.math.is_finite(gradient)) for gradient in present]
    local = tf.cast(tf.reduce_all(finite), tf.float32)
    count = replica.all_reduce(tf.distribute.ReduceOp.SUM, local)
    spoilt = tf.where(count < replicas_in_sync(), float("nan"), 0.0)
    return [None if part is None else part + tf.cast(spoilt, part.dtype) for part in gradients]


def per_replica_seed(seed: tf.Tensor) -> tf.Tensor:
    """A seed that differs between replicas, derived from one that all replicas share.

    Args:
        seed: int32 or int64 `[2]`.

    Returns:
        The seed itself with one replica; else a seed `[2]` derived from it and the replica's
        number.

    Example:
        >>> noise = tf.random.stateless_uniform((4, 8), per_replica_seed(tf.constant([0, 7])))
    """
    replica = _replica_context_or_none()
    if replica is None:
        return seed
    return tf.random.experimental.stateless_fold_in(seed, _number(replica))


def seed_states(network: keras.Model) -> list[keras.Variable]:
    """The states of the seed generators of a network's layers, which decide what is drawn next.

    Args:
        network: a Keras model, built.

    Returns:
        A list of Keras variables, one for each generator: integers `[2]`, which change with each
        draw. It is empty if no layer draws random numbers.

    Example:
        >>> len(seed_states(keras.Sequential([keras.Input((8,)), keras.layers.Dropout(0.5)])))
        1
    """
    return [v for v in network.non_trainable_variables if v.name == _SEED_STATE]


@contextlib.contextmanager
def per_replica_dropout_seeds(network: keras.Model) -> Iterator[None]:
    """Lets dropout draw different masks on each replica while the context is open.

    The seeds of Keras's layers are the same on all replicas: without this, every replica drops the
    same units. When the context ends, the seeds are again the same on all replicas, advanced by
    what was drawn.

    Args:
        network: a Keras model whose layers draw random numbers.

    Example:
        >>> with per_replica_dropout_seeds(network):
        ...     logits = network(images, training=True)
    """
    states = seed_states(network)
    replica = _replica_context_or_none()
    if replica is None:
        yield
        return
    shift = tf.stack([_number(replica) * _SEED_STRIDE, 0])
    for state in states:
        state.assign_add(tf.cast(shift, state.dtype))
    yield
    for state in states:
        state.assign_sub(tf.cast(shift, state.dtype))
