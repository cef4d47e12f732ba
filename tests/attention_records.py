"""Attention records written by hand, in the format of `eval.attention`."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aad_tf.attacks import step_ll

CELLS, FEATURES = (5, 10, 20, 30), (8, 10)
GRID = (8, 8)
RAMP = np.arange(64, dtype=np.uint8).reshape(GRID)


def make_record(
    index: int,
    prediction: Sequence[int],
    *,
    label: int = 0,
    confidence: Sequence[float] | float = 0.5,
    top_confidence: Sequence[float] | float = 0.5,
    box: Sequence[float] | None = (0.0, 0.0, 0.5, 0.5),
    iou_box: Sequence[float] | float = 0.5,
    iou_clean: Mapping[str, Sequence[float]] | Sequence[float] | float = 0.5,
    methods: Sequence[str] = ("grad_cam",),
    measured: Mapping[str, Mapping[str, Any]] | None = None,
    maps: Mapping[str, Any] | None = None,
    agreement: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """One image's record; a single number stands for every round.

    Args:
        index: index in the split.
        prediction: class predicted for the clean image and after each round.
        label: true class.
        confidence: of the true class.
        top_confidence: of the class predicted.
        box: (ymin, xmin, ymax, xmax), or None.
        iou_box: IoU with the box, of every method and size.
        iou_clean: IoU with the clean map after each round; a mapping gives it by size.
        methods: methods of attention.
        measured: by method, entries of its maps that replace the ones written otherwise.
        maps: by method, uint8 `[rounds + 1, 8, 8]`; else a ramp.
        agreement: by pair of methods, e.g. `grad_cam|lime`, entries that replace the 0.5.
    """
    stages = len(prediction)
    area = None if box is None else (box[2] - box[0]) * (box[3] - box[1])
    pairs = [f"{a}|{b}" for i, a in enumerate(methods) for b in methods[i + 1 :]]
    record: dict[str, Any] = {
        "index": index,
        "label": label,
        "boxes": [] if box is None else [list(box)],
        "box_area": area,
        "prediction": list(prediction),
        "confidence": over_rounds(confidence, stages),
        "top_confidence": over_rounds(top_confidence, stages),
        "maps": {},
        "agreement": {
            pair: {
                "rank_correlation": [0.5] * stages,
                "iou": [0.5] * stages,
                **(agreement or {}).get(pair, {}),
            }
            for pair in pairs
        },
    }
    for method in methods:
        values = (maps or {}).get(method, [RAMP] * stages)
        record["maps"][method] = {
            **_method(method, values, None if box is None else iou_box, iou_clean),
            **(measured or {}).get(method, {}),
        }
    return record


def over_rounds(values: Sequence[float] | float, stages: int) -> list[float]:
    return [values] * stages if isinstance(values, (int, float)) else list(values)


def _method(method: str, maps: Any, iou_box: Any, iou_clean: Any) -> dict[str, Any]:
    stages = len(maps)
    sizes = [str(size) for size in (FEATURES if method == "lime" else CELLS)]
    box_sizes = sizes if method == "lime" else ["equal_area"]
    clean = iou_clean if isinstance(iou_clean, Mapping) else dict.fromkeys(sizes, iou_clean)
    entry = {
        "map": [base64.b64encode(np.asarray(m, np.uint8).tobytes()).decode() for m in maps],
        "peak": [1.0] * stages,
        "iou_box": None
        if iou_box is None
        else {size: over_rounds(iou_box, stages) for size in box_sizes},
        "iou_clean": {size: over_rounds(clean[size], stages - 1) for size in sizes},
        "entropy": [0.5] * stages,
        "centroid": [[0.5, 0.5]] * stages,
        "components": [1] * stages,
        "positive": [1.0] * stages,
    }
    if method == "lime":
        entry |= {"segments": [20] * stages, "score": [0.5] * stages}
    return entry


def write_records(
    path: Path,
    records: Sequence[Mapping[str, Any]],
    *,
    attack: Any = None,
    weights: str = "0123",
    split: str = "test",
    study: Mapping[str, Any] | None = None,
    dataset: Mapping[str, Any] | None = None,
    model_config: Mapping[str, Any] | None = None,
    keep_summary: bool = True,
) -> Path:
    """Writes records and their summary.

    Args:
        path: file of records to write, ending with ".jsonl.gz".
        records: as `make_record` makes them.
        attack: a gradient-sign attack; else StepLL, 4/255 per round.
        weights: hash of the network.
        split: of the data.
        study: entries that replace those of the study.
        dataset: entries that replace the fingerprint's data.
        model_config: the network's config in the description.
        keep_summary: False leaves the summary out.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
    rounds = len(records[0]["prediction"]) - 1
    methods = list(records[0]["maps"])
    attack = attack or step_ll(4 / 255, num_steps=rounds)
    whole_study = {
        "attack": attack.threat_model(),
        "rounds": rounds,
        "attention_layer": "mixed",
        "explained": "label",
        "cells": list(CELLS),
        "features": list(FEATURES),
        "grid": list(GRID),
        "image_shape": [64, 64, 3],
        "methods": methods,
        "lime": {"num_samples": 1000, "num_segments": 50, "seed": 0} if "lime" in methods else None,
        "batch_size": 64,
        **(study or {}),
    }
    data = {
        "name": "tiny_imagenet_boxes",
        "split": split,
        "source": "tfds tiny_imagenet_boxes/1.0.0 (JPEG copy)",
        "fingerprint": "abcd",
        **(dataset or {}),
    }
    if keep_summary:
        summary = _summary(records, whole_study, weights, data, model_config)
        summary_file = path.with_name(path.name.removesuffix(".jsonl.gz") + ".summary.json")
        summary_file.write_text(json.dumps(summary), encoding="utf-8")
    return path


def _summary(
    records: Sequence[Mapping[str, Any]],
    study: Mapping[str, Any],
    weights: str,
    data: Mapping[str, Any],
    model_config: Mapping[str, Any] | None,
) -> dict[str, Any]:
    right = [record["prediction"][0] == record["label"] for record in records]
    boxless = [record["box_area"] is None for record in records]
    hits = np.array([[p == r["label"] for p in r["prediction"]] for r in records])
    config = {"name": "clean", "model": "inception_small", **(model_config or {})}
    return {
        "study": study,
        "fingerprint": {
            "weights": weights,
            "bounds": [0.0, 1.0],
            "aad_tf": "0.0",
            "dataset": data,
            "study": study,
        },
        "description": {"model": {"config": config}, "dataset": data},
        "class_names": ["cat", "dog", "owl", "bee"],
        "counts": {
            "examples": len(records),
            "right": sum(right),
            "without_box": sum(boxless),
            "right_without_box": sum(r and b for r, b in zip(right, boxless, strict=True)),
        },
        "accuracy": hits.mean(axis=0).tolist(),
        "range": [0, len(records)],
        "shard": None,
        "provenance": {"command": "python -m eval.attention", "git_commit": None},
        "seconds": 1.0,
        "examples_per_second": float(len(records)),
    }


@pytest.fixture
def record() -> Callable[..., dict[str, Any]]:
    """`make_record`."""
    return make_record


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """`write_records` into `results/attention` of a temporary directory, by a file's stem."""

    def write_named(stem: str, records: Sequence[Mapping[str, Any]], **options: Any) -> Path:
        path = tmp_path / "results" / "attention" / f"{stem}.jsonl.gz"
        return write_records(path, records, **options)

    return write_named


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The directory of results that `write` fills."""
    return tmp_path / "results"
