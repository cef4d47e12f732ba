"""Tables of text: the same cells in Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io

import pytest

from analysis.tables import Table, escape_latex

TABLE = Table(("name", "50 %", "x_1"), (("a & b", "1", "2"), ("c|d", "3", "–")))


def test_markdown_aligns_numbers_right_and_escapes_pipes():
    assert TABLE.markdown() == (
        "| name | 50 % | x_1 |\n|---|--:|--:|\n| a & b | 1 | 2 |\n| c\\|d | 3 | – |"
    )


def test_latex_escapes_what_latex_would_read():
    text = TABLE.latex("About 5 % of ε_0", "tab:x")
    assert r"\begin{tabular}{lrr}" in text
    assert r"name & 50 \% & x\_1 \\" in text
    assert r"a \& b & 1 & 2 \\" in text
    assert r"c|d & 3 & -- \\" in text
    assert r"\caption{About 5 \% of $\varepsilon$\_0}" in text
    assert text.count(r"\\") == 3


def test_latex_escapes_a_backslash_once():
    assert escape_latex("a\\b{c}") == r"a\textbackslash{}b\{c\}"


def test_csv_reads_back_with_none_as_an_empty_field():
    text = Table(["a", "b"], [["x, y", None], ['"q"', 2]]).csv()
    assert list(csv.reader(io.StringIO(text))) == [["a", "b"], ["x, y", ""], ['"q"', "2"]]


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="2 cells for 1 columns"):
        Table(("a",), (("b", "c"),))


def test_an_empty_cell_is_none():
    table = Table(("a", "b"), [("x", None)])
    assert table.markdown().endswith("| x |  |")
    assert "x &  \\\\" in table.latex("c", "l")
