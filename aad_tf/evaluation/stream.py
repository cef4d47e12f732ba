"""One pass over the data: clean predictions first, then every attack's pool."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from aad_tf.attacks import GradientSignAttack
from aad_tf.classifier import Classifier
from aad_tf.evaluation.example_log import ExampleLog
from aad_tf.evaluation.inputs import Batches
from aad_tf.evaluation.pool import AttackPool, predicted_classes
from aad_tf.evaluation.summary import timing
from aad_tf.records import make_record
from aad_tf.records.progress import Progress


class AttackStream:
    """Feeds batches to one pool per attack and their records to a log.

    Args:
        classifier: the network under attack.
        attacks: attacks with names that differ.
        log: where records go; what it holds already is not computed again.
        batch_size: slots of each pool.
        seed: of the random starts.
        success: `"any_iterate"` or `"last_iterate"`.
    """

    def __init__(
        self,
        classifier: Classifier,
        attacks: Sequence[GradientSignAttack],
        log: ExampleLog,
        batch_size: int,
        seed: int,
        success: str,
    ) -> None:
        self.attacks = tuple(attacks)
        self._classifier = classifier
        self._log = log
        self._reused = len(log.counts)
        any_iterate = success == "any_iterate"
        self._pools = [
            AttackPool(classifier, attack, batch_size, seed=seed, any_iterate=any_iterate)
            for attack in attacks
        ]
        self._seconds = dict.fromkeys((attack.name for attack in attacks), 0.0)
        self._attacked = dict.fromkeys(self._seconds, 0)

    def run(self, batches: Batches, progress: Callable[[Progress], None] | None = None) -> None:
        """Evaluates every example that the log does not hold yet.

        Raises:
            ValueError: the log holds examples that the data set does not have, or the network
                gives NaN or infinity.
        """
        begin = time.perf_counter()
        total = batches.num_examples and batches.num_examples * len(self.attacks)

        def report() -> None:
            if progress is not None:
                seconds = time.perf_counter() - begin
                progress(Progress(len(self._log.counts), total, self._reused, seconds))

        seen = 0
        for start, images, labels in batches:
            seen = start - batches.first_index + len(labels)
            self._add(start, images, labels)
            for pool in self._pools:
                self._work(pool, report, drain=False)
        for pool in self._pools:
            self._work(pool, report, drain=True)
        report()
        if len(self._log.counts) != seen * len(self.attacks):
            raise ValueError(
                f"The records kept from an interrupted run reach beyond the {seen} examples of "
                f"this data set. Was it another data set? Delete them to start over."
            )

    def timing(self, attack: GradientSignAttack) -> dict[str, float]:
        """Seconds that this run spent in an attack, and images it attacked per second."""
        return timing(self._seconds[attack.name], self._attacked[attack.name])

    def _add(self, start: int, images: np.ndarray, labels: np.ndarray) -> None:
        count = len(labels)
        counts = self._log.counts
        wanted = [counts.missing(pool.attack.name, start, count) for pool in self._pools]
        if not any(each.any() for each in wanted):
            return
        indices = np.arange(start, start + count)
        logits = self._classifier.predict_logits(tf.constant(images))
        predictions = predicted_classes(logits, indices, ". Check its weights.")
        correct = predictions == labels
        for pool, missing in zip(self._pools, wanted, strict=True):
            attacked = missing & correct
            self._log.append(
                make_record(
                    pool.attack.name,
                    index=int(indices[i]),
                    label=int(labels[i]),
                    clean_prediction=int(predictions[i]),
                    adversarial_prediction=int(predictions[i]),
                )
                for i in np.flatnonzero(missing & ~correct)
            )
            pool.add(images[attacked], labels[attacked], indices[attacked])

    def _work(self, pool: AttackPool, report: Callable[[], None], *, drain: bool) -> None:
        name = pool.attack.name
        begin = time.perf_counter()
        for records in pool.run(drain=drain):
            self._seconds[name] += time.perf_counter() - begin
            self._attacked[name] += len(records)
            self._log.append(records)
            report()
            begin = time.perf_counter()
