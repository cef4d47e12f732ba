"""[AAD Table 5]: accuracy under attack of every defence, the paper's values beside ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aad_tf.attacks import parse_attack
from aad_tf.utils.files import PathLike
from analysis import paper_values, plots
from analysis.findings import Finding
from analysis.paper_values import PaperTable
from analysis.records import ResultRun, Results, pixel_width, read_run, same_attack
from analysis.statistics import (
    DASH,
    NOTHING,
    Estimate,
    difference_interval,
    fraction,
    pair_counts,
)
from analysis.tables import Table
from train.configs import cifar10, digits, imagenet2012, mnist
from train.configs.presets import ROWS

DATASETS = ("mnist", "cifar10", "imagenet2012", "tiny_imagenet_boxes", "digits")
TITLES = {
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "imagenet2012": "ImageNet2012",
    "tiny_imagenet_boxes": "40 classes of Tiny ImageNet at 107x107, in place of ImageNet2012",
    "digits": "scikit-learn digits",
}
# The data set whose columns of the paper a stand-in has, where it is not itself in the paper.
_STANDS_IN_FOR = {"digits": "mnist", "tiny_imagenet_boxes": "imagenet2012"}
# Rows by preset, and names of all rows.
_ROWS = {
    "imagenet2012": imagenet2012.ROWS,
    "tiny_imagenet_boxes": imagenet2012.SMALL_ROWS,
}
_NAMES = {**imagenet2012.ROWS, **imagenet2012.SMALL_ROWS, **ROWS}
NOT_RUN = "not run"
READING = (
    "Accuracy in percent on the test set, white box. *Ours* with its 95 % Wilson interval over the "
    "n examples; *paper* is the printed value. Each row is one training run: intervals say nothing "
    "of another seed."
)
COMPARING = (
    "Differences in points, with Newcombe's 95 % interval over the same examples. *Confirmed*: the "
    "interval lies on the paper's side of 0; *contradicted*: on the other; *undecided*: around 0."
)
STRICTER = (
    "White box, l∞, ε in [0, 1], true labels. *AutoAttack* is its standard version: APGD on the "
    "cross-entropy, targeted APGD, targeted FAB and Square with 5,000 queries, one restart each, "
    "on what those before left; it keeps its best image, so it has no last iterate. Its accuracies "
    "are of the first n test images."
)
_MODULES: Mapping[str, Any] = {
    "mnist": mnist,
    "cifar10": cifar10,
    "imagenet2012": imagenet2012,
    "tiny_imagenet_boxes": imagenet2012,
    "digits": digits,
}
_COMPARED_ATTACKS = ("FGSM", "IFGSM", "PGD30", "PGD100", "PGD5", "PGD20")
# (preset, preset it is compared with), under the attacks above: StepLL, which some are trained on,
# is left out.
_COMPARED = (
    ("aad_step_ll", "step_ll"),
    ("aad_pgd", "madry"),
    ("aad_pgd_short", "madry_short"),
)
_ATTACK_LABELS = {
    "away_from_label": "true label",
    "towards_least_likely": "the network's least likely class",
    "towards_first_least_likely": "the clean image's least likely class",
}
_SUCCESS_RULES = {
    "any_iterate": "any iterate is misclassified",
    "last_iterate": "the last iterate is misclassified",
}


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
        correct: examples classified correctly, under attack if there is one; None if not run.
        count: examples evaluated; None if not run.
        entry: the summary's entry of the attack, or None.
    """

    paper: float | None
    correct: int | None = None
    count: int | None = None
    entry: Mapping[str, Any] | None = None

    @property
    def accuracy(self) -> Estimate:
        """Measured accuracy with its 95 % Wilson interval over the examples."""
        return NOTHING if self.correct is None else fraction(self.correct, self.count or 0)

    def text(self) -> str:
        """`98.7 [98.5, 98.9]` in percent, or `not run`."""
        return NOT_RUN if self.accuracy.value is None else self.accuracy.percent()

    def paper_text(self) -> str:
        """The paper's value, or a dash."""
        return DASH if self.paper is None else f"{self.paper:.2f}"


