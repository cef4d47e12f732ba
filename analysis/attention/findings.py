"""One page of findings on attention under attack, made from the records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from aad_tf.results import PathLike, write_atomically
from analysis.attention import null, plots, sections, statements
from analysis.attention.caption import facts, sigma
from analysis.attention.claims import READING
from analysis.attention.files import NetworkFiles, find_networks
from analysis.attention.finding import NOT_SEEN, Finding, findings_table
from analysis.attention.matched import RULE
from analysis.attention.run import AttentionRun
from analysis.findings import CONFIRMED, CONTRADICTED, UNDECIDED
from analysis.tables import TextTable

PAGE = "attention_findings.md"
LIMITS = (
    "How far this goes: one data set, one kind of network and one training seed. Intervals speak "
    "of further images, not of further networks, and are not widened for the number of "
    "comparisons. Attention and success are observed together: matching on confidence and box area "
    "takes these two away as explanations, no others, so nothing here shows that attention causes "
    "a label to flip or to stay. Success is judged after round 1, unless a row says otherwise, and "
    "differences are succeeded minus failed; n counts images, succeeded / failed."
)
_PLOTS: dict[str, tuple[str, Callable[[AttentionRun, PathLike], None]]] = {
    "iou_distributions": ("IoU by success", plots.plot_iou_distributions),
    "success_by_iou": ("Success by IoU, confidence fixed", plots.plot_success_by_iou),
    "iou_rounds": ("IoU over rounds, with chance", plots.plot_iou_rounds),
    "scatter": ("Scatter over rounds", plots.plot_scatter),
}
_AUGMENTED = {
    "step_ll": "StepLL",
    "step_ll_a3_plus": "StepLL",
    "step_ll_a3_minus": "StepLL",
    "ifgsm": "FGSM",
    "ifgsm_a3_plus": "FGSM",
    "ifgsm_a3_minus": "FGSM",
}


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
    studied = [(found, found.load("step_ll")) for found in find_networks(results)]
    runs = [(found, run) for found, run in studied if run is not None and run.right.any()]
    if not runs:
        return []
    (results / "figures").mkdir(parents=True, exist_ok=True)
    first, run = runs[0]
    drawn = _draw(results / "figures", first, run)
    others = [(found.name, other) for found, other in runs]
    path = results / PAGE
    with write_atomically(path) as file:
        file.write(page(first, run, first.load("lime"), others, drawn).encode())
    return [path, *(results / "figures" / name for name in drawn)]


def page(
    found: NetworkFiles,
    run: AttentionRun,
    explained: AttentionRun | None,
    networks: Sequence[tuple[str, AttentionRun]],
    drawn: dict[str, str],
) -> str:
    """The page as Markdown.

    Args:
        found: the network that the findings are about.
        run: its records under StepLL.
        explained: its records with several methods of attention, or None.
        networks: all networks studied under StepLL, by name.
        drawn: titles of the plots by file name.
    """
    chance = null.box_null(run)
    blocks = {
        "Attention and the object": statements.of_boxes(run, chance),
        "Attention before and after the attack": statements.of_drift(run),
        "Scatter": statements.of_scatter(run),
    }
    if explained is not None:
        blocks["Other methods of attention"] = statements.of_methods(explained)
    parts = [
        f"# Attention under attack: findings on {found.name}",
        "Made by `python -m analysis.report` from `results/attention`; the paper's tables, with "
        "their verdicts, stand in `results/tables`.",
        " ".join(facts(run, found.network)),
        LIMITS,
        READING.replace("*undecided*", f"*{NOT_SEEN}*: there is nothing to compare; *undecided*"),
        summary([finding for block in blocks.values() for finding in block]),
    ]
    number = 1
    for title, block in blocks.items():
        parts += [f"## {title}", findings_table(block, number).markdown()]
        number += len(block)
    parts += ["## Plots"] if drawn else []
    parts += [f"![{title}](figures/{name})" for name, title in drawn.items()]
    parts += ["## The numbers behind"]
    for title, text, table in _details(run, chance, explained, networks):
        parts += [f"### {title}", *([text] if text else []), table.markdown()]
    return "\n\n".join(parts) + "\n"


def summary(found: Sequence[Finding]) -> str:
    """How many statements ended with which verdict."""
    verdicts = [finding.verdict for finding in found if finding.claim is not None]
    counts = [
        f"{verdicts.count(verdict)} {verdict}"
        for verdict in (CONFIRMED, CONTRADICTED, UNDECIDED, NOT_SEEN)
    ]
    return f"Of {len(verdicts)} statements: {', '.join(counts)}."


def _details(
    run: AttentionRun,
    chance: null.BoxNull,
    explained: AttentionRun | None,
    networks: Sequence[tuple[str, AttentionRun]],
) -> list[tuple[str, str, TextTable]]:
    regression = sections.coefficients(run)
    found = [
        ("IoU with the box by chance", _BY_CHANCE, sections.chance_of_boxes(run, chance)),
        ("IoU of clean and adversarial attention by chance", "", sections.chance_of_drift(run)),
        ("Matched on confidence and box area", f"Rule: {RULE}. {_GAPS}", sections.balance(run)),
    ]
    if regression is not None:
        found.append(("Logistic regression of success", _REGRESSION, regression))
    found += [
        ("IoU with the box within quintiles of confidence", "", sections.strata(run)),
        (
            "IoU with the box within quintiles of box area",
            "Areas as large as a box that fills the picture overlap it whatever the network looks "
            "at.",
            sections.strata(run, "box area"),
        ),
        ("First flips, round by round", "", sections.flips_by_round(run)),
        ("Labels flipped by IoU, all rounds", "", sections.flips_by_iou(run)),
        ("Scatter, round by round", "", sections.scattering(run)),
    ]
    if explained is not None:
        text = f"Over {int(explained.right.sum()):,} images classified right."
        found.append(("Agreement of methods", text, sections.agreement_of_methods(explained)))
    if len(networks) > 1:
        found.append(("Other networks, same attack", "", sections.networks(networks)))
    return found


_BY_CHANCE = (
    "Random pixels: expected IoU of as many pixels drawn at random. Other images: the clean "
    f"attention of {null.PARTNERS} other images (classified right), laid on this box at equal "
    "area. Centred disc: equal area, in the middle."
)
_GAPS = "Gaps are differences of means in standard deviations; below 0.1 counts as balanced."
_REGRESSION = (
    "Change of the log odds of success for one standard deviation more of each covariate, all "
    "together; beside it that of IoU without the others."
)


def _draw(directory: Path, found: NetworkFiles, run: AttentionRun) -> dict[str, str]:
    drawn = {}
    for name, (title, plot) in _PLOTS.items():
        file = f"attention_{name}_{found.name}.png"
        plot(run, directory / file)
        drawn[file] = title
    runs = {}
    for role, name in _AUGMENTED.items():
        augmented = found.load(role)
        if augmented is not None and augmented.right.any():
            weight = sigma(augmented.study["attack"])
            runs[name if weight is None else f"{name} + A3, σ {weight:g}"] = augmented
    if len(runs) > 1:
        file = f"attention_a3_{found.name}.png"
        plots.plot_augmented(runs, directory / file)
        drawn[file] = "Accuracy against IoU, with and without A3"
    return drawn
