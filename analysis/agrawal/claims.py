"""The claims of [Agrawal] on attention and robustness, each judged by seeds and intervals."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.agrawal import budgets, classes
from analysis.agrawal.seeds import (
    AT_CHANCE,
    EQUAL,
    NOT_RUN,
    READING,
    OverSeeds,
    mean_over_images,
    not_run,
    verdict,
)
from analysis.agrawal.tables_1_3 import studied
from analysis.agrawal.transfers import (
    CBAM,
    FGSM,
    PGD,
    PRINTED,
    RESNET,
    SHORT,
    SMALL_FGSM,
    SMALL_PGD,
    SMALL_STRENGTHS,
    STRENGTHS,
    STUDIED,
    VGG,
    Seed,
    accuracy,
    heading,
    printed_accuracy,
    small_transfers,
)
from analysis.findings import CONFIRMED, CONTRADICTED, NO_COMPARISON, UNDECIDED
from analysis.records import Results
from analysis.statistics import DASH
from analysis.tables import Table
from train.configs.agrawal import NETWORKS

STEM = "tables/agrawal_claims"
_WORDS = {1: "above 0", -1: "below 0", 0: "equal"}
_IN_ORDER = (CONFIRMED, CONTRADICTED, UNDECIDED, NO_COMPARISON, AT_CHANCE, NOT_RUN)
_HEADS = (
    *("place", "the paper says", "compared, points of accuracy", "data set", "clean accuracy, %"),
    *("each seed", "where all are right when clean", "over seeds", "paper", "verdict"),
)

# Weights of the accuracies that are compared, by source and target.
Terms = Mapping[tuple[str, str], float]
_RESNET_BETTER: Terms = {(RESNET, RESNET): 1, (CBAM, CBAM): -1}
_CBAM_BETTER: Terms = {(CBAM, CBAM): 1, (RESNET, RESNET): -1}
# ResNet-50 keeps more on CBAM's images than CBAM on those of ResNet-50.
_RESNET_TRANSFERS: Terms = {(CBAM, RESNET): 1, (RESNET, CBAM): -1}
_CBAM_FROM_VGG: Terms = {(VGG, CBAM): 1, (VGG, RESNET): -1}
_RESNET_FROM_VGG: Terms = {(VGG, RESNET): 1, (VGG, CBAM): -1}
# Of both comparisons, white box and transfer, the mean.
_RESNET_FAVOURED: Terms = {
    **{pair: weight / 2 for pair, weight in _RESNET_BETTER.items()},
    **{pair: weight / 2 for pair, weight in _RESNET_TRANSFERS.items()},
}
# By how much a target fares better than the source itself, CBAM's images against ResNet-50's.
_GAPS: Terms = {
    **{(CBAM, RESNET): 1, (CBAM, CBAM): -1},
    **{(RESNET, CBAM): -1, (RESNET, RESNET): 1},
}


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, as a comparison of accuracies.

    Attributes:
        place: where the paper makes it, e.g. a section.
        says: the claim, in short.
        printed: name of the data set for which the paper prints the accuracies.
        kind: the attack, `FGSM` or `PGD`, or one of `SMALL_STRENGTHS`.
        terms: weights by (source, target), the network that images are made on and the one that
            judges them. The weighted sum of their accuracies, averaged over the strengths, is
            compared with 0.
        strengths: epsilons of FGSM or numbers of iterations of PGD; empty for all that the paper
            prints, and within small budgets for all of them.
        direction: 1 if the paper says that the sum is above 0, 0 if it says that it is 0.
        margin: the largest absolute value that counts as 0.
    """

    place: str
    says: str
    printed: str
    kind: str
    terms: Terms
    strengths: tuple[float, ...] = ()
    direction: int = 1
    margin: float = EQUAL

    @property
    def sizes(self) -> tuple[float, ...]:
        """The epsilons or numbers of iterations that are averaged over."""
        return self.strengths or {**STRENGTHS, **SMALL_STRENGTHS}[self.kind]

    @property
    def networks(self) -> list[str]:
        """The networks that make or judge the images."""
        return [name for name in NETWORKS if any(name in pair for pair in self.terms)]

    def compared(self) -> str:
        """The comparison as text: networks, attack and its strengths."""
        parts = [
            f"{'−' if weight < 0 else '+'} {'' if abs(weight) == 1 else '½ '}{SHORT[target]}"
            + ("" if source == target else f" on {SHORT[source]}'s images")
            for (source, target), weight in self.terms.items()
        ]
        end = "/255" if self.kind in SMALL_STRENGTHS else ""
        sizes = ", ".join(f"{size:g}{end}" for size in self.sizes)
        attack = {
            FGSM: "FGSM, ε",
            PGD: "PGD, iterations",
            SMALL_FGSM: "FGSM, ε",
            SMALL_PGD: "PGD of 10 iterations, ε",
        }[self.kind]
        return f"{' '.join(parts).removeprefix('+ ')}; {attack} {sizes}"

    def paper(self, dataset: str) -> float | None:
        """The sum by the paper's accuracies in [0, 1]; None if it does not print them.

        Strengths of which it does not print every accuracy are left out of the average.
        """
        if self.kind in SMALL_STRENGTHS:
            return None
        values = [
            [printed_accuracy(dataset, *pair, self.kind, size) for pair in self.terms]
            for size in self.sizes
        ]
        weights = list(self.terms.values())
        known = [row for row in values if None not in row]
        return float(np.mean(np.array(known, np.float64) @ weights)) if known else None

    def ours(self, seeds: Sequence[Seed], all_right: bool = False) -> OverSeeds:
        """The sum by the accuracies of the networks here, over seeds, paired over images.

        Args:
            seeds: transfer evaluations of one data set.
            all_right: whether only images count that all networks compared classify correctly when
                clean.

        Returns:
            The sum in [-1, 1] for each seed.
        """
        return OverSeeds(tuple(mean_over_images(self._values(seed, all_right)) for seed in seeds))

    def _values(self, seed: Seed, all_right: bool) -> np.ndarray:
        rows = [[seed.right(*pair, self.kind, size) for pair in self.terms] for size in self.sizes]
        if any(right is None for row in rows for right in row):
            return np.zeros(0)
        weights = list(self.terms.values())
        values = np.einsum("stn,t->n", np.array(rows, np.float64), weights) / len(rows)
        if not all_right:
            return values
        clean = [seed.right(name, name) for name in self.networks]
        return values[np.all([right for right in clean if right is not None], axis=0)]

    def clean(self, seeds: Sequence[Seed]) -> str:
        """The clean accuracy in percent of each network that is compared, as text."""
        found = {name: accuracy(seeds, name, name) for name in self.networks}
        return ", ".join(f"{SHORT[name]} {each.mean_percent()}" for name, each in found.items())

    def at_chance(self, seeds: Sequence[Seed]) -> bool:
        """Whether all accuracies compared are at or below chance, so that they say nothing."""
        means = [
            right.mean()
            for seed in seeds
            for pair in self.terms
            for size in self.sizes
            if (right := seed.right(*pair, self.kind, size)) is not None
        ]
        chance = max((1 / len(np.unique(seed.labels)) for seed in seeds), default=0.0)
        return bool(means) and max(means) <= chance


