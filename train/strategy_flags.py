"""Flags that say on which devices a run trains, and how its workers deal with each other."""

from __future__ import annotations

from typing import Any

from absl import flags

from aad_tf.distribute import LOST_AFTER, PACK_MEGABYTES, STRATEGIES
from aad_tf.training import worker

_STRATEGY = flags.DEFINE_enum(
    "strategy", "none", STRATEGIES, "One device, all of this machine, or many workers."
)
_JOIN = flags.DEFINE_float(
    "join_timeout", worker.JOIN_TIMEOUT, "Seconds to wait for other workers to start.", 1.0
)
_LOST = flags.DEFINE_float(
    "lost_after",
    LOST_AFTER,
    "Seconds without a heartbeat after which a worker is lost.",
    lower_bound=1.0,
)
_PACK = flags.DEFINE_float(
    "pack_megabytes",
    PACK_MEGABYTES,
    "Workers exchange gradients in buckets of about this size, in 2**20 bytes.",
    lower_bound=0.001,
)


def strategy() -> str:
    """The strategy by name."""
    return _STRATEGY.value


def arguments() -> dict[str, Any]:
    """What `aad_tf.training.train_with` takes of a worker's dealings with the others."""
    return {
        "join_timeout": _JOIN.value,
        "lost_after": _LOST.value,
        "pack_megabytes": _PACK.value,
    }
