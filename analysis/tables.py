"""One table, written as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "ε": r"$\varepsilon$",
    "±": r"$\pm$",
    "σ": r"$\sigma$",
    "∞": r"$\infty$",
    "×": r"$\times$",
    "–": "--",
}


@dataclass(frozen=True)
class Table:
    """A table of text that can be written in several formats.

    Attributes:
        columns: headings.
        rows: cells, as many in each row as there are headings: text, or numbers if only CSV is
            written; None is an empty cell.
        left: number of leading columns that hold names; the others hold numbers, aligned right.

    Raises:
        ValueError: a row of another length.

    Example:
        >>> print(Table(("a", "b"), [("x", "1")]).markdown())
        | a | b |
        |---|--:|
        | x | 1 |
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    left: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        object.__setattr__(self, "rows", tuple(tuple(row) for row in self.rows))
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"Row {row} has {len(row)} cells for {len(self.columns)} columns.")

    def markdown(self) -> str:
        """The table as a Markdown pipe table, without a line break at its end."""
        ruler = ["---" if i < self.left else "--:" for i in range(len(self.columns))]
        lines = [
            " | ".join(_text(cell).replace("|", "\\|") for cell in row)
            for row in (self.columns, *self.rows)
        ]
        head, *rest = (f"| {line} |" for line in lines)
        return "\n".join([head, f"|{'|'.join(ruler)}|", *rest])

    def csv(self) -> str:
        """The table as CSV, headings first; None becomes an empty field."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.columns, *self.rows])
        return text.getvalue()

    def latex(self, caption: str, label: str) -> str:
        """The table as a LaTeX `table` environment with booktabs rules.

        Args:
            caption: text of the caption; special characters are escaped.
            label: name for `\\ref`.

        Returns:
            The environment.
        """
        alignment = "l" * self.left + "r" * (len(self.columns) - self.left)
        head, *rows = (
            " & ".join(escape_latex(_text(cell)) for cell in row) + r" \\"
            for row in (self.columns, *self.rows)
        )
        return "\n".join(
            [
                "% Needs \\usepackage{booktabs}.",
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{escape_latex(caption)}}}",
                rf"\label{{{label}}}",
                rf"\begin{{tabular}}{{{alignment}}}",
                r"\toprule",
                head,
                r"\midrule",
                *rows,
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )


def escape_latex(text: str) -> str:
    """Escapes the characters that have a meaning in LaTeX."""
    return "".join(_LATEX.get(character, character) for character in text)


def _text(cell: object) -> str:
    return "" if cell is None else str(cell)
