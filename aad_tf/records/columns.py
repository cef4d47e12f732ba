"""Reads the records of an attention study into NumPy columns, and checks that files fit together.

A study writes one JSON record per image (`aad_tf.attention_study.records` lists their keys) and a
summary beside them. Here they become arrays whose first axis is the image:

    >>> run = read_attention_records("clean_test_step_ll.jsonl.gz")
    >>> run.iou_box()[run.succeeded(1), 0].mean()  # IoU with the box where round 1 succeeds
"""

from __future__ import annotations

import binascii
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aad_tf.records import read_record_lines, read_summary, summary_path
from aad_tf.utils.files import PathLike

# The split of data that has none.
WHOLE = "all"
_SUMMARY_KEYS = ("study", "fingerprint", "class_names", "counts", "accuracy")
_STUDY_KEYS = ("attack", "rounds", "attention_layer", "cells", "features", "grid", "methods")
_FINGERPRINT_KEYS = ("weights", "bounds", "dataset")
_MEASURES = ("entropy", "components", "positive", "peak")
# Maps without information, measured beside those of methods.
_BASELINES = ("random", "center")
_AGREEMENTS = ("rank_correlation", "iou")
# Read whatever is asked for: they tell images apart, and whether the file is whole.
_ALWAYS = ("index", "label", "prediction")
# What must agree for two files to be of one network and one copy of the data.
_SAME_NETWORK = ("weights", "bounds")
_SAME_DATA = ("name", "fingerprint")


