"""Help and mistakes in flags, of every binary; and what TensorFlow may say before."""

from __future__ import annotations

import ast
import re

import pytest

from binaries.quiet import worth_showing
from tests.binaries.many_runs import FOLDERS, ROOT, Run, run_each
from train.configs import digits


def binaries() -> list[str]:
    """Modules that can be run and take flags."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        for path in paths
        if "app.run(" in path.read_text(encoding="utf-8")
    )


BINARIES = binaries()


@pytest.fixture(scope="module")
def runs() -> dict[tuple[str, ...], Run]:
    """Runs of every binary with flags that end it before it does anything."""
    commands = [(name, flag) for name in BINARIES for flag in ("--help", "--no_such_flag=1")]
    commands += [("eval.robustness", flag) for flag in ("--helpshort", "--helpfull")]
    return dict(zip(commands, run_each(commands), strict=True))


@pytest.mark.parametrize("binary", BINARIES)
def test_help_is_output_and_no_error(binary, runs):
    found = runs[binary, "--help"]
    assert (found.code, found.errors) == (0, "")
    assert f"python -m {binary}" in found.output
    # A backslash that ends a line of an example must not join it with the next.
    assert not re.search(r"\S {5,}--\w", found.output)
    # Flags are explained by sentences.
    explained = found.output.split("flags:")[1]
    for name, text in re.findall(
        r"^  --(?:\[no\])?(\w+): (.*?)(?=^  --|^    \(|\Z)", explained, re.M | re.S
    ):
        assert len(text.split()) >= 4, f"--{name}: {text}"


def test_other_forms_of_help(runs):
    short = runs["eval.robustness", "--help"]
    assert runs["eval.robustness", "--helpshort"] == short
    full = runs["eval.robustness", "--helpfull"]
    assert (full.code, full.errors) == (0, "")
    assert "--keras_model" in short.output and "--keras_model" in full.output
    assert "--pdb_post_mortem" in full.output and "--pdb_post_mortem" not in short.output


def test_help_of_training_names_presets_and_keys(runs):
    text = " ".join(runs["train.main", "--help"].output.split())
    assert f"train/configs/digits.py: {', '.join(sorted(digits.PRESETS))};" in text
    assert "--config.KEY=VALUE" in text and "steps_per_execution" in text


@pytest.mark.parametrize("binary", BINARIES)
def test_a_mistake_in_flags_is_one_line(binary, runs):
    found = runs[binary, "--no_such_flag=1"]
    assert (found.code, found.output) == (2, "")
    assert found.errors.startswith("error: Unknown command line flag 'no_such_flag'.")
    assert found.errors.count("\n") == 1


@pytest.mark.parametrize("binary", sorted({*BINARIES} - {"train.local_cluster"}))
def test_tensorflow_is_imported_quietly_before_anything_else(binary):
    package = binary.split(".")[0]
    path = ROOT / package / "__init__.py"
    if package == "train":
        path = ROOT / f"{binary.replace('.', '/')}.py"
    imports = [node for node in ast.parse(path.read_text()).body if "Import" in type(node).__name__]
    first = [node for node in imports if getattr(node, "module", "") != "__future__"][0]
    assert ast.unparse(first) == "from binaries import quiet"


INFORMATION = (
    "I0000 00:00:1796028588.214442   28238 port.cc:153] oneDNN custom operations are on.\n"
)
NO_DRIVER = "I0000 00:00:1.2  7 cudart_stub.cc:31] Could not find cuda drivers on this machine\n"
BEFORE = "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
ERROR = "E0000 00:00:1.2  7 x.cc:1] broken\nTraceback\n"
FAILED = "E0000 00:00:1.2  7 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error\n"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (BEFORE + INFORMATION, ""),
        (BEFORE + NO_DRIVER + FAILED, ""),
        # With a driver it is an error.
        (BEFORE + FAILED, FAILED),
        (
            "E0000 00:00:1.2  7 x.cc:1] broken\nTraceback\n",
            "E0000 00:00:1.2  7 x.cc:1] broken\nTraceback\n",
        ),
        ("W0000 00:00:1.2  7 x.cc:1] slow\n", "W0000 00:00:1.2  7 x.cc:1] slow\n"),
    ],
)
def test_only_what_tensorflow_says_of_itself_is_hidden(written, shown):
    assert worth_showing(written) == shown
