"""Files that runs leave: written whole or not at all, read back, free of paths."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import aad_tf
from aad_tf import provenance, results
from aad_tf.evaluation.journal import record_line, write_record_lines
from aad_tf.evaluation.tally import make_record

ROOT = Path(__file__).resolve().parents[1]
PREDICTIONS = {"clean_prediction": 1, "adversarial_prediction": 2}


def some_records(count: int) -> list[dict]:
    return [make_record("fgsm", index=i, label=1, **PREDICTIONS, steps=1) for i in range(count)]


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


def test_provenance_knows_the_commit_of_its_own_repository():
    git = ["git", "-C", str(ROOT), "ls-files", "aad_tf/results.py"]
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


def test_command_line_names_the_module(tmp_path):
    code = "from aad_tf.provenance import command_line; print(command_line())"
    (tmp_path / "tool.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tool", "--limit=3", "a b"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "python -m tool --limit=3 'a b'"


def test_json_is_written_whole_with_arrays_and_without_leftovers(tmp_path):
    path = tmp_path / "a.json"
    results.write_json_atomically(path, {"a": np.float32(0.5), "b": np.arange(2), "p": tmp_path})
    assert json.loads(path.read_text()) == {"a": 0.5, "b": [0, 1], "p": tmp_path.name}
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    results.write_json_atomically(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        results.write_json_atomically(path, {"a": float("nan")})
    with pytest.raises(TypeError, match="Cannot write a object"):
        results.write_json_atomically(path, {"a": object()})
    with pytest.raises(RuntimeError), results.write_atomically(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz"])
def test_records_are_read_as_they_were_written(name, tmp_path):
    path = tmp_path / name
    write_record_lines(path, map(record_line, some_records(3)))
    assert list(results.read_records(path)) == some_records(3)
    assert tuple(some_records(1)[0]) == results.RECORD_KEYS


def test_equal_records_give_equal_compressed_bytes(tmp_path):
    for name in ("a.gz", "b.gz"):
        write_record_lines(tmp_path / name, map(record_line, some_records(3)))
    os.utime(tmp_path / "a.gz", (0, 0))
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_damaged_records_are_refused_with_the_line(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_bytes(record_line(some_records(1)[0]) + b'{"index": 3}\n')
    with pytest.raises(ValueError, match="line 2: expected the keys index, label"):
        list(results.read_records(path))
    path.write_text("no json\n")
    with pytest.raises(ValueError, match="line 1"):
        list(results.read_records(path))


def test_records_cut_short_are_refused(tmp_path):
    path = tmp_path / "r.jsonl.gz"
    path.write_bytes(gzip.compress(record_line(some_records(1)[0]) * 50)[:-20])
    with pytest.raises(ValueError, match="damaged"):
        list(results.read_records(path))


def test_records_that_are_not_compressed_though_named_so_are_refused(tmp_path):
    path = tmp_path / "r.jsonl.gz"
    path.write_bytes(record_line(some_records(1)[0]))
    with pytest.raises(ValueError, match="r.jsonl.gz is no file of records, or damaged"):
        list(results.read_records(path))


@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.jsonl", "x.json.gz", "x"])
def test_the_summary_lies_beside_the_records(name):
    assert results.summary_path(Path("runs") / name) == Path("runs/x.summary.json")


def test_a_summary_is_read_by_either_name_and_others_are_refused(tmp_path):
    results.write_json_atomically(tmp_path / "x.summary.json", {"attacks": []})
    assert results.read_summary(tmp_path / "x.jsonl.gz") == {"attacks": []}
    assert results.read_summary(tmp_path / "x.summary.json") == {"attacks": []}
    with pytest.raises(FileNotFoundError):
        results.read_summary(tmp_path / "y.jsonl")
    results.write_json_atomically(tmp_path / "y.summary.json", {})
    with pytest.raises(ValueError, match="not the summary"):
        results.read_summary(tmp_path / "y.jsonl")


def test_check_writable_makes_directories_and_leaves_nothing_else(tmp_path):
    results.check_writable(tmp_path / "a" / "b" / "r.jsonl")
    assert os.listdir(tmp_path / "a" / "b") == []


def test_check_writable_refuses_directories_and_files_as_parents(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(IsADirectoryError, match="is a directory"):
        results.check_writable(tmp_path)
    for path in ("file/r.jsonl", "file/deeper/r.jsonl"):
        with pytest.raises(OSError, match="Cannot write to .*Choose another output"):
            results.check_writable(tmp_path / path)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_check_writable_refuses_a_protected_directory(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="Cannot write to"):
        results.check_writable(tmp_path / "r.jsonl")
