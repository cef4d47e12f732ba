"""[AAD Table 5] as rows and cells of measured and printed accuracies, and differences of rows."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aad_tf import configs
from aad_tf.attacks import parse_attack
from aad_tf.utils.files import PathLike
from analysis import paper_values
from analysis.paper_values import PaperTable
from analysis.records import COMPANIONS, ResultRun, read_seeds
from analysis.seeds import SeedDifference
from analysis.statistics import DASH, NOTHING, Estimate, fraction, mean_over_seeds
from analysis.training_configs import reduced
from train.configs import agrawal, cifar10, digits, imagenet2012, mnist, tiny_imagenet_boxes
from train.configs.presets import ROWS

DATASETS = ("mnist", "cifar10", "imagenet2012", "tiny_imagenet_boxes", "digits")
TITLES = {
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "imagenet2012": "ImageNet2012",
    "tiny_imagenet_boxes": "40 classes of Tiny ImageNet, in place of ImageNet2012",
    "digits": "scikit-learn digits",
}
NOT_RUN = "not run"
_SUMMARY = ".summary.json"
# The data set whose columns of the paper a stand-in has, where it is not itself in the paper.
_STANDS_IN_FOR = {"digits": "mnist", "tiny_imagenet_boxes": "imagenet2012"}
# Rows by preset, and names of all rows.
_ROWS = {
    "imagenet2012": imagenet2012.ROWS,
    "tiny_imagenet_boxes": tiny_imagenet_boxes.ROWS,
}
_NAMES = {**tiny_imagenet_boxes.ROWS, **imagenet2012.ROWS, **ROWS}
_MODULES: Mapping[str, Any] = {
    "mnist": mnist,
    "cifar10": cifar10,
    "imagenet2012": imagenet2012,
    "tiny_imagenet_boxes": tiny_imagenet_boxes,
    "digits": digits,
}
# Presets, and those they are compared with: as in the paper what is trained on the same kind of
# attack (AAD with StepLL has two rounds, what it is compared with one) or is published; and the
# same training without attention losses, which tells what these add. `analysis/controls.py` has
# more.
_STEP_LL = ("aad_step_ll", "aad_step_ll_paper", "aad_step_ll_reference_code")
_ONE_ROUND = "aad_step_ll_reference_code_one_round"
_COMPARED = (
    *((preset, "step_ll") for preset in (*_STEP_LL, _ONE_ROUND)),
    *(("aad_step_ll", other) for other in ("ensemble", "tramer_ens3", "tramer_ens4", "kurakin")),
    ("aad_pgd", "madry"),
    ("aad_pgd_short", "madry_short"),
    *(
        (preset, f"{preset}_8_0_0")
        for preset in (*_STEP_LL, _ONE_ROUND, "aad_pgd", "aad_pgd_short")
    ),
)


@dataclass(frozen=True)
class Column:
    """One column: accuracy on clean images, or under one attack.

    Attributes:
        name: the column's heading in the paper.
        threat_model: threat model of the attack, by which it is found in records; None for clean
            images.
    """

    name: str
    threat_model: Mapping[str, Any] | None

    @property
    def heading(self) -> str:
        """The name with the attack's epsilon, or `clean`."""
        if self.threat_model is None:
            return "clean"
        return f"{self.name} (ε {self.threat_model['epsilon']:.4g})"


