"""One training run in a model directory, resuming where an earlier one stopped."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from aad_tf import configs, data, export, model_directory
from aad_tf.callbacks import StopOnNonFiniteLoss
from aad_tf.checkpoints import ResumableCheckpoint
from aad_tf.configs import ExperimentConfig
from aad_tf.defenses import DefenseModel
from aad_tf.distribute import in_agreement
from aad_tf.logs import LOGGER
from aad_tf.preemption import PreemptedError, StopOnSignal
from aad_tf.run_log import PROGRESS_SECONDS, EpochHistory, RunRecord
from aad_tf.training.building import build_defense, build_model, check_trained_networks
from aad_tf.training.epochs import fit
from aad_tf.training.setting import Run

Callbacks = Sequence[keras.callbacks.Callback] | Callable[[], Sequence[keras.callbacks.Callback]]


def train(
    config: ExperimentConfig,
    model_dir: str | os.PathLike[str],
    *,
    data_dir: str | None = None,
    callbacks: Callbacks = (),
    progress_seconds: float = PROGRESS_SECONDS,
    strategy: tf.distribute.Strategy | None = None,
) -> DefenseModel:
    """Trains a config to its end and exports the network.

    A run that was killed at any moment goes on from its last checkpoint when called again, with
    the result of a run that was never interrupted.

    Args:
        config: what to train.
        model_dir: where everything about the run is kept; see `aad_tf.model_directory`.
        data_dir: TFDS data directory; default `TFDS_DATA_DIR`.
        callbacks: further Keras callbacks, or a function that makes them, called when the strategy
            is there; on several workers, callbacks that hold tensors need that. Every worker runs
            them, and they must decide alike. Those that remember earlier epochs, such as
            `EarlyStopping`, begin anew when a run is resumed.
        progress_seconds: least time between two lines of progress; 0 for a line a step.
        strategy: of `aad_tf.distribute.create_strategy`; one device when None. Every worker calls
            this function with the same arguments; the chief alone writes.

    Returns:
        The trained defence; its `network` is the classifier.

    Raises:
        ValueError: a directory of another config, missing data or source networks, unreadable
            checkpoints, a batch that does not divide among the replicas.
        FloatingPointError: a loss became NaN or infinite.
        PreemptedError: a SIGTERM came; everything is saved.

    Example:
        >>> train(ExperimentConfig(dataset="digits", epochs=1), "runs/digits")
    """
    strategy = strategy or tf.distribute.get_strategy()
    follows = config.replica_batch_size > 0
    config = configs.for_replicas(config, strategy.num_replicas_in_sync)
    dataset = data.info(config.dataset, data_dir, config.image_size)
    run = Run(config, Path(model_dir), dataset, data_dir, strategy, progress_seconds, follows)
    steps = run.steps
    check_trained_networks(config, weights_follow=run.has_weights())
    with run.claimed():
        if not run.is_finished():
            return _train(run, callbacks() if callable(callbacks) else callbacks)
        LOGGER.info("%s is finished already.", run.directory)
        with strategy.scope():
            return build_defense(config, model_directory.load_network(run.directory), steps)


def finished(
    config: ExperimentConfig, model_dir: str | os.PathLike[str], data_dir: str | None = None
) -> DefenseModel | None:
    """The trained defence of a run that reached its end, on whatever number of replicas.

    Args:
        config, model_dir, data_dir: as `train`.

    Returns:
        As `train`; None if the run is not finished.

    Raises:
        ModelDirectoryError: the directory holds a run of another config.
    """
    if not model_directory.is_finished(model_dir):
        return None
    trained = model_directory.read_config(model_dir)
    own = config.replica_batch_size
    wanted = configs.for_replicas(config, max(trained.batch_size // own, 1)) if own else config
    model_directory.claim(model_dir, wanted)
    LOGGER.info("%s is finished already.", model_dir)
    dataset = data.info(config.dataset, data_dir, config.image_size)
    steps = -(-dataset.num_examples["train"] // wanted.batch_size)
    return build_defense(wanted, model_directory.load_network(model_dir), steps)


def _train(run: Run, callbacks: Sequence[keras.callbacks.Callback]) -> DefenseModel:
    config, directory, steps = run.config, run.directory, run.steps
    replicas = run.strategy.num_replicas_in_sync
    record = None
    if run.chief:
        # Made first, since it refuses another copy of the data.
        path = directory / model_directory.RUN
        record = RunRecord(path, config, run.dataset, replicas)
    with run.strategy.scope():
        model = build_model(config, run.dataset, steps, weights_follow=run.has_weights())
    checkpoint = ResumableCheckpoint(
        model,
        directory / model_directory.CHECKPOINTS,
        config.checkpoint_steps,
        steps,
        epochs=config.epochs,
    )
    epoch, step = checkpoint.restore()
    if epoch or step:
        LOGGER.info("Resuming at epoch %d, step %d.", epoch + 1, step)
    watchers = [StopOnNonFiniteLoss(first_step=step), *callbacks]
    if record is not None:
        watchers += [EpochHistory(directory / model_directory.HISTORY, first_epoch=epoch), record]
    stop = StopOnSignal(checkpoint)
    try:
        with stop.listening():
            fit(model, run, (epoch, step), [*watchers, checkpoint, stop])
    except PreemptedError:
        if record is not None:
            record.add_time()
        raise
    if record is not None:
        _export(model, run)
        record.finish()
    # Nobody leaves before the network is written.
    in_agreement(run.strategy, [0])
    return model


def _export(model: DefenseModel, run: Run) -> None:
    path = run.directory / model_directory.NETWORK
    export.save_network(model.network, path)
    classifier = model.classifier
    if run.strategy.num_replicas_in_sync > 1:
        # Variables of a strategy do not go into a SavedModel that one device loads.
        network = model_directory.load_network(run.directory)
        classifier = type(classifier).from_keras(network, classifier.attention_layer)
    export.export_saved_model(classifier, run.directory / model_directory.SAVED_MODEL)
