"""[AAD Table 5]: accuracy under attack of every defence, the paper's values beside ours.

`table_5_rows.build` reads the records of a data set into a `Table5`, of rows (defences) and cells
(a column's accuracies by seed). The functions of this module lay it out: `accuracies`, `training`
and others as parts, `page` and `csv_of` as files, and `files` returns all of them for the report.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from analysis import plots, trust
from analysis.records import ResultRun, Results, pixel_width, same_attack
from analysis.seeds import READING as COMPARING
from analysis.statistics import DASH, fraction
from analysis.table_5_rows import (
    DATASETS,
    NOT_RUN,
    Cell,
    Column,
    Measured,
    Row,
    Table5,
    build,
    cell_of,
    compared_unlike,
    differences,
    further_attack_names,
)
from analysis.tables import Table
from analysis.training_configs import complete

_READING = (
    "Accuracy in percent on {images}, white box; *paper* is the printed value. *Ours* of one "
    "seed: with its 95 % Wilson interval over the n examples, in brackets, which says nothing of "
    "another training. Of several seeds: their mean, and from the lowest to the highest of them in "
    "parentheses. The paper does not say at which iterate an attack counts, probably at the last; "
    "here an image counts as misclassified {rule}."
)
_RULES_READ = {
    "any_iterate": "at any, which is stricter",
    "last_iterate": "at the last, too",
}
OWN_LOSSES = (
    "Losses `balanced` are this package's own: cross-entropy, mean square of softmax outputs, l1 "
    "of maps scaled to sum 1. Eqs. 7 to 9 as printed are `paper`, those of the authors' code "
    "`reference_code`."
)
UNLIKE_BASELINES = (
    "Rows of AAD differ from those of adversarial training in more than attention: AAD sums the "
    "losses of clean images and of each of two rounds, so that adversarial images count twice, "
    "where adversarial training takes the mean of clean and attacked ones; its two rounds reach "
    "twice as far; and it costs about three times as much. What attention adds is the difference "
    "from the same training with its losses switched off, 8 : 0 : 0."
)
COMPARED = "Does AAD stand above adversarial training, and above itself without attention losses?"
ACCESS = (
    "Every attack starts from examples classified correctly and reads the network's own gradients, "
    "but for Square, alone or in a cascade such as AutoAttack, which asks for its outputs only."
)
STRICTER = (
    "White box, l∞, ε in [0, 1], true labels. *AutoAttack* is its standard version: APGD on the "
    "cross-entropy, targeted APGD, targeted FAB and Square with 5,000 queries, one restart each, "
    "on what those before left; it keeps its best image, so it has no last iterate. Its accuracies "
    "are of the first n test images."
)
_ATTACK_LABELS = {
    "away_from_label": "true label",
    "towards_least_likely": "the network's least likely class",
    "towards_first_least_likely": "the clean image's least likely class",
}
_NOISE = {
    "independent": "",
    "shared": ", dropout masks shared",
    "none": ", no dropout in attention losses",
}
_COMPANIONS = {"auto_attack": "under AutoAttack", "last_iterate": "by the last iterate"}
_SUCCESS_RULES = {
    "any_iterate": "any iterate is misclassified",
    "last_iterate": "the last iterate is misclassified",
}


def accuracies(table: Table5) -> Table:
    """Makes the table of accuracies in percent, clean accuracy first.

    Each defence has a line of measured values, with intervals, and below it the paper's values.

    Args:
        table: the table of one data set, as `table_5_rows.build` makes it.

    Returns:
        The table, to be written as Markdown or CSV.
    """
    rows = []
    for row in table.rows:
        ours = [cell.text(row.runs) for cell in row.cells]
        seeds = str(len(row.runs)) if row.runs else DASH
        rows.append((row.name, "ours", seeds, _examples(row.cells), *ours))
        if row.in_paper:
            rows.append(("", "paper", "", "", *(cell.paper_text() for cell in row.cells)))
    headings = [column.heading for column in table.columns]
    return Table(("defence", "", "seeds", "n", *headings), rows, left=2)


def _examples(cells: Iterable[Cell]) -> str:
    counts = sorted({found.count for cell in cells for found in cell.seeds.values()})
    return " to ".join(f"{count:,}" for count in counts) or DASH


def threat_models(table: Table5) -> Table:
    """Makes the table of threat models: one line for each attack and rule of success.

    An attack has several lines if networks were judged by different rules of success.

    Returns:
        The table.
    """
    rows = []
    for number, column in enumerate(table.columns):
        if column.threat_model is None:
            continue
        recorded: dict[str, list[str]] = {}
        for row in table.rows:
            rules = {
                found.entry["threat_model"].get("success", "")
                for found in row.cells[number].seeds.values()
                if found.entry is not None
            }
            for rule in rules:
                recorded.setdefault(rule, []).append(row.preset)
        for rule, presets in (recorded or {"": []}).items():
            name = column.name if len(recorded) < 2 else f"{column.name} ({', '.join(presets)})"
            when = _SUCCESS_RULES.get(rule, DASH)
            rows.append((name, *_threat_cells(column.threat_model), when))
    heads = ("attack", "norm", "ε in [0, 1]", "ε × 255", "steps × size", "start", "restarts")
    return Table((*heads, "labels it uses", "misclassified when"), rows, left=9)


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
    """Makes the table of training settings and times, a line for each network; None without any."""
    rows = [_training_cells(row.preset, run) for row in table.rows for run in row.runs.values()]
    heads = ("preset", "trained on", "epochs", "batch", "learning rate", "seed", "minutes")
    return Table((*heads, "CPU cores", "data copy"), rows, left=2) if rows else None


def _training_cells(preset: str, run: ResultRun) -> tuple[str, ...]:
    config, record = complete(run.config), run.training
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
    """Describes on what a network was trained, in words.

    Args:
        defense: the config of its defence, as read from JSON.
    """
    kind, attack = defense.get("kind"), defense.get("attack", "")
    if kind is None:
        return DASH
    if kind == "none":
        return "clean images"
    if kind == "adversarial":
        clean = "in place of clean images" if defense.get("replace_clean") else "and clean images"
        return f"{attack} {clean}{_warm_up(defense)}"
    if kind == "ensemble":
        sources = ", ".join(defense.get("sources", ()))
        return f"{attack} of itself and of {sources}, and clean images{_warm_up(defense)}"
    if kind == "aad":
        weights = ":".join(f"{weight:g}" for weight in defense.get("weights", ()))
        parts = "".join(f", {name} {part}" for name, part in defense["loss_parts"].items())
        fill = f", hidden pixels {defense['fill']}" if defense.get("fill") else ""
        noise = _NOISE[defense.get("attention_noise", "independent")]
        updates = ", one update per round" if defense.get("update_per_round") else ""
        choices = f"{parts}, {weights}{fill}{noise}{updates}{_warm_up(defense)}"
        return f"AAD: {attack}, losses {defense['losses']}{choices}"
    details = ""
    if kind == "trades" and "beta" in defense:
        details = f", beta {defense['beta']:g}"
    if kind == "pairing" and "pairing" in defense:
        details = ", weights {:g} of logits and {:g} of maps".format(*defense["pairing"])
    return f"{kind}: {attack}{details}{_warm_up(defense)}" if attack else str(kind)


def _warm_up(defense: Mapping[str, Any]) -> str:
    steps = defense.get("warmup_steps", 0)
    return f", perturbations growing over {steps:,} steps" if steps else ""


def difference_lines(table: Table5) -> list[str]:
    """Compares defences over seeds, as lines of a Markdown list.

    There is an item for each pair of rows that are compared, with an item below it for each column.

    Returns:
        The lines.
    """
    pairs: dict[str, list[str]] = {}
    for rows, difference in differences(table):
        pairs.setdefault(rows, []).append(f"  - {difference.line()}")
    unlike = [
        f"- {rows}: not compared, as they were evaluated on different images or by different rules"
        for rows in compared_unlike(table)
    ]
    if not (pairs or unlike):
        return ["Not decided yet: the rows to compare have not been run."]
    return [*(line for rows, lines in pairs.items() for line in (f"- {rows}", *lines)), *unlike]


def losses_remark(table: Table5) -> list[str]:
    """A remark on the losses `balanced`, if any network was trained with them; else an empty list.

    It also names the losses of the paper and of the authors' code if no network has them.

    Returns:
        Paragraphs; the second one says in what else the rows of AAD differ from the others.
    """
    trained = {run.losses for row in table.rows for run in row.runs.values()} - {""}
    if not any(losses.startswith("balanced") for losses in trained):
        return []
    names = [one for one in ("paper", "reference_code") if one not in trained]
    missing = f" No row with {' or '.join(f'`{name}`' for name in names)} was run." if names else ""
    return [OWN_LOSSES + missing, UNLIKE_BASELINES]


def warning_lines(table: Table5) -> list[str]:
    """The warnings and diagnostics of the evaluations, as lines of a Markdown list.

    Returns:
        The lines, see `trust.lines`.
    """
    return trust.lines(_evaluations(table))


def _evaluations(table: Table5) -> list[trust.Evaluation]:
    """The evaluations behind a table, with the further ones of the same networks."""
    found = []
    for row in table.rows:
        for seed, run in row.runs.items():
            shown = seed if len(row.runs) > 1 else None
            found.append(trust.Evaluation(row.name, run.summary, shown))
            found += [
                trust.Evaluation(f"{row.name}, {_COMPANIONS[kind]}", companion.summary, shown)
                for kind, companion in run.companions.items()
            ]
    return found


def further_attacks(table: Table5) -> Table | None:
    """Makes the table of recorded attacks that the paper does not have; None if there are none."""
    columns = [column.threat_model for column in table.columns if column.threat_model]
    rows = []
    for row in table.rows:
        entries = [entry for run in row.runs.values() for entry in run.attacks]
        further = {
            entry["attack"]: entry["threat_model"]
            for entry in entries
            if not any(same_attack(entry["threat_model"], column) for column in columns)
        }
        for name, model in further.items():
            cell = cell_of(row.runs, Column(name, model))
            rule = _SUCCESS_RULES.get(model.get("success", ""), DASH)
            names = (row.name, name, str(len(cell.seeds)), _examples([cell]), cell.text())
            rows.append((*names, *_threat_cells(model)[:3], rule))
    heads = ("defence", "attack", "seeds", "n", "accuracy", "norm", "ε in [0, 1]", "ε × 255")
    return Table((*heads, "misclassified when"), rows, left=2) if rows else None


def stricter(table: Table5) -> Table | None:
    """Makes the table of accuracies by last iterate beside any iterate, and under AutoAttack.

    None if no network was evaluated in either way.
    """
    cascades = {
        entry["threat_model"]["epsilon"]: entry["threat_model"]
        for row in table.rows
        for run in _companions(row, "auto_attack").values()
        for entry in run.attacks
    }
    columns = [*table.columns, *(Column("AutoAttack", cascades[size]) for size in sorted(cascades))]
    rows = []
    for row in table.rows:
        last, strongest = (_companions(row, kind) for kind in ("last_iterate", "auto_attack"))
        if not (last or strongest):
            continue
        for kind, runs in {"any iterate": row.runs, "last iterate": last}.items():
            # AutoAttack keeps its best image and stands under any iterate alone.
            cascade = strongest if runs is row.runs else {}
            cells = [cell_of(cascade if c.name == "AutoAttack" else runs, c) for c in columns]
            texts = [cell.text(runs) if cell.seeds else DASH for cell in cells]
            if runs:
                rows.append((row.name, kind, str(len(runs)), _examples(cells), *texts))
    heads = ("defence", "misclassified at", "seeds", "n", *(column.heading for column in columns))
    return Table(heads, rows, left=2) if rows else None


def _companions(row: Row, kind: str) -> dict[int, ResultRun]:
    """Further evaluations of a row's networks, by seed."""
    return {seed: run.companions[kind] for seed, run in row.runs.items() if kind in run.companions}


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
    """The table as CSV: a line for each row, column and seed, with threat model and training."""
    lines = []
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            values = _csv_values(table.dataset, row, column, cell.paper)
            measured = [
                values | _csv_measured(found) | _csv_training(row.runs[seed])
                for seed, found in cell.seeds.items()
            ]
            lines += [[one.get(name) for name in _CSV] for one in measured or [values]]
    return Table(_CSV, lines).csv()


