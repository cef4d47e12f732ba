"""One pass over the data: each batch is classified clean, then handed to every attack."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

import numpy as np
import tensorflow as tf

from aad_tf.attacks import Attack
from aad_tf.classifier import Classifier
from aad_tf.evaluation.cascade import pool_of
from aad_tf.evaluation.example_log import ExampleLog
from aad_tf.evaluation.inputs import Batches
from aad_tf.evaluation.pool import predicted_classes
from aad_tf.evaluation.summary import timing
from aad_tf.records.progress import Progress


class AttackStream:
    """Runs several attacks over the batches of a data set and logs a record per example and attack.

    Args:
        classifier: the network that is judged.
        attacks: attacks of different names.
        batch_size: how many images each attack works on at a time.
        seed: seed of the random starts.
        success: `"any_iterate"` judges the images after every iteration, `"last_iterate"` after the
            last one alone.
        surrogate: a network whose gradients attacks follow instead of the classifier's; or None.
        transferred: names of the attacks that follow the surrogate; None for all, if there is one.

    Attributes:
        attacks: the attacks, a tuple.
        surrogate: the argument of that name.
        transferred: names of the attacks that follow the surrogate.
    """

    def __init__(
        self,
        classifier: Classifier,
        attacks: Sequence[Attack],
        batch_size: int,
        seed: int,
        success: str,
        surrogate: Classifier | None = None,
        transferred: Collection[str] | None = None,
    ) -> None:
        self.attacks = tuple(attacks)
        every = [attack.name for attack in attacks] if surrogate is not None else []
        self.transferred = frozenset(every if transferred is None else transferred)
        self._classifier = classifier
        self.surrogate = surrogate
        any_iterate = success == "any_iterate"
        self._pools = [
            pool_of(
                classifier,
                attack,
                batch_size,
                seed=seed,
                any_iterate=any_iterate,
                surrogate=surrogate if attack.name in self.transferred else None,
            )
            for attack in attacks
        ]
        self._seconds = dict.fromkeys((attack.name for attack in attacks), 0.0)
        self._attacked = dict.fromkeys(self._seconds, 0)

    def run(
        self,
        batches: Batches,
        log: ExampleLog,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """Evaluates every example that the log does not hold yet.

        Args:
            batches: the data set.
            log: takes the records; examples whose outcome it knows are skipped.
            progress: a function called with a `Progress` at the beginning, after each step, and at
                the end.

        Raises:
            ValueError: the log holds examples that the data set does not have, or the network
                gives NaN or infinity.
        """
        begin = time.perf_counter()
        total = batches.num_examples and batches.num_examples * len(self.attacks)

        def report(detail: str = "") -> None:
            if progress is not None:
                seconds = time.perf_counter() - begin
                progress(Progress(len(log.counts), total, reused, seconds, detail=detail))

        reused = len(log.counts)
        report()
        seen, size = 0, None
        for start, images, labels in batches:
            if images.shape[1:] != size:
                # Only images of one size share a call of the network.
                self._work(log, report, drain=True)
                size = images.shape[1:]
            seen = start - batches.first_index + len(labels)
            self._add(log, start, images, labels)
            self._work(log, report, drain=False)
        self._work(log, report, drain=True)
        report()
        if len(log.counts) != seen * len(self.attacks):
            raise ValueError(
                f"The records kept from an interrupted run reach beyond the {seen} examples of "
                f"this data set. Was it another data set? Delete them to start over."
            )

    def timing(self, attack: Attack) -> dict[str, float]:
        """Tells how long an attack took within the method `run`.

        Args:
            attack: one of the attacks.

        Returns:
            A dict of `seconds`, `images_attacked`, and `images_per_second`, 0 without any time.
        """
        return timing(self._seconds[attack.name], self._attacked[attack.name])

    def _add(self, log: ExampleLog, start: int, images: np.ndarray, labels: np.ndarray) -> None:
        count = len(labels)
        wanted = [log.counts.missing(pool.attack.name, start, count) for pool in self._pools]
        if not any(each.any() for each in wanted):
            return
        indices = np.arange(start, start + count)
        logits = self._classifier.predict_logits(tf.constant(images))
        predictions = predicted_classes(logits, indices, ". Check its weights.")
        seen = predictions
        if self.surrogate is not None:
            logits = self.surrogate.predict_logits(tf.constant(images))
            seen = predicted_classes(logits, indices, ". Check the surrogate's weights.")
        for pool, missing in zip(self._pools, wanted, strict=True):
            slots = pool.slots(labels, indices, predictions, seen)
            # Nothing is attacked towards its own class.
            attacked = missing & (predictions == labels) & (slots["goal"] != labels)
            log.append(pool.records(slots[missing & ~attacked]))
            pool.add(images[attacked], slots[attacked])

    def _work(self, log: ExampleLog, report: Callable[[str], None], *, drain: bool) -> None:
        for pool in self._pools:
            name = pool.attack.name
            begin = time.perf_counter()
            for records in pool.run(drain=drain):
                self._seconds[name] += time.perf_counter() - begin
                self._attacked[name] += len(records)
                log.append(records)
                report(pool.doing)
                begin = time.perf_counter()
