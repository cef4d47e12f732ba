"""The transfer evaluations of the CBAM study, one for each data set and seed.

results/transfer/<data set>_seed_<number>.jsonl.gz with .summary.json, of eval.transfer, where the
networks are named as in `train.configs.agrawal.NETWORKS`.
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
from train.configs.agrawal import ATTACKS, FGSM_EPSILONS, PGD_STEPS

RESNET, CBAM, VGG = "resnet50", "cbam_resnet50", "vgg16"
PAIR = (RESNET, CBAM)
FGSM, PGD = "fgsm", "pgd"
STRENGTHS: Mapping[str, tuple[float, ...]] = {FGSM: FGSM_EPSILONS, PGD: PGD_STEPS}
_STRENGTHS_IN_ORDER = [(kind, float(size)) for kind in (FGSM, PGD) for size in STRENGTHS[kind]]
_ATTACKS = dict(zip(ATTACKS, _STRENGTHS_IN_ORDER, strict=True))
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
_NAME = re.compile(r"(.+)_seed_(\d+)\.summary\.json")


@dataclass(frozen=True, eq=False)
class Seed:
    """What the networks of one data set and seed make of each other's images.

    Attributes:
        dataset: e.g. `cifar10`.
        number: of the seed.
        path: of the records.
        summary: of the evaluation.
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
        """What a network was trained with; empty if it is not known."""
        models = self.summary["evaluated"].get("description", {}).get("models", {})
        return models.get(network, {}).get("config", {})

    def attack(self, kind: str, strength: float) -> str | None:
        """Name of FGSM at an epsilon or of PGD of so many iterations; None if it was not run."""
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
        """Which images a target gets right, bool `[images]`; None if that was not run.

        Args:
            source: network that the images were made on.
            target: network that judges them.
            kind: `FGSM` or `PGD`.
            strength: epsilon or iterations; 0 for the clean image.
        """
        if not strength:
            return self.judged(source, target, None)
        name = self.attack(kind, strength)
        return None if name is None else self.judged(source, target, name)

    def judged(self, source: str, target: str, attack: str | None) -> np.ndarray | None:
        """As `right`, of an attack by its name, or None for the clean image."""
        _, clean, attacked = self._outcomes
        return clean.get(target) if attack is None else attacked.get((source, target, attack))


def transfers(results: Results) -> dict[str, list[Seed]]:
    """All transfer evaluations by data set, seeds in order; read them by `results.once`.

    Raises:
        ValueError: a file whose name does not fit what it holds, a shard, or no such summary.
    """
    found: dict[str, list[Seed]] = {}
    for path in sorted((results.root / "transfer").glob("*.summary.json")):
        parts, summary = _NAME.fullmatch(path.name), read_summary(path, "transfer")
        evaluated = summary["evaluated"]
        dataset = evaluated.get("description", {}).get("dataset", {}).get("name", "")
        if parts is None or parts[1] != dataset:
            raise ValueError(
                f"{path} should be called {dataset or '<data set>'}_seed_<number>.summary.json."
            )
        if evaluated.get("shard") is not None:
            raise ValueError(f"{path} is a shard of an evaluation; merge its shards first.")
        records = path.with_name(path.name.replace(".summary.json", ".jsonl.gz"))
        seed = Seed(dataset, int(parts[2]), records, summary)
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
    """Accuracy of a target, on all images or on those that two networks get right when clean.

    Args:
        seeds: of one data set.
        source: network that the images were made on.
        target: network that judges them.
        kind: `FGSM` or `PGD`.
        strength: as for `Seed.right`.
        both_right: only images that both get right: source and target, in a white box both
            networks of the pair.
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
    """White-box accuracy of one network minus that of another, paired over the images of a seed."""
    return OverSeeds(tuple(_difference(seed, kind, strength, pair) for seed in seeds))


def _difference(seed: Seed, kind: str, strength: float, pair: Sequence[str]) -> Estimate:
    one, other = (seed.right(name, name, kind, strength) for name in pair)
    if one is None or other is None:
        return Estimate(None, None, 0)
    return paired(one, other)


def paired(one: np.ndarray, other: np.ndarray) -> Estimate:
    """Difference of two accuracies over the same images, with Newcombe's paired interval."""
    both, first, second = ((one & other).sum(), (one & ~other).sum(), (~one & other).sum())
    pairs = (int(both), int(first), int(second), int((~one & ~other).sum()))
    total = len(one)
    return difference_interval((int(one.sum()), total), (int(other.sum()), total), pairs)


def printed_accuracy(
    dataset: str, source: str, target: str, kind: str, strength: float
) -> float | None:
    """The paper's accuracy in [0, 1] of Table III, whose source columns are those of Table II.

    Args:
        dataset: ours; of one that stands in, that of the data set it stands for.
        source: network that the images were made on.
        target: network that judges them.
        kind: `FGSM` or `PGD`, whose errors are turned into accuracies.
        strength: as for `Seed.right`; 0 belongs to FGSM.

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
    """The paper's table of a data set and attack."""
    ending = f"{PRINTED[dataset]}, {kind.upper()}"
    return next(table for table in tables if table.source.endswith(ending))


def heading(dataset: str) -> str:
    """The data set's name with the paper's, for headings."""
    stands = " (stands in for CIFAR-100)" if dataset in STAND_INS else ""
    return f"{dataset}{stands}"


def facts(seeds: Sequence[Seed]) -> list[str]:
    """What the reader must know of the networks and images of a data set, as list items."""
    first = seeds[0]
    numbers = ", ".join(str(seed.number) for seed in seeds)
    counts = sorted({seed.count for seed in seeds})
    lines = [
        f"{'Seeds' if len(seeds) > 1 else 'One seed'}: {numbers}; "
        f"{' or '.join(f'{count:,}' for count in counts)} test images for each."
    ]
    if first.dataset in STAND_INS:
        lines.append(f"{STAND_INS[first.dataset]}.")
    config = first.config(RESNET)
    if config:
        width = config.get("model_options", {}).get("width", 1.0)
        lines.append(
            f"{config['epochs']} epochs at {width:g} of the width, learning rate "
            f"{config['learning_rate']:g}, {config['precision']} in training; the paper states "
            f"neither optimizer nor epochs."
        )
    warnings = list(dict.fromkeys(each for seed in seeds for each in seed.summary["warnings"]))
    lines += [f"The evaluation warns: {warning}" for warning in warnings[:_SHOWN_WARNINGS]]
    if len(warnings) > _SHOWN_WARNINGS:
        lines.append(f"{len(warnings) - _SHOWN_WARNINGS} more warnings stand in the summaries.")
    return lines
