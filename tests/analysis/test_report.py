"""The report: what it writes, when it refuses, and that the README holds what it generates."""

from __future__ import annotations

import re
import textwrap
import types
from pathlib import Path

import pytest
from absl import flags
from absl.testing import flagsaver

from analysis import report
from analysis.attention.findings import check_sentence
from analysis.records import Results
from analysis.statistics import NOTHING
from train.configs.mnist import ATTACKS

FGSM, IFGSM, *_ = ATTACKS
REPOSITORY = Path(__file__).resolve().parents[2]
FRAME = f"# Title\n\n{report.BEGIN}\nold\n{report.END}\n\nrest\n"


@pytest.fixture(scope="module")
def committed() -> Results:
    return Results(REPOSITORY / "results")


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


def test_a_mistake_ends_in_one_line(tmp_path, capsys):
    with flagsaver.flagsaver(), pytest.raises(SystemExit, match="2"):
        report.main(flags.FLAGS(["report", f"--readme={tmp_path / 'none.md'}"]))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and "none.md" in line


@pytest.mark.parametrize("beside", [True, False], ids=["readme", "no readme"])
def test_a_page_keeps_its_results_where_the_directory_is_mistyped(
    results, readme, record, capsys, monkeypatch, beside
):
    """A name that does not exist, and another directory than that of the project's README."""
    record("mnist_clean", {FGSM: "+x"})
    monkeypatch.chdir(readme.parent)
    before = readme.read_text(encoding="utf-8")
    directory = results.rename(readme.parent / ("results" if beside else "own_results"))
    directory = readme.parent / "resutls" if beside else directory
    arguments = [f"--results_dir={directory}", *([f"--readme={readme}"] if beside else [])]
    with flagsaver.flagsaver(), pytest.raises(SystemExit, match="2"):
        report.main(flags.FLAGS(["report", *arguments]))
    (line,) = capsys.readouterr().err.splitlines()
    assert ("is no directory of results" if beside else "with --readme") in line
    assert readme.read_text(encoding="utf-8") == before
    assert not (readme.parent / "resutls").exists()


def test_a_sentence_that_no_longer_holds_stops_the_report(results, readme, monkeypatch):
    def stale(results):
        check_sentence("Attention moves.", "below", NOTHING)

    part = types.SimpleNamespace(files=stale, readme=lambda results: "")
    monkeypatch.setattr(report, "PARTS", (*report.PARTS, part))
    with pytest.raises(ValueError, match=r"no longer support a sentence .*'Attention moves\.'"):
        report.generate(results, readme)
    assert not results.exists() and "old" in readme.read_text(encoding="utf-8")


def test_every_part_is_listed_once_and_makes_files_of_its_own():
    made = [path for part in report.PARTS for path in part.files(Results("nowhere"))]
    assert len(made) == len(set(made)) and len(report.PARTS) == len(set(report.PARTS))


def test_the_worked_example_of_contributing_is_a_table(results, readme, record, monkeypatch):
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split("## Adding a table or figure")[1].split("\n## ")[0]
    (source,) = re.findall(r"^ *```python\n(.*?)^ *```$", section, re.DOTALL | re.MULTILINE)
    module = types.ModuleType("analysis.lost_accuracy")
    exec(compile(textwrap.dedent(source), "CONTRIBUTING.md", "exec"), module.__dict__)
    monkeypatch.setattr(report, "PARTS", (*report.PARTS, module))
    record("mnist_clean", {FGSM: "+++++xxx!!", IFGSM: "+xxxxxxx!!"})
    report.generate(results, readme)
    page = (results / "tables" / "lost_accuracy.md").read_text(encoding="utf-8")
    # 8 of 10 are correct without attack; FGSM takes 3 of them, IFGSM 7. The paper: 99.24 - 74.83.
    assert "| clean model | ours | 30.0 | 70.0 |" in page
    assert "|  | paper | 24.4 | 56.0 |" in page
    assert "(results/tables/lost_accuracy.md)" in readme.read_text(encoding="utf-8")
    # A cell that was not run shows as missing.
    record("mnist_fgsm", {FGSM: "++"})
    report.generate(results, readme)
    page = (results / "tables" / "lost_accuracy.md").read_text(encoding="utf-8")
    assert "| Adv. train with FGSM | ours | 0.0 | – |" in page


# Beside other work it takes longer than pytest's limit for each test.
@pytest.mark.timeout(900)
def test_readme_and_pages_are_what_the_records_generate(committed):
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    block = report.readme_block(committed)
    assert report.replace_block(text, block) == text, "run: make tables"
    made = {path: data for part in report.PARTS for path, data in part.files(committed).items()}
    for path, data in made.items():
        found = (committed.root / path).read_bytes()
        # Pictures depend on the version of Matplotlib.
        assert isinstance(data, bytes) or found == data.encode(), f"{path}: run make tables"
    tables = {f"tables/{path.name}" for path in (committed.root / "tables").iterdir()}
    assert tables == {path for path in made if path.startswith("tables/")}
