"""Where training started from may be moved once the run has a checkpoint."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from aad_tf import data, models
from aad_tf.configs import DefenseConfig, ExperimentConfig
from aad_tf.data.description import SplitSizes
from aad_tf.defenses import DefenseModel
from aad_tf.model_directory import is_finished, load_classifier
from aad_tf.training import train
from aad_tf.training.run import load_finished
from tests.networks import bytes_of
from tests.training.short_runs import (
    CONFIG,
    STEPS,
    CopyAt,
    KillAt,
    KilledError,
    assert_same_weights,
)


def started_from(file: Path) -> ExperimentConfig:
    """A config of one epoch, and the file of weights that it starts from."""
    models.build(CONFIG.model, (28, 28, 1), 10).save_weights(file)
    return dataclasses.replace(
        CONFIG,
        model_options={"weights": str(file)},
        defense=DefenseConfig(),
        epochs=1,
        validation_examples=0,
        precision="mixed_bfloat16",
    )


class Finished(NamedTuple):
    """A run that is over."""

    config: ExperimentConfig
    directory: Path
    model: DefenseModel


@pytest.fixture(scope="module")
def without_start(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A run whose first weights are gone, and copies of it after one step and after three."""
    file = tmp_path_factory.mktemp("moved") / "start.weights.h5"
    config, directory = started_from(file), file.parent / "run"
    model = train(config, directory, callbacks=(CopyAt(directory, (1, 3)),))
    file.unlink()
    return Finished(config, directory, model)


def test_a_finished_run_in_mixed_precision_is_loaded_without_its_first_weights(
    without_start: Finished,
) -> None:
    network = without_start.model.network
    assert network.get_layer("conv1").compute_dtype == "bfloat16"
    classifier, _ = load_classifier(without_start.directory)
    assert classifier.model.get_layer("conv1").compute_dtype == "float32"
    for loaded, trained in zip(classifier.model.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(loaded, trained)


def test_a_run_with_a_checkpoint_resumes_without_its_first_weights(
    without_start: Finished, tmp_path: Path
) -> None:
    config, whole, _ = without_start
    early, late = (
        shutil.copytree(CopyAt.path(whole, steps), tmp_path / str(steps)) for steps in (1, 3)
    )
    # Before the first checkpoint they are needed.
    with pytest.raises(FileNotFoundError, match="start.weights.h5"):
        train(config, early)
    assert int(train(config, late).optimizer.iterations) == STEPS
    assert_same_weights(late, whole)


def test_a_run_with_a_checkpoint_resumes_without_the_run_it_started_from(
    uninterrupted: Path, tmp_path: Path
) -> None:
    first = shutil.copytree(uninterrupted, tmp_path / "first")
    config = dataclasses.replace(
        CONFIG,
        defense=DefenseConfig(),
        epochs=1,
        validation_examples=0,
        initial_weights=str(first),
    )
    with pytest.raises(KilledError):
        train(config, tmp_path / "run", callbacks=(KillAt(3),))
    first.rename(tmp_path / "moved")
    train(config, tmp_path / "run")
    # Finished: given again without it, too.
    train(config, tmp_path / "run")


def test_a_published_network_is_put_into_a_directory_without_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "published.weights.h5"
    config = dataclasses.replace(started_from(file), epochs=0, precision="float32")
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
