"""Reads the files of an attention pass and refuses what is damaged or of another format."""

from __future__ import annotations

import binascii
import functools
import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aad_tf.results import PathLike, read_record_lines, read_summary, summary_path

SUMMARY_KEYS = ("study", "fingerprint", "class_names", "counts", "accuracy")
STUDY_KEYS = ("attack", "rounds", "attention_layer", "cells", "features", "grid", "methods")
FINGERPRINT_KEYS = ("weights", "bounds", "dataset")
MEASURES = ("entropy", "components", "positive", "peak")
AGREEMENTS = ("rank_correlation", "iou")

# Takes what some records hold under a column's keys to an array, or raises TypeError or ValueError.
Converter = Callable[[list[Any]], np.ndarray]


@dataclass(frozen=True)
class Column:
    """Where records keep a column, and how it becomes an array.

    Attributes:
        keys: that lead to it, the outermost first.
        convert: makes an array of the values of any number of records.
        may_lack: True if None may stand in place of the mapping that the last key is looked up in.
        optional: True if files of an older format are without it; the first record decides.
    """

    keys: tuple[str, ...]
    convert: Converter
    may_lack: bool = False
    optional: bool = False

    def value(self, record: Mapping[str, Any]) -> Any:
        """What a record holds, not converted yet; raises KeyError or TypeError if it does not."""
        value: Any = record
        for key in self.keys:
            if value is None and self.may_lack:
                return None
            value = value[key]
        return value

    def held_by(self, record: Mapping[str, Any]) -> bool:
        """Whether a record has it."""
        try:
            self.value(record)
        except (KeyError, TypeError, IndexError):
            return False
        return True


def read_attention_summary(path: PathLike) -> dict[str, Any]:
    """Reads the summary that lies beside a file of attention records.

    Args:
        path: the file of records; `x.jsonl.gz` has `x.summary.json`.

    Returns:
        The summary.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no summary of an attention pass; the message names what is missing.
    """
    place = summary_path(path)
    if not place.is_file():
        raise FileNotFoundError(
            f"{path} has no summary: {place.name} must lie beside it. An unfinished pass has none; "
            f"run the same command of eval.attention again to finish it."
        )
    summary = read_summary(place, "study")
    _check_keys(summary, SUMMARY_KEYS, f"{place} is not the summary of an attention pass")
    _check_keys(summary["study"], STUDY_KEYS, f"{place}, study")
    _check_keys(summary["fingerprint"], FINGERPRINT_KEYS, f"{place}, fingerprint")
    return summary


