"""Reads the files of an attention pass and refuses what is damaged or of another format."""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from aad_tf.results import PathLike, read_record_lines, read_summary, summary_path

SUMMARY_KEYS = ("study", "fingerprint", "class_names", "counts", "accuracy")
STUDY_KEYS = ("attack", "rounds", "attention_layer", "cells", "features", "grid", "methods")
FINGERPRINT_KEYS = ("weights", "bounds", "dataset")
MEASURES = ("entropy", "components", "positive", "peak")
AGREEMENTS = ("rank_correlation", "iou")

# Takes a record to the values of one column; raises KeyError, TypeError or ValueError.
Reader = Callable[[Mapping[str, Any]], Any]


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
    readers = column_readers(study)
    columns: dict[str, list[Any]] = {name: [] for name in readers}
    for number, record in _lines(path):
        for name, read in readers.items():
            try:
                columns[name].append(read(record))
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{path}, line {number}: no valid {name} ({type(error).__name__}: {error})."
                ) from error
    if not columns["index"]:
        raise ValueError(f"{path} holds no records.")
    return {name: _stack(values) for name, values in columns.items()}


def column_readers(study: Mapping[str, Any]) -> dict[str, Reader]:
    """How to read each column of the records of a study, by the column's name."""
    rounds = int(study["rounds"])
    readers: dict[str, Reader] = {
        "index": lambda record: _integer(record["index"]),
        "label": lambda record: _integer(record["label"]),
        "boxes": lambda record: _boxes(record["boxes"]),
        "box_area": lambda record: _numbers([record["box_area"]], 1)[0],
        "prediction": _from("prediction", length=rounds + 1, convert=_integers),
        "confidence": _from("confidence", length=rounds + 1),
        "top_confidence": _from("top_confidence", length=rounds + 1),
    }
    for method in study["methods"]:
        readers |= _method_readers(method, study, rounds)
    for name in _pairs(study["methods"]):
        for measure in AGREEMENTS:
            keys = ("agreement", name, measure)
            readers["/".join(keys)] = _from(*keys, length=rounds + 1)
    return readers


def _method_readers(method: str, study: Mapping[str, Any], rounds: int) -> dict[str, Reader]:
    lime = method == "lime"
    sizes = [str(size) for size in (study["features"] if lime else study["cells"])]
    height, width = study["grid"]
    readers: dict[str, Reader] = {}
    for size in sizes if lime else ["equal_area"]:
        readers[f"{method}/iou_box/{size}"] = _iou_box(method, size, rounds + 1)
    for size in sizes:
        readers[f"{method}/iou_clean/{size}"] = _from(
            "maps", method, "iou_clean", size, length=rounds
        )
    for measure in (*MEASURES, *(("segments", "score") if lime else ())):
        readers[f"{method}/{measure}"] = _from("maps", method, measure, length=rounds + 1)
    readers[f"{method}/centroid"] = _from(
        "maps", method, "centroid", length=rounds + 1, convert=_points
    )
    readers[f"{method}/map"] = _from(
        "maps",
        method,
        "map",
        length=rounds + 1,
        convert=lambda value, length: _pictures(value, length, (height, width)),
    )
    return readers


def _from(*keys: str, length: int, convert: Callable[[Any, int], Any] | None = None) -> Reader:
    convert = convert or _numbers

    def read(record: Mapping[str, Any]) -> Any:
        value: Any = record
        for key in keys:
            value = value[key]
        return convert(value, length)

    return read


def _iou_box(method: str, size: str, length: int) -> Reader:
    def read(record: Mapping[str, Any]) -> np.ndarray:
        value = record["maps"][method]["iou_box"]
        if value is None:
            return np.full(length, np.nan)
        return _numbers(value[size], length)

    return read


def _pairs(methods: list[str]) -> list[str]:
    return [f"{a}|{b}" for i, a in enumerate(methods) for b in methods[i + 1 :]]


def _numbers(values: Any, length: int) -> np.ndarray:
    """Floats; None becomes NaN, text and lists are refused."""
    array = np.asarray([np.nan if v is None else v + 0.0 for v in values], np.float64)
    return _of_length(array, length)


def _integers(values: Any, length: int) -> np.ndarray:
    return _of_length(np.asarray([_integer(value) for value in values], np.int64), length)


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected a whole number, got {value!r}")
    return value


def _points(values: Any, length: int) -> np.ndarray:
    points = [(np.nan, np.nan) if v is None else tuple(_numbers(v, 2)) for v in values]
    return _of_length(np.asarray(points, np.float64), length)


def _pictures(values: Any, length: int, size: tuple[int, int]) -> np.ndarray:
    cells = [np.frombuffer(base64.b64decode(v, validate=True), np.uint8) for v in values]
    return _of_length(np.stack([c.reshape(size) for c in cells]), length)


def _boxes(values: Any) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(_numbers(box, 4).tolist()) for box in values)


def _of_length(array: np.ndarray, length: int) -> np.ndarray:
    if len(array) != length:
        raise ValueError(f"expected {length} values, got {len(array)}")
    return array


def _stack(values: list[Any]) -> np.ndarray:
    if isinstance(values[0], tuple):  # boxes: as many as an image has
        array = np.empty(len(values), object)
        array[:] = values
        return array
    return np.asarray(values)


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
