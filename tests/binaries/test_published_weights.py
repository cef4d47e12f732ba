"""A checkpoint of TF-slim under eval.robustness, as it is published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from aad_tf.records import read_records, read_summary
from tests.binaries.many_runs import run_many
from tests.models.slim_reference import FILE, values_of
from tests.models.test_slim import write

LOGITS = "InceptionV3/Logits/Conv2d_1c_1x1/"
CLASSES = 40


@pytest.mark.slow
def test_from_a_checkpoint_of_slim_to_records(
    require_dataset: Callable[[str], Path], tmp_path: Path
) -> None:
    require_dataset("tiny_imagenet_boxes")
    declared = json.loads(FILE.read_text(encoding="utf-8"))["InceptionV3"]["variables"]
    # With the background, as slim counts.
    declared |= {f"{LOGITS}weights": [1, 1, 2048, CLASSES + 1], f"{LOGITS}biases": [CLASSES + 1]}
    values = {name: values_of(name, tuple(shape)) for name, shape in declared.items()}
    checkpoint = write(tmp_path / "ens3_adv_inception_v3.ckpt", values)
    output = tmp_path / "records.jsonl.gz"
    (done,) = run_many(
        "eval.robustness",
        [
            (
                "--network=inception_v3",
                f"--weights={checkpoint}",
                "--dataset=tiny_imagenet_boxes",
                "--image_size=75",
                "--attacks=fgsm(epsilon=0.3)",
                "--limit=2",
                "--nodiagnostics",
                f"--output={output}",
            )
        ],
    )
    assert done.code == 0, done.errors
    assert len(list(read_records(output))) == 2
    described = read_summary(output)["evaluated"]["description"]["model"]
    assert described["network"] == "inception_v3"
    assert described["weights"].endswith("ens3_adv_inception_v3.ckpt")
