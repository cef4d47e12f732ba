"""[Agrawal Sec. V]: does the effect of attention on robustness depend on the number of classes?

ResNet-50 with and without CBAM on 10, 20, 50 and all 100 classes of tiny_imagenet_100.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from aad_tf.metrics import Interval
from analysis.agrawal import budgets
from analysis.agrawal.budgets import Evaluated
from analysis.agrawal.seeds import (
    AT_CHANCE,
    READING,
    OverSeeds,
    mean_over_images,
    not_run,
    side,
    verdict,
)
from analysis.agrawal.transfers import (
    CBAM,
    FGSM,
    PAIR,
    PGD,
    RESNET,
    SHORT,
    STRENGTHS,
    Seed,
    accuracy,
    transfers,
)
from analysis.records import Results
from analysis.statistics import DASH, Estimate
from analysis.tables import Table
from train.configs.agrawal import CLASSES, SPREAD

STEM = "tables/agrawal_classes"
DATASETS = {count: f"{SPREAD}_{count}" for count in CLASSES} | {100: "tiny_imagenet_100"}
FEWEST, MOST = min(DATASETS), max(DATASETS)
_HELD = (
    "Held fixed: the number of pictures of each class and which they are, their size, the "
    "networks, optimizer, batch and number of updates, over which the learning rate warms up and "
    "falls alike. Not fixed: the number of classes and with it that of outputs; which classes, "
    "though fewer are always among the more and are spread evenly over the list, which goes from "
    "animals to objects; and the number of pictures, so each is seen more often where there are "
    "fewer classes. An effect may be that of classes or of pictures."
)
_SAME = (
    f"*On the pictures of the {FEWEST} classes*: the networks of more classes are judged on the "
    f"test pictures that those of {FEWEST} classes are judged on, all of them or those among their "
    "evaluated ones; they still choose among all their classes."
)
_PLACE, _SAYS = "abstract, V", "the more classes, the more attention helps robustness"

# What is compared: CBAM's accuracy minus that of ResNet-50 of a seed, over all images, or those
# whose label is a multiple of a number.
Gap = Callable[[Seed, int], Estimate]


def _gap(kind: str, strengths: Sequence[float]) -> Gap:
    """The white-box gap in favour of CBAM, averaged over strengths, paired over images."""

    def gap(seed: Seed, every: int) -> Estimate:
        found = []
        for strength in strengths:
            one, other = (seed.right(name, name, kind, strength) for name in (CBAM, RESNET))
            if one is None or other is None:
                return Estimate(None, None, 0)
            found.append(one.astype(np.float64) - other)
        values = np.mean(found, axis=0)
        return mean_over_images(values[seed.labels % every == 0])

    return gap


STRENGTHS_OF = {
    "FGSM, mean over ε 0.05 to 0.3": (FGSM, STRENGTHS[FGSM]),
    "PGD, mean over 5, 10, 20 iterations": (PGD, STRENGTHS[PGD]),
}
GAPS: dict[str, Gap] = {
    "without attack": _gap(FGSM, (0.0,)),
    **{name: _gap(*what) for name, what in STRENGTHS_OF.items()},
}
_APGD = "APGD within "


def found(results: Results) -> dict[int, list[Seed]]:
    """Reads the transfer evaluations of the data sets that are compared.

    Args:
        results: the directory of results.

    Returns:
        By number of classes, the evaluation of each seed; data sets without one are left out.
    """
    known = results.once(transfers)
    return {count: known[name] for count, name in DATASETS.items() if name in known}


def _small(results: Results) -> dict[int, list[Evaluated]]:
    known = results.once(budgets.evaluated)
    return {count: known[name] for count, name in DATASETS.items() if name in known}


def growth(most: Mapping[int, Estimate], fewest: Mapping[int, Estimate]) -> OverSeeds:
    """CBAM's advantage over ResNet-50 with most classes minus that with fewest.

    Most of the images differ, so the intervals treat all of them as independent.

    Args:
        most: differences of accuracies by seed, with most classes.
        fewest: the same with fewest classes.

    Returns:
        The difference for each seed that both have.
    """
    shared = sorted(most.keys() & fewest.keys())
    return OverSeeds(tuple(_independent(most[seed], fewest[seed]) for seed in shared))


def _independent(one: Estimate, other: Estimate) -> Estimate:
    if one.value is None or other.value is None:
        return Estimate(None, None, 0)
    value, count = one.value - other.value, min(one.count, other.count)
    if one.interval is None or other.interval is None:
        return Estimate(value, None, count)
    reach = math.hypot(*((each.high - each.low) / 2 for each in (one.interval, other.interval)))
    return Estimate(value, Interval(value - reach, value + reach), count)


def gaps(results: Results) -> dict[str, dict[int, dict[int, Estimate]]]:
    """CBAM's accuracy minus that of ResNet-50, by attack, then number of classes, then seed."""
    studied, small = found(results), _small(results)
    made = {
        name: {
            count: {seed.number: gap(seed, 1) for seed in seeds} for count, seeds in studied.items()
        }
        for name, gap in GAPS.items()
    }
    sizes = sorted({size for seeds in small.values() for size in budgets.budgets(seeds)[1:]})
    for size in sizes:
        made[f"{_APGD}{size:g}/255"] = {
            count: {
                seed.number: each
                for seed in seeds
                for each in budgets.difference([seed], size, (CBAM, RESNET)).seeds
            }
            for count, seeds in small.items()
        }
    return made


