"""The demo from end to end, on one epoch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from aad_tf.demo import run_demo
from train.configs import digits


def test_the_demo_trains_attacks_draws_exports_and_loads_back(tmp_path: Path) -> None:
    presets = {
        name: dataclasses.replace(digits.PRESETS[preset], epochs=1, validation_examples=0)
        for name, preset in (("plain", "clean"), ("AAD", "aad_step_ll"))
    }
    report = run_demo(presets, tmp_path)
    for words in ("plain ", "AAD ", "fgsm", "pgd", "epsilon 0.15", "Loaded back, it reads"):
        assert words in report
    assert (tmp_path / "attention_before_after.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "AAD" / "saved_model" / "saved_model.pb").is_file()
