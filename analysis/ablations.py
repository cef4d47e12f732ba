"""What each loss of AAD contributes: short runs that differ in their weights, from records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aad_tf.utils.files import PathLike
from analysis.records import Results, read_whole
from analysis.tables import Table


def build(results_dir: PathLike) -> Table | None:
    """Makes the table of ablations: a row for each summary in `ablations`, a column per attack.

    Args:
        results_dir: the directory of results, which holds the directory `ablations`.

    Returns:
        Accuracies in percent with 95 % intervals; None if nothing was run.

    Raises:
        ValueError: a file that is no summary or that of a shard, or summaries of different attacks.
    """
    paths = sorted((Path(results_dir) / "ablations").glob("*.summary.json"))
    summaries = [read_whole(path) for path in paths]
    if not summaries:
        return None
    attacks = [[entry["attack"] for entry in summary["attacks"]] for summary in summaries]
    if any(names != attacks[0] for names in attacks):
        raise ValueError("The summaries in ablations must share their attacks, in one order.")
    headings = ("weights α : β : γ", "losses", "epochs", "n", "clean", *attacks[0])
    return Table(headings, [_row(summary) for summary in summaries], left=2)


def page(table: Table) -> str:
    """The table as a Markdown page."""
    parts = [
        "# AAD with StepLL on MNIST: what each loss contributes",
        "Made by `python -m analysis.report` from `results/ablations`.",
        "Accuracy in percent on examples held out of training (not the test set), white box, "
        "fooled at any iterate, with 95 % Wilson intervals. Columns state the attack, sizes in "
        "[0, 1]. One seed; the runs differ in the weights alone.",
        table.markdown(),
    ]
    return "\n\n".join(parts) + "\n"


def _row(summary: Mapping[str, Any]) -> tuple[str, ...]:
    config = summary["evaluated"]["description"]["model"]["config"]
    weights = " : ".join(f"{weight:g}" for weight in config["defense"]["weights"])
    first = summary["attacks"][0]
    cells = [f"{100 * first['clean_accuracy']:.1f}"]
    for entry in summary["attacks"]:
        low, high = (100 * entry["interval"][end] for end in ("low", "high"))
        cells.append(f"{100 * entry['robust_accuracy']:.1f} [{low:.1f}, {high:.1f}]")
    losses = config["defense"]["losses"]
    return (weights, losses, str(config["epochs"]), f"{first['count']:,}", *cells)


def files(results: Results) -> dict[str, str | bytes]:
    """Contents of the page by path in the results directory; empty without records."""
    table = build(results.root)
    return {} if table is None else {"tables/ablation_losses_mnist.md": page(table)}


def readme(results: Results) -> str:
    """An empty text: the README describes this page in hand-written text."""
    return ""