@dataclass(frozen=True, eq=False)
class AttentionRecords:
    """Measurements of attention on `n` images of one network, clean and under one attack.

    The first axis of every array is the image. A round is the image after one iteration of the
    attack: index 0 of the second axis is the clean image, index k the image after round k. Arrays
    that compare with the clean image have no entry for it and begin at round 1. Accessors of what
    was not measured raise ValueError.

    Attributes:
        summaries: the summary of each file read.
        split: str `[n]`, the split of the data set that each image is from.
        columns: arrays by name, the records' keys joined by "/", e.g.
            `grad_cam/iou_box/equal_area`. A null in the records is NaN.
        paths: the files read.
    """

    summaries: tuple[Mapping[str, Any], ...]
    split: np.ndarray
    columns: Mapping[str, np.ndarray]
    paths: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.split)

    @property
    def study(self) -> Mapping[str, Any]:
        """Settings of the study, from the first summary.

        Among them are `attack`, a dict; `rounds`, its number of iterations; `attention_layer`;
        `cells` and `features`, sizes of areas in cells and in superpixels of LIME; `grid`, rows and
        columns of maps, or None; and `methods` of attention maps.
        """
        return self.summaries[0]["study"]

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """What identifies the study, from the first summary.

        Among its entries are `weights`, a hash of the network's weights; `bounds`, the pixel range;
        and `dataset`, a description of the data and the split, or None.
        """
        return self.summaries[0]["fingerprint"]

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes, by class number."""
        return self.summaries[0]["class_names"]

    @property
    def rounds(self) -> int:
        """Number of rounds, the recorded iterations of the attack."""
        return int(self.study["rounds"])

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the attention methods that were measured, e.g. `grad_cam`, `lime`."""
        return tuple(self.study["methods"])

    @property
    def index(self) -> np.ndarray:
        """int `[n]`, index of the image in its split."""
        return self.columns["index"]

    @property
    def label(self) -> np.ndarray:
        """int `[n]`, true class."""
        return self.columns["label"]

    @property
    def boxes(self) -> np.ndarray:
        """object `[n]`: for each image a tuple of the boxes of its label's class.

        A box is (ymin, xmin, ymax, xmax) in fractions of the image.
        """
        return self._column("boxes")

    @property
    def box_area(self) -> np.ndarray:
        """float `[n]`, fraction of the image in boxes of its label's class; NaN without a box."""
        return self._column("box_area")

    @property
    def has_box(self) -> np.ndarray:
        """bool `[n]`, whether the image has a box of its label's class."""
        return ~np.isnan(self.box_area)

    @property
    def correct(self) -> np.ndarray:
        """bool `[n]`, whether the clean image is classified correctly, I_att of [AAD Sec. 2.1]."""
        return self.prediction[:, 0] == self.label

    @property
    def prediction(self) -> np.ndarray:
        """int `[n, rounds + 1]`, predicted class, clean and after each iteration of the attack."""
        return self.columns["prediction"]

    @property
    def confidence(self) -> np.ndarray:
        """float `[n, rounds + 1]`, probability of the true class, clean and after iterations."""
        return self._column("confidence")

    @property
    def top_confidence(self) -> np.ndarray:
        """float `[n, rounds + 1]`, highest probability of any class, clean and after iterations."""
        return self._column("top_confidence")

    def iou_box(self, method: str = "grad_cam", size: int | str = "equal_area") -> np.ndarray:
        """IoU of the attention area and the boxes of the label's class, [AAD Eq. 4].

        Args:
            method: `"grad_cam"`, `"grad_cam_plus_plus"` or `"lime"`.
            size: size of the attention area: `"equal_area"`, the highest pixels, as many as the
                boxes have; for `"lime"` a number of superpixels, also as text such as `"8"`.

        Returns:
            float64 `[n, rounds + 1]` in [0, 1], for each of the n images when clean and after each
            iteration of the attack; NaN for an image without a box.

        Raises:
            ValueError: the study did not measure this method, or not with this size.
        """
        return self._column(method, "iou_box", size)

    def iou_clean(self, method: str = "grad_cam", size: int | str = 10) -> np.ndarray:
        """IoU of the attention areas of the clean and the attacked image, [AAD Eq. 5].

        Args:
            method: `"grad_cam"`, `"grad_cam_plus_plus"` or `"lime"`.
            size: number of highest cells in an area, for `"lime"` of superpixels; or text, `"10"`.

        Returns:
            float64 `[n, rounds]` in [0, 1], for each of the n images and iterations of the attack.

        Raises:
            ValueError: the study did not measure this method, or not with this size.
        """
        return self._column(method, "iou_clean", size)

    def iou_repeat(self, size: int | str) -> np.ndarray | None:
        """IoU of LIME's areas of one clean image that is explained twice, with different samples.

        Args:
            size: number of superpixels of the areas.

        Returns:
            float64 `[n]` in [0, 1], one per image; None if this size was not measured.
        """
        column = self.columns.get(f"lime/iou_repeat/{size}")
        return None if column is None else column[:, 0]

    def measure(self, method: str, name: str) -> np.ndarray:
        """A measure of the attention maps of a method.

        Args:
            method: `"grad_cam"`, `"grad_cam_plus_plus"` or `"lime"`.
            name: `"entropy"`, as a fraction of the highest possible; `"components"`, number of
                connected parts of the area above the map's mean; `"positive"`, fraction of cells
                above 0; `"peak"`, highest value; of LIME also `"segments"`, number of superpixels,
                and `"score"`, R^2 of its fit.

        Returns:
            float64 `[n, rounds + 1]`, for each of the n images when clean and after each iteration.

        Raises:
            ValueError: the study did not measure this method, or it has no such measure.
        """
        return self._column(method, name)

    def centroid(self, method: str = "grad_cam") -> np.ndarray:
        """Centre of mass of the attention maps of a method.

        Args:
            method: `"grad_cam"`, `"grad_cam_plus_plus"` or `"lime"`.

        Returns:
            float64 `[n, rounds + 1, 2]`, (y, x) in fractions of the image, clean and after each
            iteration of the attack; NaN for a map of zeros.

        Raises:
            ValueError: the study did not measure this method.
        """
        return self._column(method, "centroid")

    def maps(self, method: str = "grad_cam") -> np.ndarray:
        """Attention maps, each scaled to a largest value of 255.

        Args:
            method: `"grad_cam"`, `"grad_cam_plus_plus"` or `"lime"`.

        Returns:
            uint8 `[n, rounds + 1, h, w]`, of the clean image and after each iteration of the
            attack.

        Raises:
            ValueError: the records hold no maps of this method, or images have different sizes.
        """
        return self._column(method, "map")

    def agreement(self, first: str, second: str, measure: str) -> np.ndarray:
        """Agreement of the attention maps of two methods on the same image, of n images.

        Args:
            first: `"grad_cam"`, `"grad_cam_plus_plus"` or `"lime"`.
            second: another of these; the order does not matter.
            measure: `"rank_correlation"`, Spearman's over the cells, in [-1, 1]; or `"iou"`, IoU of
                the 10 highest cells of each map, in [0, 1].

        Returns:
            float64 `[n, rounds + 1]`, on the clean image and after each iteration of the attack.

        Raises:
            ValueError: the study did not measure both methods, or there is no such measure.
        """
        name = f"{first}|{second}"
        if f"agreement/{name}/{measure}" not in self.columns:
            name = f"{second}|{first}"
        return self._column("agreement", name, measure)

    def faithfulness(self, name: str, measure: str) -> np.ndarray:
        """Whether a method's maps show what the network uses.

        Args:
            name: `"grad_cam"`, `"grad_cam_plus_plus"` or `"lime"`; or `"random"` or `"center"`,
                maps without information, for comparison.
            measure: `"deletion"` or `"insertion"`, the area under the curve of the class's
                probability while the pixels of highest attention are removed or added, in [0, 1];
                `"max_sensitivity"` (of Grad-CAM and Grad-CAM++), the largest relative change of the
                map under small changes of the image; or `"deletion_curve"` or `"insertion_curve"`.

        Returns:
            float64 `[n, rounds + 1]`, on the clean image and after each iteration of the attack; a
            curve is uint8 `[n, rounds + 1, steps + 1]`, where 255 is probability 1.

        Raises:
            ValueError: the study did not measure it.
        """
        return self._column("faithfulness", name, measure)

    def succeeded(self, round_number: int) -> np.ndarray:
        """Images on which the attack succeeds, I_succeed in the paper [AAD].

        Args:
            round_number: after how many iterations of the attack, from 1 to `rounds`.

        Returns:
            bool `[n]`: classified correctly when clean, and misclassified after that iteration.

        Raises:
            ValueError: the attack has no such iteration.
        """
        if not 1 <= round_number <= self.rounds:
            files = f" Read were {', '.join(map(str, self.paths))}." if self.paths else ""
            raise ValueError(f"round must be in [1, {self.rounds}], got {round_number}.{files}")
        return self.correct & (self.prediction[:, round_number] != self.label)

    def failed(self, round_number: int) -> np.ndarray:
        """Images on which the attack fails, I_fail in the paper [AAD].

        Args:
            round_number: after how many iterations of the attack, from 1 to `rounds`.

        Returns:
            bool `[n]`: classified correctly both when clean and after that iteration.

        Raises:
            ValueError: the attack has no such iteration.
        """
        return self.correct & ~self.succeeded(round_number)

    def select(self, chosen: np.ndarray) -> AttentionRecords:
        """The records of some images; `chosen` is bool `[n]`, or int positions from 0."""
        columns = {name: column[chosen] for name, column in self.columns.items()}
        return AttentionRecords(self.summaries, self.split[chosen], columns, self.paths)

    def _column(self, *keys: int | str) -> np.ndarray:
        name = "/".join(map(str, keys))
        if name not in self.columns:
            raise ValueError(f"No {name} in the records; they hold {', '.join(self.columns)}.")
        return self.columns[name]


