"""Transfer: adversarial images are made once on each source network, and all targets judge them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aad_tf.attacks import Attack, AttackCascade, IterativeAttack, attack_to_dict
from aad_tf.attacks.loop import where
from aad_tf.attacks.objectives import target_classes
from aad_tf.attacks.shared_work import attacked_by_each
from aad_tf.attacks.starts import checked_seed
from aad_tf.classifier import Classifier
from aad_tf.evaluation import inputs
from aad_tf.evaluation.pool import predicted_classes
from aad_tf.evaluation.summary import timing
from aad_tf.evaluation.transfer_summary import TransferCounts, summarize_transfer
from aad_tf.records import TRANSFER_KEYS, read_record_lines, summary_path, write_record_lines
from aad_tf.records.fingerprints import fingerprint, probe_logits, weights_fingerprint
from aad_tf.records.journal import Journal, check_same_evaluation, finished_summary, journal_path
from aad_tf.records.progress import Progress, check_verbose, shown_progress
from aad_tf.records.shards import shard_facts
from aad_tf.utils.checks import check_count, name_of_call, near_names
from aad_tf.utils.files import PathLike, check_writable, write_json_atomically
from aad_tf.utils.norms import distance
from aad_tf.utils.provenance import provenance


@dataclass(frozen=True)
class TransferReport:
    """What `evaluate_transfer` found.

    Attributes:
        summary: a dict that JSON can hold: `networks`, their clean accuracies; `transfer`, the
            accuracy of each target on the images of each source under each attack; `comparisons` of
            each two targets; `threat_models` by the attack's name; `count` of examples; `rule`,
            what was attacked; `warnings`; the time taken; `evaluated`, what was evaluated; and
            `provenance`, versions and hardware.
        output: file of the records, or None if they are in memory.

    Example:
        >>> report = evaluate_transfer({"a": model}, (images, labels), fgsm(0.1))
        >>> len(list(report.records())) == report.summary["count"]
        True
    """

    summary: dict[str, Any]
    output: Path | None = None
    _records: tuple[dict[str, Any], ...] = ()

    def records(self) -> Iterator[dict[str, Any]]:
        """Yields one record per image, in the order of the data set.

        A record has `index`, `label`, `clean` and `adversarial`. `clean` has the class that each
        network predicts on the clean image. `adversarial` has, for each source and attack, `linf`,
        the largest difference of the attacked image from the clean one in any pixel, of an attack
        in l2 also `l2`, the l2 distance, and `predictions`, the class that each target predicts on
        the attacked image. For instance
        `record["adversarial"]["vgg"]["fgsm"]["predictions"]["cbam"]` is a class number.
        """
        if self.output is None:
            return iter(self._records)
        return read_record_lines(self.output, TRANSFER_KEYS)

    def accuracy(self, source: str, target: str, attack: str) -> float:
        """Accuracy of one network on the adversarial images of another one.

        Args:
            source: name of the network that the images were made on.
            target: name of the network that judges them.
            attack: name of the attack. The part before its parameters, `fgsm` of
                `fgsm(epsilon=0.1)`, is enough if no other attack has the same.

        Returns:
            Fraction of all images that the target classifies correctly under attack, in [0, 1].

        Raises:
            ValueError: an unknown name, or one that several attacks share.
        """
        attack = name_of_call(attack, self.summary["threat_models"])
        found = {
            (entry["source"], entry["target"]): entry["accuracy"]
            for entry in self.summary["transfer"]
            if entry["attack"] == attack
        }
        sources, targets = (list(dict.fromkeys(names)) for names in zip(*found, strict=True))
        for kind, name, known in (("source", source, sources), ("target", target, targets)):
            if name not in known:
                raise ValueError(f"No {kind} is named {name!r}." + near_names(name, known))
        return found[source, target]


def evaluate_transfer(
    networks: Mapping[str, Classifier | keras.Model],
    dataset: Any,
    attacks: Sequence[Attack | str] | Attack | str,
    *,
    sources: Sequence[str] | str | None = None,
    targets: Sequence[str] | str | None = None,
    batch_size: int = 100,
    seed: int = 0,
    output: PathLike | None = None,
    description: Mapping[str, Any] | None = None,
    first_index: int = 0,
    num_examples: int | None = None,
    shard: tuple[int, int] | None = None,
    verbose: int | str = "auto",
    progress: Callable[[Progress], None] | None = None,
    further: Callable[[], Mapping[str, Any]] = dict,
) -> TransferReport:
    """Measures the accuracy of each network on adversarial images that were made on the others.

    Every attack runs on every source network, the one whose gradients it follows, over every image
    and with all its iterations, also where the clean image is misclassified. All target networks
    judge the final image. Where source and target are the same network, this is the white box.
    Attacks share work: FGSM at several epsilons takes one gradient, and PGD of 5, 10 and 20
    iterations, otherwise equal, is one run of 20. The images are, bit for bit, those of each attack
    by itself.

    `evaluate_robustness(..., surrogate=source)`, with one source and one target, attacks only
    images that the target classifies correctly, and stops as soon as one is misclassified.

    With restarts, the image is that of the first restart that succeeds on the source, or of the
    last one. From `apgd`, `fab` and `square` it is the best image they met on the source. A
    targeted attack does not change images whose label is the target.

    Memory does not grow with the number of images if there is an `output`.

    Args:
        networks: Classifiers, Keras models or defences of this package, by the names that they have
            in records and tables. Those that are used must take images of the same size, dtype and
            pixel range and have the same classes.
        dataset: batches of images `[batch, H, W, C]` and labels `[batch]`, or a pair of arrays; any
            form that `evaluate_robustness` takes, in the same order in every run.
        attacks: one or several, also as text such as `"fgsm(epsilon=0.1)"`. Attacks of equal name
            are renamed by their parameters. No cascades, whose later attacks run on the images that
            one network still classifies correctly.
        sources: names of the networks that images are made on; None for all.
        targets: names of the networks that judge them; None for all.
        batch_size: how many images are attacked at a time where the data set is arrays; batches
            stay as they are.
        seed: int64, seed of the random starts, which depend on it, the example's index
            and the restart alone.
        output: file of records, one JSON line per image, compressed if it ends with ".gz"; the
            summary goes beside it. An interrupted run continues from `<output>.partial`, batch by
            batch; a finished one is read back.
        description: further facts on networks and data, as JSON can hold them. It is part of the
            summary; an interrupted run continues only with an equal description.
        first_index: index of the first example in its data set; indices seed the random starts.
        num_examples: how many examples are evaluated, from the first one on; None for all. An
            endless data set needs it.
        shard: (number, count) if this is one of `count` parts of a data set, to be joined by
            `merge_transfer`; `shard_range` gives the examples of a part.
        verbose: 1 shows progress on standard error, 0 does not; `"auto"` shows it in a terminal or
            notebook, unless there is a `progress`.
        progress: a function called with a `Progress` at the beginning, before each source of a
            batch, and at the end.
        further: a function that returns further entries of the summary, as JSON can hold them,
            under names that the summary does not have. It is called once all images are judged,
            and again from its beginning if it was interrupted, but not for a finished output.
            `merge_transfer` leaves such entries out.

    Returns:
        The report, with accuracies for each attack, source and target, and comparisons of targets.

    Raises:
        TypeError: arguments of other types, images that are not floating point.
        ValueError: no networks; unknown or repeated names; networks that do not take the same
            images or have different numbers of classes; no attacks, one of them twice, a cascade,
            or sizes beyond the pixel range; an empty data set, fewer than `num_examples` examples,
            or images or labels out of range; a seed beyond int64; a shard that does not
            exist; an output that belongs to another evaluation; or an entry of `further` under a
            name that the summary has.
        OSError: the output cannot be written.

    Example:
        >>> report = evaluate_transfer(
        ...     {"resnet50": resnet, "cbam_resnet50": cbam, "vgg16": vgg},
        ...     (images, labels),
        ...     [fgsm(0.05), fgsm(0.1), pgd(0.2, 0.01, 20, random_start=False)],
        ... )
        >>> report.accuracy("vgg16", "cbam_resnet50", "pgd")
        0.25

    [Agrawal Tables I to III]
    """
    networks, sources, targets = _checked_networks(networks, sources, targets)
    single = _single(inputs.check_attacks(attacks))
    check_count(batch_size, "batch_size")
    seed = checked_seed(seed)
    check_verbose(verbose)
    output = None if output is None else Path(output)
    if output is not None:
        check_writable(output)
    classifiers = inputs.as_classifiers(networks)
    first = classifiers[inputs.strictest(classifiers)]
    for attack in single:
        attack.check_sizes(first.bounds, first.input_shape)
    single = [attack.for_classes(first.num_classes) for attack in single]
    batches = inputs.Batches(first, dataset, batch_size, num_examples, first_index)
    evaluated = fingerprint(
        first,
        networks={name: weights_fingerprint(each) for name, each in classifiers.items()},
        sources=sources,
        targets=targets,
        first_example=batches.first_example,
        num_examples=batches.num_examples,
        description=dict(description or {}),
        attacks={attack.name: attack_to_dict(attack) for attack in single},
        # Records name attacks in this order.
        order=[attack.name for attack in single],
        seed=seed,
        **shard_facts(first_index, shard),
    )
    if output is not None:
        evaluated["logits"] = {
            name: probe_logits(each, batches.image_shape) for name, each in classifiers.items()
        }
    if output is not None and (summary := finished_summary(output, "transfer")) is not None:
        found = {**summary["evaluated"], "num_examples": summary["count"]}
        check_same_evaluation(output, found, {**evaluated, "num_examples": batches.count()})
        return TransferReport(summary, output)
    transfer = _Transfer(classifiers, sources, targets, single, seed)
    counts = TransferCounts(sources, targets, evaluated["order"])
    journal = None
    if output is not None:
        journal = Journal(journal_path(output), evaluated, _is_record)
    kept: list[dict[str, Any]] = []
    try:
        if journal is not None:
            counts.add(journal.consecutive(first_index))
        reused, begin = counts.count, time.perf_counter()
        with shown_progress(verbose, progress) as shown:
            for records in _measured(transfer, batches, counts, shown):
                kept += records if journal is None else ()
                if journal is not None:
                    journal.append(records)
                counts.add(records)
        summary = {
            **summarize_transfer([each.threat_model(first.bounds) for each in single], counts),
            **timing(time.perf_counter() - begin, counts.count - reused),
            "evaluated": evaluated,
            "provenance": provenance(),
        }
        entries = further()
        if taken := sorted(summary.keys() & entries.keys()):
            raise ValueError(f"further returned entries that the summary has: {', '.join(taken)}.")
        summary |= entries
        if journal is None or output is None:
            return TransferReport(summary, None, tuple(kept))
        write_record_lines(output, journal.lines())
        write_json_atomically(summary_path(output), summary)
        journal.remove()
        return TransferReport(summary, output)
    finally:
        if journal is not None:
            journal.close()


@dataclass(frozen=True)
class _Transfer:
    """Makes the records of a batch.

    Attributes:
        classifiers: networks by name.
        sources: names of those that images are made on.
        targets: names of those that judge them.
        attacks: under names that differ.
        seed: of the random starts.
    """

    classifiers: Mapping[str, Classifier]
    sources: Sequence[str]
    targets: Sequence[str]
    attacks: Sequence[IterativeAttack]
    seed: int

    def records(
        self, start: int, images: np.ndarray, labels: np.ndarray, report: Callable[[str], None]
    ) -> list[dict[str, Any]]:
        """One record per image.

        Args:
            start: index of the first of them.
            images: `[batch, H, W, C]` in the dtype of the networks.
            labels: int32 `[batch]`.
            report: called with what is done now, in words, before each source.
        """
        indices = np.arange(start, start + len(labels))
        given = tf.constant(images), tf.constant(labels)
        clean = {
            name: self._predicted(name, given[0], indices, ". Check its weights.")
            for name in self.classifiers
        }
        adversarial: dict[str, dict[str, Any]] = {}
        for source in self.sources:
            report(f"attacks on {source}")
            found = {
                attack.name: self._judged(source, attack, attacked, given, indices)
                for attack, attacked in attacked_by_each(
                    self.classifiers[source], self.attacks, *given, self.seed, indices
                )
            }
            adversarial[source] = {attack.name: found[attack.name] for attack in self.attacks}
        return [
            {
                "index": int(index),
                "label": int(labels[row]),
                "clean": {name: int(classes[row]) for name, classes in clean.items()},
                "adversarial": {
                    source: {name: _of_row(judged, row) for name, judged in by_attack.items()}
                    for source, by_attack in adversarial.items()
                },
            }
            for row, index in enumerate(indices)
        ]

    def _judged(
        self,
        source: str,
        attack: IterativeAttack,
        attacked: tf.Tensor,
        given: tuple[tf.Tensor, tf.Tensor],
        indices: np.ndarray,
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """How far images were moved, by norm, and the classes that targets predict, `[batch]`."""
        images, labels = given
        goals = target_classes(attack.objective, labels)
        if goals is not None:
            # Nothing is attacked towards its own class.
            attacked = where(goals == labels, images, attacked)
        hint = f" under attack {attack.name!r} on {source!r}. Look for what overflows."
        predicted = {
            target: self._predicted(target, attacked, indices, hint) for target in self.targets
        }
        norms = dict.fromkeys(("linf", attack.norm))
        return {norm: distance(attacked, images, norm).numpy() for norm in norms}, predicted

    def _predicted(
        self, name: str, images: tf.Tensor, indices: np.ndarray, hint: str
    ) -> np.ndarray:
        logits = self.classifiers[name].predict_logits(images)
        return predicted_classes(logits, indices, f", by network {name!r}{hint}")


def _of_row(
    judged: tuple[dict[str, np.ndarray], dict[str, np.ndarray]], row: int
) -> dict[str, Any]:
    distances, predicted = judged
    # Rounded above float32's own rounding, so that 0.15 reads 0.15.
    return {
        **{norm: round(float(each[row]), 6) for norm, each in distances.items()},
        "predictions": {target: int(classes[row]) for target, classes in predicted.items()},
    }


def _measured(
    transfer: _Transfer,
    batches: inputs.Batches,
    counts: TransferCounts,
    progress: Callable[[Progress], None] | None,
) -> Iterator[list[dict[str, Any]]]:
    """Records that are not counted yet, batch by batch; the caller counts them."""
    begin, reused, seen = time.perf_counter(), counts.count, 0

    def report(detail: str = "") -> None:
        if progress is not None:
            seconds = time.perf_counter() - begin
            state = (counts.count, batches.num_examples, reused, seconds)
            progress(Progress(*state, "images", detail))

    report()
    for start, images, labels in batches:
        before, seen = seen, seen + len(labels)
        if seen > counts.count:
            records = transfer.records(start, images, labels, report)
            # Of a batch that was written in part, what is there already.
            yield records[counts.count - before :]
    report()
    if seen != counts.count:
        raise ValueError(
            f"The records kept from an interrupted run reach beyond the {seen} examples of this "
            f"data set. Was it another data set? Delete them to start over."
        )


def _checked_networks(
    networks: Mapping[str, Classifier | keras.Model],
    sources: Sequence[str] | str | None,
    targets: Sequence[str] | str | None,
) -> tuple[dict[str, Any], list[str], list[str]]:
    """Networks that are used, in the order of targets and then sources, and both lists of names."""
    if not isinstance(networks, Mapping):
        raise TypeError(
            f"networks must be a mapping from names to networks, such as "
            f'{{"resnet50": model, "vgg16": other_model}}, got {type(networks).__name__}.'
        )
    if not networks:
        raise ValueError(
            'networks is empty; give at least one by its name, such as {"resnet50": model}.'
        )
    for name in networks:
        if not isinstance(name, str) or not name:
            raise TypeError(f"Names of networks must be texts that are not empty, got {name!r}.")
    chosen = [
        _checked_names(names, networks, what)
        for names, what in ((sources, "sources"), (targets, "targets"))
    ]
    used = dict.fromkeys((*chosen[1], *chosen[0]))
    return {name: networks[name] for name in used}, chosen[0], chosen[1]


def _checked_names(
    names: Sequence[str] | str | None, networks: Mapping[str, Any], what: str
) -> list[str]:
    if names is None:
        return list(networks)
    chosen = [names] if isinstance(names, str) else list(names)
    if not chosen:
        raise ValueError(f"{what} is empty; name at least one network, or leave it out for all.")
    for name in chosen:
        if name not in networks:
            raise ValueError(
                f"{what} names {name!r}, which is none of the networks."
                + near_names(str(name), networks)
            )
    if repeated := sorted({name for name in chosen if chosen.count(name) > 1}):
        raise ValueError(f"{what} names {', '.join(repeated)} more than once: once is enough.")
    return chosen


def _single(attacks: Sequence[Attack]) -> list[IterativeAttack]:
    """The attacks, unless one of them is a cascade."""
    single = [attack for attack in attacks if isinstance(attack, IterativeAttack)]
    for attack in attacks:
        if isinstance(attack, AttackCascade):
            raise ValueError(
                f"{attack.name} is a cascade: each of its attacks is run on what those before have "
                f"left correct, so what it ends at depends on the network that judges. Give its "
                f"attacks one by one, as attacks=cascade.stages, or run the cascade for one "
                f"target: evaluate_robustness(target, dataset, cascade, surrogate=source)."
            )
    return single


def _is_record(record: Mapping[str, Any]) -> bool:
    return record.keys() >= set(TRANSFER_KEYS)
