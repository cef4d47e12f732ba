"""Where training started from may be moved once the run has a checkpoint."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from aad_tf import data, models
from aad_tf.configs import DefenseConfig, ExperimentConfig
from aad_tf.data.description import SplitSizes
from aad_tf.model_directory import is_finished, load_classifier
from aad_tf.training import train
from aad_tf.training.run import load_finished
from tests.networks import bytes_of
from tests.training.short_runs import CONFIG, STEPS, KillAt, KilledError


@pytest.fixture
def started_from_file(tmp_path: Path) -> ExperimentConfig:
    file = tmp_path / "start.weights.h5"
    models.build(CONFIG.model, (28, 28, 1), 10).save_weights(file)
    return dataclasses.replace(
        CONFIG,
        model_options={"weights": str(file)},
        defense=DefenseConfig(),
        epochs=1,
        validation_examples=0,
        precision="mixed_bfloat16",
    )


def test_a_finished_run_in_mixed_precision_is_loaded_without_its_first_weights(
    started_from_file: ExperimentConfig, tmp_path: Path
) -> None:
    model = train(started_from_file, tmp_path / "run")
    Path(started_from_file.model_options["weights"]).unlink()
    classifier, _ = load_classifier(tmp_path / "run")
    assert classifier.model.get_layer("conv1").compute_dtype == "float32"
    for loaded, trained in zip(
        classifier.model.get_weights(), model.network.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(loaded, trained)


def test_a_run_with_a_checkpoint_resumes_without_its_first_weights(
    started_from_file: ExperimentConfig, tmp_path: Path
) -> None:
    run, file = tmp_path / "run", Path(started_from_file.model_options["weights"])
    with pytest.raises(KilledError):
        train(started_from_file, run, callbacks=(KillAt(1),))
    file.rename(tmp_path / "moved.weights.h5")
    # Before the first checkpoint they are needed.
    with pytest.raises(FileNotFoundError, match="start.weights.h5"):
        train(started_from_file, run)
    (tmp_path / "moved.weights.h5").rename(file)
    with pytest.raises(KilledError):
        train(started_from_file, run, callbacks=(KillAt(3),))
    file.unlink()
    assert int(train(started_from_file, run).optimizer.iterations) == STEPS


def test_a_run_with_a_checkpoint_resumes_without_the_run_it_started_from(
    started_from_file: ExperimentConfig, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    train(dataclasses.replace(started_from_file, model_options={}), first)
    config = dataclasses.replace(started_from_file, model_options={}, initial_weights=str(first))
    with pytest.raises(KilledError):
        train(config, tmp_path / "run", callbacks=(KillAt(3),))
    first.rename(tmp_path / "moved")
    train(config, tmp_path / "run")
    # Finished: given again without it, too.
    train(config, tmp_path / "run")


def test_a_published_network_is_put_into_a_directory_without_training(
    started_from_file: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(started_from_file, epochs=0, precision="float32")
    file = Path(config.model_options["weights"])
    source = models.build(CONFIG.model, (28, 28, 1), 10, weights=file)
    # A copy of ImageNet with its published validation part alone has no training images.
    lacking = dataclasses.replace(data.info("digits"), num_examples=SplitSizes({}, "none"))
    monkeypatch.setattr(data, "info", lambda *arguments: lacking)
    train(config, tmp_path / "run")
    classifier, read = load_classifier(tmp_path / "run")
    assert is_finished(tmp_path / "run") and read.epochs == 0
    assert bytes_of(classifier.model.weights) == bytes_of(source.weights)
    # Given again it is there, by a worker of several too.
    train(config, tmp_path / "run")
    again = load_finished(config, tmp_path / "run")
    assert again is not None and bytes_of(again.network.weights) == bytes_of(source.weights)
