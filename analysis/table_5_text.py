"""[AAD Table 5] as text: the table, its threat models, how rows were trained, what to beware of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from analysis.findings import Finding, findings
from analysis.runs import Run
from analysis.table_5 import TITLES, Cell, Column, Row, Table5
from analysis.tables import TextTable, csv_text

_ATTACK_LABELS = {
    "away_from_label": "true label",
    "towards_least_likely": "the network's least likely class",
}
_FOOLED_WHEN = {
    "any_iterate": "any iterate is misclassified",
    "last_iterate": "the last iterate is misclassified",
}
_DASH = "–"

READING = (
    "Accuracy in percent on the test set, white box. *Ours* with its 95 % Wilson interval over the "
    "n examples; *paper* is the printed value. Each row is one training run: intervals say nothing "
    "of another seed."
)

COMPARING = (
    "Differences in points, with Newcombe's 95 % interval over the same examples. *Confirmed*: the "
    "interval lies on the paper's side of 0; *contradicted*: on the other; *undecided*: around 0."
)


def accuracies(table: Table5) -> TextTable:
    """Ours and the paper's values, one under the other, clean accuracy first."""
    rows = []
    for row in table.rows:
        ours = [cell.text() for cell in row.cells]
        rows.append((row.name, "ours", _examples(row.cells), *ours))
        if row.in_paper:
            rows.append(("", "paper", "", *(cell.paper_text() for cell in row.cells)))
    headings = [column.heading for column in table.columns]
    return TextTable(("defence", "", "n", *headings), tuple(rows), left=2)


def _examples(cells: Iterable[Cell]) -> str:
    counts = sorted({cell.count for cell in cells if cell.count})
    return " to ".join(f"{count:,}" for count in counts) or _DASH


def threat_models(table: Table5) -> TextTable:
    """What each column's attack may do; a line more where rows were attacked differently."""
    rows = []
    for place, column in enumerate(table.columns):
        if column.threat_model is None:
            continue
        recorded: dict[str, list[str]] = {}
        for row in table.rows:
            entry = row.cells[place].entry
            if entry is not None:
                rule = entry["threat_model"].get("success", "")
                recorded.setdefault(rule, []).append(row.preset)
        for rule, presets in (recorded or {"": []}).items():
            name = column.name if len(recorded) < 2 else f"{column.name} ({', '.join(presets)})"
            rows.append((name, *_threat_cells(column.threat_model), _FOOLED_WHEN.get(rule, _DASH)))
    heads = ("attack", "norm", "ε in [0, 1]", "ε × 255", "steps × size", "start", "restarts")
    return TextTable((*heads, "labels it uses", "fooled when"), tuple(rows), left=9)


def _threat_cells(model: Mapping[str, Any]) -> tuple[str, ...]:
    norm = "l∞" if model["projected"] else "l∞, rounds add up"
    return (
        norm,
        f"{model['epsilon']:.4g}",
        f"{255 * model['epsilon']:.4g}",
        f"{model['steps']} × {model['step_size']:.4g}",
        "random" if model["random_start"] else "clean image",
        str(model["restarts"]),
        _ATTACK_LABELS.get(model["objective"], model["objective"]),
    )


def training(table: Table5) -> TextTable | None:
    """How the rows that were run were trained; None if none was."""
    rows = tuple(_training_cells(row) for row in table.rows if row.run is not None)
    heads = ("preset", "trained on", "epochs", "batch", "learning rate", "seed", "minutes")
    return TextTable((*heads, "CPU cores", "data copy"), rows, left=2) if rows else None


def _training_cells(row: Row) -> tuple[str, ...]:
    config: Mapping[str, Any] = row.run.config if row.run else {}
    run: Mapping[str, Any] = row.run.training if row.run else {}
    starts = run.get("starts") or [{}]
    minutes = f"{run['seconds'] / 60:.1f}" if "seconds" in run else _DASH
    if run and run.get("state") != "finished":
        minutes += " (unfinished)"
    data = run.get("dataset", {})
    settings = (config.get(key, _DASH) for key in ("epochs", "batch_size", "learning_rate", "seed"))
    return (
        row.preset,
        trained_on(config.get("defense", {})),
        *map(str, settings),
        minutes,
        str(starts[-1].get("cpu_cores") or _DASH),
        f"{data['source']} ({data['fingerprint']})" if data else _DASH,
    )


