"""What a study writes: one record per image, and a summary of what was studied and counted.

A record holds what a network saw in an image, and how that changed under attack.
Lists run over rounds: the clean image first, then the image after each round of the attack.

    index            index in the split
    label            true class
    boxes            (ymin, xmin, ymax, xmax) of the label's class, fractions of the image
    box_area         fraction of the image inside them; null if there is none
    prediction       class predicted
    confidence       softmax probability of the label
    top_confidence   of the prediction
    maps             by method: "grad_cam", "grad_cam_plus_plus", "lime"
        map          8 bits per cell in base64, the highest cell 255
        peak         highest value
        iou_box      IoU with the object: of an area of its size ("equal_area"), or of LIME's best
                     superpixels ("8", "10"); null if there is no box
        iou_clean    IoU with the clean image's area, by number of cells or superpixels; from the
                     first round on
        entropy, centroid, components, positive
                     how scattered the map is, see `aad_tf.attention_study.measures`; components
                     are those of the area above the map's mean, positive is the fraction of cells
                     above zero
        segments, score, iou_repeat
                     of LIME: number of superpixels, R^2 of its local model, and IoU of the areas
                     of the clean image explained twice, with other samples
    agreement        by pair of methods: rank correlation of cells, IoU of the 10 highest
    grid             rows and columns of the maps, where they depend on the size of the image
    faithfulness     where it was asked for; by method, and for the maps without information
                     "random" and "center":
        deletion, insertion
                     areas under the curves of `aad_tf.attention.deletion` and `insertion`
        deletion_curve, insertion_curve
                     the curves, 8 bits per step in base64, probability 1 is 255
        max_sensitivity
                     of methods but LIME: how much the map changes where the image hardly does
    randomization    of the first images of such a study, by method but LIME: rank_correlation and
                     iou of the clean image's map with those of the network randomised from the
                     logits down, a list over the layers that the summary names
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
    """Whether a mapping has the keys of a record."""
    return record.keys() >= set(KEYS)


def batch_records(
    first_index: int,
    labels: np.ndarray,
    boxes: list[np.ndarray],
    box_area: np.ndarray,
    columns: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Cuts the columns of a batch into records.

    Args:
        first_index: index of the first example.
        labels: int `[batch]`.
        boxes: for each example `[n, 4]`, those of its class.
        box_area: `[batch]`, NaN where there is no box.
        columns: nested mappings of arrays `[rounds, batch, ...]`.

    Returns:
        Records that JSON can hold; numbers have 4 decimals, NaN is None.
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
    """Counts records as they come: how many are classified correctly, and how many have no box.

    Args:
        study: what is measured, as in the summary.

    Attributes:
        faithfulness: means of what the study measures of it.
    """

    def __init__(self, study: Mapping[str, Any]) -> None:
        self.examples = self.right = self.without_box = self.right_without_box = 0
        self._right_by_round = np.zeros(study["rounds"] + 1, int)
        self.faithfulness = FaithfulnessMeans(study.get("faithfulness"))

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Counts further records."""
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
        """The counts by name."""
        names = ("examples", "right", "without_box", "right_without_box")
        return {name: getattr(self, name) for name in names}

    def accuracy(self) -> list[float]:
        """Fractions of all examples classified correctly: as they are, and after each round."""
        return [
            round(float(fraction), 6) for fraction in self._right_by_round / max(self.examples, 1)
        ]


def format_summary(summary: Mapping[str, Any]) -> str:
    """A study's summary as lines of text: accuracies, counts, and faithfulness if measured."""
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
    """Joins the records of all parts of a study; the same file as that of one pass.

    Args:
        paths: files of records, in any order.
        output: file to write; its summary goes beside it.

    Returns:
        The summary.

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