def _csv_values(dataset: str, row: Row, column: Column, paper: float | None) -> dict[str, Any]:
    model = column.threat_model or {}
    return {
        "dataset": dataset,
        "preset": row.preset,
        "defence": row.name,
        "column": column.name,
        "paper_percent": paper,
        "status": NOT_RUN,
        **{key: model.get(key) for key in _THREAT_KEYS},
    }


def _csv_measured(found: Measured) -> dict[str, Any]:
    values: dict[str, Any] = {"status": "run", "right": found.correct, "count": found.count}
    accuracy = fraction(found.correct, found.count)
    numbers = (accuracy.value or 0.0, *(accuracy.interval or ()))
    values |= dict(zip(_PERCENT_KEYS, (f"{100 * number:.4f}" for number in numbers), strict=True))
    if found.entry is not None:
        model = found.entry["threat_model"]
        values |= {"attack": found.entry["attack"], **{key: model.get(key) for key in _THREAT_KEYS}}
    return values


def _csv_training(run: ResultRun) -> dict[str, Any]:
    data = run.training.get("dataset", {})
    return {
        **{key: run.config.get(key) for key in ("seed", "epochs")},
        "training_seconds": run.training.get("seconds"),
        "data_source": data.get("source"),
        "data_fingerprint": data.get("fingerprint"),
    }


