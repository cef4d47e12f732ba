"""Tables I to III of [Agrawal]: attacks, white box and transfer, measured and printed values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analysis.agrawal.seeds import OverSeeds
from analysis.agrawal.transfers import (
    CBAM,
    COLUMNS,
    FGSM,
    PAIR,
    PGD,
    PRINTED,
    RESNET,
    STRENGTHS,
    VGG,
    Seed,
    accuracy,
    clean_gaps,
    difference,
    facts,
    heading,
    printed_accuracy,
    printed_table,
    transfers,
)
from analysis.agrawal_values import NOTES, TABLE_II, TABLE_III
from analysis.paper_values import PaperTable
from analysis.records import Results
from analysis.statistics import DASH
from analysis.tables import Table
from train.configs.agrawal import NETWORKS

STEMS = {number: f"tables/agrawal_table_{number}" for number in (1, 2, 3)}
NUMBERS = "tables/agrawal_transfer.csv"
_MADE = "Made by `python -m analysis.report` from `results/transfer`."
_READING = (
    "Accuracy (FGSM) or error (PGD) in percent on all images, those misclassified without attack "
    "included, as they are after the last iteration; sizes in [0, 1]. *Both right*: on the images "
    "that {both} classify correctly without attack. One seed: 95 % Wilson interval over images; "
    "several: mean ± standard deviation over seeds. *reach*: the largest change of a pixel."
)
_SCENARIOS = (
    ("white box", ((RESNET, RESNET), (CBAM, CBAM))),
    ("transfer, attention as source", ((CBAM, RESNET),)),
    ("transfer, attention as target", ((RESNET, CBAM),)),
    ("transfer, common source", ((VGG, CBAM), (VGG, RESNET))),
)
_FIELDS = (
    *("dataset", "seed", "attack", "strength", "source", "target", "images", "clean_accuracy"),
    *("accuracy", "low", "high", "both_right_images", "both_right_accuracy", "paper_accuracy"),
)

# Which attack, at which strength; 0 is no attack.
Cell = tuple[str, float]
CELLS: tuple[Cell, ...] = (
    (FGSM, 0.0),
    *((kind, strength) for kind, strengths in STRENGTHS.items() for strength in strengths),
)


def studied(results: Results) -> dict[str, list[Seed]]:
    """The transfer evaluations on data sets of the paper, or on one that replaces them.

    Returns:
        By data set, the evaluation of each seed.
    """
    found = results.once(transfers)
    return {name: found[name] for name in PRINTED if name in found}


def cell_name(kind: str, strength: float) -> str:
    """An attack in a few words.

    Args:
        kind: `FGSM` or `PGD`.
        strength: epsilon or number of iterations; 0 for no attack.
    """
    if not strength:
        return "none"
    if kind == FGSM:
        return f"FGSM, ε = {strength:g}"
    return f"PGD, {strength:g} iterations (reach {0.01 * strength:g})"


def table_1(seeds: Sequence[Seed]) -> Table:
    """[Agrawal Table I]: the attacks that were run, by source and target network."""
    rows = [
        (kind.upper(), scenario, NETWORKS[source], NETWORKS[target], sizes)
        for kind in STRENGTHS
        for scenario, pairs in _SCENARIOS
        for source, target in pairs
        if (sizes := _sizes(seeds[0], source, target, kind))
    ]
    return Table(("attack", "type", "source", "target", "sizes in [0, 1]"), rows, left=5)


def _sizes(seed: Seed, source: str, target: str, kind: str) -> str:
    """What was run of an attack; empty for nothing."""
    run = [
        f"{strength:g}"
        for strength in STRENGTHS[kind]
        if seed.right(source, target, kind, strength) is not None
    ]
    if not run:
        return ""
    if kind == FGSM:
        return f"ε {', '.join(run)}"
    return f"{', '.join(run)} iterations of 0.01 within 0.2, no random start"


def table_2(dataset: str, seeds: Sequence[Seed]) -> Table:
    """[Agrawal Table II]: white box, both networks, measured and printed, and their difference.

    Args:
        dataset: name of the data set.
        seeds: its transfer evaluations.

    Returns:
        A row for each attack: accuracies in percent under FGSM, errors under PGD.
    """
    rows = []
    for kind, strength in CELLS:
        cells: list[str] = []
        printed: list[float] = []
        for network in PAIR:
            found = accuracy(seeds, network, network, kind, strength)
            paper = printed_accuracy(dataset, network, network, kind, strength)
            printed += [] if paper is None else [paper]
            cells += [_shown(kind, found), _paper(kind, paper)]
        right = [
            _shown(kind, accuracy(seeds, name, name, kind, strength, both_right=True))
            for name in PAIR
        ]
        ours = difference(seeds, kind, strength).percent(sign=True)
        gap = f"{100 * (printed[0] - printed[1]):+.1f}" if len(printed) == 2 else DASH
        cells += [ours, gap, *right]
        rows.append((cell_name(kind, strength), _measure(kind), *cells))
    heads = [f"{NETWORKS[name]} {who}" for name in PAIR for who in ("ours", "paper")]
    both = [f"both right: {NETWORKS[name]}" for name in PAIR]
    gaps = ("ResNet-50 − CBAM, accuracy, ours", "paper")
    return Table(("attack", "measure", *heads, *gaps, *both), rows, left=2)


def table_3(dataset: str, seeds: Sequence[Seed]) -> Table:
    """[Agrawal Table III]: transfer, measured and printed, with the target's clean accuracy.

    Args:
        dataset: name of the data set.
        seeds: its transfer evaluations.

    Returns:
        A row for each source, target and attack: accuracies in percent under FGSM, errors under
        PGD.
    """
    rows = []
    for source, target in COLUMNS:
        for kind, strength in CELLS:
            found = accuracy(seeds, source, target, kind, strength)
            if found.mean is None:
                continue
            right = accuracy(seeds, source, target, kind, strength, both_right=True)
            rows.append(
                (
                    NETWORKS[source],
                    f"{NETWORKS[target]}{' (white box)' if source == target else ''}",
                    cell_name(kind, strength),
                    _measure(kind),
                    _shown(kind, found),
                    _paper(kind, printed_accuracy(dataset, source, target, kind, strength)),
                    accuracy(seeds, target, target).percent(),
                    _shown(kind, right),
                    " / ".join(f"{each.count:,}" for each in right.seeds),
                )
            )
    heads = ("source", "target", "attack", "measure", "ours", "paper", "target's clean accuracy")
    return Table((*heads, "both right", "n, both right"), rows, left=4)


def numbers(results: Results) -> Table:
    """Makes the table of all accuracies in [0, 1], with intervals, for every seed."""
    rows: list[Sequence[object]] = []
    for dataset, seeds in results.once(transfers).items():
        for seed in seeds:
            for source, target in COLUMNS:
                for kind, strength in CELLS:
                    rows += _numbers(dataset, seed, source, target, kind, strength)
    return Table(_FIELDS, rows)


def _numbers(
    dataset: str, seed: Seed, source: str, target: str, kind: str, strength: float
) -> Iterator[Sequence[object]]:
    for found in accuracy([seed], source, target, kind, strength).seeds:
        (clean,) = accuracy([seed], target, target).values
        (right,) = accuracy([seed], source, target, kind, strength, both_right=True).seeds or (
            None,
        )
        paper = printed_accuracy(dataset, source, target, kind, strength)
        facts_of_both = (0, None) if right is None else (right.count, right.value)
        numbers_of = (clean, found.value, *(found.interval or (None, None)))
        yield (
            *(dataset, seed.number, kind, f"{strength:g}", source, target, found.count),
            *map(_number, numbers_of),
            facts_of_both[0],
            *map(_number, (facts_of_both[1], paper)),
        )


def page(number: int, studies: dict[str, list[Seed]]) -> str:
    """The Markdown page of Table I, II or III on all data sets.

    Args:
        number: 1, 2 or 3.
        studies: what `studied` returned.

    Returns:
        The page.
    """
    title = {
        1: "the attacks",
        2: "white box, ResNet-50 with and without CBAM",
        3: "transfer between ResNet-50, CBAM+ResNet-50 and VGG-16",
    }[number]
    parts = [f"# Agrawal Table {'I' * number}: {title}", _MADE]
    if number > 1:
        both = "both networks" if number == 2 else "source and target (in a white box, the pair)"
        parts.append(_READING.format(both=both))
        parts.append("\n".join(("What the paper's numbers need:", "", *_items(NOTES))))
    for dataset, seeds in studies.items():
        parts.append(f"## {heading(dataset)}")
        if number == 1:
            parts.append(table_1(seeds).markdown())
            continue
        build, printed = ((table_2, TABLE_II), (table_3, TABLE_III))[number - 2]
        parts.append("\n".join(_items(facts(seeds))))
        parts.append(build(dataset, seeds).markdown())
        parts.append("\n".join(_items(_notes(dataset, printed))))
    if number == 3:
        parts.append(f"All numbers, seed by seed: [{NUMBERS}](../{NUMBERS}).")
    return "\n\n".join(parts) + "\n"


def _notes(dataset: str, tables: Sequence[PaperTable]) -> list[str]:
    """The notes of both attacks' tables, each once."""
    found = (printed_table(tables, dataset, kind) for kind in (FGSM, PGD))
    return list(dict.fromkeys(note for table in found for note in table.notes))