def read_columns(path: PathLike, study: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Reads a file of attention records into one array a column.

    Args:
        path: file of records, one JSON object a line, compressed if its name ends with ".gz".
        study: the summary's study; it says which columns there are and how long they run.

    Returns:
        Arrays whose first axis is the image. Names are those of the records' keys joined by "/",
        e.g. `grad_cam/iou_box/equal_area`; what is null in the records is NaN.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a damaged line or one without a key; the message names file, line and key.
    """
    columns = study_columns(study)
    values: dict[str, list[Any]] = {"index": []}
    for number, record in _lines(path):
        if number == 1:
            columns = {
                name: c for name, c in columns.items() if not c.optional or c.held_by(record)
            }
            values = {name: [] for name in columns}
        for name, column in columns.items():
            try:
                values[name].append(column.value(record))
            except (KeyError, TypeError, IndexError) as error:
                raise ValueError(f"{path}, line {number}: no {name} ({error!r}).") from error
    if not values["index"]:
        raise ValueError(f"{path} holds no records.")
    return {name: _converted(path, name, columns[name].convert, values[name]) for name in columns}


def study_columns(study: Mapping[str, Any]) -> dict[str, Column]:
    """The columns of the records of a study, by name."""
    places, methods = int(study["rounds"]) + 1, list(study["methods"])
    numbers = functools.partial(_numbers, shape=(places,))
    columns = {
        "index": Column(("index",), functools.partial(_integers, shape=())),
        "label": Column(("label",), functools.partial(_integers, shape=())),
        "boxes": Column(("boxes",), _boxes),
        "box_area": Column(("box_area",), functools.partial(_numbers, shape=())),
        "prediction": Column(("prediction",), functools.partial(_integers, shape=(places,))),
        "confidence": Column(("confidence",), numbers),
        "top_confidence": Column(("top_confidence",), numbers),
    }
    for method in methods:
        for name, column in _method_columns(method, study, places).items():
            keys = ("maps", method, *column.keys)
            columns[f"{method}/{name}"] = replace(column, keys=keys)
    pairs = [f"{a}|{b}" for i, a in enumerate(methods) for b in methods[i + 1 :]]
    for keys in (("agreement", pair, measure) for pair in pairs for measure in AGREEMENTS):
        columns["/".join(keys)] = Column(keys, numbers)
    return columns


def _method_columns(method: str, study: Mapping[str, Any], places: int) -> dict[str, Column]:
    lime = method == "lime"
    sizes = [str(size) for size in (study["features"] if lime else study["cells"])]
    numbers = functools.partial(_numbers, shape=(places,))
    later = functools.partial(_numbers, shape=(places - 1,))
    columns = {
        f"iou_box/{size}": Column(("iou_box", size), numbers, may_lack=True)
        for size in (sizes if lime else ["equal_area"])
    }
    columns |= {f"iou_clean/{size}": Column(("iou_clean", size), later) for size in sizes}
    if lime:
        single = functools.partial(_numbers, shape=(1,))
        columns |= {
            f"iou_repeat/{size}": Column(("iou_repeat", size), single, optional=True)
            for size in sizes
        }
    for measure in (*MEASURES, *(("segments", "score") if lime else ())):
        columns[measure] = Column((measure,), numbers)
    points = functools.partial(_numbers, shape=(places, 2))
    columns["centroid"] = Column(("centroid",), points)
    if method in study.get("keep_maps", study["methods"]):
        pictures = functools.partial(_pictures, shape=(places, *study["grid"]))
        columns["map"] = Column(("map",), pictures)
    return columns


def _converted(path: PathLike, name: str, convert: Converter, values: list[Any]) -> np.ndarray:
    """All values at once; only if that fails, one by one to find the line."""
    try:
        return convert(values)
    except (TypeError, ValueError) as error:
        for number, value in enumerate(values, start=1):
            try:
                convert([value])
            except (TypeError, ValueError) as found:
                raise ValueError(f"{path}, line {number}: no valid {name} ({found}).") from found
        raise ValueError(f"{path}: no valid {name} ({error}).") from error


def _numbers(values: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    """Floats; None becomes NaN, for a single number or in place of a whole list."""
    if shape:
        values = [np.full(shape, np.nan) if value is None else value for value in values]
    return _of_shape(np.array(values, np.float64), shape)


def _integers(values: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    array = np.array(values)
    if array.dtype.kind != "i":
        raise TypeError(f"expected whole numbers, got {array.dtype.name}")
    return _of_shape(array.astype(np.int64), shape)


def _pictures(values: list[Sequence[str]], shape: tuple[int, ...]) -> np.ndarray:
    places, size = shape[0], int(np.prod(shape[1:]))
    maps = [binascii.a2b_base64(text) for texts in values for text in texts]
    if {*map(len, values)} != {places} or {*map(len, maps)} != {size}:
        raise ValueError(f"expected {places} maps of {size} cells")
    return np.frombuffer(b"".join(maps), np.uint8).reshape(len(values), *shape)


def _boxes(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), object)
    for place, boxes in enumerate(values):  # all at once, NumPy would look into the tuples
        array[place] = tuple(tuple(map(float, _of_four(box))) for box in boxes)
    return array


def _of_four(box: Sequence[float]) -> Sequence[float]:
    if len(box) != 4:
        raise ValueError(f"expected boxes of 4 numbers, got {box}")
    return box


def _of_shape(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if array.shape[1:] != shape:
        raise ValueError(f"expected shape {shape}, got {array.shape[1:]}")
    return array


def _lines(path: PathLike) -> Iterator[tuple[int, Mapping[str, Any]]]:
    number = 0
    try:
        for number, record in enumerate(read_record_lines(path, ("index",)), start=1):
            yield number, record
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged after line {number}: {error}.") from error


def _check_keys(value: Any, keys: tuple[str, ...], what: str) -> None:
    missing = [key for key in keys if not isinstance(value, dict) or key not in value]
    if missing:
        raise ValueError(f"{what}: it lacks {', '.join(missing)}.")