def reading(tables_shown: Iterable[Table5]) -> str:
    """Says what accuracies are of: images, intervals, and when an image counts as misclassified.

    Args:
        tables_shown: the tables that it stands above.
    """
    runs = [run for table in tables_shown for row in table.rows for run in row.runs.values()]
    images = "the test set"
    if any(run.part for run in runs):
        images += ", or on the part of the data that a row names in brackets"
    elif any(run.dataset not in DATASETS and not run.names_split for run in runs):
        images = "the images evaluated"
    rules = {run.success_rule for run in runs} - {""} or {"any_iterate"}
    rule = _RULES_READ.get(" ".join(rules), "when the table of threat models says")
    return _READING.format(images=images, rule=rule)


def page(table: Table5) -> str:
    """The Markdown page of one data set, with everything that a reader of the table needs."""
    parts = [
        f"# AAD Table 5, {table.title}",
        "Made by `python -m analysis.report` from `results/robustness` and `results/runs`.",
        reading([table]),
        accuracies(table).markdown(),
        *losses_remark(table),
        *_not_run(table),
        *_unmatched(table),
        *trust.section(_evaluations(table)),
        f"## {COMPARED}",
        COMPARING,
        "\n".join(difference_lines(table)),
        *_behind(table),
    ]
    return "\n\n".join(parts) + "\n"


