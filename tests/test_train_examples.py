"""`train_examples`: a run on the first examples of the training part."""

from __future__ import annotations

from pathlib import Path

import pytest

from aad_tf.configs import ExperimentConfig
from aad_tf.training import train


@pytest.mark.parametrize(
    ("train_examples", "steps"),
    # 50 = 2 * 20 + 10; the digits have 1297.
    [(50, 3), (5000, 65), (0, 65)],
)
def test_an_epoch_has_so_many_steps(tmp_path: Path, train_examples: int, steps: int) -> None:
    config = ExperimentConfig(
        epochs=2 if train_examples == 50 else 1,
        batch_size=20,
        train_examples=train_examples,
        validation_examples=0,
    )
    model = train(config, tmp_path)
    assert int(model.optimizer.iterations) == config.epochs * steps