@dataclass(frozen=True)
class Measured:
    """One accuracy of one network.

    Attributes:
        correct: number of examples that are classified correctly, when clean and under the attack.
        count: number of examples evaluated.
        entry: the summary's entry of the attack; None for clean images.
    """

    correct: int
    count: int
    entry: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Cell:
    """A measured and a printed accuracy.

    Attributes:
        paper: the paper's value in percent, or None if it has none.
        seeds: what was measured, by seed; empty if nothing was run.
    """

    paper: float | None
    seeds: Mapping[int, Measured] = field(default_factory=dict)

    @property
    def accuracies(self) -> dict[int, float]:
        """Accuracy in [0, 1] by seed."""
        return {seed: found.correct / found.count for seed, found in self.seeds.items()}

    @property
    def accuracy(self) -> Estimate:
        """The accuracy in [0, 1]: of one seed with its 95 % Wilson interval over the examples.

        Of several seeds it is their mean, with their range as `interval`.
        """
        if len(self.seeds) > 1:
            return mean_over_seeds(list(self.accuracies.values()))
        counts = ((found.correct, found.count) for found in self.seeds.values())
        return next((fraction(*pair) for pair in counts), NOTHING)

    def text(self, row_seeds: Collection[int] = ()) -> str:
        """The accuracy in percent as text.

        One seed gives `98.7 [98.5, 98.9]`, with an interval; several give `98.7 (98.1 to 99.0)`,
        with their range; none `not run`.

        Args:
            row_seeds: the seeds that the row names. If the cell rests on others, as where an attack
                was run on one of three networks alone, its seeds follow: `36.7 [33.8, 39.7], seed
                0`.
        """
        found = self.accuracy
        if found.value is None:
            return NOT_RUN
        seeds = ", ".join(map(str, sorted(self.seeds)))
        own = f", seed{'s' * (len(self.seeds) > 1)} {seeds}"
        remark = own if row_seeds and set(row_seeds) != set(self.seeds) else ""
        if len(self.seeds) == 1 or found.interval is None:
            return f"{found.percent()}{remark}"
        low, high = (f"{100 * bound:.1f}" for bound in found.interval)
        return f"{100 * found.value:.1f} ({low} to {high}){remark}"

    def paper_text(self) -> str:
        """The paper's value in percent as text, or a dash."""
        return DASH if self.paper is None else f"{self.paper:.2f}"


@dataclass(frozen=True)
class Row:
    """One defence of the table.

    Attributes:
        preset: name of the preset that it is trained by.
        name: its name in the table.
        runs: records of its networks by seed; empty if nothing was run.
        cells: its accuracies, one for each column.
    """

    preset: str
    name: str
    runs: Mapping[int, ResultRun]
    cells: tuple[Cell, ...]

    @property
    def sketch(self) -> str:
        """E.g. `2 of 200 epochs` if it was trained on less than its preset says; else empty."""
        return next((_sketch(self.preset, run) for run in self.runs.values()), "")

    @property
    def in_paper(self) -> bool:
        """Whether the paper has a value in any column of this row."""
        return any(cell.paper is not None for cell in self.cells)


@dataclass(frozen=True)
class Table5:
    """The part of [AAD Table 5] on one data set, measured and printed.

    Attributes:
        dataset: name of the data set.
        columns: clean images and the attacks.
        rows: the defences.
        notes: notes on the paper's values.
        unmatched: names of records of this data set that belong to no row.
    """

    dataset: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    unmatched: tuple[str, ...] = ()

    @property
    def has_runs(self) -> bool:
        """True if any row was run."""
        return any(row.runs for row in self.rows)

    @property
    def title(self) -> str:
        """The data set's usual name, e.g. `MNIST`."""
        return TITLES.get(self.dataset, self.dataset)

    @property
    def is_stand_in(self) -> bool:
        """True for data in the place of the paper's, which the first of `notes` then says."""
        return bool(self.notes) and self.dataset in _STANDS_IN_FOR

    def row(self, preset: str) -> Row | None:
        """The row of a preset, or None if it is not shown."""
        return next((row for row in self.rows if row.preset == preset), None)

    def presets_not_run(self) -> list[str]:
        """Presets for rows of the paper that have no records on this data set."""
        run = {row.preset for row in self.rows if row.runs}
        names, reproduced = row_names(self.dataset), _paper_table(self.dataset).rows
        return [preset for preset in names if preset not in run and paper_row(preset) in reproduced]


def build(results_dir: PathLike, dataset: str) -> Table5:
    """Builds the table of a data set from the records in a directory of results.

    Args:
        results_dir: the directory of results, which holds `runs` and `robustness`.
        dataset: one of `DATASETS`.

    Returns:
        The table. It has every row of the paper, run or not, and further presets that were run.

    Raises:
        ValueError: unknown data set, or a file that is no record.

    Example:
        >>> build("results", "mnist").row("aad_step_ll").cells[0].text()
        '99.4 [99.2, 99.5]'
    """
    if dataset not in DATASETS:
        raise ValueError(f"dataset must be one of {', '.join(DATASETS)}, got {dataset!r}.")
    columns, paper = _columns(dataset)
    found = {preset: read_seeds(results_dir, dataset, preset) for preset in row_names(dataset)}
    runs = {preset: seeds for preset, seeds in found.items() if seeds}
    shown = _shown(dataset, runs)
    rows = tuple(_row(preset, runs.get(preset, {}), columns, paper) for preset in shown)
    return Table5(dataset, columns, rows, _notes(dataset, paper), _unmatched(results_dir, dataset))