def own_page(table: Table5) -> str:
    """The Markdown page that compares the user's own run with the paper's row.

    Args:
        table: a table of a single row, as `table_5_rows.of_run` makes it.

    Returns:
        The page.
    """
    (row,) = table.rows
    (run,) = row.runs.values()
    data = f" on {table.title}" if table.title else ""
    transfer = ", ".join(f"`{entry['attack']}`" for entry in run.transfer_attacks)
    parts = [
        f"# {row.name}{data}, beside AAD Table 5",
        reading([table]),
        accuracies(table).markdown(),
        *([f"Attacks by transfer are not shown here: {transfer}."] if transfer else []),
        *losses_remark(table),
        *([] if row.in_paper else ["The paper has no such row."]),
        *trust.section(_evaluations(table)),
        *_behind(table),
    ]
    return "\n\n".join(parts) + "\n"


def _behind(table: Table5) -> list[str]:
    """Threat models, what else was run, training, notes."""
    notes = "\n".join(f"- {note}" for note in (*table.notes, *_further_note(table)))
    strict, evaluations = stricter(table), _evaluations(table)
    sections = {
        "Further attacks": further_attacks(table),
        "Attack by attack of each cascade": trust.stages(evaluations),
        "Worst case over all attacks, adaptive ones included": trust.worst_cases(
            _evaluations(table)
        ),
        "Training": training(table),
    }
    return [
        "## Threat models",
        threat_models(table).markdown(),
        ACCESS,
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


def _further_note(table: Table5) -> list[str]:
    """Which further attacks of the presets, among them other readings of the paper's, were run."""
    named = further_attack_names(table.dataset) if table.notes else ()
    run = {
        entry["attack"] for row in table.rows for one in row.runs.values() for entry in one.attacks
    }
    parts = (
        (what, [f"`{name}`" for name in named if (name in run) == wanted])
        for what, wanted in (("evaluated", True), ("not run", False))
    )
    texts = [f"{what}: {', '.join(names)}" for what, names in parts if names]
    begin = "Further attacks of the presets, among them other readings of the paper's"
    return [f"{begin}; {'; '.join(texts)}."] if texts else []


def _unmatched(table: Table5) -> list[str]:
    names = ", ".join(f"`{name}`" for name in table.unmatched)
    begin = "Records in `results/robustness` that are of none of these rows, and not shown here:"
    return [f"{begin} {names}."] if names else []


def _not_run(table: Table5) -> list[str]:
    presets = ", ".join(f"`{preset}`" for preset in table.presets_not_run())
    return [f"Presets not run: {presets}."] if presets else []


def tables(results: Results) -> list[Table5]:
    """Reads the tables of all data sets that have records, and that of MNIST in any case."""
    built = [build(results.root, dataset) for dataset in DATASETS]
    return [table for table in built if table.has_runs or table.dataset == "mnist"]


def files(results: Results) -> dict[str, str | bytes]:
    """Contents of pages, CSV, LaTeX and plots, by path in the results directory."""
    made: dict[str, str | bytes] = {}
    for table in results.once(tables):
        name = f"table_5_{table.dataset}"
        caption = (
            f"Accuracy in percent under attack on {table.title}, ours (of one seed with its 95 % "
            f"Wilson interval over the test examples, of several their mean and range), and as "
            f"printed in AAD Table 5."
        )
        made[f"tables/{name}.md"] = page(table)
        made[f"tables/{name}.csv"] = csv_of(table)
        label = f"tab:{name}".replace("_", "-")
        made[f"tables/{name}.tex"] = accuracies(table).latex(caption, label)
        if table.has_runs:
            made[f"figures/{name}.png"] = plots.png(figure(table))
    return made


def figure(table: Table5) -> plots.Figure:
    """Plots measured accuracies with intervals and the paper's, a panel for each column."""
    panels = {
        column.heading: [(row.cells[i].accuracy, row.cells[i].paper) for row in table.rows]
        for i, column in enumerate(table.columns)
    }
    title = f"AAD Table 5, {table.title}: accuracy under attack"
    return plots.accuracies(title, [row.name for row in table.rows], panels)


def readme(results: Results) -> str:
    """The tables with warnings and comparisons, Markdown for the README's block of results."""
    built = results.once(tables)
    shown = [table for table in built if table.dataset != "digits"]
    remarks = dict.fromkeys(remark for table in shown for remark in losses_remark(table))
    parts = [reading(shown), COMPARING, *remarks, *map(_section, shown)]
    if any(table.dataset == "digits" for table in built):
        link = "results/tables/table_5_digits.md"
        parts.append(f"The same defences on the embedded digits: [{link}]({link}).")
    return "\n\n".join(parts)


def _section(table: Table5) -> str:
    warnings = trust.short_lines(_evaluations(table))
    name = f"table_5_{table.dataset}"
    parts = [
        f"### {table.title}",
        accuracies(table).markdown(),
        *table.notes[: int(table.is_stand_in)],
        *_not_run(table),
        *(["Warnings and diagnostics:", "\n".join(warnings)] if warnings else []),
        COMPARED,
        "\n".join(difference_lines(table)),
        f"Threat models, AutoAttack, what the diagnostics measured, training settings and times, "
        f"and what the paper leaves open: "
        f"[results/tables/{name}.md](results/tables/{name}.md).",
    ]
    if table.has_runs:
        parts.append(f"![Accuracy under attack, ours and the paper's](results/figures/{name}.png)")
    return "\n\n".join(parts)
