"""One training run in a model directory, which is resumed if it was interrupted.

A resumed run finds its position in the data as follows: `ResumableCheckpoint.restore` returns the
epoch and the step, and `aad_tf.data.training_batches` makes the same batches from there on, because
their order depends on seed and epoch alone. Only that of `imagenet2012` also depends on the number
of replicas: a run that is resumed within an epoch on another number sees some examples of the epoch
twice and others not at all.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from aad_tf import configs, data, export, model_directory
from aad_tf.callbacks import RobustAccuracy, StopOnNonFiniteLoss
from aad_tf.configs import ExperimentConfig
from aad_tf.data import DatasetInfo
from aad_tf.data.sharding.slices import WHOLE
from aad_tf.defenses import DefenseModel
from aad_tf.distribute import all_workers_equal, distributed, is_chief, is_multi_worker
from aad_tf.training.best_epoch import BestEpoch
from aad_tf.training.building import build_defense, build_model, check_trained_networks
from aad_tf.training.checkpoints import ResumableCheckpoint, finish_epoch
from aad_tf.training.monitors import monitors
from aad_tf.training.preemption import PreemptedError, StopOnSignal
from aad_tf.training.run_log import PROGRESS_SECONDS, EpochHistory, ProgressLog, RunRecord, hours
from aad_tf.utils.files import write_json_atomically
from aad_tf.utils.logging import LOGGER

Callbacks = Sequence[keras.callbacks.Callback] | Callable[[], Sequence[keras.callbacks.Callback]]

# A network file system keeps the lock of a lost machine until its lease ends: 90 seconds, usually.
_LOCK_TIMEOUT = 150.0


@dataclass(frozen=True)
class TrainingRun:
    """The config, model directory, data and devices of a training run.

    Attributes:
        config: what is trained, with the batch size and learning rate for the number of replicas.
        directory: the model directory, to which everything about the run is written.
        dataset: description of the data in `data_dir`: number of examples by split, classes, shape
            of the images, and a hash of the data.
        data_dir: directory of TensorFlow Datasets; None for the environment variable
            TFDS_DATA_DIR, or else "~/tensorflow_datasets".
        strategy: the strategy of `tf.distribute`.
        progress_seconds: least time between two lines of progress, in seconds.
        follows_replicas: whether the batch size is the config's `replica_batch_size` times the
            number of replicas, and the learning rate is scaled accordingly.
    """

    config: ExperimentConfig
    directory: Path
    dataset: DatasetInfo
    data_dir: str | None
    strategy: tf.distribute.Strategy
    progress_seconds: float = PROGRESS_SECONDS
    follows_replicas: bool = False

    @classmethod
    def prepare(
        cls,
        config: ExperimentConfig,
        model_dir: str | os.PathLike[str],
        data_dir: str | None = None,
        strategy: tf.distribute.Strategy | None = None,
        progress_seconds: float = PROGRESS_SECONDS,
    ) -> TrainingRun:
        """Looks up the data and adapts the config to the number of replicas.

        Args:
            config: what to train.
            model_dir: directory to which everything about the run is written.
            data_dir: directory of TensorFlow Datasets; None for the environment variable
                TFDS_DATA_DIR, or else "~/tensorflow_datasets".
            strategy: the strategy of `tf.distribute`; None for one device.
            progress_seconds: least time between two lines of progress, in seconds.

        Returns:
            The run; nothing is written yet.

        Raises:
            ValueError: missing data, or a batch that does not divide among the replicas.
        """
        strategy = strategy or tf.distribute.get_strategy()
        return cls(
            configs.for_replicas(config, strategy.num_replicas_in_sync),
            Path(model_dir),
            data.info(config.dataset, data_dir, config.image_size),
            data_dir,
            strategy,
            progress_seconds,
            follows_replicas=config.replica_batch_size > 0,
        )

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run's files: worker 0, or the only process there is."""
        return is_chief(self.strategy)

    @property
    def steps(self) -> int:
        """Batches per epoch; 1 for a network that is not trained, with `epochs=0`.

        Raises:
            ValueError: `steps_per_execution` does not divide the number.
        """
        config = self.config
        if not config.epochs:
            return 1
        present = self.dataset.num_examples["train"]
        steps = data.steps_per_epoch(
            min(present, config.train_examples or present),
            config.batch_size,
            self.strategy.num_replicas_in_sync,
        )
        if steps % config.steps_per_execution:
            raise ValueError(
                f"steps_per_execution must divide the {steps} steps of an epoch, got "
                f"{config.steps_per_execution}."
            )
        return steps

    @property
    def validation_steps(self) -> int | None:
        """Batches per validation; None without validation.

        Keras cannot count them itself if a process feeds several replicas, because the data then
        has several elements per batch.
        """
        limit = self.config.validation_examples
        if not limit:
            return None
        examples = min(self.dataset.num_examples["validation"], limit)
        replicas = self.strategy.num_replicas_in_sync
        return data.steps_per_epoch(examples, self.config.batch_size, replicas)

    def training_data(self, epoch: int, step: int) -> Any:
        """Makes endless training batches.

        Args:
            epoch: the epoch they begin in, counted from 0.
            step: the step within it, counted from 0.

        Returns:
            What `fit` takes: a data set of float32 images `[batch, H, W, C]` in [0, 1] and int32
            labels `[batch]`; with several replicas a distributed one.
        """
        config = self.config
        return distributed(
            self.strategy,
            lambda fed: data.training_batches(
                config.dataset,
                config.batch_size,
                config.seed,
                data_dir=self.data_dir,
                start_epoch=epoch,
                start_step=step,
                augmentation=config.augmentation,
                image_size=config.image_size,
                replica_range=fed,
                limit=config.train_examples or None,
            ),
            endless=True,
        )

    def validation_data(self) -> Any:
        """Makes the batches of validation examples for `fit`.

        Returns:
            A data set of float32 images `[batch, H, W, C]` in [0, 1] and int32 labels `[batch]`,
            with several replicas a distributed one; None without validation.
        """
        if not self.config.validation_examples:
            return None
        return distributed(self.strategy, self._validation_batches)

    def _validation_batches(self, replica_range: data.ReplicaRange = WHOLE) -> tf.data.Dataset:
        config = self.config
        return data.evaluation_batches(
            config.dataset,
            "validation",
            config.batch_size,
            self.data_dir,
            config.validation_examples,
            image_size=config.image_size,
            replica_range=replica_range,
        )

    def announcement(self, seconds: float = 0.0) -> str:
        """A sentence on what is trained, how, on which data, and where it is written, to be logged.

        Args:
            seconds: training time of earlier starts of the run, in seconds; mentioned if not 0.

        Returns:
            The text.
        """
        config, dataset, defense = self.config, self.dataset, self.config.defense
        if not config.epochs:
            weights = config.model_options.get("weights") or config.initial_weights
            return (
                f"Putting {config.name} into {self.directory}: {config.model} with the weights "
                f"{weights}, for {config.dataset} ({dataset.source}), without training."
            )
        examples = min(dataset.num_examples["train"], config.train_examples or sys.maxsize)
        how = f"with {defense.kind} training on {defense.attack}"
        text = (
            f"Training {config.name}: {config.model} "
            f"{'as it is' if defense.kind == 'none' else how}, {config.dataset} ({examples:,} "
            f"images, {dataset.source}), {self.steps} steps of {config.batch_size} images in each "
            f"of {config.epochs} epochs, into {self.directory}."
        )
        if seconds:
            return f"{text} Earlier starts trained for {hours(seconds)}."
        return f"{text} The preset states: {config.budget}." if config.budget else text

    def build_model(self) -> DefenseModel:
        """Builds the network within its defence, compiled.

        Initial weights that the config names are loaded, unless the directory holds a checkpoint of
        the run or its trained network.

        Returns:
            The compiled defence, a Keras model.

        Raises:
            ModelDirectoryError: a network whose weights are the initial ones, or that is attacked,
                is missing or unfinished, or initial weights are of another architecture.
            ValueError: an optimizer that cannot be built, or a network or attack that the defence
                refuses.
        """
        with self.strategy.scope():
            return build_model(
                self.config, self.dataset, self.steps, weights_follow=self.has_weights()
            )

    def robust_accuracies(self) -> list[RobustAccuracy]:
        """Makes callbacks that measure accuracy under attack on the validation examples.

        Every worker measures it on all of them.

        Returns:
            A callback for each of the config's `validation_attacks` and for the attack of
            `early_stopping`; none without such attacks. After each epoch it adds a log whose name
            ends with the text of the attack without spaces, such as
            `val_robust_accuracy_pgd(epsilon=0.1,step_size=0.02,num_steps=10)`: the fraction, in
            [0, 1], of examples that are classified correctly both without and under the attack.
        """
        attacks = self.config.attacks_in_validation
        if not attacks:
            return []
        examples = self._validation_batches()
        return [RobustAccuracy(examples, text, f"robust_accuracy_{text}") for text in attacks]

    def best_epoch(self, model: DefenseModel) -> BestEpoch | None:
        """The callback that ends training early and keeps the best weights; None if not asked for.

        The best epoch is the one with the highest accuracy under the attack of `early_stopping`.

        Args:
            model: the defence in training.

        Returns:
            The callback; None if the config's `early_stopping` is empty.
        """
        text = self.config.early_stopping.replace(" ", "")
        if not text:
            return None
        return BestEpoch(model.network, f"val_robust_accuracy_{text}", self.config.patience)

    def checkpoint(self, model: DefenseModel, best: BestEpoch | None = None) -> ResumableCheckpoint:
        """The callback that saves and restores the model, the position in the data, and `best`.

        Args:
            model: the defence in training.
            best: the callback of early stopping, whose best weights are saved too; None without.

        Returns:
            The callback.
        """
        return ResumableCheckpoint(
            model,
            self.directory / model_directory.CHECKPOINTS,
            self.config.checkpoint_steps,
            self.steps,
            epochs=self.config.epochs,
            further=None if best is None else {"best": best.state},
        )

    def has_weights(self) -> bool:
        """Whether the directory holds a checkpoint of the run, or its trained network.

        They are there if training was interrupted, or has finished.

        Raises:
            ModelDirectoryError: `run.json`, in which the run writes whether it has finished, cannot
                be read.
        """
        checkpoints = self.directory / model_directory.CHECKPOINTS
        return (
            model_directory.is_finished(self.directory)
            or tf.train.latest_checkpoint(checkpoints) is not None
        )

    def is_finished(self) -> bool:
        """Whether the run has finished; all workers must call it, and wait for each other.

        Returns:
            The same answer on every worker.

        Raises:
            ValueError: workers see different data or model directories.
        """
        finished = model_directory.is_finished(self.directory)
        copy = int(self.dataset.fingerprint, 16) >> 1
        if not all_workers_equal(self.strategy, [finished, copy]):
            raise ValueError(
                f"Workers see different data or model directories; this one reads "
                f"{self.dataset.source} (fingerprint {self.dataset.fingerprint}) and finds "
                f"{self.directory} {'finished' if finished else 'unfinished'}. Every machine needs "
                f"the same copy of the data and the same model directory."
            )
        return finished

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Locks the model directory against other processes while the context is open.

        Only worker 0 checks and locks it.

        Raises:
            ModelDirectoryError: it holds a run of another config, or another process trains there.
            OSError: it cannot be made or written.
        """
        if not self.is_chief:
            yield
            return
        self._check_directory()
        timeout = _LOCK_TIMEOUT if is_multi_worker(self.strategy) else 0.0
        with model_directory.locked(self.directory, timeout):
            yield

    def _check_directory(self) -> None:
        try:
            model_directory.claim(self.directory, self.config)
        except model_directory.ModelDirectoryError as error:
            if not self.follows_replicas:
                raise
            raise model_directory.ModelDirectoryError(
                f"{error} With replica_batch_size, batch_size and learning_rate follow the number "
                f"of replicas, now {self.strategy.num_replicas_in_sync}: train on as many as "
                f"before, or give all three as they are there, replica_batch_size as 0."
            ) from error


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

    A run that was interrupted at any moment is resumed from its last checkpoint by the same call,
    with the result of a run without a break. A finished run is loaded.

    Args:
        config: what to train.
        model_dir: directory to which everything about the run is written: config, history,
            checkpoints and the trained network.
        data_dir: directory of TensorFlow Datasets; None for the environment variable
            TFDS_DATA_DIR, or else "~/tensorflow_datasets".
        callbacks: further Keras callbacks, or a function without arguments that makes them, which
            is called once the strategy exists; on several workers, callbacks that hold tensors need
            such a function. Every worker runs them, and they must decide the same on each.
            Callbacks that remember earlier epochs, such as `EarlyStopping`, forget them when a run
            is resumed; `config.early_stopping` does not.
        progress_seconds: least time between two lines of progress, in seconds; 0 for a line per
            step.
        strategy: what `aad_tf.distribute.create_strategy` made; None for one device. Every worker
            calls this function with the same arguments, within
            `aad_tf.distribute.leaving_together`; worker 0 alone writes files.

    Returns:
        The trained defence; its `network` is the classifier.

    Raises:
        ValueError: a directory of another config or in use, missing data, missing or unfinished
            networks that the config names, unreadable checkpoints, or a batch that does not divide
            among the replicas.
        FloatingPointError: a loss or weights became NaN or infinite.
        PreemptedError: a SIGTERM came; everything is saved.

    Example:
        >>> train(ExperimentConfig(dataset="digits", epochs=1), "runs/digits")
    """
    run = TrainingRun.prepare(config, model_dir, data_dir, strategy, progress_seconds)
    steps = run.steps
    check_trained_networks(run.config, weights_follow=run.has_weights())
    with run.claimed():
        if not run.is_finished():
            return _train(run, callbacks() if callable(callbacks) else callbacks)
        LOGGER.info("%s is finished already.", run.directory)
        with run.strategy.scope():
            return build_defense(run.config, model_directory.load_network(run.directory), steps)


