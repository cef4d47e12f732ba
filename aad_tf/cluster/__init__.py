"""The workers of one training run: who they are, that they agree, and who was lost.

`find_cluster` reads what a launcher says about the workers, `join` brings them together before
training starts, and the `Control` it returns tells every survivor which worker was lost, so that
a run stops with a name instead of waiting for a peer that is gone.

The connections between workers are not authenticated: whoever reaches the control port can
pretend to be a worker. Keep it, like TensorFlow's own server, on a private network.

Example:
    >>> cluster = find_cluster()
    >>> control = join(cluster, {"config": digest, "tensorflow": tf.__version__})
    >>> ...  # train
    >>> control.leave()
"""

from aad_tf.cluster.control import Control, WorkerLostError
from aad_tf.cluster.description import AbsentWorkerError, Cluster, ClusterError
from aad_tf.cluster.environments import find_cluster
from aad_tf.cluster.joining import join

__all__ = [
    "AbsentWorkerError",
    "Cluster",
    "ClusterError",
    "Control",
    "WorkerLostError",
    "find_cluster",
    "join",
]