def _items(lines: Sequence[str]) -> list[str]:
    return [f"- {line}" for line in lines]


def _measure(kind: str) -> str:
    return "accuracy" if kind == FGSM else "error"


def _shown(kind: str, found: OverSeeds) -> str:
    """An accuracy, or for PGD the error, in percent."""
    return (found if kind == FGSM else found.complement()).percent()


def _paper(kind: str, value: float | None) -> str:
    if value is None:
        return DASH
    return f"{100 * (value if kind == FGSM else 1 - value):.2f}"


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.6f}"


def files(results: Results) -> dict[str, str | bytes]:
    """Contents of three pages and a CSV by path in the results directory; empty without records."""
    found = results.once(studied)
    if not results.once(transfers):
        return {}
    made: dict[str, str | bytes] = {NUMBERS: numbers(results).csv()}
    if found:
        made |= {f"{stem}.md": page(number, found) for number, stem in STEMS.items()}
    return made


def readme(results: Results) -> str:
    """Links to the pages."""
    if not results.once(studied):
        return ""
    links = [f"[{'I' * number}](results/{stem}.md)" for number, stem in STEMS.items()]
    names = ", ".join(heading(name) for name in results.once(studied))
    gaps = [
        f"Clean accuracy on {name} beside the paper's: {gap}."
        for name, seeds in results.once(studied).items()
        if (gap := clean_gaps(seeds))
    ]
    return " ".join((f"Agrawal et al., Tables {', '.join(links)}: {names}.", *gaps))
