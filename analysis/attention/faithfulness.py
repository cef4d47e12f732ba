"""Do attention maps show what the network uses, and do they still under attack?

A page for every study that measured it with `eval.attention --faithfulness`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from aad_tf.records.columns import AttentionRecords
from analysis import plots
from analysis.attention.caption import facts, method_name
from analysis.attention.plots import faithfulness_curves
from analysis.records import Results
from analysis.statistics import DASH, Groups, paired_difference
from analysis.tables import Table

STEM = "attention_faithfulness"
_BASELINES = {"random": "random maps", "center": "centred Gaussian"}
# What is better, as a sign: a small deletion, a large insertion.
_BETTER = {"deletion": -1, "insertion": 1}
_FILLS = {"mean": "the mean colour of the image", "blur": "the blurred image"}
_CSV = ("table", "images", "map", "measure", "quantity", "value", "low", "high", "count")
_HEADS = ("map", "measure", "n", "clean", "attacked", "change")
_READING = (
    "Deletion: area under the probability of the class as pixels are removed (replaced by {fill}), "
    "those of highest attention first; lower is better. Insertion: as they are put in (into "
    "{start}); higher is better. Max-sensitivity: largest relative change of the map under {draws} "
    "random perturbations of at most {radius:.3g} per pixel; lower is more stable. Change: "
    "attacked - clean, paired by image. Brackets are 95 % bootstrap intervals over images."
)
_GAIN = (
    "Above 0, a map knows more of what the network uses than a random map on the same grid and the "
    "same image: for deletion random - map, for insertion map - random{unit}. A map that gains no "
    "more than the centred Gaussian says no more than that objects stand in the middle."
)
_UNIT = (
    ", in units of the probability that the network gives its prediction on the whole image, since "
    "an attack that leaves less probability leaves less to gain"
)
_LABEL_EXPLAINED = (
    "Maps explain the true label. Where the attack succeeds, the label has next to no probability "
    "left that a map could take away or bring back, so gains are small whatever the map. A study "
    "with `--explained=prediction` compares clean and attacked images."
)

# A row: which images, which map, which measure, and clean (second) against attacked (first).
Row = tuple[str, str, str, Groups]


def studies(results: Results) -> list[tuple[str, AttentionRecords]]:
    """The studies that measured faithfulness: name for files, and records."""
    return [
        (found.name if role == "faithfulness" else f"{found.name}_{role}", run)
        for found in results.networks
        for role in found.files
        if (run := found.load(role)) is not None and run.study.get("faithfulness")
    ]


def areas(run: AttentionRecords) -> Iterator[Row]:
    """Means of each measure of faithfulness for each kind of map, clean and attacked.

    Yields:
        Which images, kind of map, measure, and means after the last attack iteration (first) and on
        clean images (second). Random and centred maps come last.
    """
    for name in (*run.methods, *_BASELINES):
        for measure in (*_BETTER, "max_sensitivity"):
            if f"faithfulness/{name}/{measure}" in run.columns:
                values = run.faithfulness(name, measure)
                yield "all", name, measure, paired_difference(values[:, -1], values[:, 0])


def gains(run: AttentionRecords) -> Iterator[Row]:
    """How much better maps do than random maps on the same images, by the attack's outcome.

    If maps explain the predicted class, gains are divided by its probability on the whole image,
    because no area under the curve can be larger than that.

    Yields:
        Which images, kind of map, measure, and mean gains after the last attack iteration (first)
        and on clean images (second).
    """
    last = run.rounds
    outcomes = {"attack succeeded": run.succeeded(last), "attack failed": run.failed(last)}
    unit = np.ones_like(run.confidence) if _label_explained(run) else run.top_confidence
    for images, chosen in {"all": np.ones(len(run), bool), **outcomes}.items():
        for name in (*run.methods, "center"):
            for measure, sign in _BETTER.items():
                values, random = (run.faithfulness(n, measure) for n in (name, "random"))
                gain = (sign * (values - random) / unit)[chosen]
                yield images, name, measure, paired_difference(gain[:, -1], gain[:, 0])


def randomized(run: AttentionRecords) -> Table | None:
    """Makes the table of agreement with the trained network's maps as layers are randomized.

    None if the study did not randomize weights.

    Returns:
        The table: rank correlation and IoU for each layer and method.
    """
    summary = next((each for each in run.summaries if each.get("randomization")), None)
    if summary is None:
        return None
    names = {"rank_correlation": "rank correlation", "iou": "IoU"}
    columns = {
        (method, name): summary["randomization"][method][name]
        for method in run.methods
        if method in summary["randomization"]
        for name in names
    }
    rows = [
        (layer, *(_mean_text(entries[number]) for entries in columns.values()))
        for number, layer in enumerate(summary["randomized_layers"])
    ]
    heads = [f"{method_name(method)}, {names[name]}" for method, name in columns]
    return Table(("randomised from the logits down to", *heads), rows)


def page(name: str, run: AttentionRecords) -> str:
    """The Markdown page of one study.

    Args:
        name: name of the study, for headings and file names.
        run: its records.
    """
    settings = run.study["faithfulness"]
    fills = {name: _FILLS.get(str(settings[name]), settings[name]) for name in ("fill", "start")}
    reading = _READING.format(**fills, draws=settings["num_draws"], radius=settings["radius"])
    figure = f"../figures/{STEM}_{name}.png"
    parts = [
        f"# Do maps say what the network uses? {name}",
        "Made by `python -m analysis.report` from `results/attention`.",
        "\n".join(f"- {fact}" for fact in (*facts(run, name), reading)),
        *([_LABEL_EXPLAINED] if _label_explained(run) else []),
        "## Gain over random maps",
        _GAIN.format(unit="" if _label_explained(run) else _UNIT),
        Table(("images", *_HEADS), [(row[0], *_cells(row)) for row in gains(run)], 3).markdown(),
        "## Areas and sensitivity",
        Table(_HEADS, [_cells(row) for row in areas(run)], left=2).markdown(),
        f"![Mean probability as pixels are removed and inserted]({figure})",
    ]
    layers = randomized(run)
    if layers is not None:
        parts += [
            "## Randomised layers",
            "Likeness of the maps of clean images to those of the trained network, as its layers "
            "are randomised one after the other and stay so; one draw, intervals over images. A "
            "method that explains the network falls to 0 in rank correlation as soon as the logits "
            "are randomised; one that does not depends little on what those layers have learnt. "
            "`none` is the map made again.",
            layers.markdown(),
        ]
    return "\n\n".join(parts) + "\n"


def csv(run: AttentionRecords) -> str:
    """All numbers of the page as CSV, one per line."""
    rows = []
    for table, found in (("gain", gains(run)), ("area", areas(run))):
        for images, name, measure, groups in found:
            for quantity, estimate in zip(
                ("attacked", "clean", "change"),
                (groups.first, groups.second, groups.difference),
                strict=True,
            ):
                numbers = (estimate.value, *(estimate.interval or (None, None)))
                texts = (None if number is None else f"{number:.6f}" for number in numbers)
                rows.append((table, images, name, measure, quantity, *texts, estimate.count))
    return Table(_CSV, rows).csv()


def files(results: Results) -> dict[str, str | bytes]:
    """Contents of page, CSV and plot of each study, by path in the results directory."""
    made: dict[str, str | bytes] = {}
    for name, run in results.once(studies):
        made[f"tables/{STEM}_{name}.md"] = page(name, run)
        made[f"tables/{STEM}_{name}.csv"] = csv(run)
        made[f"figures/{STEM}_{name}.png"] = plots.png(faithfulness_curves(run))
    return made


def readme(results: Results) -> str:
    """Links to the pages, if there are any."""
    links = [f"[{name}](results/tables/{STEM}_{name}.md)" for name, _ in results.once(studies)]
    return f"Whether maps say what the network uses: {', '.join(links)}." if links else ""


def _label_explained(run: AttentionRecords) -> bool:
    return run.study.get("explained", "label") == "label"


def _cells(row: Row) -> tuple[str, ...]:
    _, name, measure, groups = row
    attacked, clean, change = groups.texts()
    shown = _BASELINES.get(name) or method_name(name)
    return (shown, measure.replace("_", "-"), f"{groups.first.count:,}", clean, attacked, change)


def _mean_text(entry: dict[str, Any]) -> str:
    if entry["mean"] is None:
        return DASH
    bounds = "" if entry["interval"] is None else " [{:.3f}, {:.3f}]".format(*entry["interval"])
    return f"{entry['mean']:.3f}{bounds}"
