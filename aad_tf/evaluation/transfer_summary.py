"""Accuracies, comparisons of target networks and a table from records of a transfer evaluation."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from aad_tf.evaluation.summary import (
    aligned,
    budget_text,
    chance_warning,
    norms_text,
    small_epsilon_warnings,
    wilson_entry,
)
from aad_tf.metrics import difference_interval, mcnemar

RULE = (
    "Every image is attacked with all iterations on the source, whatever networks make of it, and "
    "the last iterate is judged by all targets"
)


class TransferCounts:
    """Counts correct predictions on clean and on attacked images, record by record.

    Args:
        sources: names of the networks that images were made on.
        targets: names of the networks that judge them.
        attacks: names of the attacks.

    Attributes:
        sources, targets, attacks: the arguments of those names, as tuples.
        count: how many examples have been counted.
        labels: how many of them each class has, by class number.
    """

    def __init__(
        self, sources: Sequence[str], targets: Sequence[str], attacks: Sequence[str]
    ) -> None:
        self.sources, self.targets, self.attacks = tuple(sources), tuple(targets), tuple(attacks)
        self.count = 0
        self.labels: Counter[int] = Counter()
        shape = len(self.sources), len(self.attacks), len(self.targets)
        self._clean_of_sources = np.zeros(len(self.sources), np.int64)
        self._clean_pairs = np.zeros((shape[2], shape[2]), np.int64)
        self._clean_both = np.zeros((shape[0], shape[2]), np.int64)
        # How many images both targets get right; on the diagonal those of one target.
        self._pairs = np.zeros((*shape, shape[2]), np.int64)
        self._of_clean_both = np.zeros(shape, np.int64)

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Counts further records.

        Args:
            records: dicts, one per image, of `label`; `clean`, the class that each network predicts
                on the clean image; and `adversarial`, by source and then attack a dict whose
                `predictions` has the class that each target predicts on the attacked image.
        """
        for record in records:
            label, clean = record["label"], record["clean"]
            by_source = np.array([clean[name] == label for name in self.sources])
            by_target = np.array([clean[name] == label for name in self.targets])
            both = by_source[:, np.newaxis] & by_target
            right = np.array(
                [
                    [
                        [attacked["predictions"][target] == label for target in self.targets]
                        for attacked in (record["adversarial"][source][a] for a in self.attacks)
                    ]
                    for source in self.sources
                ]
            )
            self.count += 1
            self.labels[label] += 1
            self._clean_of_sources += by_source
            self._clean_pairs += by_target[:, np.newaxis] & by_target
            self._clean_both += both
            self._pairs += right[..., :, np.newaxis] & right[..., np.newaxis, :]
            self._of_clean_both += right & both[:, np.newaxis]

    def clean(self, network: str) -> int:
        """How many clean images a network classifies correctly.

        Args:
            network: name of the network, a source or a target.

        Returns:
            The number of images.

        Raises:
            ValueError: neither a source nor a target.
        """
        if network in self.targets:
            place = self.targets.index(network)
            return int(self._clean_pairs[place, place])
        return int(self._clean_of_sources[self.sources.index(network)])

    def pairs(self, source: str | None, attack: str | None) -> np.ndarray:
        """How many images each two targets both classify correctly.

        Args:
            source: name of the network that the images were made on; None for clean images.
            attack: name of the attack that made them; None for clean images.

        Returns:
            int `[targets, targets]`; the diagonal has the counts of each target by itself.
        """
        if source is None or attack is None:
            return self._clean_pairs
        return self._pairs[self.sources.index(source), self.attacks.index(attack)]

    def of_clean_both(self, source: str, attack: str, target: str) -> tuple[int, int]:
        """Counts over the images that source and target both classify correctly when clean.

        Args:
            source: name of the network that the images were made on.
            attack: name of the attack that made them.
            target: name of the network that judges them.

        Returns:
            How many of these images the target classifies correctly under the attack, and how many
            there are.
        """
        one, other = self.sources.index(source), self.targets.index(target)
        still = self._of_clean_both[one, self.attacks.index(attack), other]
        return int(still), int(self._clean_both[one, other])


