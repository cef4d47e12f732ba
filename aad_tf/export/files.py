"""Files of an exported model: written whole or not at all, and checked when read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aad_tf._version import __version__
from aad_tf.classifier import Classifier

# SavedModel loaders leave this folder to whoever wrote the model.
METADATA = "assets.extra/aad_tf.json"
FORMAT = 1


class ExportError(ValueError):
    """A SavedModel that is foreign, of another format, or cut short."""


@contextlib.contextmanager
def directory_beside(target: Path) -> Iterator[Path]:
    """A temporary directory on the file system of `target`, gone after the context.

    Raises:
        OSError: nothing can be written there.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise OSError(
            error.errno, f"Cannot write to {target.parent} ({error.strerror}); choose another path"
        ) from error
    with temporary as name:
        yield Path(name)


def may_replace(target: Path) -> bool:
    """True for nothing, an empty directory, and an earlier export."""
    if not target.is_dir():
        return not (target.exists() or target.is_symlink())
    return (target / METADATA).is_file() or not any(target.iterdir())


def replace_directory(target: Path, new: Path, aside: Path) -> None:
    """Puts `new` where `target` is, which goes to `aside`, or back if that fails."""
    if target.exists():
        os.replace(target, aside)
    try:
        os.replace(new, target)
    except BaseException:
        if aside.exists():
            os.replace(aside, target)
        raise


def write_metadata(classifier: Classifier, directory: Path) -> None:
    """Writes what a reader must know of the network, and the size and hash of every file."""
    files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    metadata = {
        "format": FORMAT,
        "aad_tf": __version__,
        "bounds": [float(bound) for bound in classifier.bounds],
        "num_classes": classifier.num_classes,
        "input_shape": list(classifier.input_shape),
        "attention_layer": classifier.attention_layer,
        "dtype": classifier.dtype.name,
        "files": {path.relative_to(directory).as_posix(): describe(path) for path in files},
    }
    path = directory / METADATA
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")


def describe(path: Path) -> dict[str, Any]:
    """Size in bytes and SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def read_metadata(directory: Path) -> dict[str, Any]:
    """Reads what `write_metadata` wrote.

    Raises:
        FileNotFoundError: no such directory.
        ExportError: another thing's directory, unreadable metadata, another format.
    """
    if not directory.exists():
        raise FileNotFoundError(
            f"No exported model at {directory}. Write one with "
            f"aad_tf.export.export_saved_model(classifier, {str(directory)!r})."
        )
    path = directory / METADATA
    if not path.is_file():
        what = "a SavedModel of another origin" if _is_saved_model(directory) else "no SavedModel"
        raise ExportError(
            f"{directory} is {what}: it lacks {METADATA}, which says what pixels and layers it "
            f"has. Wrap the Keras model with Classifier.from_keras and export it with "
            f"aad_tf.export.export_saved_model."
        )
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExportError(
            f"{path} is cut short ({error}). Copy or export the model again."
        ) from error
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise ExportError(
            f"{path} is not of format {FORMAT}, the one this version of aad_tf reads. Export the "
            f"network again with this version."
        )
    return metadata


def _is_saved_model(directory: Path) -> bool:
    return (directory / "saved_model.pb").is_file()


def check_files(directory: Path, files: dict[str, dict[str, Any]]) -> None:
    """Raises ExportError unless every file is there as it was written."""
    for name, expected in files.items():
        path = directory / name
        if not path.is_file():
            raise ExportError(f"{directory} lacks {name}. Copy or export the model again.")
        found = describe(path)
        if found["bytes"] != expected["bytes"]:
            raise ExportError(
                f"{path} is cut short: expected {expected['bytes']} bytes, found "
                f"{found['bytes']}. Copy or export the model again."
            )
        if found["sha256"] != expected["sha256"]:
            raise ExportError(
                f"{path} is damaged: its content is not what was exported. Copy or export the "
                f"model again."
            )
