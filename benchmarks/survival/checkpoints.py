"""The files of checkpoints: what is being written, and how to damage one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

_DATA = ".data-00000-of-00001"
_INDEX = ".index"

Files = dict[str, tuple[int, int]]


def files(directory: Path) -> Files:
    """Size and time of change (ns) of each file, by path; empty if there is no directory."""
    return dict(_files(directory))


def _files(directory: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    for folder, _, file_names in os.walk(directory):
        for name in file_names:
            path = os.path.join(folder, name)
            try:
                found = os.stat(path)
            except FileNotFoundError:  # Renamed or deleted since it was listed.
                continue
            yield path, (found.st_size, found.st_mtime_ns)


def written(before: Files, after: Files) -> int:
    """Bytes of files that came or changed; the size of the newest while it is written."""
    return sum(size for path, (size, time) in after.items() if before.get(path) != (size, time))


def is_writing(found: Files, since: int) -> bool:
    """Whether a checkpoint is half written.

    Args:
        found: all files; the pointer to the newest checkpoint is the last that a save writes.
        since: time (ns) before which nothing counts, since an earlier kill may have left it.
    """
    pointer = max((time for path, (_, time) in found.items() if _is_pointer(path)), default=0)
    return any(time > max(pointer, since) for path, (_, time) in found.items())


def _is_pointer(path: str) -> bool:
    return os.path.basename(path) == "checkpoint"


def listed(directory: Path) -> list[Path]:
    """Checkpoints that can be resumed from, without their endings, oldest first."""
    state = tf.train.get_checkpoint_state(os.fspath(directory))
    return [Path(path) for path in state.all_model_checkpoint_paths] if state else []


def size(directory: Path) -> int:
    """Bytes of the newest checkpoint's data; 0 if there is none."""
    found = listed(directory)
    return data_file(found[-1]).stat().st_size if found else 0


def data_file(checkpoint: Path) -> Path:
    """The file that holds the values of a checkpoint."""
    return checkpoint.with_name(checkpoint.name + _DATA)


def truncate(checkpoint: Path) -> None:
    """Cuts the values of a checkpoint to half."""
    path = data_file(checkpoint)
    os.truncate(path, path.stat().st_size // 2)


def garble(checkpoint: Path) -> None:
    """Overwrites the index of a checkpoint with other bytes of the same number."""
    path = checkpoint.with_name(checkpoint.name + _INDEX)
    path.write_bytes(bytes(byte ^ 0xFF for byte in path.read_bytes()))


DAMAGES = {"data cut to half": truncate, "index overwritten": garble}
