"""Attention runs made from columns, without files: simulated data of known causes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from aad_tf.records.columns import AttentionRecords

WHOLE, QUARTER = (0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 0.5, 0.5)
GRID = (8, 8)


def run_of(
    prediction: Any,
    *,
    confidence: Any = 0.5,
    boxes: Sequence[tuple[float, ...] | None] | None = None,
    iou_box: Any = 0.5,
    iou_clean: Any = 0.5,
    maps: np.ndarray | None = None,
    methods: Sequence[str] = ("grad_cam",),
    **columns: Any,
) -> AttentionRecords:
    """A run whose label is always 0.

    Args:
        prediction: int `[n, rounds + 1]`.
        confidence: `[n]` or a number, for every round.
        boxes: one per image (None for an image without); else the upper left quarter.
        iou_box: `[n]` or a number, for every round and method.
        iou_clean: `[n, rounds]` or a number, for every method and size.
        maps: uint8 `[n, rounds + 1, 8, 8]`.
        methods: of attention.
        **columns: columns that replace others, with "__" for "/".
    """
    prediction = np.asarray(prediction)
    n, stages = prediction.shape
    boxes = [QUARTER] * n if boxes is None else list(boxes)
    held = np.empty(n, object)
    held[:] = [() if box is None else (box,) for box in boxes]
    area = [np.nan if b is None else (b[2] - b[0]) * (b[3] - b[1]) for b in boxes]
    found = {
        "index": np.arange(n),
        "label": np.zeros(n, int),
        "boxes": held,
        "box_area": np.array(area),
        "prediction": prediction,
        "confidence": _wide(confidence, n, stages),
        "top_confidence": _wide(confidence, n, stages),
    }
    for number, method in enumerate(methods):
        sizes = ("8", "10") if method == "lime" else ("5", "10", "20", "30")
        for size in ("8", "10") if method == "lime" else ("equal_area",):
            found[f"{method}/iou_box/{size}"] = _wide(iou_box, n, stages)
        for size in sizes:
            found[f"{method}/iou_clean/{size}"] = _wide(iou_clean, n, stages - 1)
        for measure in ("entropy", "components", "positive", "peak"):
            found[f"{method}/{measure}"] = np.full((n, stages), 0.5)
        found[f"{method}/centroid"] = np.full((n, stages, 2), 0.5)
        found[f"{method}/map"] = np.zeros((n, stages, *GRID), np.uint8) if maps is None else maps
        for other in methods[number + 1 :]:
            for measure in ("rank_correlation", "iou"):
                found[f"agreement/{method}|{other}/{measure}"] = np.full((n, stages), 0.5)
    found |= {name.replace("__", "/"): np.asarray(value) for name, value in columns.items()}
    return AttentionRecords((_summary(stages - 1, methods),), np.full(n, "test"), found)


def simulated(
    images: int = 3000, *, rounds: int = 1, attention_matters: bool = False, seed: int = 0
) -> AttentionRecords:
    """Images whose IoU with the box, and with the clean map, rises with confidence.

    Attacks succeed by confidence alone, or also where the IoU is low; the same in each further
    round on those that were left. Box sizes differ.
    """
    generator = np.random.default_rng(seed)
    strength, noise = generator.normal(size=(2, images))
    iou = np.clip(0.5 + 0.1 * strength + 0.1 * noise, 0, 1)
    weight = 0.8 * noise if attention_matters else 0.0
    probability = 1 / (1 + np.exp(-(0.5 - 1.2 * strength - weight)))
    misclassified = (
        probability[:, np.newaxis] > generator.random((rounds, images)).cumprod(axis=0).T
    )
    edges = generator.uniform(0.3, 0.9, images)
    return run_of(
        np.hstack([np.zeros((images, 1), int), misclassified.astype(int)]),
        confidence=1 / (1 + np.exp(-(1 + strength))),
        boxes=[(0.0, 0.0, edge, edge) for edge in edges],
        iou_box=iou,
        iou_clean=iou[:, np.newaxis] * 0.9 ** np.arange(rounds),
        maps=generator.integers(0, 256, (images, rounds + 1, *GRID), dtype=np.uint8),
    )


def _wide(values: Any, rows: int, stages: int) -> np.ndarray:
    values = np.asarray(values, float)
    values = values[:, np.newaxis] if values.ndim == 1 else values
    return np.broadcast_to(values, (rows, stages)).copy()


def _summary(rounds: int, methods: Sequence[str]) -> dict[str, Any]:
    data = {"name": "tiny_imagenet_boxes", "split": "test", "fingerprint": "abcd"}
    study = {
        "attack": {"attack": "step_ll", "epsilon_255": 4.0, "steps": rounds},
        "rounds": rounds,
        "attention_layer": "mixed",
        "cells": [5, 10, 20, 30],
        "features": [8, 10],
        "grid": list(GRID),
        "image_shape": [64, 64, 3],
        "methods": list(methods),
    }
    fingerprint = {"weights": "0123", "bounds": [0.0, 1.0], "dataset": data}
    return {"study": study, "fingerprint": fingerprint, "class_names": ["cat", "dog"]}
