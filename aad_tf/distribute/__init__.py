"""Training on several devices and machines: strategies, clusters, lost workers, Keras's `fit`."""

from __future__ import annotations

from aad_tf.distribute.cluster import AbsentWorkerError, Cluster, ClusterError, wait_for_workers
from aad_tf.distribute.connecting import LOST_AFTER, PACK_MEGABYTES, leaving_together
from aad_tf.distribute.failures import WorkerLostError, lost_workers_named
from aad_tf.distribute.keras_fit import MultiWorkerFit
from aad_tf.distribute.launchers import find_cluster
from aad_tf.distribute.replicas import (
    clip_global_gradients,
    global_batch_size,
    is_multi_worker,
    mean_over_replicas,
    per_replica_dropout_seeds,
    per_replica_seed,
    propagate_nonfinite,
    replica_loss_weight,
    replicas_in_sync,
    seed_states,
    uses_gradient_clipping,
)
from aad_tf.distribute.strategies import (
    STRATEGIES,
    all_workers_equal,
    any_worker,
    broadcast_from_chief,
    create_strategy,
    distributed,
    is_chief,
    texts_of_workers,
)

__all__ = [
    "LOST_AFTER",
    "PACK_MEGABYTES",
    "STRATEGIES",
    "AbsentWorkerError",
    "Cluster",
    "ClusterError",
    "MultiWorkerFit",
    "WorkerLostError",
    "all_workers_equal",
    "any_worker",
    "broadcast_from_chief",
    "clip_global_gradients",
    "create_strategy",
    "distributed",
    "find_cluster",
    "is_chief",
    "is_multi_worker",
    "leaving_together",
    "lost_workers_named",
    "global_batch_size",
    "mean_over_replicas",
    "per_replica_dropout_seeds",
    "per_replica_seed",
    "propagate_nonfinite",
    "replica_loss_weight",
    "replicas_in_sync",
    "seed_states",
    "texts_of_workers",
    "uses_gradient_clipping",
    "wait_for_workers",
]
