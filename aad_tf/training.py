"""Trains what a config describes, in a model directory, resuming where an earlier run stopped."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import keras

from aad_tf import configs, data, export, model_directory
from aad_tf.attacks import parse_attack
from aad_tf.callbacks import StopOnNonFiniteLoss
from aad_tf.checkpoints import ResumableCheckpoint
from aad_tf.classifier import Classifier
from aad_tf.configs import ExperimentConfig
from aad_tf.defenses import AADModel, AdversarialModel, DefenseModel, StandardModel
from aad_tf.logs import LOGGER
from aad_tf.losses import AADLosses
from aad_tf.results import provenance, write_atomically, write_json_atomically


def build_defense(config: ExperimentConfig, network: keras.Model) -> DefenseModel:
    """Wraps a network in the defence of a config and compiles it.

    Args:
        config: names defence, attack, losses and optimizer.
        network: the network to train.

    Returns:
        A compiled Keras model.
    """
    defense = config.defense
    classifier = Classifier.from_keras(network, config.attention_layer or None)
    model: DefenseModel
    if defense.kind == "none":
        model = StandardModel(classifier, seed=config.seed)
    elif defense.kind == "adversarial":
        model = AdversarialModel(
            classifier,
            attack=parse_attack(defense.attack),
            replace_clean=defense.replace_clean,
            seed=config.seed,
        )
    else:
        model = AADModel(
            classifier,
            attack=parse_attack(defense.attack),
            weights=defense.weights,
            losses=AADLosses.preset(defense.losses).replace(**defense.loss_parts),
            update_per_round=defense.update_per_round,
            seed=config.seed,
        )
    optimizer = keras.optimizers.get(
        {"class_name": config.optimizer, "config": {"learning_rate": config.learning_rate}}
    )
    model.compile(
        optimizer,
        steps_per_execution=config.steps_per_execution,
        jit_compile=config.jit_compile,
    )
    return model


def train(
    config: ExperimentConfig,
    model_dir: str | os.PathLike[str],
    *,
    data_dir: str | None = None,
    callbacks: tuple[keras.callbacks.Callback, ...] = (),
) -> DefenseModel:
    """Trains a config to its end and exports the network.

    A run that was killed at any moment goes on from its last checkpoint when called again, with
    the result of a run that was never interrupted.

    Args:
        config: what to train.
        model_dir: where everything about the run is kept; see `aad_tf.model_directory`.
        data_dir: TFDS data directory; default `TFDS_DATA_DIR`.
        callbacks: further Keras callbacks.

    Returns:
        The trained defence; its `network` is the classifier.

    Raises:
        ValueError: a directory of another config, missing data, unreadable checkpoints.
        FloatingPointError: a loss became NaN or infinite.

    Example:
        >>> train(ExperimentConfig(dataset="digits", epochs=1), "runs/digits")
    """
    directory = Path(model_dir)
    dataset = data.info(config.dataset, data_dir)
    resumed = model_directory.claim(directory, config)
    if not resumed:
        write_json_atomically(directory / model_directory.CONFIG, configs.to_dict(config))
    keras.utils.set_random_seed(config.seed)
    network = model_directory.build_network(config, dataset.image_shape, dataset.num_classes)
    model = build_defense(config, network)
    checkpoint = ResumableCheckpoint(
        model, directory / model_directory.CHECKPOINTS, config.checkpoint_steps
    )
    epoch, step = checkpoint.restore()
    if resumed and model_directory.is_finished(directory):
        LOGGER.info("%s is finished already.", directory)
        return model
    record = _RunRecord(directory / model_directory.RUN, config, dataset)
    if epoch or step:
        LOGGER.info("Resuming at epoch %d, step %d.", epoch + 1, step)
    _fit(model, config, dataset, (epoch, step), data_dir, directory, checkpoint, callbacks)
    export.save_network(network, directory / model_directory.NETWORK)
    export.export_saved_model(model.classifier, directory / model_directory.SAVED_MODEL)
    record.finish()
    return model


def _fit(
    model: DefenseModel,
    config: ExperimentConfig,
    dataset: data.DatasetInfo,
    position: tuple[int, int],
    data_dir: str | None,
    directory: Path,
    checkpoint: ResumableCheckpoint,
    callbacks: tuple[keras.callbacks.Callback, ...],
) -> None:
    """Fits from a position; an epoch begun earlier is finished by a shorter call of its own."""
    steps = -(-dataset.num_examples["train"] // config.batch_size)
    validation = None
    if config.validation_examples:
        validation = data.evaluation_batches(
            config.dataset,
            "validation",
            config.batch_size,
            data_dir,
            limit=min(config.validation_examples, dataset.num_examples["validation"]),
        )
    epoch, step = position
    history = EpochHistory(directory / model_directory.HISTORY, first_epoch=epoch)
    progress = ProgressLog(config.epochs, steps)
    while epoch < config.epochs:
        last_epoch = epoch + 1 if step else config.epochs
        progress.first_step = step
        model.fit(
            data.training_batches(
                config.dataset, config.batch_size, config.seed, data_dir, epoch, step
            ),
            initial_epoch=epoch,
            epochs=last_epoch,
            steps_per_epoch=steps - step,
            validation_data=validation,
            shuffle=False,
            callbacks=[StopOnNonFiniteLoss(), *callbacks, history, checkpoint, progress],
            verbose="auto" if sys.stdout.isatty() else 0,
        )
        epoch, step = last_epoch, 0


class EpochHistory(keras.callbacks.Callback):
    """Writes one row an epoch to a CSV file, replaced whole so that it is never cut short.

    Args:
        path: the CSV file.
        first_epoch: rows of this epoch and later ones, left by a killed run, are dropped.
    """

    def __init__(self, path: str | os.PathLike[str], first_epoch: int = 0) -> None:
        super().__init__()
        self._path = Path(path)
        self._rows: list[dict[str, Any]] = []
        if self._path.is_file():
            with self._path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            self._rows = [row for row in rows if int(row["epoch"]) <= first_epoch]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds the row of an epoch, counted from 1."""
        self._rows.append({"epoch": epoch + 1, **{k: float(v) for k, v in (logs or {}).items()}})
        text = io.StringIO()
        names = list(dict.fromkeys(name for row in self._rows for name in row))
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        with write_atomically(self._path) as file:
            file.write(text.getvalue().encode())


