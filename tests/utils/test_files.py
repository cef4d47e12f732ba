"""Files are written whole or not at all; what cannot be written is refused before any work."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from aad_tf.utils import files


def test_json_is_written_whole_with_arrays_and_without_leftovers(tmp_path):
    path = tmp_path / "a.json"
    files.write_json_atomically(path, {"a": np.float32(0.5), "b": np.arange(2), "p": tmp_path})
    assert json.loads(path.read_text()) == {"a": 0.5, "b": [0, 1], "p": tmp_path.name}
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    files.write_json_atomically(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json_atomically(path, {"a": float("nan")})
    with pytest.raises(TypeError, match="Cannot write a object"):
        files.write_json_atomically(path, {"a": object()})
    with pytest.raises(RuntimeError), files.write_atomically(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_check_writable_makes_directories_and_leaves_nothing_else(tmp_path):
    files.check_writable(tmp_path / "a" / "b" / "r.jsonl")
    assert os.listdir(tmp_path / "a" / "b") == []


def test_check_writable_refuses_directories_and_files_as_parents(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(IsADirectoryError, match="is a directory"):
        files.check_writable(tmp_path)
    for path in ("file/r.jsonl", "file/deeper/r.jsonl"):
        with pytest.raises(OSError, match="Cannot write to .*Choose another output"):
            files.check_writable(tmp_path / path)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_check_writable_refuses_a_protected_directory(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="Cannot write to"):
        files.check_writable(tmp_path / "r.jsonl")