@dataclass(frozen=True)
class Row:
    """One defence: a preset, its run if there is one, and a cell for each column."""

    preset: str
    name: str
    run: ResultRun | None
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

    @property
    def title(self) -> str:
        """The data set as readers know it."""
        return TITLES.get(self.dataset, self.dataset)

    def row(self, preset: str) -> Row | None:
        """The row of a preset, or None if it is not shown."""
        return next((row for row in self.rows if row.preset == preset), None)

    def presets_not_run(self) -> list[str]:
        """Presets of the paper's rows that no record of this data set speaks of."""
        run = {row.preset for row in self.rows if row.run is not None}
        names, reproduced = row_names(self.dataset), _paper_table(self.dataset).rows
        return [preset for preset in names if preset not in run and paper_row(preset) in reproduced]


def build(results_dir: PathLike, dataset: str) -> Table5:
    """Puts the table together from the summaries of evaluations.

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
        '99.3 [99.1, 99.4]'
    """
    if dataset not in DATASETS:
        raise ValueError(f"dataset must be one of {', '.join(DATASETS)}, got {dataset!r}.")
    columns, paper = _columns(dataset)
    found = {preset: read_run(results_dir, dataset, preset) for preset in row_names(dataset)}
    runs = {preset: run for preset, run in found.items() if run is not None}
    shown = _shown(dataset, runs)
    rows = tuple(_row(preset, runs.get(preset), columns, paper) for preset in shown)
    return Table5(dataset, columns, rows, _notes(dataset, paper))


def of_run(run: ResultRun) -> Table5:
    """The table of one run alone, with the paper's row of its preset if there is one.

    Args:
        run: e.g. from `records.read_own_run`.

    Returns:
        On a data set of `DATASETS` with its columns, else with the attacks that were run.
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
    row = _row(run.preset, run, columns, paper)
    return Table5(run.dataset, columns, (row,), _notes(run.dataset, paper))


def row_names(dataset: str) -> Mapping[str, str]:
    """Names of a data set's rows by preset, in the order in which they stand."""
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
        f"The paper's values are of {replaced}, ours of {TITLES[dataset]}: they show how the rows "
        f"stand to each other, and are not to be compared one by one.",
        *paper.notes,
    )


def paper_row(preset: str) -> str:
    """The paper's name of the row a preset reproduces or varies; others keep their name."""
    return _NAMES.get(preset, preset).split(" (")[0]


def _shown(dataset: str, runs: Mapping[str, ResultRun]) -> list[str]:
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
    preset: str, run: ResultRun | None, columns: tuple[Column, ...], paper: PaperTable | None
) -> Row:
    name = paper_row(preset)
    cells = []
    for column in columns:
        value = paper.value(name, column.name) if paper and name in paper.rows else None
        cells.append(_cell(run, column, value))
    return Row(preset, _title(preset, run), run, tuple(cells))


def _title(preset: str, run: ResultRun | None) -> str:
    """The row's name, with what was reduced: part of the data, fewer epochs than the preset's."""
    title = _NAMES.get(preset, preset or "unnamed network")
    if run is None:
        return title
    notes = [run.part] if run.part else []
    module = _MODULES.get(run.dataset)
    full = None if module is None else module.PRESETS.get(preset)
    epochs = run.config.get("epochs")
    if full is not None and epochs is not None and epochs < full.epochs:
        notes.append(f"{epochs} of {full.epochs} epochs")
    return f"{title} [{', '.join(notes)}]" if notes else title


def _cell(run: ResultRun | None, column: Column, paper: float | None) -> Cell:
    if run is None or not run.attacks:
        return Cell(paper)
    if column.threat_model is None:
        first = run.attacks[0]
        return Cell(paper, first["count"] - first["clean_mistakes"], first["count"])
    entry = run.entry(column.threat_model)
    if entry is None:
        return Cell(paper)
    return Cell(paper, entry["robust"], entry["count"], entry)


