"""Makes every table and plot from the committed records, and the README's block of results.

Run it as `python -m analysis.report`, or `make tables`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app, flags

from aad_tf.results import PathLike, write_atomically
from analysis import ablations, plots, table_5, table_5_text
from analysis.attention import findings, gallery, networks, overview
from analysis.attention.table import AttentionTable
from analysis.table_5 import TITLES, Table5
from analysis.tables import TextTable, csv_text

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"

_RESULTS = flags.DEFINE_string("results_dir", "results", "Directory of the records.")
_README = flags.DEFINE_string("readme", "README.md", "File whose block of results is renewed.")


def readme_block(results_dir: PathLike, attention: list[list[AttentionTable]] | None = None) -> str:
    """The text between the README's markers, as the records give it.

    Args:
        results_dir: the directory that holds `runs`, `robustness` and `attention`.
        attention: what `overview.build` returns for it, if that is known already.

    Returns:
        Markdown, without the markers.
    """
    if attention is None:
        attention = overview.build(results_dir)
    tables = _tables(results_dir)
    parts = [_section(table) for table in tables if table.dataset != "digits"]
    if len(parts) < len(tables):
        link = "results/tables/table_5_digits.md"
        parts.append(f"The same defences on the embedded digits: [{link}]({link}).")
    parts.append(overview.readme_section(attention))
    if any(table.number == "1" for group in attention for table in group):
        page_name = f"results/{findings.PAGE}"
        parts.append(f"Matched comparisons, chance levels and plots: [{page_name}]({page_name}).")
    if networks.read(results_dir):
        path = f"results/tables/{networks.STEM}.md"
        parts.append(f"How these networks were trained, and their accuracies: [{path}]({path}).")
    return "\n\n".join([table_5_text.READING, *parts])


def page(table: Table5) -> str:
    """Table 5 of one data set with everything needed to read it, as a Markdown page."""
    warnings = table_5_text.warning_lines(table)
    parts = [
        f"# AAD Table 5, {TITLES[table.dataset]}",
        "Made by `python -m analysis.report` from `results/robustness` and `results/runs`.",
        table_5_text.READING,
        table_5_text.accuracies(table).markdown(),
        *_not_run(table),
        "## Signs of gradient masking",
        "\n".join(warnings) or "Nothing has been run.",
        "## Does AAD stand above adversarial training?",
        table_5_text.COMPARING,
        "\n".join(table_5_text.finding_lines(table)),
        "## Threat models",
        table_5_text.threat_models(table).markdown(),
        "Every attack reads the network's own gradients and starts from examples classified right.",
        *_titled("## Further attacks", table_5_text.further_attacks(table)),
        *_titled("## Training", table_5_text.training(table)),
    ]
    if table.notes:
        parts += ["## Notes on the paper's values", "\n".join(f"- {n}" for n in table.notes)]
    return "\n\n".join(parts) + "\n"


def replace_block(text: str, block: str) -> str:
    """Text with what stands between the markers exchanged.

    Args:
        text: holds each marker once, the first before the second.
        block: what to put between them.

    Raises:
        ValueError: markers missing, repeated or in the wrong order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"Expected the lines {BEGIN} and {END}, once each and in this order.")
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n\n{block}\n\n{END}{rest.split(END)[1]}"


def generate(results_dir: PathLike, readme: PathLike) -> list[Path]:
    """Writes all tables and plots, and renews the README's block; each file whole or not at all.

    Args:
        results_dir: the directory that holds `runs`, `robustness` and `attention`; `tables` and
            `figures` are made in it.
        readme: Markdown file with the markers.

    Returns:
        The files written.

    Raises:
        ValueError: no markers, or a file that is no record.
        OSError: a file cannot be written.
    """
    results, readme = Path(results_dir), Path(readme)
    attention = overview.build(results)
    block = readme_block(results, attention)
    text = replace_block(readme.read_text(encoding="utf-8"), block)
    for name in ("tables", "figures"):
        (results / name).mkdir(parents=True, exist_ok=True)
    written = []
    for table in _tables(results):
        written += _write_table_5(table, results)
    for group in attention:
        for made in group:
            written += _write_formats(
                results / "tables" / made.stem, made.page(), made.csv(), made.latex()
            )
    ablation = ablations.build(results)
    if ablation is not None:
        path = results / "tables" / "ablation_losses_mnist.md"
        written.append(_write(path, ablations.page(ablation)))
    written += _write_networks(results)
    written += [*findings.generate(results), *gallery.generate(results)]
    return [*written, _write(readme, text)]


def _write_table_5(table: Table5, results: Path) -> list[Path]:
    stem = results / "tables" / f"table_5_{table.dataset}"
    latex = table_5_text.accuracies(table).latex(
        table_5_text.caption(table), f"tab:{stem.name}".replace("_", "-")
    )
    written = _write_formats(stem, page(table), table_5_text.csv_of(table), latex)
    if table.has_runs:
        plot = results / "figures" / f"{stem.name}.png"
        plots.plot_table_5(table, plot)
        written.append(plot)
    return written


def _write_networks(results: Path) -> list[Path]:
    studied = networks.read(results)
    if not studied:
        return []
    table = networks.accuracies(studied)
    latex = table.latex("Accuracy in percent of the networks studied, white box", "tab:networks")
    stem = results / "tables" / networks.STEM
    return _write_formats(stem, networks.page(studied), csv_text(table.columns, table.rows), latex)


def _write_formats(stem: Path, markdown: str, csv: str, latex: str) -> list[Path]:
    contents = {".md": markdown, ".csv": csv, ".tex": latex}
    # Not with_suffix: a network's name may hold a dot.
    return [_write(stem.with_name(stem.name + end), text) for end, text in contents.items()]


def _tables(results_dir: PathLike) -> list[Table5]:
    """MNIST's table always, the others once something was run."""
    tables = [table_5.build(results_dir, dataset) for dataset in table_5.DATASETS]
    return [table for table in tables if table.has_runs or table.dataset == "mnist"]


def _section(table: Table5) -> str:
    warnings = table_5_text.warning_lines(table)
    name = f"table_5_{table.dataset}"
    parts = [
        f"### {TITLES[table.dataset]}",
        table_5_text.accuracies(table).markdown(),
        *_not_run(table),
        *(["Signs of gradient masking:", "\n".join(warnings)] if warnings else []),
        f"Does AAD stand above adversarial training? {table_5_text.COMPARING}",
        "\n".join(table_5_text.finding_lines(table)),
        f"Threat models, training settings and times, and what the paper leaves open: "
        f"[results/tables/{name}.md](results/tables/{name}.md).",
    ]
    if table.has_runs:
        parts.append(f"![Accuracy under attack, ours and the paper's](results/figures/{name}.png)")
    return "\n\n".join(parts)


def _not_run(table: Table5) -> list[str]:
    presets = ", ".join(f"`{preset}`" for preset in table.presets_not_run())
    return [f"Presets not run: {presets}."] if presets else []


def _titled(title: str, table: TextTable | None) -> list[str]:
    return [] if table is None else [title, table.markdown()]


def _write(path: Path, text: str) -> Path:
    with write_atomically(path) as file:
        file.write(text.encode())
    return path


def main(argv: list[str]) -> None:
    """Parses flags and writes; a mistake of the user's ends in one line and exit code 2."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}.")
    try:
        written = generate(_RESULTS.value, _README.value)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    for path in written:
        print(path)


if __name__ == "__main__":
    app.run(main)
