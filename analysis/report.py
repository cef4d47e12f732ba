"""Makes every table and plot from the committed records, and the README's block of results.

Run it as `python -m analysis.report`, or `make tables`. With your own records it compares your run
with the paper's row, and does not change the committed results:

    python -m analysis.report --records=runs/aad.jsonl.gz --model_dir=runs/aad
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from absl import app, flags

from aad_tf.utils.files import PathLike, write_atomically
from analysis import controls, figure_7, table_5, table_5_rows, table_6
from analysis.agrawal import budgets, claims, classes, figures, gates, tables_1_3
from analysis.attention import faithfulness, findings, gallery, networks
from analysis.attention import tables as attention_tables
from analysis.records import Results, read_own_run
from binaries import command_line, running

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"

_RESULTS = flags.DEFINE_string(
    "results_dir", "results", "Directory that holds the records and what is made of them."
)
_README = flags.DEFINE_string(
    "readme",
    None,
    "File whose block of results is written anew; by default README.md, for the default "
    "--results_dir alone.",
)
_RECORDS = flags.DEFINE_string(
    "records",
    None,
    "Records of eval.robustness: only these are put beside the paper's row, nothing else is made.",
)
_MODEL_DIR = flags.DEFINE_string(
    "model_dir",
    None,
    "With --records: directory that train.main wrote, which tells how training went.",
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "With --records: Markdown file to write; by default the text is printed."
)


class Part(Protocol):
    """Protocol of a module of tables or figures, as `PARTS` lists them."""

    def files(self, results: Results) -> Mapping[str, str | bytes]:
        """Contents of the files that it makes, by path in the results directory."""

    def readme(self, results: Results) -> str:
        """Its part of the README's block of results, in Markdown; empty for none."""


# All that the report makes, in the README's order. A new table or figure is a module listed here.
PARTS: tuple[Part, ...] = (
    table_5,
    table_6,
    figure_7,
    attention_tables,
    findings,
    faithfulness,
    networks,
    controls,
    gallery,
    tables_1_3,
    figures,
    claims,
    budgets,
    classes,
    gates,
)


def readme_block(results: Results) -> str:
    """The text for the README's block of results, Markdown, without the markers around it."""
    return "\n\n".join(filter(None, (part.readme(results) for part in PARTS)))


def replace_block(text: str, block: str) -> str:
    """Replaces the text between the markers of the README's block of results.

    Args:
        text: the README; it has each marker once, `BEGIN` before `END`.
        block: the text to put between them.

    Returns:
        The changed README.

    Raises:
        ValueError: markers missing, repeated or in the other order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"Expected the lines {BEGIN} and {END}, once each and in this order.")
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n\n{block}\n\n{END}{rest.split(END)[1]}"


def generate(results_dir: PathLike, readme: PathLike) -> list[Path]:
    """Writes all tables and plots, and the README's block; each file complete or not at all.

    Args:
        results_dir: the directory of results, which holds `runs`, `robustness` and `attention`;
            `tables` and `figures` are written into it.
        readme: Markdown file with the markers of the block.

    Returns:
        The files written.

    Raises:
        ValueError: no markers, a file that is no record, or a sentence of the findings that the
            records no longer support. Nothing is written then.
        OSError: a file cannot be written.
    """
    results, readme = Results(results_dir), Path(readme)
    text = replace_block(readme.read_text(encoding="utf-8"), readme_block(results))
    made = {path: data for part in PARTS for path, data in part.files(results).items()}
    written = [_write(results.root / path, data) for path, data in made.items()]
    return [*written, _write(readme, text)]


def _write(path: Path, data: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)
    return path


def own_report(records: PathLike, model_dir: PathLike | None = None) -> str:
    """Compares the user's own run with the paper's row of AAD Table 5.

    Args:
        records: file of records that `eval.robustness` wrote.
        model_dir: the model directory that `train.main` wrote, or None.

    Returns:
        A page in Markdown: accuracies, threat models, warnings and settings of training.

    Raises:
        FileNotFoundError: there is no such file or directory.
        ValueError: no such records, or those of another network than the model directory's.
    """
    return table_5.own_page(table_5_rows.of_run(read_own_run(records, model_dir)))


def _run() -> str:
    if _RECORDS.value is None:
        if _MODEL_DIR.value or _OUTPUT.value:
            raise ValueError("--model_dir and --output go with --records.")
        return "\n".join(map(str, generate(_RESULTS.value, _page())))
    text = own_report(_RECORDS.value, _MODEL_DIR.value)
    return str(_write(Path(_OUTPUT.value), text)) if _OUTPUT.value else text


def _page() -> str:
    """The file to write; refuses flags by which the README would lose the results it shows."""
    if not Path(_RESULTS.value).is_dir():
        raise ValueError(f"--results_dir={_RESULTS.value} is no directory of results.")
    if _README.value is None and Path(_RESULTS.value).resolve() != Path(_RESULTS.default).resolve():
        raise ValueError(
            f"--results_dir={_RESULTS.value} would replace the results that README.md shows: name "
            f"the file to write with --readme."
        )
    return _README.value or "README.md"


def main(argv: list[str]) -> None:
    """Writes the report that the flags ask for; a mistake ends with one line and exit code 2."""
    del argv
    running.run(_run)


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse)