def accuracies(table: Table5) -> Table:
    """Ours and the paper's values, one under the other, clean accuracy first."""
    rows = []
    for row in table.rows:
        ours = [cell.text() for cell in row.cells]
        rows.append((row.name, "ours", _examples(row.cells), *ours))
        if row.in_paper:
            rows.append(("", "paper", "", *(cell.paper_text() for cell in row.cells)))
    headings = [column.heading for column in table.columns]
    return Table(("defence", "", "n", *headings), rows, left=2)


def _examples(cells: Iterable[Cell]) -> str:
    counts = sorted({cell.count for cell in cells if cell.count})
    return " to ".join(f"{count:,}" for count in counts) or DASH


def threat_models(table: Table5) -> Table:
    """What each column's attack may do; a further line where rows were attacked differently."""
    rows = []
    for number, column in enumerate(table.columns):
        if column.threat_model is None:
            continue
        recorded: dict[str, list[str]] = {}
        for row in table.rows:
            entry = row.cells[number].entry
            if entry is not None:
                rule = entry["threat_model"].get("success", "")
                recorded.setdefault(rule, []).append(row.preset)
        for rule, presets in (recorded or {"": []}).items():
            name = column.name if len(recorded) < 2 else f"{column.name} ({', '.join(presets)})"
            when = _SUCCESS_RULES.get(rule, DASH)
            rows.append((name, *_threat_cells(column.threat_model), when))
    heads = ("attack", "norm", "ε in [0, 1]", "ε × 255", "steps × size", "start", "restarts")
    return Table((*heads, "labels it uses", "fooled when"), rows, left=9)


def _threat_cells(model: Mapping[str, Any]) -> tuple[str, ...]:
    # Attacks of other kinds than gradient signs have no steps of one size, or no start.
    steps, size = model.get("steps", DASH), model.get("step_size")
    width = pixel_width(model)
    objective = model.get("objective", DASH)
    return (
        "l∞" if model.get("projected", True) else "l∞, rounds add up",
        f"{model['epsilon'] / width:.4g}",
        f"{255 * model['epsilon'] / width:.4g}",
        str(steps) if size is None else f"{steps} × {size / width:.4g}",
        "random" if model.get("random_start") else "clean image",
        str(model.get("restarts", DASH)),
        _ATTACK_LABELS.get(objective, objective),
    )


def training(table: Table5) -> Table | None:
    """How the rows that were run were trained; None if none was."""
    rows = [_training_cells(row.preset, row.run) for row in table.rows if row.run is not None]
    heads = ("preset", "trained on", "epochs", "batch", "learning rate", "seed", "minutes")
    return Table((*heads, "CPU cores", "data copy"), rows, left=2) if rows else None


def _training_cells(preset: str, run: ResultRun) -> tuple[str, ...]:
    config, record = run.config, run.training
    starts = record.get("starts") or [{}]
    minutes = f"{record['seconds'] / 60:.1f}" if "seconds" in record else DASH
    if record and record.get("state") != "finished":
        minutes += " (unfinished)"
    data = record.get("dataset", {})
    settings = (config.get(key, DASH) for key in ("epochs", "batch_size", "learning_rate", "seed"))
    return (
        preset,
        "not trained: published weights"
        if config.get("epochs") == 0
        else trained_on(config.get("defense", {})),
        *map(str, settings),
        minutes,
        str(starts[-1].get("cpu_cores") or DASH),
        f"{data['source']} ({data['fingerprint']})" if data else DASH,
    )


def trained_on(defense: Mapping[str, Any]) -> str:
    """A defence's config in words."""
    kind, attack = defense.get("kind"), defense.get("attack", "")
    if kind is None:
        return DASH
    if kind == "none":
        return "clean images"
    if kind == "adversarial":
        clean = "in place of clean images" if defense.get("replace_clean") else "and clean images"
        return f"{attack} {clean}"
    if kind == "ensemble":
        sources = ", ".join(defense.get("sources", ()))
        return f"{attack} of itself and of {sources}, and clean images"
    if kind == "aad":
        weights = ":".join(f"{weight:g}" for weight in defense.get("weights", ()))
        parts = "".join(f", {name} {part}" for name, part in defense["loss_parts"].items())
        updates = ", one update a round" if defense.get("update_per_round") else ""
        return f"AAD: {attack}, losses {defense['losses']}{parts}, {weights}{updates}"
    return f"{kind}: {attack}" if attack else str(kind)