def _unmatched(results_dir: PathLike, dataset: str) -> tuple[str, ...]:
    """Names of records under attack that are of no row of the data set's table.

    The networks of the study of CBAM have tables of their own, see `analysis/agrawal`.
    """
    presets = "|".join(row_names(dataset))
    ending = f"(_seed_[0-9]+)?(_({'|'.join(COMPANIONS)}))?"
    shown_elsewhere = f"({'|'.join(agrawal.NETWORKS)})(_seed_[0-9]+)?(_strongest)?"
    known = re.compile(f"{dataset}_(({presets}){ending}|{shown_elsewhere})")
    found = (Path(results_dir) / "robustness").glob(f"{dataset}_*{_SUMMARY}")
    names = sorted(path.name.removesuffix(_SUMMARY) for path in found)
    return tuple(name for name in names if not known.fullmatch(name))


def of_run(run: ResultRun) -> Table5:
    """Builds the table of a single run, with the values of the paper's row if it has one.

    Args:
        run: the records of the run, as `records.read_own_run` reads them.

    Returns:
        A table of one row. Its columns are those of the data set, if that is one of `DATASETS`;
        else the attacks that were run.
    """
    paper = None
    # Other networks trained on the stand-in were not attacked at the table's sizes.
    if run.dataset in DATASETS and (
        run.dataset != "tiny_imagenet_boxes" or run.preset in row_names(run.dataset)
    ):
        columns, paper = _columns(run.dataset)
    else:
        attacks = (Column(entry["attack"], entry["threat_model"]) for entry in run.attacks)
        columns = (Column("original", None), *attacks)
    row = _row(run.preset, {run.config.get("seed", 0): run}, columns, paper)
    return Table5(run.dataset, columns, (row,), _notes(run.dataset, paper))


def row_names(dataset: str) -> Mapping[str, str]:
    """Names of the rows of a data set's table by preset, in their order."""
    return _ROWS.get(dataset, ROWS)


def _paper_table(dataset: str) -> PaperTable:
    """The part of the paper's table that has a data set's columns and rows."""
    return paper_values.TABLE_5[_STANDS_IN_FOR.get(dataset, dataset)]


def _columns(dataset: str) -> tuple[tuple[Column, ...], PaperTable | None]:
    """The paper's columns, and its values on that data set or the one it stands in for."""
    paper = _paper_table(dataset)
    attacks = [parse_attack(text).threat_model() for text in _MODULES[dataset].ATTACKS]
    columns = tuple(
        Column(name, model) for name, model in zip(paper.columns, [None, *attacks], strict=True)
    )
    # Digits are too easy for MNIST's values to say anything beside theirs.
    return columns, None if dataset == "digits" else paper


def _notes(dataset: str, paper: PaperTable | None) -> tuple[str, ...]:
    """What a reader must know before comparing with the paper's values."""
    if paper is None:
        return ()
    if dataset not in _STANDS_IN_FOR:
        return paper.notes
    replaced = TITLES[_STANDS_IN_FOR[dataset]]
    return (
        f"The paper's values are of {replaced}, ours of {TITLES[dataset]}, under attacks of the "
        f"sizes in the headings: they show how the rows stand to each other, and are not to be "
        f"compared one by one.",
        *paper.notes,
    )


def paper_row(preset: str) -> str:
    """The paper's name of the row that a preset reproduces, in full or with reduced settings.

    A preset that the paper does not have keeps its own name.
    """
    return _NAMES.get(preset, preset).split(" (")[0]


def _shown(dataset: str, runs: Collection[str]) -> list[str]:
    """Presets that were run, and for a row of the paper without any its first preset."""
    paper = _paper_table(dataset)
    covered = {paper_row(preset) for preset in runs}
    shown = []
    for preset in row_names(dataset):
        name = paper_row(preset)
        if preset in runs or (name in paper.rows and name not in covered):
            shown.append(preset)
            covered.add(name)
    return shown


