"""Pools of several attacks in a row: what one attack leaves correct goes on to the next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from aad_tf.attacks import AttackCascade, IterativeAttack
from aad_tf.classifier import Classifier
from aad_tf.evaluation.pool import AttackPool


class CascadePool:
    """A cascade of attacks running over a stream of examples; used like an `AttackPool`.

    The record of an example is that of the attack that got it misclassified, whose name stands
    under `broken_by`, or of the last attack, with None there.

    Args:
        classifier: the network that judges the images.
        cascade: what is run.
        size: number of slots of each attack, at least 1.
        seed: of the random starts.
        any_iterate: as for `AttackPool`.
        surrogate: as for `AttackPool`.
    """

    def __init__(
        self,
        classifier: Classifier,
        cascade: AttackCascade,
        size: int,
        *,
        seed: int,
        any_iterate: bool,
        surrogate: Classifier | None = None,
    ) -> None:
        self.attack = cascade
        options: dict[str, Any] = {"seed": seed, "any_iterate": any_iterate}
        self._pools = [
            AttackPool(classifier, stage, size, surrogate=surrogate, **options)
            for stage in cascade.stages
        ]
        self._at_work = self._pools[0]

    def slots(
        self, labels: np.ndarray, indices: np.ndarray, predictions: np.ndarray, seen: np.ndarray
    ) -> np.ndarray:
        """See `AttackPool.slots`."""
        return self._pools[0].slots(labels, indices, predictions, seen)

    def add(self, images: np.ndarray, slots: np.ndarray) -> None:
        """Queues examples for the first attack; see `AttackPool.add`."""
        self._pools[0].add(images, slots)

    @property
    def doing(self) -> str:
        """See `AttackPool.doing`: of the attack that is at work."""
        return self._at_work.doing

    def run(self, *, drain: bool = False) -> Iterator[list[dict[str, Any]]]:
        """Works while every slot of an attack is taken; with `drain`, until no example is left.

        Yields:
            Records of the examples that are done, possibly none, after each call of the network.
        """
        for number, pool in enumerate(self._pools):
            last = number == len(self._pools) - 1
            self._at_work = pool
            for left in pool.work(drain=drain):
                done = left.succeeded | last
                yield self._records(left.slots[done], left.succeeded[done], pool.attack)
                if not done.all():
                    following = self._pools[number + 1]
                    following.add(left.images(~done), started_again(left.slots[~done]))

    def records(self, slots: np.ndarray) -> list[dict[str, Any]]:
        """Records of examples that no attack is run on; `slots` as `self.slots` made them."""
        return self._records(slots, np.full(len(slots), False), self.attack.stages[0])

    def _records(
        self, slots: np.ndarray, succeeded: np.ndarray, stage: IterativeAttack
    ) -> list[dict[str, Any]]:
        return [
            {
                **record,
                "attack": self.attack.name,
                "broken_by": stage.name if success else None,
            }
            for record, success in zip(self._pools[0].records(slots), succeeded, strict=True)
        ]


def started_again(slots: np.ndarray) -> np.ndarray:
    """Slots of examples that a new attack begins with."""
    fresh = slots.copy()
    for name in ("step", "restart", "best_step", "best_restart", "linf"):
        fresh[name] = 0
    fresh["prediction"], fresh["seen"] = slots["clean_prediction"], slots["clean_seen"]
    return fresh


def pool_of(
    classifier: Classifier, attack: IterativeAttack | AttackCascade, size: int, **options: Any
) -> AttackPool | CascadePool:
    """The pool that runs an attack, or a cascade of attacks; arguments as for `AttackPool`."""
    kind: Any = CascadePool if isinstance(attack, AttackCascade) else AttackPool
    return kind(classifier, attack, size, **options)