def findings(table: Table5) -> list[tuple[str, Finding]]:
    """What the paper says of its defences, for each pair of rows that records can speak to.

    Args:
        table: of one data set.

    Returns:
        Names of both rows, and a finding for each attack that both were run under.
    """
    found = []
    for preset, other in _COMPARED:
        first, second = table.row(preset), table.row(other)
        if first is not None and second is not None:
            names = f"{first.name} against {second.name}"
            compared = [
                _compare(first, second, number, column.heading)
                for number, column in enumerate(table.columns)
                if column.name in _COMPARED_ATTACKS
            ]
            found += [(names, finding) for finding in compared if finding is not None]
    return found


def _compare(first: Row, second: Row, number: int, heading: str) -> Finding | None:
    one, other = first.cells[number], second.cells[number]
    if one.entry is None or other.entry is None or first.run is None or second.run is None:
        return None
    rules = [entry["threat_model"].get("success") for entry in (one.entry, other.entry)]
    if rules[0] != rules[1] or first.run.part != second.run.part:
        return None
    paper, direction = None, 0
    if one.paper is not None and other.paper is not None:
        paper = (one.paper - other.paper) / 100
        direction = (paper > 0) - (paper < 0)
    pairs = None
    if first.run.records is not None and second.run.records is not None:
        pairs = pair_counts(
            first.run.robust[one.entry["attack"]], second.run.robust[other.entry["attack"]]
        )
    difference = difference_interval(
        (one.entry["robust"], one.entry["count"]),
        (other.entry["robust"], other.entry["count"]),
        pairs,
    )
    return Finding(heading, difference, direction, paper, percent=True)


def finding_lines(table: Table5) -> list[str]:
    """Findings as a Markdown list, one item for each pair of rows and within it for each attack."""
    pairs: dict[str, list[str]] = {}
    for rows, finding in findings(table):
        printed = "" if finding.paper is None else f", paper {finding.paper_text()}"
        line = f"  - {finding.statement}: {finding.ours_text()}{printed}, {finding.verdict}"
        pairs.setdefault(rows, []).append(line)
    if not pairs:
        return ["Not decided yet: the rows to compare have not been run."]
    return [line for rows, lines in pairs.items() for line in (f"- {rows}", *lines)]


def warning_lines(table: Table5) -> list[str]:
    """What the evaluations warned of, as a Markdown list; nothing without any run."""
    runs = [(row.name, row.run) for row in table.rows if row.run is not None]
    lines = [f"- {name}: {warning}" for name, run in runs for warning in run.warnings]
    return lines or (["The evaluations found none."] if runs else [])


def further_attacks(table: Table5) -> Table | None:
    """Recorded attacks beyond the paper's columns; None if there are none."""
    columns = [column.threat_model for column in table.columns if column.threat_model]
    rows = []
    for row in table.rows:
        for entry in row.run.attacks if row.run is not None else ():
            model, count = entry["threat_model"], entry["count"]
            if not any(same_attack(model, column) for column in columns):
                accuracy = fraction(entry["robust"], count).percent()
                rule = _SUCCESS_RULES.get(model.get("success", ""), DASH)
                names = (row.name, entry["attack"], f"{count:,}", accuracy)
                rows.append((*names, *_threat_cells(model)[:3], rule))
    heads = ("defence", "attack", "n", "accuracy", "norm", "ε in [0, 1]", "ε × 255", "fooled when")
    return Table(heads, rows, left=2) if rows else None