def _row(
    preset: str,
    runs: Mapping[int, ResultRun],
    columns: tuple[Column, ...],
    paper: PaperTable | None,
) -> Row:
    name = paper_row(preset)
    cells = []
    for column in columns:
        value = paper.value(name, column.name) if paper and name in paper.rows else None
        cells.append(cell_of(runs, column, value))
    first = next(iter(runs.values()), None)
    return Row(preset, _title(preset, first), runs, tuple(cells))


def _title(preset: str, run: ResultRun | None) -> str:
    """The row's name, with AAD's losses and what was reduced: the data, or the epochs."""
    title = _NAMES.get(preset, preset or "unnamed network")
    if run is None:
        return title
    losses = f"losses {run.losses}" if run.losses else ""
    notes = ", ".join(filter(None, (losses, run.part, _sketch(preset, run))))
    return f"{title} [{notes}]" if notes else title


def _sketch(preset: str, run: ResultRun) -> str:
    module = _MODULES.get(run.dataset)
    full = None if module is None else module.PRESETS.get(preset)
    return "" if full is None else reduced(run.config, configs.to_dict(full))


def further_attack_names(dataset: str) -> tuple[str, ...]:
    """Names of the attacks that presets of a data set are evaluated by beside the columns."""
    texts = getattr(_MODULES.get(dataset), "FURTHER_ATTACKS", ())
    return tuple(parse_attack(text).name for text in texts)


def cell_of(runs: Mapping[int, ResultRun], column: Column, paper: float | None = None) -> Cell:
    """Reads the accuracies of one column from the records of a row.

    Args:
        runs: records by seed.
        column: clean images, or an attack.
        paper: the paper's value in percent, or None.

    Returns:
        The cell; seeds that were not evaluated under the attack are left out.
    """
    found = {seed: _measured(run, column) for seed, run in runs.items()}
    return Cell(paper, {seed: one for seed, one in found.items() if one is not None})


def _measured(run: ResultRun, column: Column) -> Measured | None:
    if column.threat_model is None:
        # Attacks by transfer say the same of clean images.
        entries = (
            (e["count"] - e["clean_mistakes"], e["count"]) for e in run.summary.get("attacks", [])
        )
        return next((Measured(*counts) for counts in entries), None)
    entry = run.entry(column.threat_model)
    return None if entry is None else Measured(entry["robust"], entry["count"], entry)


def differences(table: Table5) -> list[tuple[str, SeedDifference]]:
    """Compares defences as the paper does, and AAD with itself without attention losses.

    Args:
        table: the table of one data set.

    Returns:
        For each pair that was run, and each column, the names of both rows, as `A against B`, and
        their difference; the paper's beside it, unless other data stand in for the paper's. Rows
        that were evaluated on different images or by different rules are left out.
    """
    found = []
    for preset, other in _COMPARED:
        first, second = table.row(preset), table.row(other)
        if first is None or second is None or not _evaluated_alike(first, second):
            continue
        names = f"{first.name} against {second.name}"
        sketches = (first.sketch, second.sketch)
        for column, one, two in zip(table.columns, first.cells, second.cells, strict=True):
            if one.seeds and two.seeds:
                printed = None not in (one.paper, two.paper) and not table.is_stand_in
                paper = ((one.paper or 0) - (two.paper or 0)) / 100 if printed else None
                accuracies = (one.accuracies, two.accuracies)
                one_column = SeedDifference(column.heading, *accuracies, paper, *sketches)
                found.append((names, one_column))
    return found


def compared_unlike(table: Table5) -> list[str]:
    """Names both rows of each pair that was run but evaluated on other images or by other rules."""
    pairs = [(table.row(preset), table.row(other)) for preset, other in _COMPARED]
    return [
        f"{first.name} against {second.name}"
        for first, second in pairs
        if first and second and first.runs and second.runs and not _evaluated_alike(first, second)
    ]


def _evaluated_alike(first: Row, second: Row) -> bool:
    """Whether all runs of both rows speak of the same images and judge attacks by one rule."""
    runs = [*first.runs.values(), *second.runs.values()]
    return len({(run.part, run.success_rule) for run in runs}) == 1
