"""WORKSPACE.md: every artefact has a row, everything it names exists, imports go its way."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis import paper_values
from analysis.table_5_rows import paper_row
from train.configs import mnist

REPOSITORY = Path(__file__).resolve().parents[1]
TEXT = (REPOSITORY / "WORKSPACE.md").read_text(encoding="utf-8")
OWN_PACKAGES = ("aad_tf", "analysis", "binaries", "eval", "train", "tests", "benchmarks")
COLUMNS = ("artefact", "what", "function", "preset", "command", "status")
SYMBOL = re.compile(rf"(?:{'|'.join(OWN_PACKAGES)})(?:\.[A-Za-z_]\w*)+")
PRESET = re.compile(r"(\S+\.py):(\w+)")
COMMAND = re.compile(r"python -m ((?:\w+\.)*\w+)")

ROMAN = ("I", "II", "III")
ARTEFACTS = (
    *(f"AAD Eq. {number}" for number in range(1, 13)),
    *(f"AAD Table {number}" for number in range(1, 10)),
    *(f"AAD Fig. {number}" for number in range(1, 14)),
    *(f"Agrawal Eq. {number}" for number in range(1, 3)),
    *(f"Agrawal Table {number}" for number in ROMAN),
    *(f"Agrawal Fig. {number}" for number in range(1, 8)),
)


def quoted(text: str) -> list[str]:
    """What stands in single backticks."""
    return re.findall(r"`([^`\n]+)`", text)


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def parse_rows(text: str) -> list[dict[str, str]]:
    """Rows of the tables whose first column is `artefact`."""
    rows = []
    columns: tuple[str, ...] = ()
    for line in text.splitlines():
        if not line.startswith("|"):
            columns = ()
            continue
        cells = tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
        if cells[0] == "artefact":
            columns = cells
        elif columns and not set(line) <= set("|-: "):
            rows.append(dict(zip(columns, cells, strict=True)))
    return rows


ROWS = parse_rows(TEXT)


def named(column: str) -> list[str]:
    return [name for row in ROWS for name in quoted(row[column])]


def problems(row: dict[str, str]) -> Iterator[str]:
    """What is wrong with a row, whatever it names."""
    if tuple(row) != COLUMNS:
        yield f"columns {tuple(row)}"
    if row["status"] not in ("done", "planned"):
        yield f"status {row['status']!r}"
    if row["status"] == "done" and not quoted(row["function"]):
        yield "done without a function"
    makes_something = re.search(r"Table|Fig\.", row["artefact"])
    if row["status"] == "done" and makes_something and not quoted(row["command"]):
        yield "done without a command"


@pytest.mark.parametrize("artefact", ARTEFACTS)
def test_every_equation_table_and_figure_has_a_row(artefact):
    names = [row["artefact"] for row in ROWS]
    assert [name for name in names if name == artefact or name.startswith(artefact + ",")]


def test_no_row_is_there_twice_or_of_something_else():
    names = [row["artefact"] for row in ROWS]
    assert len(names) == len(set(names))
    others = {name for name in names if name.split(",")[0] not in ARTEFACTS}
    assert others == {"AAD Sec. 3.3", "Agrawal Sec. III"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["artefact"])
def test_row_is_complete(row):
    assert list(problems(row)) == []


@pytest.mark.parametrize("symbol", sorted(set(named("function"))))
def test_function_can_be_imported(symbol):
    assert SYMBOL.fullmatch(symbol), f"{symbol} is not a dotted name of this project"
    assert pkgutil.resolve_name(symbol) is not None


@pytest.mark.parametrize("preset", sorted(set(named("preset"))))
def test_preset_can_be_chosen(preset):
    match = PRESET.fullmatch(preset)
    assert match, f"{preset} is not written as file.py:preset"
    path, name = match.groups()
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    assert name in module.PRESETS
    assert module.get_config(name).name == name


@pytest.mark.parametrize("command", sorted({*named("command"), *COMMAND.findall(TEXT)}))
def test_command_is_a_program(command):
    spec = importlib.util.find_spec(command)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = importlib.util.find_spec(f"{command}.__main__")
    assert spec is not None and spec.origin is not None
    assert '__name__ == "__main__"' in Path(spec.origin).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "path",
    sorted({name for name in quoted(without_blocks(TEXT)) if "/" in name and " " not in name}),
)
def test_path_exists(path):
    assert (REPOSITORY / path.split(":")[0]).exists()


def test_every_mnist_preset_stands_in_its_row_of_table_5_or_is_compared_with_it():
    for preset in mnist.PRESETS:
        if paper_row(preset) not in paper_values.TABLE_5["mnist"].rows:
            named_beside = [f"train/configs/{file}.py:{preset}" for file in ("mnist", "cifar10")]
            assert set(named_beside) <= set(quoted(TEXT))
            continue
        artefact = f"AAD Table 5, MNIST, {paper_row(preset)}"
        rows = [row for row in ROWS if row["artefact"] == artefact]
        assert [f"train/configs/mnist.py:{preset}" in quoted(row["preset"]) for row in rows] == [
            True
        ]


def imported_modules(path: Path) -> Iterator[str]:
    """Own modules that a file imports, dotted."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            parents = node.module.split(".")
            if parents == ["aad_tf"]:
                yield from (f"aad_tf.{alias.name}" for alias in node.names)
            elif parents[0] in OWN_PACKAGES:
                yield node.module
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] in OWN_PACKAGES)


