"""Records and summary of an attention study: one record per image, one summary per study.

A record holds the predictions and attention measures of an image. Lists run over rounds: the
original image first, then the image after each iteration of the attack. The keys of a record are:

    index            index in the split
    label            true class
    boxes            boxes of the label's class, (ymin, xmin, ymax, xmax) in fractions of the image
    box_area         fraction of the image inside these boxes; null if there is none
    prediction       predicted class
    confidence       softmax probability of the true label
    top_confidence   softmax probability of the predicted class
    maps             by method: "grad_cam", "grad_cam_plus_plus", "lime"
        map          the map with 8 bits per cell, row by row, in base64; the highest cell is 255,
                     except in a map of zeros
        peak         highest value of the map
        iou_box      IoU of the boxes with an area of their size ("equal_area"), or with LIME's 8 or
                     10 superpixels of highest weight ("8", "10"); null if there is no box
        iou_clean    IoU with the area of the original image, by number of cells or superpixels;
                     lists begin with the image after the first iteration
        entropy      entropy of the map over cells, in [0, 1]; null for a map of zeros or of one
                     cell
        centroid     centre of mass (y, x) in fractions of the image; null for a map of zeros
        components   number of connected components of the cells above the map's mean
        positive     fraction of cells above zero
        segments     of LIME: number of superpixels
        score        of LIME: R^2 of its local model
        iou_repeat   of LIME: IoU of the areas of two explanations of the original image with
                     different random samples, by number of superpixels
    agreement        by pair of methods: rank correlation of cells, null where a map is constant,
                     and IoU of the 10 highest cells
    grid             rows and columns of the maps, only if they depend on the size of the image
    faithfulness     only if it is measured; by method, and for the baseline maps "random" and
                     "center":
        deletion, insertion
                     areas under the curves of `aad_tf.attention.deletion` and `insertion`
        deletion_curve, insertion_curve
                     the curves, 8 bits per step in base64; probability 1 is 255
        max_sensitivity
                     not of LIME: relative change of the map under small changes of the image
    randomization    only for the first images of a study that measures faithfulness; by method,
                     without LIME: rank_correlation and iou of the original image's map with the
                     maps of the network whose layers are randomised one after the other from the
                     logits on; lists over the layers that the summary names
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aad_tf.attention_study.faithfulness import FaithfulnessMeans, format_faithfulness
from aad_tf.records import (
    read_record_lines,
    read_summary,
    record_line,
    summary_path,
    write_record_lines,
)
from aad_tf.records.shards import Part, merged_provenance, read_parts
from aad_tf.utils.files import PathLike, write_json_atomically

KEYS = (
    "index",
    "label",
    "boxes",
    "box_area",
    "prediction",
    "confidence",
    "top_confidence",
    "maps",
    "agreement",
)
_DECIMALS = 4


def is_record(record: Mapping[str, Any]) -> bool:
    """Whether a mapping is a record of an attention study.

    Args:
        record: any mapping.

    Returns:
        True if it has `index`, `label`, `boxes`, `box_area`, `prediction`, `confidence`,
        `top_confidence`, `maps` and `agreement`.
    """
    return record.keys() >= set(KEYS)


def batch_records(
    first_index: int,
    labels: np.ndarray,
    boxes: list[np.ndarray],
    box_area: np.ndarray,
    columns: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Divides the columns of a batch into one record per example.

    Args:
        first_index: index of the first example in its split.
        labels: int `[batch]`, true labels.
        boxes: for each example `[n, 4]`, the boxes of its label's class as (ymin, xmin, ymax, xmax)
            in fractions of the image.
        box_area: `[batch]`, fraction of the image inside the boxes; NaN where there is no box.
        columns: arrays `[rounds, batch, ...]` in nested mappings by name, such as `prediction`; a
            round is the original images or those after an iteration of the attack.

    Returns:
        Records that JSON can hold: numbers are rounded to 4 decimals, NaN becomes None, and
        `iou_box` is None for an example without a box.
    """
    lists = _lists(columns)
    areas = _plain(box_area)
    return [
        {
            "index": first_index + row,
            "label": int(label),
            "boxes": np.round(boxes[row].astype(np.float64), _DECIMALS).tolist(),
            "box_area": areas[row],
            **_example(lists, row, known=areas[row] is not None),
        }
        for row, label in enumerate(labels)
    ]