CLAIMS = (
    Claim(
        "IV-A.1, Fig. 2(a)",
        "FGSM attacks CBAM to a much larger extent than ResNet-50",
        "CIFAR-10",
        FGSM,
        _RESNET_BETTER,
    ),
    Claim(
        "IV-A.1",
        "the accuracy of CBAM even drops to about 0 % (within 1 point)",
        "CIFAR-10",
        FGSM,
        {(CBAM, CBAM): 1},
        (0.05,),
        direction=0,
        margin=0.01,
    ),
    Claim(
        "IV-A.1, Fig. 2(b)",
        "ResNet-50 takes more PGD iterations to be attacked completely",
        "CIFAR-10",
        PGD,
        _RESNET_BETTER,
        (5,),
    ),
    Claim(
        "IV-A.2, Fig. 3(a)",
        "CBAM has slightly better accuracy under FGSM",
        "CIFAR-100",
        FGSM,
        _CBAM_BETTER,
    ),
    Claim(
        "IV-A.2, Fig. 3(b)",
        "CBAM is much more robust to PGD",
        "CIFAR-100",
        PGD,
        _CBAM_BETTER,
    ),
    Claim(
        "IV-A.2, Fig. 3(b)",
        "ResNet-50 is attacked completely in less than 5 iterations (within 1 point at 5)",
        "CIFAR-100",
        PGD,
        {(RESNET, RESNET): 1},
        (5,),
        direction=0,
        margin=0.01,
    ),
    Claim(
        "IV-A.2, Fig. 3(b)",
        "after 20 iterations ResNet-50 is attacked completely, CBAM is not",
        "CIFAR-100",
        PGD,
        _CBAM_BETTER,
        (20,),
    ),
    Claim(
        "IV-A.3, Fig. 4(a)",
        "ResNet-50 is more robust to FGSM up to 0.1",
        "Fashion MNIST",
        FGSM,
        _RESNET_BETTER,
        (0.05, 0.1),
    ),
    Claim(
        "IV-A.3, Fig. 4(a)",
        "beyond 0.1 both have about equal accuracy",
        "Fashion MNIST",
        FGSM,
        _RESNET_BETTER,
        (0.15, 0.2, 0.25, 0.3),
        0,
    ),
    Claim(
        "IV-A.3, Fig. 4(b)",
        "ResNet-50 takes more PGD iterations to be attacked completely",
        "Fashion MNIST",
        PGD,
        _RESNET_BETTER,
        (5,),
    ),
    *(
        Claim(place, says, printed, kind, terms)
        for printed, figure, section in (
            ("CIFAR-10", 5, "IV-B.1"),
            ("CIFAR-100", 6, "IV-B.2"),
            ("Fashion MNIST", 7, "IV-B.3"),
        )
        for place, says, kind, terms in (
            (
                f"{section}, Fig. {figure}(a)",
                "FGSM on ResNet-50 transfers better to CBAM than the other way round",
                FGSM,
                _RESNET_TRANSFERS,
            ),
            (
                f"{section}, Fig. {figure}(c)",
                "PGD on ResNet-50 transfers better to CBAM than the other way round",
                PGD,
                _RESNET_TRANSFERS,
            ),
        )
    ),
    *(
        Claim(
            f"{section}, Fig. {figure}(b)",
            "under FGSM on VGG-16 both have about equal accuracy",
            printed,
            FGSM,
            _CBAM_FROM_VGG,
            direction=0,
        )
        for printed, figure, section in (
            ("CIFAR-10", 5, "IV-B.1"),
            ("CIFAR-100", 6, "IV-B.2"),
            ("Fashion MNIST", 7, "IV-B.3"),
        )
    ),
    Claim(
        "IV-B.1, Fig. 5(d)",
        "under PGD on VGG-16 CBAM is more robust",
        "CIFAR-10",
        PGD,
        _CBAM_FROM_VGG,
    ),
    Claim(
        "IV-B.2, Fig. 6(d)",
        "under PGD on VGG-16 CBAM is more robust",
        "CIFAR-100",
        PGD,
        _CBAM_FROM_VGG,
    ),
    Claim(
        "IV-B.3, Fig. 7(b)",
        "beyond 0.05 (printed: 0.5) CBAM is slightly more robust to FGSM on VGG-16",
        "Fashion MNIST",
        FGSM,
        _CBAM_FROM_VGG,
        (0.1, 0.15, 0.2, 0.25, 0.3),
    ),
    Claim(
        "IV-B.3, Fig. 7(d)",
        "under PGD on VGG-16 ResNet-50 is more robust",
        "Fashion MNIST",
        PGD,
        _RESNET_FROM_VGG,
    ),
    Claim(
        "IV-B.3, Fig. 7(a)",
        "FGSM images of ResNet-50 lose less when they are transferred than those of CBAM",
        "Fashion MNIST",
        FGSM,
        _GAPS,
    ),
    *(
        Claim(
            "V",
            "white box and transfer strongly favour the robustness of ResNet-50",
            printed,
            kind,
            _RESNET_FAVOURED,
        )
        for printed in ("CIFAR-10", "Fashion MNIST")
        for kind in (FGSM, PGD)
    ),
    *(
        Claim(
            "V",
            "in transfer between the two the difference is very low",
            "CIFAR-100",
            kind,
            _RESNET_TRANSFERS,
            direction=0,
        )
        for kind in (FGSM, PGD)
    ),
)


