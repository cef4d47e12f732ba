"""Where a result comes from: versions, machine, commit, and a command free of paths."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import aad_tf
from aad_tf.utils import provenance

ROOT = Path(__file__).resolve().parents[2]


def test_provenance_names_versions_and_machine_and_fits_json():
    found = provenance.provenance()
    assert found["versions"] == {
        "python": ".".join(map(str, sys.version_info[:3])),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "aad_tf": aad_tf.__version__,
    }
    assert 1 <= found["cpu_cores"] <= os.cpu_count()
    assert found["utc"].endswith("+00:00")
    assert json.loads(json.dumps(found)) == found


def test_cpu_is_named_with_its_widest_instructions():
    text = "processor: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2 avx512f amx_tile\n"
    assert provenance.described_cpu(text) == "AMD EPYC, AMX"
    assert provenance.described_cpu(text.replace("amx_tile", "")) == "AMD EPYC, AVX-512"
    assert provenance.described_cpu("model name : Neoverse") == "Neoverse"
    assert provenance.described_cpu("") is None


def test_provenance_knows_the_commit_of_its_own_repository():
    git = ["git", "-C", str(ROOT), "ls-files", "aad_tf/utils/provenance.py"]
    tracked = subprocess.run(git, capture_output=True, text=True)
    if not tracked.stdout.strip():
        pytest.skip("not run from a git repository")
    head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True)
    assert provenance.provenance()["git_commit"] == head.stdout.decode().strip()


def test_git_state_is_unknown_in_a_repository_that_ignores_the_directory(tmp_path):
    (tmp_path / "__init__.py").touch()
    assert provenance._git_state(tmp_path) == (None, None)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert provenance._git_state(tmp_path) == (None, None)


def test_git_state_tells_changed_files(tmp_path):
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True)

    (tmp_path / "__init__.py").write_text("a = 1\n")
    git("init", "-q")
    git("add", "__init__.py")
    git("commit", "-q", "-m", "first")
    commit, dirty = provenance._git_state(tmp_path)
    assert len(commit) == 40 and not dirty
    (tmp_path / "__init__.py").write_text("a = 2\n")
    assert provenance._git_state(tmp_path) == (commit, True)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--model_dir={here}/runs/a", "--model_dir=runs/a"),
        ("--output=/data/of/somebody/a.jsonl", "--output=a.jsonl"),
        ("/elsewhere/mnist.py:clean", "mnist.py:clean"),
        ("--dirs=/a/b,{here}/c", "--dirs=b,c"),
        ("--attacks=pgd(epsilon=8/255,num_steps=3)", "--attacks=pgd(epsilon=8/255,num_steps=3)"),
        ("--output=gs://bucket/a", "--output=gs://bucket/a"),
        ("--output=runs/a", "--output=runs/a"),
    ],
)
def test_command_line_holds_no_absolute_path(argument, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["program", argument.format(here=tmp_path)])
    assert provenance.command_line().split(" ", 3)[-1].strip("'").endswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see /home/me/x", "see x"),
        ("from /data/a.png to {here}/runs/b for 8 / 255", "from a.png to runs/b for 8 / 255"),
        ("(see /home/me/x), or\n/home/me/y: z", "(see x), or\ny: z"),
        ("/home/me/my photos/x", "x"),
        ("--note=/home/me/my photos, /home/me/x", "--note=my photos, x"),
        ("8 / 255 of 3 km /h, s /or gs://bucket/a", "8 / 255 of 3 km /h, s /or gs://bucket/a"),
        ("see runs/a, 4 /255 and //", "see runs/a, 4 /255 and //"),
    ],
)
def test_texts_hold_no_absolute_path_even_after_a_blank(text, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = text.format(here=tmp_path)
    assert provenance.without_absolute_paths(text) == expected
    assert provenance.portable({"a": [text, 3]}) == {"a": [expected, 3]}


def test_command_line_names_the_module(tmp_path, monkeypatch, capsys):
    code = "from aad_tf.utils.provenance import command_line; print(command_line())"
    (tmp_path / "tool.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tool.py", "--limit=3", "a b"])
    # As `python -m tool` does.
    runpy.run_module("tool", run_name="__main__", alter_sys=True)
    assert capsys.readouterr().out.strip() == "python -m tool --limit=3 'a b'"