def load_finished(
    config: ExperimentConfig, model_dir: str | os.PathLike[str], data_dir: str | None = None
) -> DefenseModel | None:
    """Loads the trained defence of a finished run, trained on any number of replicas.

    Args:
        config: what was trained.
        model_dir: directory of the run.
        data_dir: directory of TensorFlow Datasets; None for the environment variable
            TFDS_DATA_DIR, or else "~/tensorflow_datasets".

    Returns:
        The trained defence, compiled; None if the run is not finished.

    Raises:
        ModelDirectoryError: the directory holds a run of another config.
        DatasetNotFoundError: the data set, whose size is read, is missing.
    """
    if not model_directory.is_finished(model_dir):
        return None
    trained = model_directory.read_config(model_dir)
    per_replica = config.replica_batch_size
    if per_replica:
        config = configs.for_replicas(config, max(trained.batch_size // per_replica, 1))
    model_directory.claim(model_dir, config)
    LOGGER.info("%s is finished already.", model_dir)
    steps = 1
    if config.epochs:
        dataset = data.info(config.dataset, data_dir, config.image_size)
        steps = -(-dataset.num_examples["train"] // config.batch_size)
    return build_defense(config, model_directory.load_network(model_dir), steps)


def _train(run: TrainingRun, callbacks: Sequence[keras.callbacks.Callback]) -> DefenseModel:
    directory = run.directory
    # Made first: a config whose network cannot be built leaves no trace in the directory, so that
    # the corrected one is not refused.
    model = run.build_model()
    record = None
    if run.is_chief:
        if not (directory / model_directory.CONFIG).exists():
            write_json_atomically(directory / model_directory.CONFIG, configs.to_dict(run.config))
        path = directory / model_directory.RUN
        record = RunRecord(path, run.config, run.dataset, run.strategy.num_replicas_in_sync)
    best = run.best_epoch(model)
    checkpoint = run.checkpoint(model, best)
    epoch, step = checkpoint.restore()
    if record is not None:
        LOGGER.info("%s", run.announcement(record.seconds))
    if epoch or step:
        LOGGER.info("Resuming at epoch %d, step %d.", epoch + 1, step)
    listed = [StopOnNonFiniteLoss(first_step=step), *run.robust_accuracies(), *monitors(run)]
    listed += callbacks
    if best is not None:
        listed.append(best)
    if record is not None:
        listed += [EpochHistory(directory / model_directory.HISTORY, first_epoch=epoch), record]
    stop = StopOnSignal(checkpoint)
    try:
        with stop.listening():
            _fit(model, run, (epoch, step), [*listed, checkpoint, stop])
    except PreemptedError:
        if record is not None:
            record.add_time()
        raise
    if best is not None:
        with run.strategy.scope():
            best.restore()
        LOGGER.info("The weights are those of epoch %d: %s.", best.epoch, best.found)
    if record is not None:
        _export(model, run)
        record.finish(None if best is None else best.epoch)
    # No worker leaves before the network is written.
    all_workers_equal(run.strategy, [0])
    return model


def _fit(
    model: DefenseModel,
    run: TrainingRun,
    position: tuple[int, int],
    callbacks: list[keras.callbacks.Callback],
) -> None:
    """Fits from an epoch and step; an epoch begun earlier is finished by a shorter `fit`."""
    epoch, step = position
    epochs, steps = run.config.epochs, run.steps
    if not epochs:
        return
    validation = run.validation_data()
    progress = ProgressLog(epochs, steps, run.progress_seconds)
    if run.is_chief:
        callbacks = [*callbacks, progress]
    if step == steps:
        finish_epoch(model, epoch, validation, callbacks, run.validation_steps)
        epoch, step = epoch + 1, 0
    while epoch < epochs and not model.stop_training:
        last_epoch = epoch + 1 if step else epochs
        progress.first_step = step
        model.fit(
            run.training_data(epoch, step),
            initial_epoch=epoch,
            epochs=last_epoch,
            steps_per_epoch=steps - step,
            validation_data=validation,
            validation_steps=run.validation_steps,
            shuffle=False,
            callbacks=callbacks,
            verbose="auto" if run.is_chief and sys.stdout.isatty() else 0,
        )
        epoch, step = last_epoch, 0


def _export(model: DefenseModel, run: TrainingRun) -> None:
    path = run.directory / model_directory.NETWORK
    export.save_network(model.network, path)
    classifier = model.classifier
    if run.strategy.num_replicas_in_sync > 1:
        # Variables of a strategy do not go into a SavedModel that one device loads.
        network = model_directory.load_network(run.directory)
        classifier = type(classifier).from_keras(network, classifier.attention_layer)
    export.export_saved_model(classifier, run.directory / model_directory.SAVED_MODEL)