def _lists(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays `[rounds, batch, ...]` as lists by example, then round."""
    return {
        name: _lists(values) if isinstance(values, Mapping) else _plain(np.moveaxis(values, 0, 1))
        for name, values in columns.items()
    }


def _example(lists: Mapping[str, Any], row: int, known: bool) -> dict[str, Any]:
    return {
        name: (
            None
            if name == "iou_box" and not known
            else _example(values, row, known)
            if isinstance(values, Mapping)
            else values[row]
        )
        for name, values in lists.items()
    }


def _plain(values: np.ndarray) -> Any:
    if values.dtype.kind != "f":
        return values.tolist()
    rounded = np.round(values.astype(np.float64), _DECIMALS)
    missing = np.isnan(rounded)
    if not missing.any():
        return rounded.tolist()
    entries = rounded.astype(object)
    entries[missing] = None
    return entries.tolist()


class Counts:
    """Counts the records of a study: examples, correct predictions, and examples without a box.

    Args:
        study: settings of the study: `rounds`, the number of iterations of the attack, and, if it
            is measured, `faithfulness`, a dict of the settings of these measures.

    Attributes:
        examples: number of records.
        right: number of examples classified correctly without attack.
        without_box: number of examples without a box of their label's class.
        right_without_box: number of those that are classified correctly without attack.
        faithfulness: means of the faithfulness measures over the records.
    """

    def __init__(self, study: Mapping[str, Any]) -> None:
        self.examples = self.right = self.without_box = self.right_without_box = 0
        self._right_by_round = np.zeros(study["rounds"] + 1, int)
        self.faithfulness = FaithfulnessMeans(study.get("faithfulness"))

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Adds records to the counts.

        Args:
            records: dictionaries, one per image, of which `label`, `prediction` (a list, the
                original image first, then after each iteration of the attack), `box_area` (None
                without a box) and, if it was measured, `faithfulness` are read.
        """
        for record in records:
            self.faithfulness.add([record])
            hits = np.asarray(record["prediction"]) == record["label"]
            boxless = record["box_area"] is None
            self.examples += 1
            self.right += int(hits[0])
            self.without_box += int(boxless)
            self.right_without_box += int(boxless and hits[0])
            self._right_by_round += hits

    def as_dict(self) -> dict[str, int]:
        """Returns the counts for the summary of a study.

        Returns:
            Numbers of images: `examples`; `right`, classified correctly without attack;
            `without_box`, without a box of their label's class; and `right_without_box`, both of
            these.
        """
        names = ("examples", "right", "without_box", "right_without_box")
        return {name: getattr(self, name) for name in names}

    def accuracy(self) -> list[float]:
        """Returns the accuracy on the original images and after each iteration of the attack.

        Returns:
            Fractions in [0, 1], rounded to 6 decimals; 0 if no records were added.
        """
        return [
            round(float(fraction), 6) for fraction in self._right_by_round / max(self.examples, 1)
        ]


def format_summary(summary: Mapping[str, Any]) -> str:
    """Formats the summary of an attention study for the terminal.

    Args:
        summary: the summary of a study, which `study_attention` and `merge_shards` return: a dict
            of which `study` (settings), `counts`, `accuracy` and, if it was measured,
            `faithfulness` are read.

    Returns:
        Lines of text with accuracies, counts, and means of faithfulness if it was measured.
    """
    counts, attack = summary["counts"], summary["study"]["attack"]
    accuracies = ", ".join(f"{fraction:.2%}" for fraction in summary["accuracy"][1:])
    text = (
        f"{counts['examples']} images, {counts['right']} correct as they are "
        f"({summary['accuracy'][0]:.2%}), {counts['without_box']} without a box of their class\n"
        f"{attack['attack']}: correct after each round: {accuracies} "
        f"(linf, total {attack['epsilon']:.4g} = {attack['epsilon_255']:.4g}/255)"
    )
    return "\n".join(filter(None, (text, format_faithfulness(summary))))


def merge_shards(paths: Sequence[PathLike], output: PathLike) -> dict[str, Any]:
    """Merges the records of all shards of an attention study into one file.

    An attention study measures the attention maps of each image of a data set before and after each
    iteration of an attack. A record holds what was measured on one image; a file of records has one
    JSON object per line. A shard is the part of the data set that one run measured. The merged
    records equal those of a study of the whole data set in one run.

    Args:
        paths: files of records, one for each shard, in any order; each has its summary beside it.
        output: file of records to write, compressed if its name ends with ".gz". The summary is
            written beside it: `x.summary.json` for `x.jsonl.gz`.

    Returns:
        The summary of the whole study, a dict that JSON can hold: `study`, a dict of the settings;
        `counts`, a dict of numbers of images: `examples`, `right` (correct without attack),
        `without_box` and `right_without_box`; `accuracy`, a list of fractions, on the original
        images and after each iteration; `faithfulness` and `randomization`, dicts of means, if they
        were measured, and `randomized_layers`, the names of their layers; `fingerprint`, `identity`
        and `description`, dicts of what was studied; `class_names`, a list; `range`, the first
        index and the one after the last; `shard`, None; `seconds` and `examples_per_second`, the
        latter None if a shard was resumed; and `provenance`, a dict of versions and hardware.

    Raises:
        ValueError: parts of different studies, parts that are missing or overlap, damaged files.
        OSError: a file cannot be read or written.
    """
    parts = read_parts(paths, output, _read_part, "study")
    first = parts[0].summary
    counts = Counts(first["study"])
    write_record_lines(Path(output), _counted_lines(parts, counts))
    copied = ("study", "fingerprint", "description", "class_names", "randomized_layers")
    merged = {
        **{key: first[key] for key in copied if key in first},
        "identity": {**first["identity"], "shard": None},
        "counts": counts.as_dict(),
        "accuracy": counts.accuracy(),
        **counts.faithfulness.as_dict(),
        **_speed([part.summary for part in parts]),
        "range": [parts[0].first, parts[-1].stop],
        "shard": None,
        "provenance": merged_provenance(parts),
    }
    write_json_atomically(summary_path(output), merged)
    return merged


def _read_part(path: PathLike) -> Part:
    summary = read_summary(path, "study")
    first, stop = summary["range"]
    return Part(Path(path), summary, summary["shard"], first, stop, summary["fingerprint"])


def _speed(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Seconds of all parts together; the rate if no part was resumed, which hides some seconds."""
    seconds = sum(summary["seconds"] for summary in summaries)
    count = sum(summary["counts"]["examples"] for summary in summaries)
    whole = seconds > 0 and not any(summary.get("resumed_at") for summary in summaries)
    return {
        "seconds": round(seconds, 2),
        "examples_per_second": round(count / seconds, 2) if whole else None,
    }


def _counted_lines(parts: Sequence[Part], counts: Counts) -> Iterator[bytes]:
    for part in parts:
        before = counts.examples
        for record in read_record_lines(part.path, KEYS):
            counts.add([record])
            yield record_line(record)
        found, expected = counts.examples - before, part.summary["counts"]["examples"]
        if found != expected:
            raise ValueError(f"{part.path} holds {found} records, its summary says {expected}.")