def _at_chance(results: Results, name: str) -> list[int]:
    """The numbers of classes, fewest and most, with which no accuracy lies above chance."""
    studied, small = found(results), _small(results)
    made = []
    for count in (FEWEST, MOST):
        if name in STRENGTHS_OF:
            kind, strengths = STRENGTHS_OF[name]
            accuracies = [
                accuracy(studied.get(count, ()), network, network, kind, strength)
                for network in PAIR
                for strength in strengths
            ]
        else:
            size = float(name.removeprefix(_APGD).removesuffix("/255"))
            accuracies = [budgets.accuracy(small.get(count, ()), network, size) for network in PAIR]
        values = [value for each in accuracies for value in each.values]
        if values and max(values) <= 1 / count:
            made.append(count)
    return made


def claims(results: Results, within_small_budgets: bool = False) -> list[tuple[str, ...]]:
    """Rows for the page of claims, of 10 and 100 classes.

    Args:
        results: the directory of results.
        within_small_budgets: True for rows under APGD, False for those of the paper's attacks.

    Returns:
        A row for each attack; one that says what to run if either number was not evaluated.
    """
    made = gaps(results)
    known = [name for name in made if name not in GAPS]
    names = known or [f"{_APGD}0.5/255 to 8/255"] if within_small_budgets else [*STRENGTHS_OF]
    rows: list[tuple[str, ...]] = []
    for name in names:
        by_count = made.get(name, {})
        grown = growth(by_count.get(MOST, {}), by_count.get(FEWEST, {}))
        what = f"(CBAM − ResNet) of {MOST} classes − of {FEWEST}; {name}"
        word = (
            verdict(grown, 1) if {FEWEST, MOST} <= by_count.keys() else not_run(_missing(by_count))
        )
        for count in _at_chance(results, name) if grown.seeds else ():
            word += f"; all {AT_CHANCE} with {count} classes"
        where = (_PLACE, _SAYS, what, "tiny_imagenet", _clean(results))
        rows.append((*where, grown.of_each(), DASH, grown.over_seeds(), "above 0 (–)", word))
    return rows


def _missing(by_count: Mapping[int, object]) -> str:
    """The study that evaluates the number of classes that is missing."""
    return "agrawal_classes" if FEWEST not in by_count else f"agrawal_{DATASETS[MOST]}"


def _clean(results: Results) -> str:
    """Clean accuracies in percent of both networks by number of classes, as text."""
    studied = found(results)
    parts = [
        f"{SHORT[name]} of {count} classes {each.mean_percent()}"
        for count in (FEWEST, MOST)
        for name in PAIR
        if (each := accuracy(studied.get(count, ()), name, name)).seeds
    ]
    return ", ".join(parts) or DASH


def page(results: Results) -> str:
    """The Markdown page of accuracies and their differences by number of classes."""
    studied = found(results)
    counts = list(studied)
    rows = []
    for count, seeds in studied.items():
        clean = [accuracy(seeds, name, name).percent() for name in PAIR]
        numbers = ", ".join(str(seed.number) for seed in seeds)
        rows.append((str(count), numbers, f"{seeds[0].count:,}", *clean))
    heads = ("classes", "seeds", "test images", "ResNet-50, clean", "CBAM+ResNet-50, clean")
    by_attack = []
    for name, by_count in gaps(results).items():
        cells = [OverSeeds(tuple(by_count.get(n, {}).values())).of_each() for n in counts]
        grown = growth(by_count.get(MOST, {}), by_count.get(FEWEST, {}))
        by_attack.append((name, *cells, grown.of_each(), side(grown)))
    # Of each ten classes of the list the first is among the fewest.
    same = [
        (
            name,
            *(
                OverSeeds(tuple(gap(seed, count // FEWEST) for seed in seeds)).of_each()
                for count, seeds in studied.items()
            ),
        )
        for name, gap in GAPS.items()
    ]
    columns = [f"{count} classes" for count in counts]
    grows = (f"{MOST} − {FEWEST} classes", "which is")
    parts = [
        "# CBAM and the number of classes",
        "Made by `python -m analysis.report` from `results/transfer` and `results/robustness`.",
        _HELD,
        Table(heads, rows, left=2).markdown(),
        "## CBAM − ResNet-50, white box, points of accuracy",
        "Above 0, CBAM keeps more. Brackets: 95 % over images, paired within a seed.",
        READING,
        Table(("attack", *columns, *grows), by_attack).markdown(),
        f"## On the pictures of the {FEWEST} classes",
        _SAME,
        Table(("attack", *columns), same).markdown(),
    ]
    return "\n\n".join(parts) + "\n"


def files(results: Results) -> dict[str, str | bytes]:
    """Contents of the page by path in the results directory; empty without records to compare."""
    return {f"{STEM}.md": page(results)} if len(found(results)) > 1 else {}


def readme(results: Results) -> str:
    """A link to the page."""
    if len(found(results)) < 2:
        return ""
    return f"CBAM and the number of classes: [results/{STEM}.md](results/{STEM}.md)."