def _within_small_budgets(claims: Sequence[Claim]) -> tuple[Claim, ...]:
    """What the paper says of transfer between all of its sizes, asked within small budgets."""
    kinds = {FGSM: SMALL_FGSM, PGD: SMALL_PGD}
    return tuple(
        dataclasses.replace(claim, kind=kinds[claim.kind])
        for claim in claims
        if not claim.strengths and any(source != target for source, target in claim.terms)
    )


SMALL_CLAIMS = _within_small_budgets(CLAIMS)

# A cell for each of `_HEADS`.
Row = tuple[str, ...]


def rows(results: Results) -> list[Row]:
    """Makes a row for each claim and each data set with records that it is about.

    A claim without records has one row, which names the study that makes them.
    """
    return [*_rows(CLAIMS, results.once(studied)), *classes.claims(results)]


def small_rows(results: Results) -> list[Row]:
    """Makes the rows within budgets smaller than the paper's."""
    found = results.once(small_transfers)
    known = {name: found[name] for name in PRINTED if name in found}
    apgd = [*classes.claims(results, within_small_budgets=True), *budgets.claims(results)]
    return [*_rows(SMALL_CLAIMS, known), *apgd]


def _rows(claims: Sequence[Claim], found: Mapping[str, Sequence[Seed]]) -> list[Row]:
    made = []
    for claim in claims:
        datasets = [name for name in found if PRINTED[name] == claim.printed]
        made += [
            _row(claim, dataset, found.get(dataset, ()))
            for dataset in datasets or [STUDIED[claim.printed]]
        ]
    return made