def summarize_transfer(
    threat_models: Sequence[Mapping[str, Any]], counts: TransferCounts
) -> dict[str, Any]:
    """Computes accuracies of all targets on the images of all sources, and compares targets.

    Args:
        threat_models: one dict for each attack, with the attack's name under `attack`.
        counts: the counts over all examples.

    Returns:
        A dict that `json` can write: `networks`, a list of clean accuracies; `transfer`, an entry
        for each attack, source and target; `comparisons`, an entry for each two targets on clean
        images, then one for each attack, source and two targets; `threat_models` by the attack's
        name; `count`, the number of examples; `rule`, a sentence on what was attacked; and
        `warnings`, a list of sentences.
        An entry of `transfer` has `accuracy` over all images, the target's `clean_accuracy`, and
        under `both_correct` the accuracy over the images that source and target both classify
        correctly when clean, None if there are none. A comparison has as `difference` the accuracy
        of the first target minus that of the second, its 95% `interval` (Newcombe's, for paired
        proportions), how many images only one of the two classifies correctly, and the `p_value` of
        McNemar's exact test. Accuracies are fractions.
    """
    names = list(dict.fromkeys((*counts.targets, *counts.sources)))
    kinds = [(attack, source) for attack in counts.attacks for source in counts.sources]
    return {
        "networks": [
            {"network": name, **_fraction("clean_", counts.clean(name), counts.count)}
            for name in names
        ],
        "transfer": [
            _entry(counts, source, target, attack)
            for attack, source in kinds
            for target in counts.targets
        ],
        "comparisons": [
            comparison
            for attack, source in [(None, None), *kinds]
            for comparison in _comparisons(counts, attack, source)
        ],
        "threat_models": {model["attack"]: dict(model) for model in threat_models},
        "count": counts.count,
        "rule": RULE,
        "warnings": [
            *itertools.chain.from_iterable(
                chance_warning(f"The clean accuracy of {name}", counts.clean(name), counts.labels)
                for name in names
            ),
            *small_epsilon_warnings(threat_models),
            *_weak_white_boxes(counts),
        ],
    }


def _weak_white_boxes(counts: TransferCounts) -> Iterator[str]:
    """Sentences on networks that fare worse on the images of others than on their own.

    The white box has what the others have not, the network's own gradients. A difference counts
    whose interval does not reach 0; it is that of independent samples, the wider one.
    """
    for attack, target in itertools.product(counts.attacks, counts.targets):
        place = counts.targets.index(target)
        correct = {
            source: int(counts.pairs(source, attack)[place, place]) for source in counts.sources
        }
        own = correct.pop(target, None)
        if own is None or not correct:
            continue
        source = min(correct, key=lambda name: correct[name])
        found = (own, counts.count), (correct[source], counts.count)
        if difference_interval(*found).low > 0:
            yield (
                f"{attack} leaves {target} more accuracy with its own gradients "
                f"({own / counts.count:.1%}) than with those of {source} "
                f"({correct[source] / counts.count:.1%}): its gradients may be masked, or the "
                f"steps of this attack too large. Try more and smaller steps, and attacks without "
                f"gradients."
            )


def _fraction(prefix: str, correct: int, count: int) -> dict[str, Any]:
    return {
        f"{prefix}accuracy": correct / count if count else None,
        f"{prefix}correct": correct,
        "count": count,
        "interval": wilson_entry(correct, count) if count else None,
    }


def _entry(counts: TransferCounts, source: str, target: str, attack: str) -> dict[str, Any]:
    place = counts.targets.index(target)
    correct = int(counts.pairs(source, attack)[place, place])
    return {
        "attack": attack,
        "source": source,
        "target": target,
        "access": "white_box" if source == target else "transfer",
        **_fraction("", correct, counts.count),
        "clean_accuracy": counts.clean(target) / counts.count,
        "both_correct": _fraction("", *counts.of_clean_both(source, attack, target)),
    }


def _comparisons(
    counts: TransferCounts, attack: str | None, source: str | None
) -> Iterator[dict[str, Any]]:
    found, total = counts.pairs(source, attack), counts.count
    for one, other in itertools.combinations(range(len(counts.targets)), 2):
        both, first, second = (
            int(found[place]) for place in ((one, other), (one, one), (other, other))
        )
        only_first, only_second = first - both, second - both
        interval = difference_interval(
            (first, total),
            (second, total),
            (both, only_first, only_second, total - both - only_first - only_second),
        )
        yield {
            "attack": attack,
            "source": source,
            "targets": [counts.targets[one], counts.targets[other]],
            "difference": (first - second) / total,
            "interval": {
                "method": "newcombe_paired",
                "confidence": 0.95,
                **interval._asdict(),
            },
            "only_first": only_first,
            "only_second": only_second,
            "p_value": mcnemar(only_first, only_second),
            "test": "mcnemar_exact",
        }


