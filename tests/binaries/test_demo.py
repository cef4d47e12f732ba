"""The demo from end to end, on one epoch: its figure, its table and its export belong together."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from aad_tf import data, model_directory
from tests.training.short_runs import SMALL
from train import demo
from train.configs import digits


@pytest.mark.slow
def test_the_demo_trains_attacks_draws_exports_and_loads_back(tmp_path: Path) -> None:
    presets = {
        name: dataclasses.replace(
            digits.PRESETS[preset], epochs=1, train_examples=100, validation_examples=0, **SMALL
        )
        for name, preset in (("plain", "clean"), ("AAD", "aad_step_ll"))
    }
    report = demo.run_demo(presets, tmp_path)
    table = [line.split() for line in report.splitlines()[1:4]]
    assert table[0][-5:] == ["clean", "fgsm", "ifgsm", "step_ll", "pgd"]
    assert [row[0] for row in table[1:]] == ["plain", "AAD"]
    images, labels = next(iter(data.evaluation_batches("digits", "test", 10_000)))
    for name, clean, *attacked in table[1:]:
        classifier, _ = model_directory.load_classifier(tmp_path / name)
        predicted = np.argmax(classifier.predict_logits(images), axis=-1)
        assert clean == f"{100 * np.mean(predicted == labels):.1f}"
        assert all(0 <= float(accuracy) <= float(clean) for accuracy in attacked)
    # The last is the defended network, whose export is loaded back.
    found = re.search(r"first test digits (\[.*\]) as (\[.*\])\.", report)
    assert found and found.groups() == (
        str(labels[:6].numpy().tolist()),
        str(predicted[:6].tolist()),
    )
    assert "epsilon 0.15" in report
    height, width, _ = matplotlib.image.imread(tmp_path / "attention_before_after.png").shape
    assert (height > 6 * 140) and (width > 7 * 140)
    assert (tmp_path / "AAD" / "saved_model" / "saved_model.pb").is_file()


def test_a_directory_that_cannot_be_used_ends_in_one_line(tmp_path, capsys) -> None:
    (tmp_path / "plain").write_text("a file")
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as ended:
        flags.FLAGS(["demo", f"--output_dir={tmp_path}"])
        demo.main(["demo"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and "plain" in line
