"""[AAD Table 5]: accuracy under attack of every defence, the paper's values beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aad_tf.attacks import parse_attack
from aad_tf.metrics import Interval, wilson_interval
from aad_tf.results import PathLike
from analysis import paper_values
from analysis.paper_values import PaperTable
from analysis.runs import Run, read_runs, same_attack
from train.configs import cifar10, digits, mnist
from train.configs.presets import ROWS

DATASETS = ("mnist", "cifar10", "digits")
TITLES = {"mnist": "MNIST", "cifar10": "CIFAR-10", "digits": "scikit-learn digits"}
NOT_RUN = "not run"

_PRESETS = {"mnist": mnist.PRESETS, "cifar10": cifar10.PRESETS, "digits": digits.PRESETS}
_ATTACKS = {"mnist": mnist.ATTACKS, "cifar10": cifar10.ATTACKS, "digits": digits.ATTACKS}


@dataclass(frozen=True)
class Column:
    """One column: accuracy on clean images, or under one attack.

    Attributes:
        name: as the paper heads it.
        threat_model: of the attack that is looked for in the records; None for clean images.
    """

    name: str
    threat_model: Mapping[str, Any] | None

    @property
    def heading(self) -> str:
        """The name with the size of the perturbation."""
        if self.threat_model is None:
            return "clean"
        return f"{self.name} (ε {self.threat_model['epsilon']:.4g})"


@dataclass(frozen=True)
class Cell:
    """A measured and a printed accuracy.

    Attributes:
        paper: the paper's value in percent, or None if it has none.
        right: examples classified right, under attack if there is one; None if not run.
        count: examples evaluated; None if not run.
        entry: the summary's entry of the attack, or None.
    """

    paper: float | None
    right: int | None = None
    count: int | None = None
    entry: Mapping[str, Any] | None = None

    @property
    def share(self) -> float | None:
        """Measured accuracy in [0, 1], or None if not run."""
        return None if self.right is None or not self.count else self.right / self.count

    @property
    def interval(self) -> Interval | None:
        """Its 95 % Wilson interval over the examples, or None if not run."""
        if self.right is None or not self.count:
            return None
        return wilson_interval(self.right, self.count)

    def text(self) -> str:
        """`98.7 [98.5, 98.9]` in percent, or `not run`."""
        share, interval = self.share, self.interval
        if share is None or interval is None:
            return NOT_RUN
        return f"{100 * share:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"

    def paper_text(self) -> str:
        """The paper's value, or a dash."""
        return "–" if self.paper is None else f"{self.paper:.2f}"


@dataclass(frozen=True)
class Row:
    """One defence: a preset, its run if there is one, and a cell a column."""

    preset: str
    name: str
    run: Run | None
    cells: tuple[Cell, ...]

    @property
    def in_paper(self) -> bool:
        """True if the paper has values to compare with."""
        return any(cell.paper is not None for cell in self.cells)


@dataclass(frozen=True)
class Table5:
    """The part of [AAD Table 5] on one data set."""

    dataset: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def has_runs(self) -> bool:
        """True if any row was run."""
        return any(row.run is not None for row in self.rows)

    def row(self, preset: str) -> Row | None:
        """The row of a preset, or None if it is not shown."""
        return next((row for row in self.rows if row.preset == preset), None)

    def column(self, name: str) -> int:
        """Place of a column by the paper's name of it."""
        return [column.name for column in self.columns].index(name)

    def presets_not_run(self) -> list[str]:
        """Presets of this data set that no record speaks of."""
        run = {row.preset for row in self.rows if row.run is not None}
        return [preset for preset in ROWS if preset not in run]

    def further_attacks(self) -> list[tuple[Row, dict[str, Any]]]:
        """Recorded attacks that stand in no column, with their rows."""
        wanted = [column.threat_model for column in self.columns if column.threat_model]
        return [
            (row, entry)
            for row in self.rows
            if row.run is not None
            for entry in row.run.attacks
            if not any(same_attack(entry["threat_model"], model) for model in wanted)
        ]


def build(results_dir: PathLike, dataset: str) -> Table5:
    """Puts the table together from records.

    Args:
        results_dir: the directory that holds `runs` and `robustness`.
        dataset: one of `DATASETS`.

    Returns:
        The table. Every row of the paper is there, run or not; a preset that varies such a row
        is there if it was run.

    Raises:
        ValueError: unknown data set, or a file that is no record.

    Example:
        >>> build("results", "mnist").row("aad_step_ll").cells[0].text()
        '99.0 [98.8, 99.2]'
    """
    if dataset not in DATASETS:
        raise ValueError(f"dataset must be one of {', '.join(DATASETS)}, got {dataset!r}.")
    # Digits have MNIST's columns and no values in the paper.
    paper = paper_values.TABLE_5["mnist" if dataset == "digits" else dataset]
    attacks = [parse_attack(text).threat_model() for text in _ATTACKS[dataset]]
    columns = tuple(
        Column(name, model) for name, model in zip(paper.columns, [None, *attacks], strict=True)
    )
    runs = read_runs(results_dir, dataset, ROWS)
    printed = None if dataset == "digits" else paper
    rows = tuple(_row(preset, runs, columns, printed) for preset in _shown(runs, paper))
    return Table5(dataset, columns, rows, () if printed is None else printed.notes)


def paper_row(preset: str) -> str:
    """The paper's name of the row a preset reproduces or varies."""
    return ROWS[preset].split(" (")[0]


def _shown(runs: Mapping[str, Run], paper: PaperTable) -> list[str]:
    """Presets that were run, and for a row of the paper without any its first preset."""
    covered = {paper_row(preset) for preset in runs}
    shown = []
    for preset in ROWS:
        name = paper_row(preset)
        if preset in runs:
            shown.append(preset)
        elif name in paper.rows and name not in covered:
            shown.append(preset)
            covered.add(name)
    return shown


def _row(
    preset: str,
    runs: Mapping[str, Run],
    columns: tuple[Column, ...],
    paper: PaperTable | None,
) -> Row:
    run = runs.get(preset)
    name = paper_row(preset)
    cells = []
    for column in columns:
        value = paper.value(name, column.name) if paper and name in paper.rows else None
        cells.append(_cell(run, column, value))
    return Row(preset, _title(preset, run), run, tuple(cells))


def _title(preset: str, run: Run | None) -> str:
    """The row's name, with what was reduced: part of the data, fewer epochs than the preset's."""
    if run is None:
        return ROWS[preset]
    full = _PRESETS[run.dataset][preset].epochs
    epochs = run.config.get("epochs", full)
    notes = [run.part] if run.part else []
    if epochs < full:
        notes.append(f"{epochs} of {full} epochs")
    return f"{ROWS[preset]} [{', '.join(notes)}]" if notes else ROWS[preset]


def _cell(run: Run | None, column: Column, paper: float | None) -> Cell:
    if run is None or not run.attacks:
        return Cell(paper)
    if column.threat_model is None:
        first = run.attacks[0]
        return Cell(paper, first["count"] - first["clean_mistakes"], first["count"])
    entry = run.entry(column.threat_model)
    if entry is None:
        return Cell(paper)
    return Cell(paper, entry["robust"], entry["count"], entry)
