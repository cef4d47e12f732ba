"""The workers of one training run: their addresses, and which of them this process is.

`find_cluster` reads what a launcher says about the workers (TF_CONFIG, a Kubernetes indexed Job, a
Slurm job step) and `wait_for_workers` waits until all of them have started. What they exchange
then, heartbeats included, goes through TensorFlow's own servers, whose connections are not
authenticated: keep their ports on a private network.

Example:
    >>> cluster = find_cluster()
    >>> wait_for_workers(cluster, seconds=300)
    >>> strategy = aad_tf.distribute.create_strategy("multi_worker", cluster)
"""

from aad_tf.distribute.cluster.environments import find_cluster
from aad_tf.distribute.cluster.rendezvous import wait_for_workers
from aad_tf.distribute.cluster.spec import AbsentWorkerError, Cluster, ClusterError

__all__ = [
    "AbsentWorkerError",
    "Cluster",
    "ClusterError",
    "find_cluster",
    "wait_for_workers",
]
