"""What a run measures after each epoch stands in its history, also of a run that was killed."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path

from aad_tf import model_directory
from aad_tf.configs import DefenseConfig
from aad_tf.training import train
from tests.training.short_runs import CONFIG, STEPS, CopyAt, assert_same_weights, history_of

MONITORED = dataclasses.replace(
    CONFIG,
    defense=DefenseConfig("aad", "step_ll(epsilon=0.1)", attention_noise="shared"),
    validation_attacks=("fgsm(epsilon=0.1)",),
    monitor_examples=12,
    snapshot_epochs=2,
)
KINDS = ("npz", "png")
TERMS = ("classification", "rectification", "preservation")
COLUMNS = {
    "val_attention_iou",
    "val_attention_iou_empty",
    "val_attention_iou_zero_clean",
    "val_attention_iou_zero_attacked",
    "val_robust_accuracy_fgsm(epsilon=0.1)",
    *(f"gradient_share_{term}" for term in TERMS),
}


def test_a_killed_run_has_the_history_of_one_that_was_not(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    killed_at = STEPS + 2
    train(MONITORED, whole, callbacks=(CopyAt(whole, (killed_at,)),))
    resumed = CopyAt.path(whole, killed_at)
    train(MONITORED, resumed)
    assert_same_weights(resumed, whole)
    expected = history_of(whole)
    assert history_of(resumed) == expected and len(expected) == 2
    for row in expected:
        assert set(row) >= COLUMNS
        assert all(0.0 <= float(row[name]) <= 1.0 for name in COLUMNS)
        total = sum(float(row[f"gradient_share_{term}"]) for term in TERMS)
        assert math.isclose(total, 1.0, rel_tol=1e-6)
    for directory in (whole, resumed):
        pictures = sorted(os.listdir(directory / model_directory.ATTENTION))
        assert pictures == [
            *(f"attention_epoch_{epoch}.{kind}" for epoch in ("0000", "0002") for kind in KINDS),
            "attention_evolution.png",
        ]