def between(begin: str, end: str) -> str:
    return TEXT[TEXT.index(begin) : TEXT.index(end)]


def rooms() -> list[list[str]]:
    """Rooms of the library, a list for each row of their table."""
    rows = between("<!-- rooms:begin -->", "<!-- rooms:end -->").splitlines()
    named = [
        re.findall(r"`aad_tf/(\w+)(?:\.py|/)`", row.split("|")[1]) for row in rows if "`" in row
    ]
    return [row for row in named if row]


def library_files() -> Iterator[tuple[str, Path]]:
    """Files of the library with the room of `aad_tf` they belong to."""
    library = REPOSITORY / "aad_tf"
    for path in sorted(library.rglob("*.py")):
        relative = path.relative_to(library)
        if relative.name != "__init__.py" or len(relative.parts) > 1:
            yield relative.parts[0].removesuffix(".py"), path


def test_the_table_of_rooms_names_every_room_once():
    named = [room for row in rooms() for room in row]
    assert sorted(named) == sorted({room for room, _ in library_files()})


@pytest.mark.parametrize("room", sorted({room for room, _ in library_files()}))
def test_a_room_imports_only_from_rows_above_its_own(room):
    rows = rooms()
    (own,) = [number for number, row in enumerate(rows) if room in row]
    allowed = {room}.union(*rows[:own])
    for name, path in library_files():
        if name == room:
            for imported in imported_modules(path):
                package, _, rest = imported.partition(".")
                assert package == "aad_tf", f"{path.name} imports {imported}"
                assert rest.split(".")[0] in allowed, f"{path.name} imports {imported}"


WHERE = re.findall(
    r"`(\w[\w/]*\.py):([\w.]+)`", between("<!-- where:begin -->", "<!-- where:end -->")
)


def test_the_table_of_places_is_read():
    assert len(WHERE) > 30


@pytest.mark.parametrize(("path", "name"), WHERE)
def test_a_place_that_is_named_is_there(path, name):
    """A function, a class, a method or a constant, defined in this file and not only imported."""
    scope = ast.parse((REPOSITORY / path).read_text(encoding="utf-8")).body
    for part in name.split("."):
        found = [
            node
            for node in scope
            if getattr(node, "name", None) == part
            or part in [getattr(target, "id", None) for target in getattr(node, "targets", [])]
        ]
        assert found, f"{path} defines no {part}"
        scope = getattr(found[0], "body", [])


@pytest.mark.parametrize(
    ("folder", "allowed"),
    [
        ("binaries", {"aad_tf", "binaries"}),
        ("train", {"aad_tf", "binaries", "train"}),
        ("eval", {"aad_tf", "binaries", "eval"}),
        ("analysis", {"aad_tf", "analysis", "binaries", "train"}),
    ],
)
def test_programs_import_the_library_and_not_each_other(folder, allowed):
    for path in sorted((REPOSITORY / folder).rglob("*.py")):
        packages = {name.split(".")[0] for name in imported_modules(path)}
        assert packages <= allowed, path


def test_analysis_runs_no_network():
    forbidden = ("aad_tf.training", "aad_tf.evaluation", "aad_tf.classifier", "aad_tf.defenses")
    for path in sorted((REPOSITORY / "analysis").rglob("*.py")):
        assert not [n for n in imported_modules(path) if n.startswith(forbidden)], path


def test_the_parser_sees_what_is_wrong():
    table = (
        "| artefact | what | function | preset | command | status |\n"
        "|---|---|---|---|---|---|\n"
        "| AAD Table 1 | x | `aad_tf.metrics.iou` | | | done |\n"
        "| AAD Eq. 1 | x | | | | done |\n"
        "| AAD Eq. 2 | x | | | | soon |\n"
    )
    found = [list(problems(row)) for row in parse_rows(table)]
    assert found == [
        ["done without a command"],
        ["done without a function"],
        ["status 'soon'"],
    ]
    with pytest.raises(AttributeError):
        pkgutil.resolve_name("aad_tf.metrics.no_such_thing")