def read_attention_records(
    *paths: PathLike, columns: Collection[str] | None = None
) -> AttentionRecords:
    """Reads files of an attention study together, e.g. two splits, or all shards of one.

    Args:
        *paths: files of records, one JSON line per image, each with its summary beside it.
        columns: names of the columns to read, keys joined by "/" such as
            `grad_cam/iou_box/equal_area`; None reads all. `index`, `label` and `prediction` are
            always read.

    Returns:
        The records of all images, file after file.

    Raises:
        FileNotFoundError: a file or its summary is not there.
        ValueError: no files, a damaged file, files of different networks, data or studies, missing
            shards, an image that comes twice, a number of records other than the summary counts, or
            a column that the study does not have.

    Example:
        >>> read_attention_records("a_test.jsonl.gz", "a_validation.jsonl.gz").rounds
        5
    """
    if not paths:
        raise ValueError("read_attention_records needs at least one file of records.")
    summaries = [read_attention_summary(path) for path in paths]
    splits, parts = [], []
    for path, summary in zip(paths, summaries, strict=True):
        check_same_network(summaries[0], summary, f"{paths[0]}", f"{path}")
        _check_same_study(summaries[0], summary, f"{paths[0]}", f"{path}")
        part = _read_columns(path, summary["study"], columns)
        _check_complete(part, summary, f"{path}")
        splits.append(np.full(len(part["index"]), split_of(summary)))
        parts.append(part)
    _check_shards(paths, summaries)
    # Only files of an older format are without a column that others hold.
    names = [name for name in parts[0] if all(name in part for part in parts)]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in names}
    run = AttentionRecords(
        tuple(summaries), np.concatenate(splits), joined, tuple(map(Path, paths))
    )
    if len(set(zip(run.split.tolist(), run.index.tolist(), strict=True))) < len(run):
        raise ValueError(f"An image comes twice in {', '.join(map(str, paths))}.")
    return run


