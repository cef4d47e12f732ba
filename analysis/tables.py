"""Tables of text as Markdown, CSV and LaTeX."""

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
class TextTable:
    """A table whose cells are text.

    Attributes:
        columns: headings.
        rows: cells, as many in each row as there are headings.
        left: how many leading columns hold names; the others hold numbers and align right.

    Example:
        >>> print(TextTable(("a", "b"), (("x", "1"),)).markdown())
        | a | b |
        |---|--:|
        | x | 1 |
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"Row {row} has {len(row)} cells for {len(self.columns)} columns.")

    def markdown(self) -> str:
        """GitHub's pipe table, without a line break at its end."""
        ruler = ["---" if i < self.left else "--:" for i in range(len(self.columns))]
        lines = [_markdown_row(self.columns), f"|{'|'.join(ruler)}|"]
        return "\n".join([*lines, *map(_markdown_row, self.rows)])

    def latex(self, caption: str, label: str) -> str:
        """A `table` environment with booktabs rules.

        Args:
            caption: text of the caption; special characters are escaped.
            label: name for `\\ref`.
        """
        alignment = "l" * self.left + "r" * (len(self.columns) - self.left)
        return "\n".join(
            [
                "% Needs \\usepackage{booktabs}.",
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{escape_latex(caption)}}}",
                rf"\label{{{label}}}",
                rf"\begin{{tabular}}{{{alignment}}}",
                r"\toprule",
                _latex_row(self.columns),
                r"\midrule",
                *map(_latex_row, self.rows),
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows as CSV with a heading; None becomes an empty field.

    Example:
        >>> csv_text(["a", "b"], [[1, None]])
        'a,b\\n1,\\n'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def escape_latex(text: str) -> str:
    """Text with the characters LaTeX gives a meaning written out."""
    return "".join(_LATEX.get(character, character) for character in text)


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(escape_latex, cells)) + r" \\"