class ProgressLog(keras.callbacks.Callback):
    """Logs losses, rate and time left, for output that is not a terminal.

    Args:
        epochs: epochs of the whole run.
        steps: steps an epoch.
        seconds: least time between two lines.
    """

    def __init__(self, epochs: int, steps: int, seconds: float = 30.0) -> None:
        super().__init__()
        self.first_step = 0
        self._epochs, self._steps, self._seconds = epochs, steps, seconds
        self._epoch = 0
        self._began: float | None = None
        self._done = 0
        self._last = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes which epoch it is."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs a line when the last one is long enough ago."""
        now = time.monotonic()
        if self._began is None:
            # The first step compiles, so the clock starts behind it.
            self._began, self._done, self._last = now, -1, now
        self._done += 1
        step = self.first_step + batch + 1
        if now - self._last < self._seconds:
            return
        self._last = now
        rate = self._done / max(now - self._began, 1e-9)
        left = ((self._epochs - self._epoch) * self._steps - step) / max(rate, 1e-9)
        values = " ".join(f"{name} {float(value):.4f}" for name, value in (logs or {}).items())
        LOGGER.info(
            "epoch %d/%d step %d/%d %.2f steps/s ETA %s %s",
            self._epoch + 1,
            self._epochs,
            step,
            self._steps,
            rate,
            _clock(left),
            values,
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs the values of the epoch."""
        self.first_step = 0
        values = " ".join(f"{name} {float(value):.4f}" for name, value in (logs or {}).items())
        LOGGER.info("epoch %d/%d done: %s", epoch + 1, self._epochs, values)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"


class _RunRecord:
    """run.json: what was run, on what, with which versions; one entry a start."""

    def __init__(self, path: Path, config: ExperimentConfig, dataset: data.DatasetInfo) -> None:
        self._path = path
        earlier = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        self._record = {
            "state": "running",
            "preset": config.name,
            "dataset": {"source": dataset.source, "fingerprint": dataset.fingerprint},
            "starts": [*earlier.get("starts", []), provenance()],
            "seconds": earlier.get("seconds", 0.0),
        }
        self._began = time.monotonic()
        write_json_atomically(path, self._record)

    def finish(self) -> None:
        """Marks the run as finished and adds its time."""
        self._record["state"] = "finished"
        self._record["seconds"] += time.monotonic() - self._began
        write_json_atomically(self._path, self._record)
