"""Training on several devices and machines: strategies, and what Keras 3 needs for them."""

from __future__ import annotations

from aad_tf.distribute.connecting import PACK_MEGABYTES
from aad_tf.distribute.inputs import distributed
from aad_tf.distribute.keras_repair import MultiWorkerFit
from aad_tf.distribute.replicas import (
    clipped_as_one,
    clips,
    finite_on_all,
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
    numbers_of_chief,
    on_any_worker,
)

__all__ = [
    "PACK_MEGABYTES",
    "STRATEGIES",
    "MultiWorkerFit",
    "clipped_as_one",
    "clips",
    "create_strategy",
    "distributed",
    "finite_on_all",
    "from_chief",
    "in_agreement",
    "is_chief",
    "is_multi_worker",
    "mean_over_replicas",
    "numbers_of_chief",
    "on_any_worker",
    "own_randomness",
    "own_seed",
    "replicas_in_sync",
    "share_of_examples",
]
