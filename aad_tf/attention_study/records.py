"""One record per image: what a network saw in it, and how that changed under attack.

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
                     how scattered the map is, see `aad_tf.attention_study.scatter`; components
                     are those of the area above the map's mean, positive is the fraction of cells
                     above zero
        segments, score, iou_repeat
                     of LIME: number of superpixels, R^2 of its local model, and IoU of the areas
                     of the clean image explained twice, with other samples
    agreement        by pair of methods: rank correlation of cells, IoU of the 10 highest
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

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
    return record.keys() == set(KEYS)


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
