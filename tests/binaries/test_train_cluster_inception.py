"""InceptionV3 itself under two workers: real AAD steps, export, reload, attention signature."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attention import grad_cam
from aad_tf.model_directory import load_classifier

ROOT = Path(__file__).resolve().parents[2]
# The smallest image it takes; mixed7 has 3x3 cells there.
SIDE, CELLS = 75, 3


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.distributed
@pytest.mark.timeout(420)
def test_two_workers_train_and_export_inception_v3(
    require_dataset: Callable[[str], Path], tmp_path: Path
) -> None:
    require_dataset("tiny_imagenet_boxes")
    directory = tmp_path / "run"
    command = [sys.executable, "-m", "train.local_cluster", "--workers=2", "--"]
    flags = [
        "--config=train/configs/imagenet2012.py:small",
        f"--config.image_size={SIDE}",
        "--config.batch_size=4",
        "--config.train_examples=8",
        "--config.validation_examples=0",
        f"--model_dir={directory}",
    ]
    result = subprocess.run(
        [*command, *flags], cwd=ROOT, capture_output=True, text=True, timeout=400
    )
    assert result.returncode == 0, result.stdout + result.stderr
    classifier, config = load_classifier(directory)
    assert classifier.attention_layer == config.attention_layer == "mixed7"
    images = tf.random.stateless_uniform((2, SIDE, SIDE, 3), (1, 2))
    class_ids = tf.constant([3, 5])
    exported = tf.saved_model.load(str(directory / "saved_model"))
    found = exported.signatures["attention"](images=images, class_ids=class_ids)["attention_map"]
    assert found.shape == (2, CELLS, CELLS)
    expected = grad_cam(classifier, images, class_ids)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    logits = exported.signatures["serving_default"](images=images)["logits"]
    np.testing.assert_allclose(logits, classifier.predict_logits(images), rtol=1e-4, atol=1e-4)
