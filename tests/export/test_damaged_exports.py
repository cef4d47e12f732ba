"""Exports that are missing, foreign, cut short, damaged or of another format are distinguished."""

from __future__ import annotations

import json

import pytest
import tensorflow as tf

from aad_tf import export
from aad_tf.export import saved_model


def test_missing_and_foreign_directories(tmp_path):
    with pytest.raises(FileNotFoundError, match="No exported model at .*missing.*export"):
        export.load_classifier(tmp_path / "missing")
    tf.saved_model.save(tf.Module(), str(tmp_path / "foreign"))
    with pytest.raises(export.ExportError, match="SavedModel of another origin"):
        export.load_classifier(tmp_path / "foreign")
    with pytest.raises(export.ExportError, match="is no SavedModel"):
        export.load_classifier(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "saved_model.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
    ],
)
def test_cut_short_damaged_and_lost_files(exported, name):
    path = exported / name
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(
        export.ExportError,
        match=f"{path.name} is cut short: expected {len(content)} bytes, found {len(content) // 2}",
    ):
        export.load_classifier(exported)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(export.ExportError, match=f"{path.name} is damaged"):
        export.load_classifier(exported)
    path.unlink()
    with pytest.raises(export.ExportError, match=f"lacks {name}"):
        export.load_classifier(exported)


def test_cut_short_and_newer_metadata(exported):
    path = exported / saved_model.METADATA
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(export.ExportError, match="aad_tf.json is cut short"):
        export.load_classifier(exported)
    path.write_text(json.dumps({**json.loads(text), "format": 99}))
    with pytest.raises(export.ExportError, match="not of format 1"):
        export.load_classifier(exported)