def read_attention_summary(path: PathLike) -> dict[str, Any]:
    """Reads the summary that lies beside a file of records of an attention study.

    Args:
        path: the file of records; `x.jsonl.gz` has `x.summary.json`.

    Returns:
        A dict with at least `study` (settings), `fingerprint` (what identifies network and data),
        `class_names`, `counts` (of examples) and `accuracy` (by iteration of the attack).

    Raises:
        FileNotFoundError: there is no summary.
        ValueError: it is no summary of an attention study; the message names what is missing.
    """
    beside = summary_path(path)
    if not beside.is_file():
        raise FileNotFoundError(
            f"{path} has no summary: {beside.name} must lie beside it. An unfinished study has "
            f"none; run the same command of eval.attention again to finish it."
        )
    summary = read_summary(beside, "study")
    _check_keys(summary, _SUMMARY_KEYS, f"{beside} is not the summary of an attention study")
    _check_keys(summary["study"], _STUDY_KEYS, f"{beside}, study")
    _check_keys(summary["fingerprint"], _FINGERPRINT_KEYS, f"{beside}, fingerprint")
    return summary


def split_of(summary: Mapping[str, Any]) -> str:
    """The name of the split that the images of an attention study are from.

    Args:
        summary: the summary of the study.

    Returns:
        Such as "test"; "all" if the data has no splits.
    """
    return (summary["fingerprint"]["dataset"] or {}).get("split") or WHOLE


def _read_columns(
    path: PathLike, study: Mapping[str, Any], names: Collection[str] | None
) -> dict[str, np.ndarray]:
    """Reads one file into arrays by name; raises ValueError that names file, line and column."""
    columns = _study_columns(study)
    if names is not None:
        unknown = [name for name in names if name not in columns]
        if unknown:
            raise ValueError(f"{path}: no {unknown[0]} in this study; it has {', '.join(columns)}.")
        columns = {name: columns[name] for name in columns if name in {*_ALWAYS, *names}}
    values: dict[str, list[Any]] = {name: [] for name in columns}
    for number, record in enumerate(read_record_lines(path, ("index",)), start=1):
        for name in list(values):
            try:
                values[name].append(columns[name].value(record))
            except (KeyError, TypeError, IndexError) as error:
                if not (columns[name].optional and number == 1):
                    raise ValueError(f"{path}, line {number}: no {name} ({error!r}).") from error
                del values[name]
    if not values["index"]:
        raise ValueError(f"{path} holds no records.")
    return {name: _converted(path, name, columns[name], held) for name, held in values.items()}


def check_same_network(
    first: Mapping[str, Any], second: Mapping[str, Any], name: str, other: str
) -> None:
    """Checks that two summaries are of the same network and the same copy of the data.

    Args:
        first: a summary of an attention study.
        second: another one.
        name: what the message calls the first.
        other: what the message calls the second.

    Raises:
        ValueError: they differ; the message shows what differs.
    """
    one, two = first["fingerprint"], second["fingerprint"]
    pairs = [("network", key, one[key], two[key]) for key in _SAME_NETWORK]
    layers = [summary["study"]["attention_layer"] for summary in (first, second)]
    pairs.append(("network", "attention_layer", *layers))
    data, copy = (fingerprint["dataset"] or {} for fingerprint in (one, two))
    pairs += [("copy of the data", key, data.get(key), copy.get(key)) for key in _SAME_DATA]
    for what, key, here, there in pairs:
        if here != there:
            raise ValueError(
                f"{other} holds records of another {what} than {name}: {key} is {there!r}, not "
                f"{here!r}. Compare records of one network on one copy of the data."
            )


