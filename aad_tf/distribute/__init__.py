"""Training on several devices and machines: strategies, and what Keras 3 needs for them."""

from __future__ import annotations

from aad_tf.distribute.inputs import distributed
from aad_tf.distribute.keras_repair import MultiWorkerFit
from aad_tf.distribute.replicas import (
    is_multi_worker,
    mean_over_replicas,
    own_randomness,
    own_seed,
    replicas_in_sync,
    share_of_examples,
)
from aad_tf.distribute.strategies import (
    STRATEGIES,
    create_strategy,
    from_chief,
    in_agreement,
    is_chief,
)

__all__ = [
    "STRATEGIES",
    "MultiWorkerFit",
    "create_strategy",
    "distributed",
    "from_chief",
    "in_agreement",
    "is_chief",
    "is_multi_worker",
    "mean_over_replicas",
    "own_randomness",
    "own_seed",
    "replicas_in_sync",
    "share_of_examples",
]
