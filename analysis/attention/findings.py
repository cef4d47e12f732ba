"""One page of findings on attention under attack, made from the records."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aad_tf.results import PathLike, write_atomically
from analysis.attention import augmented, null, plots, statements, statements_boxes
from analysis.attention.aligned import ATTACKS, Aligned, align
from analysis.attention.caption import facts
from analysis.attention.claims import READING
from analysis.attention.details import details
from analysis.attention.files import NetworkFiles, find_networks
from analysis.attention.finding import NOT_SEEN, Finding, findings_table
from analysis.attention.intervals import DASH
from analysis.attention.run import AttentionRun
from analysis.findings import CONFIRMED, CONTRADICTED, UNDECIDED
from analysis.tables import TextTable

PAGE = "attention_findings.md"
LIMITS = (
    "How far this goes: one data set, one kind of network and one training seed; intervals speak "
    "of further images, not of further networks. Attention and success are observed together: "
    "matching on confidence and box area takes these two away as explanations, no others, so "
    "nothing here shows that attention causes a label to flip or to stay. Success is judged after "
    "round 1, unless a row says otherwise, and differences are succeeded minus failed; n counts "
    f"images, succeeded / failed. {READING} *{NOT_SEEN.capitalize()}*: there is nothing to compare."
)
_PLOTS: dict[str, tuple[str, Callable[[AttentionRun, PathLike], None]]] = {
    "iou_distributions": ("IoU by success", plots.plot_iou_distributions),
    "success_by_iou": ("Success by IoU, confidence fixed", plots.plot_success_by_iou),
    "iou_rounds": ("IoU over rounds, with chance", plots.plot_iou_rounds),
    "scatter": ("Scatter over rounds", plots.plot_scatter),
}
_SOURCE = re.compile(r" \(((?:Table|Sec\.) [\d.]+)\)$")
_VERDICTS = (CONFIRMED, CONTRADICTED, UNDECIDED, NOT_SEEN)


@dataclass(frozen=True)
class Studied:
    """What the page is made from.

    Attributes:
        found: the network that the findings are about.
        run: its records under StepLL.
        explained: its records with several methods of attention, or None.
        a3: its attacks with and without A3, or None.
        networks: all networks studied under StepLL, by name.
    """

    found: NetworkFiles
    run: AttentionRun
    explained: AttentionRun | None
    a3: Aligned | None
    networks: Sequence[tuple[str, AttentionRun]]


def generate(results_dir: PathLike) -> list[Path]:
    """Writes the page and its plots, each file whole or not at all.

    Args:
        results_dir: the directory that holds `attention`; `figures` is made in it.

    Returns:
        The files written; none if no network was studied under StepLL.

    Raises:
        FileNotFoundError: records without a summary.
        ValueError: damaged records, or records that do not belong together.
        OSError: a file cannot be written.
    """
    results = Path(results_dir)
    loaded = [(found, found.load("step_ll")) for found in find_networks(results)]
    runs = [(found, run) for found, run in loaded if run is not None and run.right.any()]
    if not runs:
        return []
    (results / "figures").mkdir(parents=True, exist_ok=True)
    first, run = runs[0]
    names = [(found.name, other) for found, other in runs]
    studied = Studied(first, run, first.load("lime"), _augmented(first), names)
    drawn = _draw(results / "figures", studied)
    path = results / PAGE
    with write_atomically(path) as file:
        file.write(page(studied, drawn).encode())
    return [path, *(results / "figures" / name for name in drawn)]


def page(studied: Studied, drawn: dict[str, str]) -> str:
    """The page as Markdown.

    Args:
        studied: what it is made from.
        drawn: titles of the plots by file name.
    """
    run = studied.run
    chance = null.box_null(run)
    blocks = _blocks(studied, chance)
    parts = [
        f"# Attention under attack: findings on {studied.found.name}",
        "Made by `python -m analysis.report` from `results/attention`; the paper's tables, with "
        "their verdicts, stand in `results/tables`.",
        " ".join(facts(run, studied.found.network)),
        LIMITS,
        "## What the paper says, and which findings bear on it",
        summary([finding for _, _, block in blocks for finding in block]).markdown(),
    ]
    number = 1
    for title, text, block in blocks:
        parts += [
            f"## {title}",
            *([text] if text else []),
            findings_table(block, number).markdown(),
        ]
        number += len(block)
    if studied.a3 is not None:
        parts += ["## Attacks augmented by attention (A3, Table 9)"]
        parts += augmented.sentences(studied.a3)
    parts += ["## Plots"] if drawn else []
    parts += [f"![{title}](figures/{name})" for name, title in drawn.items()]
    parts += ["## The numbers behind"]
    for title, text, table in details(run, chance, studied.explained, studied.networks):
        parts += [f"### {title}", *([text] if text else []), table.markdown()]
    return "\n\n".join(parts) + "\n"


def summary(found: Sequence[Finding]) -> TextTable:
    """One row for each thing the paper says, with the numbers of the findings by verdict."""
    rows: dict[str, dict[str, list[str]]] = {}
    sources: dict[str, list[str]] = {}
    for number, finding in enumerate(found, 1):
        if finding.claim is None:
            continue
        says = _SOURCE.sub("", finding.says)
        rows.setdefault(says, {}).setdefault(finding.verdict, []).append(str(number))
        sources.setdefault(says, []).extend(_SOURCE.findall(finding.says))
    shown = [v for v in _VERDICTS if v != NOT_SEEN or any(v in row for row in rows.values())]
    texts = (
        (
            says,
            ", ".join(dict.fromkeys(sources[says])) or DASH,
            *(", ".join(row.get(verdict, [])) or DASH for verdict in shown),
        )
        for says, row in rows.items()
    )
    return TextTable(("the paper says", "in", *shown), tuple(texts), left=2)


def _blocks(studied: Studied, chance: null.BoxNull) -> list[tuple[str, str, list[Finding]]]:
    """Sections of findings: title, introduction, findings."""
    run = studied.run
    about_boxes = statements_boxes.introduction(run, chance)
    blocks = [
        ("Attention and the object", about_boxes, statements_boxes.of_boxes(run, chance)),
        ("Attention before and after the attack", "", statements.of_drift(run)),
        ("Scatter", "", statements.of_scatter(run)),
    ]
    if studied.explained is not None:
        which = statements.which_images(studied.explained)
        found = statements.of_methods(studied.explained)
        blocks.append(("Other methods of attention", which, found))
    return blocks


def _augmented(found: NetworkFiles) -> Aligned | None:
    roles = [role for group in ATTACKS.values() for role in group]
    loaded = {role: found.load(role) for role in roles}
    return align({role: run for role, run in loaded.items() if run is not None})


def _draw(directory: Path, studied: Studied) -> dict[str, str]:
    drawn, name = {}, studied.found.name
    for stem, (title, plot) in _PLOTS.items():
        file = f"attention_{stem}_{name}.png"
        plot(studied.run, directory / file)
        drawn[file] = title
    if studied.a3 is not None:
        file = f"attention_a3_{name}.png"
        plots.plot_augmented(studied.a3, directory / file)
        drawn[file] = "Accuracy against IoU, with and without A3"
    return drawn