def _check_same_study(
    first: Mapping[str, Any], second: Mapping[str, Any], name: str, other: str
) -> None:
    """Refuses summaries of different studies: another attack, number of rounds, measure."""
    one, two = first["study"], second["study"]
    keys = [k for k in sorted({*one, *two} - {"batch_size"}) if one.get(k) != two.get(k)]
    if keys:
        raise ValueError(
            f"{other} holds records of another study than {name}: "
            + "; ".join(f"{key} is {two.get(key)!r}, not {one.get(key)!r}" for key in keys)
            + ". Read them separately."
        )


def _check_complete(
    columns: Mapping[str, np.ndarray], summary: Mapping[str, Any], name: str
) -> None:
    """Refuses records that are not those their summary counts."""
    correct = int((columns["prediction"][:, 0] == columns["label"]).sum())
    found = {"examples": len(columns["index"]), "right": correct}
    for key, count in found.items():
        expected = summary["counts"].get(key)
        if expected != count:
            raise ValueError(
                f"{name} holds {count} {key}, its summary counts {expected}: records and summary "
                f"are not of one study, or the file was cut short."
            )


def _check_shards(paths: Sequence[PathLike], summaries: Sequence[Mapping[str, Any]]) -> None:
    """Refuses shards of a study whose other shards are not given."""
    shards: dict[tuple[str, int], set[int]] = {}
    for summary in summaries:
        if summary.get("shard") is not None:
            number, count = summary["shard"]
            shards.setdefault((split_of(summary), count), set()).add(number)
    for (split, count), found in shards.items():
        if len(found) != count:
            raise ValueError(
                f"{', '.join(map(str, paths))} hold shards {sorted(found)} of the {count} of "
                f"{split}. Give all of them, or merge them first with eval.merge_attention."
            )


@dataclass(frozen=True)
class _Column:
    """Where records keep a column, and how it becomes an array.

    Attributes:
        keys: that lead to it, the outermost first.
        shape: of one image's entry; scalars have ().
        convert: from the values of some records and the shape to an array; raises TypeError or
            ValueError.
    """

    keys: tuple[str, ...]
    shape: tuple[int, ...]
    convert: Callable[[list[Any], tuple[int, ...]], np.ndarray]

    @property
    def optional(self) -> bool:
        """Whether some files are without it; the first record decides.

        Those of an older format lack `iou_repeat`, and studies of LIME its max-sensitivity.
        """
        return "iou_repeat" in self.keys or self.keys[-2:] == ("lime", "max_sensitivity")

    def value(self, record: Mapping[str, Any]) -> Any:
        """What a record holds, not converted yet; raises KeyError or TypeError if it does not."""
        value: Any = record
        for key in self.keys:
            value = value[key]
            if value is None and key == "iou_box":  # There is no box.
                return None
        return value

    def array(self, values: list[Any]) -> np.ndarray:
        """The column of records that hold these values; raises TypeError or ValueError."""
        array = self.convert(values, self.shape)
        if array.shape[1:] != self.shape:
            raise ValueError(f"expected shape {self.shape}, got {array.shape[1:]}")
        return array