def _row(claim: Claim, dataset: str, seeds: Sequence[Seed]) -> Row:
    ours, paper = claim.ours(seeds), claim.paper(dataset)
    word = verdict(ours, claim.direction, claim.margin) if seeds else not_run(f"agrawal_{dataset}")
    if len(claim.terms) > 1 and claim.at_chance(seeds):
        word += f"; all {AT_CHANCE}"
    printed = DASH if paper is None else f"{100 * paper:+.1f}"
    return (
        claim.place,
        claim.says,
        claim.compared(),
        heading(dataset),
        claim.clean(seeds) if seeds else DASH,
        ours.of_each(),
        claim.ours(seeds, all_right=True).of_each(),
        ours.over_seeds(),
        f"{'about 0' if claim.margin < EQUAL else _WORDS[claim.direction]} ({printed})",
        word,
    )


def page(results: Results) -> str:
    """The Markdown page of claims with their verdicts."""
    networks = "small networks of few epochs" if _small(results) else "networks"
    parts = [
        "# Agrawal et al., claim by claim",
        "Made by `python -m analysis.report` from `results/transfer` and `results/robustness`.",
        f"Of {networks}, {', '.join(NETWORKS.values())}. Errors are turned into accuracies; where "
        "several sizes are named, the mean over them. Networks of different clean accuracy differ "
        "under attack for that alone: *clean accuracy* is that of the networks compared, and "
        "*where all are right when clean* the comparison on the images that all of them classify "
        "correctly without attack.",
        READING,
        "*Not run*: `python -m train.study --study=NAME --runs_dir=runs "
        "--results_dir=own_results`, with the name in that cell, trains and evaluates what it "
        "needs; `results` itself takes further records only of the networks it speaks of.",
        "## At the paper's sizes",
        "FGSM from 0.05 on and PGD up to 0.2 are far beyond what networks without a defence "
        "withstand: what is left there is how far a step overshoots.",
        Table(_HEADS, rows(results), left=5).markdown(),
        "## Within small budgets",
        "The same networks where accuracies lie between their ends: what the paper says of "
        "transfer, asked within 1/255 to 8/255, and white box under APGD and further attacks "
        "within 0.5/255 to 8/255, of which it says nothing.",
        Table(_HEADS, small_rows(results), left=5).markdown(),
    ]
    return "\n\n".join(parts) + "\n"


def _small(results: Results) -> bool:
    configs = [seed.config(RESNET) for seeds in results.once(studied).values() for seed in seeds]
    return any(config.get("model_options", {}).get("width", 1.0) < 1 for config in configs)


def files(results: Results) -> dict[str, str | bytes]:
    """Contents of the page by path in the results directory; empty without records."""
    return {f"{STEM}.md": page(results)} if _any_run(results) else {}


def _any_run(results: Results) -> bool:
    return any(not row[-1].startswith(NOT_RUN) for row in (*rows(results), *small_rows(results)))


def readme(results: Results) -> str:
    """Numbers of claims that are confirmed, contradicted, undecided and not run, with a link."""
    if not _any_run(results):
        return ""
    words = [row[-1] for row in rows(results)]
    kinds = Counter(AT_CHANCE if AT_CHANCE in word else word.split(":")[0] for word in words)
    counts = ", ".join(f"{kinds[word]} {word}" for word in _IN_ORDER if kinds[word])
    link = f"[of {len(words)}, {counts}](results/{STEM}.md)"
    return f"The CBAM study's claims one by one: {link}."
