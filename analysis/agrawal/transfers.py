"""The transfer evaluations of the CBAM study, one for each data set and seed.

The records are those of eval.transfer, results/transfer/<data set>_seed_<number>.jsonl.gz with
.summary.json, in which the networks are named resnet50, cbam_resnet50 and vgg16. Those within
budgets smaller than the paper's are <data set>_small_budgets_seed_<number>.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aad_tf.attacks import parse_attack
from aad_tf.records import TRANSFER_KEYS, read_record_lines, read_summary
from analysis.agrawal.seeds import OverSeeds
from analysis.agrawal_values import TABLE_III
from analysis.paper_values import PaperTable
from analysis.records import Results, same_attack
from analysis.statistics import Estimate, difference_interval, fraction
from train.configs.agrawal import (
    ATTACKS,
    FGSM_EPSILONS,
    NETWORKS,
    PGD_STEPS,
    SMALL_ATTACKS,
    SMALL_SIZES,
)

RESNET, CBAM, VGG = "resnet50", "cbam_resnet50", "vgg16"
PAIR = (RESNET, CBAM)
SHORT = {RESNET: "ResNet", CBAM: "CBAM", VGG: "VGG"}
FGSM, PGD = "fgsm", "pgd"
STRENGTHS: Mapping[str, tuple[float, ...]] = {FGSM: FGSM_EPSILONS, PGD: PGD_STEPS}
# Beyond the paper: epsilon times 255, of FGSM and of PGD with 10 iterations.
SMALL_FGSM, SMALL_PGD = "small_fgsm", "small_pgd"
SMALL_STRENGTHS: Mapping[str, tuple[float, ...]] = dict.fromkeys(
    (SMALL_FGSM, SMALL_PGD), SMALL_SIZES
)
_STRENGTHS_IN_ORDER = [
    (kind, float(size))
    for strengths in (STRENGTHS, SMALL_STRENGTHS)
    for kind, sizes in strengths.items()
    for size in sizes
]
_ATTACKS = dict(zip((*ATTACKS, *SMALL_ATTACKS), _STRENGTHS_IN_ORDER, strict=True))
# What seeds must share for a mean over them to speak of seeds alone.
_SAME_BUT_SEED = (
    *("model", "model_options", "epochs", "batch_size", "learning_rate", "optimizer", "precision"),
)
# By data set: what the paper calls it, or the data set of the paper that it stands for.
PRINTED = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "tiny_imagenet_100": "CIFAR-100",
    "fashion_mnist": "Fashion MNIST",
}
# By what the paper calls it: the data set whose study is to be run for its claims.
STUDIED = {
    "CIFAR-10": "cifar10",
    "CIFAR-100": "tiny_imagenet_100",
    "Fashion MNIST": "fashion_mnist",
}
STAND_INS = {
    "tiny_imagenet_100": (
        "tiny_imagenet_100, 100 classes of Tiny ImageNet at 32x32, stands in for CIFAR-100: other "
        "pictures, so the paper's numbers beside ours are no target"
    )
}
# The columns of Table III: made on, judged by.
COLUMNS = (
    *((RESNET, RESNET), (RESNET, CBAM)),
    *((CBAM, CBAM), (CBAM, RESNET)),
    *((VGG, VGG), (VGG, RESNET), (VGG, CBAM)),
)
_SHOWN_WARNINGS = 3
_LEFT_OPEN = (
    "The paper states neither optimizer, epochs and augmentation nor stem, CBAM's options, seeds "
    "and which images count."
)
_NAME = re.compile(r"(.+?)(_small_budgets)?_seed_(\d+)\.summary\.json")


@dataclass(frozen=True, eq=False)
class Seed:
    """The transfer evaluation of the networks of one data set and seed.

    Attributes:
        dataset: e.g. `cifar10`.
        number: the seed.
        path: file of the records.
        summary: summary of the evaluation.
    """

    dataset: str
    number: int
    path: Path
    summary: Mapping[str, Any]

    @property
    def count(self) -> int:
        """Number of images."""
        return int(self.summary["count"])

    def config(self, network: str) -> Mapping[str, Any]:
        """The config that a network was trained with; empty if it is not recorded."""
        models = self.summary["evaluated"].get("description", {}).get("models", {})
        return models.get(network, {}).get("config", {})

    def attack(self, kind: str, strength: float) -> str | None:
        """The recorded name of an attack.

        Args:
            kind: `FGSM` or `PGD`, or one of `SMALL_STRENGTHS`.
            strength: epsilon of FGSM or number of iterations of PGD, one that the paper has; or
                epsilon times 255, one in `SMALL_STRENGTHS`.

        Returns:
            The name, or None if the attack was not run.
        """
        text = next(text for text, what in _ATTACKS.items() if what == (kind, float(strength)))
        wanted = parse_attack(text).threat_model()
        for name, model in self.summary["threat_models"].items():
            if same_attack(model, wanted):
                return str(name)
        return None

    @functools.cached_property
    def _outcomes(self) -> tuple[np.ndarray, dict[str, Any], dict[tuple[str, str, str], Any]]:
        labels: list[int] = []
        clean: dict[str, list[bool]] = {}
        attacked: dict[tuple[str, str, str], list[bool]] = {}
        for record in read_record_lines(self.path, TRANSFER_KEYS):
            label = record["label"]
            labels.append(label)
            for name, predicted in record["clean"].items():
                clean.setdefault(name, []).append(predicted == label)
            for source, by_attack in record["adversarial"].items():
                for attack, found in by_attack.items():
                    for target, predicted in found["predictions"].items():
                        key = (source, target, attack)
                        attacked.setdefault(key, []).append(predicted == label)
        return (
            np.array(labels),
            {name: np.array(right) for name, right in clean.items()},
            {key: np.array(right) for key, right in attacked.items()},
        )

    @property
    def labels(self) -> np.ndarray:
        """True classes, int `[images]`."""
        return self._outcomes[0]

    def right(
        self, source: str, target: str, kind: str = FGSM, strength: float = 0.0
    ) -> np.ndarray | None:
        """Tells which images a target classifies correctly.

        Args:
            source: network that the images were made on.
            target: network that judges them.
            kind: the attack, as in `attack`.
            strength: its strength, as in `attack`; 0 for the clean images.

        Returns:
            bool `[images]`; None if that was not run.
        """
        if not strength:
            return self.judged(source, target, None)
        name = self.attack(kind, strength)
        return None if name is None else self.judged(source, target, name)

    def judged(self, source: str, target: str, attack: str | None) -> np.ndarray | None:
        """Tells which images a target classifies correctly under an attack.

        Args:
            source: network that the images were made on.
            target: network that judges them.
            attack: recorded name of the attack; None for the clean images.

        Returns:
            bool `[images]`; None if that was not run.
        """
        _, clean, attacked = self._outcomes
        return clean.get(target) if attack is None else attacked.get((source, target, attack))


def transfers(results: Results) -> dict[str, list[Seed]]:
    """Reads all transfer evaluations of the CBAM study under the paper's attacks.

    It is called through `results.once`, so that records are read once.

    Returns:
        By data set, the evaluations in the order of seeds.

    Raises:
        ValueError: a file whose name does not fit what it holds, a shard, no such summary, or seeds
            whose networks were trained with different settings.
    """
    return _read(results, "")


def small_transfers(results: Results) -> dict[str, list[Seed]]:
    """Reads all transfer evaluations within small budgets, as `transfers` reads the others."""
    return _read(results, "_small_budgets")


def _read(results: Results, infix: str) -> dict[str, list[Seed]]:
    found: dict[str, list[Seed]] = {}
    for path in sorted((results.root / "transfer").glob("*.summary.json")):
        parts, summary = _NAME.fullmatch(path.name), read_summary(path, "transfer")
        evaluated = summary["evaluated"]
        dataset = evaluated.get("description", {}).get("dataset", {}).get("name", "")
        if parts is None or parts[1] != dataset:
            raise ValueError(
                f"{path} should be called {dataset or '<data set>'}_seed_<number>.summary.json, or "
                f"{dataset or '<data set>'}_small_budgets_seed_<number>.summary.json."
            )
        if (parts[2] or "") != infix:
            continue
        if evaluated.get("shard") is not None:
            raise ValueError(f"{path} is a shard of an evaluation; merge its shards first.")
        records = path.with_name(path.name.replace(".summary.json", ".jsonl.gz"))
        seed = Seed(dataset, int(parts[3]), records, summary)
        for network in (*PAIR, VGG):
            trained = seed.config(network).get("seed", seed.number)
            if trained != seed.number:
                raise ValueError(f"{path} holds a {network} of seed {trained}, not of its name's.")
        found.setdefault(dataset, []).append(seed)
    for seeds in found.values():
        for other in seeds[1:]:
            _check_same_but_seed(seeds[0], other)
    return {name: sorted(seeds, key=lambda seed: seed.number) for name, seeds in found.items()}


def _check_same_but_seed(first: Seed, other: Seed) -> None:
    for network in (*PAIR, VGG):
        configs = [seed.config(network) for seed in (first, other)]
        different = [
            key
            for key in _SAME_BUT_SEED
            if all(configs) and configs[0].get(key) != configs[1].get(key)
        ]
        if different:
            raise ValueError(
                f"{first.path} and {other.path} differ in {', '.join(different)} of {network}: "
                f"train seeds alike."
            )


def accuracy(
    seeds: Sequence[Seed],
    source: str,
    target: str,
    kind: str = FGSM,
    strength: float = 0.0,
    both_right: bool = False,
) -> OverSeeds:
    """Accuracy of a target on the images of a source, over seeds.

    Args:
        seeds: evaluations of one data set.
        source: network that the images were made on.
        target: network that judges them.
        kind: `FGSM` or `PGD`.
        strength: epsilon of FGSM or number of iterations of PGD; 0 for the clean images.
        both_right: True counts only images that two networks classify correctly when clean. These
            are source and target. If both are the same ResNet-50, with or without CBAM, they are
            ResNet-50 with and without CBAM.

    Returns:
        Fractions in [0, 1] with intervals over images.
    """
    return OverSeeds(
        tuple(_accuracy(seed, source, target, kind, strength, both_right) for seed in seeds)
    )


def _accuracy(
    seed: Seed, source: str, target: str, kind: str, strength: float, both_right: bool
) -> Estimate:
    right = seed.right(source, target, kind, strength)
    if right is None:
        return Estimate(None, None, 0)
    if both_right:
        others = PAIR if source == target and target in PAIR else (source, target)
        clean = [seed.right(name, name) for name in others]
        kept = np.all([each for each in clean if each is not None], axis=0)
        right = right[kept]
    return fraction(int(right.sum()), len(right))


def difference(
    seeds: Sequence[Seed], kind: str = FGSM, strength: float = 0.0, pair: Sequence[str] = PAIR
) -> OverSeeds:
    """White-box accuracy of one network minus that of another, over seeds.

    Args:
        seeds: evaluations of one data set.
        kind: `FGSM` or `PGD`.
        strength: epsilon of FGSM or number of iterations of PGD; 0 for the clean images.
        pair: names of both networks.

    Returns:
        Differences in [-1, 1]; within a seed they are paired over the images.
    """
    return OverSeeds(tuple(_difference(seed, kind, strength, pair) for seed in seeds))


def _difference(seed: Seed, kind: str, strength: float, pair: Sequence[str]) -> Estimate:
    one, other = (seed.right(name, name, kind, strength) for name in pair)
    if one is None or other is None:
        return Estimate(None, None, 0)
    return paired(one, other)


def paired(one: np.ndarray, other: np.ndarray) -> Estimate:
    """Difference of two accuracies over the same images, with Newcombe's paired interval.

    Args:
        one: bool `[images]`, whether each image is correct for the first network.
        other: the same for the second network.

    Returns:
        The first accuracy minus the second, in [-1, 1].
    """
    both, first, second = ((one & other).sum(), (one & ~other).sum(), (~one & other).sum())
    pairs = (int(both), int(first), int(second), int((~one & ~other).sum()))
    total = len(one)
    return difference_interval((int(one.sum()), total), (int(other.sum()), total), pairs)


def printed_accuracy(
    dataset: str, source: str, target: str, kind: str, strength: float
) -> float | None:
    """The accuracy that [Agrawal Table III] prints; its white-box columns repeat Table II.

    Args:
        dataset: name of the data set here; one that replaces a data set of the paper gives the
            values of that data set.
        source: network that the images were made on.
        target: network that judges them.
        kind: `FGSM` or `PGD`, whose printed errors are turned into accuracies.
        strength: epsilon of FGSM or number of iterations of PGD; 0, with FGSM, for clean images.

    Returns:
        None where the paper prints nothing.
    """
    if dataset not in PRINTED or (source, target) not in COLUMNS:
        return None
    table = printed_table(TABLE_III, dataset, kind)
    row = f"{strength:g}"
    if row not in table.rows:
        return None
    value = table.rows[row][COLUMNS.index((source, target))] / 100
    return value if kind == FGSM else 1 - value


def printed_table(tables: Sequence[PaperTable], dataset: str, kind: str) -> PaperTable:
    """Finds the paper's table of a data set and attack.

    Args:
        tables: tables of the paper.
        dataset: name of the data set here.
        kind: `FGSM` or `PGD`.

    Returns:
        The table; for a data set that replaces one of the paper, that data set's table.
    """
    ending = f"{PRINTED[dataset]}, {kind.upper()}"
    return next(table for table in tables if table.source.endswith(ending))


def heading(dataset: str) -> str:
    """The data set's name for headings, with that of the paper's data set if it replaces one."""
    stands = " (stands in for CIFAR-100)" if dataset in STAND_INS else ""
    return f"{dataset}{stands}"


def facts(seeds: Sequence[Seed]) -> list[str]:
    """Sentences on the networks and images of a data set that a reader of its tables must know."""
    first = seeds[0]
    numbers = ", ".join(str(seed.number) for seed in seeds)
    counts = sorted({seed.count for seed in seeds})
    lines = [
        f"{'Seeds' if len(seeds) > 1 else 'One seed'}: {numbers}; "
        f"{' or '.join(f'{count:,}' for count in counts)} test images for each."
    ]
    if first.dataset in STAND_INS:
        lines.append(f"{STAND_INS[first.dataset]}.")
    source = first.summary["evaluated"]["description"]["dataset"].get("source", "")
    if "JPEG copy" in source:
        lines.append(
            f"Trained and evaluated on a JPEG copy of {first.dataset} ({source}), which loses "
            f"detail: numbers on the original images would differ."
        )
    config = first.config(RESNET)
    if config:
        width = config.get("model_options", {}).get("width", 1.0)
        lines.append(
            f"{config['epochs']} epochs at {width:g} of the width, learning rate "
            f"{config['learning_rate']:g}, {config['precision']} in training. {_LEFT_OPEN}"
        )
        if strides := _strides(first):
            lines.append(strides)
    if gaps := clean_gaps(seeds):
        lines.append(f"Clean accuracy beside the paper's: {gaps}.")
    warnings = list(dict.fromkeys(each for seed in seeds for each in seed.summary["warnings"]))
    lines += [f"The evaluation warns: {warning}" for warning in warnings[:_SHOWN_WARNINGS]]
    if len(warnings) > _SHOWN_WARNINGS:
        lines.append(f"{len(warnings) - _SHOWN_WARNINGS} more warnings stand in the summaries.")
    return lines


def _strides(seed: Seed) -> str:
    """Says which networks halve the image in their first convolution; empty if all are alike."""
    halved = {
        network: seed.config(network).get("model_options", {}).get("stem") == "small_stride_2"
        for network in NETWORKS
        if seed.config(network)
    }
    names = {
        value: " and ".join(NETWORKS[name] for name, each in halved.items() if each == value)
        for value in (True, False)
    }
    if not names[True] or not names[False]:
        return ""
    return (
        f"The first convolution of {names[True]} has stride 2, which leaves a quarter of the "
        f"positions; {names[False]} has all of them, so it differs from them in resolution too."
    )


def clean_gaps(seeds: Sequence[Seed]) -> str:
    """By how much clean accuracies lie below or above those of the paper, in words.

    Args:
        seeds: transfer evaluations of one data set.

    Returns:
        The networks with their differences; empty for a data set that replaces one of the paper's.
    """
    parts = []
    for network in NETWORKS:
        ours = accuracy(seeds, network, network).mean
        paper = printed_accuracy(seeds[0].dataset, network, network, FGSM, 0.0)
        if ours is not None and paper is not None:
            side = "below" if ours < paper else "above"
            parts.append(f"{NETWORKS[network]} {100 * abs(ours - paper):.1f} points {side}")
    if not parts or seeds[0].dataset in STAND_INS:
        return ""
    return ", ".join(parts)