def _study_columns(study: Mapping[str, Any]) -> dict[str, _Column]:
    """The columns of the records of a study, by name."""
    stages, methods = int(study["rounds"]) + 1, list(study["methods"])
    columns = {
        "index": _Column(("index",), (), _integers),
        "label": _Column(("label",), (), _integers),
        "boxes": _Column(("boxes",), (), _boxes),
        "box_area": _Column(("box_area",), (), _numbers),
        "prediction": _Column(("prediction",), (stages,), _integers),
        "confidence": _Column(("confidence",), (stages,), _numbers),
        "top_confidence": _Column(("top_confidence",), (stages,), _numbers),
    }
    for method in methods:
        for name, shape in _method_shapes(method, study, stages).items():
            keys = ("maps", method, *name.split("/"))
            columns[f"{method}/{name}"] = _Column(keys, shape, _maps if name == "map" else _numbers)
    for one, other in itertools.combinations(methods, 2):
        for measure in _AGREEMENTS:
            keys = ("agreement", f"{one}|{other}", measure)
            columns["/".join(keys)] = _Column(keys, (stages,), _numbers)
    measured = study.get("faithfulness") or {}
    for name in (*methods, *_BASELINES) if measured else ():
        own = () if name in _BASELINES else ("max_sensitivity",)
        for measure in ("deletion", "insertion", *own):
            keys = ("faithfulness", name, measure)
            columns["/".join(keys)] = _Column(keys, (stages,), _numbers)
        for measure in ("deletion_curve", "insertion_curve"):
            keys = ("faithfulness", name, measure)
            points = int(measured["num_steps"]) + 1
            columns["/".join(keys)] = _Column(keys, (stages, points), _maps)
    return columns


def _method_shapes(
    method: str, study: Mapping[str, Any], stages: int
) -> dict[str, tuple[int, ...]]:
    """Shape of one image's entry in each column of a method, by name."""
    lime = method == "lime"
    sizes = study["features"] if lime else study["cells"]
    shapes: dict[str, tuple[int, ...]] = {}
    shapes |= {f"iou_box/{size}": (stages,) for size in (sizes if lime else ["equal_area"])}
    shapes |= {f"iou_clean/{size}": (stages - 1,) for size in sizes}
    if lime:
        shapes |= {f"iou_repeat/{size}": (1,) for size in sizes}
    shapes |= dict.fromkeys((*_MEASURES, *(("segments", "score") if lime else ())), (stages,))
    shapes["centroid"] = (stages, 2)
    # Maps of images of different sizes fit into no array.
    if study["grid"] is not None and method in study.get("keep_maps", study["methods"]):
        shapes["map"] = (stages, *study["grid"])
    return shapes


def _converted(path: PathLike, name: str, column: _Column, values: list[Any]) -> np.ndarray:
    """All values at once; only if that fails, one by one to find the line."""
    try:
        return column.array(values)
    except (TypeError, ValueError) as error:
        for number, value in enumerate(values, start=1):
            try:
                column.array([value])
            except (TypeError, ValueError) as found:
                raise ValueError(f"{path}, line {number}: no valid {name} ({found}).") from found
        raise ValueError(f"{path}: no valid {name} ({error}).") from error


def _numbers(values: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    """Floats; None becomes NaN, for a single number or for a whole list."""
    if shape:
        values = [np.full(shape, np.nan) if value is None else value for value in values]
    return np.array(values, np.float64)


def _integers(values: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    array = np.array(values)
    if array.dtype.kind != "i":
        raise TypeError(f"expected whole numbers, got {array.dtype.name}")
    return array.astype(np.int64)


def _maps(values: list[Sequence[str]], shape: tuple[int, ...]) -> np.ndarray:
    stages, size = shape[0], int(np.prod(shape[1:]))
    maps = [binascii.a2b_base64(text) for texts in values for text in texts]
    if {*map(len, values)} != {stages} or {*map(len, maps)} != {size}:
        raise ValueError(f"expected {stages} maps of {size} cells")
    return np.frombuffer(b"".join(maps), np.uint8).reshape(len(values), *shape)


def _boxes(values: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty(len(values), object)
    for image, boxes in enumerate(values):  # All at once, NumPy would look into the tuples.
        array[image] = tuple(tuple(map(float, box)) for box in boxes)
        if any(len(box) != 4 for box in array[image]):
            raise ValueError(f"expected boxes of 4 numbers, got {boxes}")
    return array


def _check_keys(value: Any, keys: tuple[str, ...], what: str) -> None:
    missing = [key for key in keys if not isinstance(value, dict) or key not in value]
    if missing:
        raise ValueError(f"{what}: it lacks {', '.join(missing)}.")