def stricter(table: Table5) -> Table | None:
    """By the last iterate beside any iterate, and under AutoAttack; None where neither was run."""
    shown = [row.run for row in table.rows if row.run is not None and row.run.companions]
    strongest = [run.companions["auto_attack"] for run in shown if "auto_attack" in run.companions]
    cascades = {
        entry["threat_model"]["epsilon"]: entry["threat_model"]
        for run in strongest
        for entry in run.attacks
    }
    columns = [*table.columns, *(Column("AutoAttack", cascades[size]) for size in sorted(cascades))]
    rows = []
    for row in table.rows:
        if row.run is None or not row.run.companions:
            continue
        kinds = {"any iterate": row.run, "last iterate": row.run.companions.get("last_iterate")}
        for kind, run in kinds.items():
            if run is not None:
                cells = [_strict_cell(row.run, run, column) for column in columns]
                texts = [cell.text() if cell.count else DASH for cell in cells]
                rows.append((row.name, kind, _examples(cells), *texts))
    heads = ("defence", "misclassified at", "n", *(column.heading for column in columns))
    return Table(heads, rows, left=2) if rows else None


def _strict_cell(whole: ResultRun, run: ResultRun, column: Column) -> Cell:
    """Of an evaluation; AutoAttack, which keeps its best image, under any iterate alone."""
    if column.name == "AutoAttack":
        found = whole.companions.get("auto_attack") if run is whole else None
        return _cell(found, column, None)
    return _cell(run, column, None)


_PERCENT_KEYS = ("ours_percent", "low_percent", "high_percent")
_THREAT_KEYS = (
    *("norm", "epsilon", "epsilon_255", "projected", "steps", "step_size"),
    *("random_start", "restarts", "objective", "success"),
)
_CSV = (
    *("dataset", "preset", "defence", "column", "attack", "status"),
    *("paper_percent", *_PERCENT_KEYS, "right", "count"),
    *_THREAT_KEYS,
    *("seed", "epochs", "training_seconds", "data_source", "data_fingerprint"),
)


def csv_of(table: Table5) -> str:
    """One line per cell, threat model and training included."""
    lines = []
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            values = _csv_values(table.dataset, row, column, cell)
            lines.append([values.get(name) for name in _CSV])
    return Table(_CSV, lines).csv()


def _csv_values(dataset: str, row: Row, column: Column, cell: Cell) -> dict[str, Any]:
    values: dict[str, Any] = {
        "dataset": dataset,
        "preset": row.preset,
        "defence": row.name,
        "column": column.name,
        "paper_percent": cell.paper,
        "right": cell.correct,
        "count": cell.count,
        "status": NOT_RUN if cell.correct is None else "run",
        "attack": cell.entry["attack"] if cell.entry else None,
    }
    accuracy = cell.accuracy
    if accuracy.value is not None and accuracy.interval is not None:
        percents = (f"{100 * number:.4f}" for number in (accuracy.value, *accuracy.interval))
        values |= dict(zip(_PERCENT_KEYS, percents, strict=True))
    model = cell.entry["threat_model"] if cell.entry else column.threat_model or {}
    values |= {key: model.get(key) for key in _THREAT_KEYS}
    if row.run is not None:
        data = row.run.training.get("dataset", {})
        values |= {key: row.run.config.get(key) for key in ("seed", "epochs")}
        values["training_seconds"] = row.run.training.get("seconds")
        values["data_source"] = data.get("source")
        values["data_fingerprint"] = data.get("fingerprint")
    return values


def page(table: Table5) -> str:
    """Table 5 of one data set with everything needed to read it, as a Markdown page."""
    parts = [
        f"# AAD Table 5, {table.title}",
        "Made by `python -m analysis.report` from `results/robustness` and `results/runs`.",
        READING,
        accuracies(table).markdown(),
        *_not_run(table),
        "## Warnings of the evaluations",
        "\n".join(warning_lines(table)) or "Nothing has been run.",
        "## Does AAD stand above adversarial training?",
        COMPARING,
        "\n".join(finding_lines(table)),
        *_behind(table),
    ]
    return "\n\n".join(parts) + "\n"