def format_transfer(summary: Mapping[str, Any]) -> str:
    """A summary of `evaluate_transfer` as tables to print.

    Args:
        summary: the summary of a report of `evaluate_transfer`.

    Returns:
        The targets' accuracies on the images of each source and attack, over all images and over
        those that source and target classify correctly when clean; comparisons of targets; threat
        models and warnings.

    Example:
        >>> report = evaluate_transfer({"a": model}, (images, labels), fgsm(0.1))
        >>> text = format_transfer(report.summary)
    """
    entries = {
        (entry["attack"], entry["source"], entry["target"]): entry for entry in summary["transfer"]
    }
    attacks, sources, targets = (list(dict.fromkeys(names)) for names in zip(*entries, strict=True))
    clean = {each["network"]: each for each in summary["networks"]}
    rows = [["attack", "source", *(f"judged by {target}" for target in targets)]]
    rows.append(["none", "", *(_cell(clean[target], "clean_") for target in targets)])
    right = [["attack", "source", *(f"judged by {target}" for target in targets)]]
    for attack, source in itertools.product(attacks, sources):
        found = [entries[attack, source, target] for target in targets]
        marks = ["*" if entry["access"] == "white_box" else "" for entry in found]
        pairs = list(zip(found, marks, strict=True))
        rows.append([attack, source, *(_cell(entry) + mark for entry, mark in pairs)])
        both = [(entry["both_correct"], mark) for entry, mark in pairs]
        cells = (f"{_cell(each)}{mark}, n = {each['count']}" for each, mark in both)
        right.append([attack, source, *cells])
    lines = [
        f"Accuracy on {summary['count']} images (95%); * white box, others transfer:",
        *aligned(rows, "  "),
        "Accuracy on the n images that source and target get right when clean:",
        *aligned(right, "  "),
        *_comparison_lines(summary["comparisons"]),
        f"Threat models: {norms_text(summary['threat_models'].values())}, true labels unless a "
        f"target is named.",
        *aligned(
            [
                _threat_row(model, budget_text(model, summary["threat_models"].values()))
                for model in summary["threat_models"].values()
            ],
            "  ",
        ),
    ]
    if shard := summary.get("evaluated", {}).get("shard"):
        lines.append(f"Only shard {shard[0]}/{shard[1]} of the examples.")
    lines.append(f"{summary['rule']}.")
    return "\n".join([*lines, *(f"Warning: {warning}" for warning in summary["warnings"])])


def _cell(entry: Mapping[str, Any], prefix: str = "") -> str:
    interval = entry["interval"]
    if interval is None:
        return "-"
    return f"{entry[f'{prefix}accuracy']:.2%} ({interval['low']:.2%} to {interval['high']:.2%})"


def _comparison_lines(comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    if not comparisons:
        return []
    rows = [("attack", "source", "targets", "difference (95%)", "only first", "only second", "p")]
    for each in comparisons:
        interval, source = each["interval"], each["source"]
        targets = (f"{name}*" if name == source else name for name in each["targets"])
        rows.append(
            (
                each["attack"] or "none",
                source or "",
                " - ".join(targets),
                f"{each['difference']:+.2%} ({interval['low']:+.2%} to {interval['high']:+.2%})",
                str(each["only_first"]),
                str(each["only_second"]),
                f"{each['p_value']:.2g}",
            )
        )
    return [
        "Targets compared image by image: accuracy of the first minus that of the second, images",
        "that only one gets right, McNemar's exact test (p-values stand for each line alone and",
        "are not corrected for their number):",
        *aligned(rows, "  "),
    ]


def _threat_row(model: Mapping[str, Any], budget: str) -> tuple[str, ...]:
    steps, restarts = model["steps"], model["restarts"]
    bounds = model.get("bounds")
    unit = f" of images in [{bounds[0]:g}, {bounds[1]:g}]" if bounds else ""
    fraction = "" if model["epsilon_255"] is None else f" = {model['epsilon_255']:.4g}/255"
    return (
        model["attack"],
        f"total epsilon {budget}{unit}{fraction}",
        f"{steps} step{'s' if steps > 1 else ''}",
        f"{'random' if model['random_start'] else 'no random'} start",
        f"{restarts} restart{'s' if restarts > 1 else ''}",
        f"towards class {model['target']}" if "target" in model else "",
    )