def trained_on(defense: Mapping[str, Any]) -> str:
    """A defence's config in words."""
    kind, attack = defense.get("kind"), defense.get("attack", "")
    if kind == "none":
        return "clean images"
    if kind == "adversarial":
        clean = "in place of clean images" if defense.get("replace_clean") else "and clean images"
        return f"{attack} {clean}"
    if kind == "aad":
        weights = ":".join(f"{weight:g}" for weight in defense.get("weights", ()))
        parts = "".join(f", {name} {part}" for name, part in defense["loss_parts"].items())
        updates = ", one update a round" if defense.get("update_per_round") else ""
        return f"AAD: {attack}, losses {defense['losses']}{parts}, {weights}{updates}"
    return _DASH


def finding_lines(table: Table5) -> list[str]:
    """Findings as a Markdown list, one item a pair of rows and within it one an attack."""
    pairs: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings(table):
        pairs.setdefault((finding.name, finding.other), []).append(finding)
    if not pairs:
        return ["Not decided yet: the rows to compare have not been run."]
    lines = []
    for (name, other), group in pairs.items():
        lines.append(f"- {name} against {other}")
        lines += [f"  - {finding.sentence()}" for finding in group]
    return lines


def warning_lines(table: Table5) -> list[str]:
    """The evaluations' signs of gradient masking as a Markdown list."""
    lines = [
        f"- {row.name}: {warning}"
        for row in table.rows
        if row.run is not None
        for warning in row.run.warnings
    ]
    if lines or not table.has_runs:
        return lines
    return ["The evaluations found none."]


def further_attacks(table: Table5) -> TextTable | None:
    """Recorded attacks beyond the paper's columns; None if there are none."""
    rows = []
    for row, entry in table.further_attacks():
        cell = Cell(None, entry["robust"], entry["count"], entry)
        model = entry["threat_model"]
        names = (row.name, entry["attack"], f"{cell.count:,}", cell.text())
        fooled = _FOOLED_WHEN.get(model.get("success", ""), _DASH)
        rows.append((*names, *_threat_cells(model)[:3], fooled))
    heads = ("defence", "attack", "n", "accuracy", "norm", "ε in [0, 1]", "ε × 255", "fooled when")
    return TextTable(heads, tuple(rows), left=2) if rows else None


def caption(table: Table5) -> str:
    """One line for LaTeX."""
    return (
        f"Accuracy in percent under attack on {TITLES[table.dataset]}, ours with 95 % Wilson "
        f"intervals over the test examples, and as printed in AAD Table 5."
    )


_NAME_KEYS = ("dataset", "preset", "defence", "column", "attack", "status")
_SHARE_KEYS = ("ours_percent", "low_percent", "high_percent")
_ACCURACY_KEYS = ("paper_percent", *_SHARE_KEYS, "right", "count")
_THREAT_KEYS = (
    *("norm", "epsilon", "epsilon_255", "projected", "steps", "step_size"),
    *("random_start", "restarts", "objective", "success"),
)
_RUN_KEYS = ("seed", "epochs", "training_seconds", "data_source", "data_fingerprint")
_CSV = (*_NAME_KEYS, *_ACCURACY_KEYS, *_THREAT_KEYS, *_RUN_KEYS)


def csv_of(table: Table5) -> str:
    """One line a cell, threat model and training included."""
    lines = []
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            values = _csv_values(table, row, column, cell)
            lines.append([values.get(name) for name in _CSV])
    return csv_text(_CSV, lines)


def _csv_values(table: Table5, row: Row, column: Column, cell: Cell) -> dict[str, Any]:
    values: dict[str, Any] = {
        "dataset": table.dataset,
        "preset": row.preset,
        "defence": row.name,
        "column": column.name,
        "paper_percent": cell.paper,
        "right": cell.right,
        "count": cell.count,
        "status": "not run" if cell.right is None else "run",
    }
    if cell.share is not None and cell.interval is not None:
        numbers = (cell.share, *cell.interval)
        percents = (f"{100 * number:.4f}" for number in numbers)
        values |= dict(zip(_SHARE_KEYS, percents, strict=True))
    model = cell.entry["threat_model"] if cell.entry else column.threat_model or {}
    values |= {key: model.get(key) for key in _THREAT_KEYS}
    values["attack"] = cell.entry["attack"] if cell.entry else None
    return values | (_csv_run_values(row.run) if row.run is not None else {})


def _csv_run_values(run: Run) -> dict[str, Any]:
    data = run.training.get("dataset", {})
    return {
        "seed": run.config.get("seed"),
        "epochs": run.config.get("epochs"),
        "training_seconds": run.training.get("seconds"),
        "data_source": data.get("source"),
        "data_fingerprint": data.get("fingerprint"),
    }