def own_page(table: Table5) -> str:
    """The reader's run beside the paper's row, as Markdown; `table` is from `of_run`."""
    (row,) = table.rows
    parts = [
        f"# {row.name} on {table.title}, beside AAD Table 5",
        READING,
        accuracies(table).markdown(),
        *([] if row.in_paper else ["The paper has no such row."]),
        "## Warnings of the evaluations",
        "\n".join(warning_lines(table)),
        *_behind(table),
    ]
    return "\n\n".join(parts) + "\n"


def _behind(table: Table5) -> list[str]:
    """Threat models, what else was run, training, notes."""
    notes = "\n".join(f"- {note}" for note in table.notes)
    strict = stricter(table)
    sections = {
        "Further attacks": further_attacks(table),
        "Training": training(table),
    }
    return [
        "## Threat models",
        threat_models(table).markdown(),
        "Every attack reads the network's own gradients and starts from examples classified right.",
        *(
            []
            if strict is None
            else ["## By the last iterate, and under AutoAttack", strict.markdown(), STRICTER]
        ),
        *(
            f"## {title}\n\n{found.markdown()}"
            for title, found in sections.items()
            if found is not None
        ),
        *([f"## Notes on the paper's values\n\n{notes}"] if notes else []),
    ]


def _not_run(table: Table5) -> list[str]:
    presets = ", ".join(f"`{preset}`" for preset in table.presets_not_run())
    return [f"Presets not run: {presets}."] if presets else []


def tables(results: Results) -> list[Table5]:
    """MNIST's table always, the others once something was run."""
    built = [build(results.root, dataset) for dataset in DATASETS]
    return [table for table in built if table.has_runs or table.dataset == "mnist"]


def files(results: Results) -> dict[str, str | bytes]:
    """Pages, CSV, LaTeX and plots of all data sets, by path in the results directory."""
    made: dict[str, str | bytes] = {}
    for table in results.once(tables):
        name = f"table_5_{table.dataset}"
        caption = (
            f"Accuracy in percent under attack on {table.title}, ours with 95 % Wilson intervals "
            f"over the test examples, and as printed in AAD Table 5."
        )
        made[f"tables/{name}.md"] = page(table)
        made[f"tables/{name}.csv"] = csv_of(table)
        label = f"tab:{name}".replace("_", "-")
        made[f"tables/{name}.tex"] = accuracies(table).latex(caption, label)
        if table.has_runs:
            made[f"figures/{name}.png"] = plots.png(figure(table))
    return made


def figure(table: Table5) -> plots.Figure:
    """One panel for each column: ours as dots with intervals, the paper's as diamonds."""
    panels = {
        column.heading: [(row.cells[i].accuracy, row.cells[i].paper) for row in table.rows]
        for i, column in enumerate(table.columns)
    }
    title = f"AAD Table 5, {table.title}: accuracy under attack"
    return plots.accuracies(title, [row.name for row in table.rows], panels)


def readme(results: Results) -> str:
    """The tables with warnings and findings, for the README's block."""
    built = results.once(tables)
    parts = [READING, *(_section(table) for table in built if table.dataset != "digits")]
    if any(table.dataset == "digits" for table in built):
        link = "results/tables/table_5_digits.md"
        parts.append(f"The same defences on the embedded digits: [{link}]({link}).")
    return "\n\n".join(parts)


def _section(table: Table5) -> str:
    warnings = warning_lines(table)
    name = f"table_5_{table.dataset}"
    parts = [
        f"### {table.title}",
        accuracies(table).markdown(),
        *_not_run(table),
        *(["Warnings of the evaluations:", "\n".join(warnings)] if warnings else []),
        f"Does AAD stand above adversarial training? {COMPARING}",
        "\n".join(finding_lines(table)),
        f"Threat models, training settings and times, and what the paper leaves open: "
        f"[results/tables/{name}.md](results/tables/{name}.md).",
    ]
    if table.has_runs:
        parts.append(f"![Accuracy under attack, ours and the paper's](results/figures/{name}.png)")
    return "\n\n".join(parts)
