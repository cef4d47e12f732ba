"""The report: what it writes, when it refuses, and that the README holds what it generates."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from analysis import report
from train.configs.mnist import ATTACKS

REPOSITORY = Path(__file__).resolve().parents[2]
FRAME = f"# Title\n\n{report.BEGIN}\nold\n{report.END}\n\nrest\n"


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_text(FRAME, encoding="utf-8")
    return path


def test_block_is_exchanged_and_the_rest_kept():
    text = report.replace_block(FRAME, "new")
    assert text == f"# Title\n\n{report.BEGIN}\n\nnew\n\n{report.END}\n\nrest\n"
    assert report.replace_block(text, "new") == text


@pytest.mark.parametrize("text", ["", report.BEGIN, report.END + report.BEGIN, FRAME + FRAME])
def test_missing_or_repeated_markers_are_refused(text):
    with pytest.raises(ValueError, match="once each and in this order"):
        report.replace_block(text, "new")


def test_report_without_records_says_not_run(results, readme):
    written = report.generate(results, readme)
    assert [path.name for path in written] == [
        *("table_5_mnist.md", "table_5_mnist.csv", "table_5_mnist.tex", "README.md"),
    ]
    text = readme.read_text(encoding="utf-8")
    assert text.count("not run") >= 36
    assert "old" not in text
    assert text.endswith("rest\n")


def test_report_covers_every_data_set_with_records(results, readme, record):
    record("mnist_clean", {ATTACKS[0]: "+x"}, warnings=["looks masked."])
    record("digits_clean", {ATTACKS[0]: "+x"})
    names = {path.name for path in report.generate(results, readme)}
    assert {"table_5_digits.md", "table_5_mnist.png", "table_5_digits.png"} <= names
    assert not [name for name in names if "cifar10" in name]
    page = (results / "tables" / "table_5_mnist.md").read_text(encoding="utf-8")
    assert "- clean model: looks masked." in page
    assert page.index("looks masked") < page.index("## Threat models")
    assert "- clean model: looks masked." in readme.read_text(encoding="utf-8")


def test_report_twice_changes_nothing(results, readme, record):
    record("mnist_clean", {ATTACKS[0]: "+x"})
    first = {path: path.read_bytes() for path in report.generate(results, readme)}
    second = {path: path.read_bytes() for path in report.generate(results, readme)}
    assert first == second
    assert not [path for path in results.rglob(".*")]


def test_a_readme_without_markers_is_left_alone_and_nothing_is_written(results, readme):
    readme.write_text("# Title\n", encoding="utf-8")
    with pytest.raises(ValueError, match="Expected the lines"):
        report.generate(results, readme)
    assert readme.read_text(encoding="utf-8") == "# Title\n"
    assert not results.exists()


def test_a_mistake_ends_in_one_line(tmp_path):
    command = [sys.executable, "-m", "analysis.report", f"--readme={tmp_path / 'none.md'}"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 2
    assert "none.md" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_readme_holds_what_the_records_generate():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    block = report.readme_block(REPOSITORY / "results")
    assert report.replace_block(text, block) == text, "run: python -m analysis.report"


def test_committed_tables_are_what_the_records_generate():
    results = REPOSITORY / "results"
    for table in report._tables(results):
        path = results / "tables" / f"table_5_{table.dataset}.md"
        assert path.read_text(encoding="utf-8") == report.page(table), "run: make tables"
