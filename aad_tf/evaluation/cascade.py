"""Runs the attacks of a cascade in turn, each on the images that those before it left correct."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from aad_tf.attacks import AttackCascade, IterativeAttack
from aad_tf.classifier import Classifier
from aad_tf.evaluation.pool import AttackPool


class CascadePool:
    """Runs a cascade of attacks over a stream of examples.

    The method `add` queues a batch of examples, and `run` attacks what is queued. Examples come out
    in any order as records: dictionaries that say of an example whether it was misclassified
    (`success`) and after how many iterations (`steps`). An example that one attack leaves correct
    goes on to the next. Its record is made by the attack that got it misclassified, whose name the
    record has under `broken_by`. An example that all attacks leave correct has the record of the
    last one, with `broken_by` None. The methods have the arguments of those of `AttackPool`, which
    runs a single attack.

    Args:
        classifier: the network that judges the images.
        cascade: the attacks, in their order, such as `AttackCascade((apgd(0.1), square(0.1)))`.
        size: how many examples each attack works on at a time, at least 1.
        seed: an integer, the seed of the random starts.
        any_iterate: True judges the images after every iteration, False after the last one. Attacks
            that return the best image they met (`apgd`, `fab`, `square`) are judged after every
            iteration in either case, unless there is a surrogate.
        surrogate: the network whose gradients the attacks follow; None for the classifier.

    Attributes:
        attack: the cascade.

    Example:
        >>> pool = CascadePool(classifier, auto_attack(0.1), 100, seed=0, any_iterate=True)
        >>> pool.add(images, pool.slots(labels, indices, predictions, predictions))
        >>> records = [record for batch in pool.run(drain=True) for record in batch]
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
        """Makes the state of new examples: what is known of each before it is attacked.

        Args:
            labels: int `[batch]`, true labels.
            indices: int `[batch]`, indices in the data set; they seed the random starts.
            predictions: int `[batch]`, classes that the classifier predicts on the clean images.
            seen: int `[batch]`, classes that the surrogate predicts on them; without a surrogate
                the same as `predictions`.

        Returns:
            A structured array `[batch]`, one entry per example, which the methods `add` and
            `records` take.
        """
        return self._pools[0].slots(labels, indices, predictions, seen)

    def add(self, images: np.ndarray, slots: np.ndarray) -> None:
        """Queues examples for the first attack.

        Args:
            images: `[batch, H, W, C]` in the classifier's dtype, all classified correctly.
            slots: `[batch]`, their state as the method `slots` made it.
        """
        self._pools[0].add(images, slots)

    @property
    def doing(self) -> str:
        """Text that names the attack at work, how many images it has left, and its iteration."""
        return self._at_work.doing

    def run(self, *, drain: bool = False) -> Iterator[list[dict[str, Any]]]:
        """Attacks the queued examples.

        Args:
            drain: True goes on until no example is left; False stops each attack when fewer than
                `size` examples are left to it.

        Yields:
            After each call of the network a list, possibly empty, with a record for each example
            that is done. A record is a dict of
            `index`, `label` (int): index of the example in the data set, and its true class.
            `attack` (str): name of the cascade.
            `clean_prediction`, `adversarial_prediction` (int): classes predicted on the clean and
                on the attacked image.
            `success` (bool): whether the attacked image is misclassified.
            `clean_mistake` (bool): False, since examples that are misclassified when clean are not
                attacked.
            `steps`, `restart` (int): iterations that made the attacked image, within the restart
                (from 0) of the attack that made it.
            `linf` (float): largest change of a pixel of that image, in the unit of the images; of a
                cascade in l2 also `l2` (float), its l2 distance.
            `broken_by`: name of the attack that got the image misclassified, or None.
            With a surrogate it also has `surrogate_clean_prediction` and
            `surrogate_adversarial_prediction` (int), the classes that the surrogate predicts.
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
        """Records of examples that are not attacked, such as those misclassified when clean.

        Args:
            slots: `[batch]`, their state as the method `slots` made it.

        Returns:
            One dict per example: `index` in the data set, `label`, `attack` (name of the cascade),
            `clean_prediction` and the equal `adversarial_prediction`; `success` and
            `clean_mistake`, both True if the clean image is misclassified; `steps` (iterations),
            `restart` and `linf` (largest change of a pixel; of a cascade in l2 also `l2`, the l2
            distance), which are 0; and `broken_by`, which is
            None.
        """
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
    """The state of examples as the next attack of a cascade begins with it.

    Args:
        slots: `[batch]`, state of examples that an attack left correct.

    Returns:
        A copy without what that attack did: iteration, restart and distance are 0, and predictions
        are those of the clean images.
    """
    fresh = slots.copy()
    for name in ("step", "restart", "best_step", "best_restart", "linf", "l2"):
        fresh[name] = 0
    fresh["prediction"], fresh["seen"] = slots["clean_prediction"], slots["clean_seen"]
    return fresh


def pool_of(
    classifier: Classifier, attack: IterativeAttack | AttackCascade, size: int, **options: Any
) -> AttackPool | CascadePool:
    """Makes the object that runs an attack, or a cascade of attacks, over a stream of examples.

    Args:
        classifier: the network that judges the images.
        attack: one attack, or a cascade.
        size: how many examples each attack works on at a time, at least 1.
        **options: required are `seed`, the seed of the random starts, and `any_iterate`, True to
            judge the images after every iteration, False after the last one (attacks that keep
            their best image are judged after every iteration, unless there is a surrogate).
            Optional is `surrogate`, the network whose gradients are followed; None or left out for
            the classifier.

    Returns:
        An `AttackPool`, or a `CascadePool` for a cascade.
    """
    kind: Any = CascadePool if isinstance(attack, AttackCascade) else AttackPool
    return kind(classifier, attack, size, **options)
