"""A model directory, which training writes and evaluation reads, and the network of its config.

It holds `config.json` (every choice of the run), `run.json` (versions, hardware, data, seconds,
"running" or "finished"), `history.csv` (one row per epoch), `attention/` (pictures, if the config
asks for them), `checkpoints/` (what an interrupted run resumes from), `model.keras` (the trained
network, written at the end) and `saved_model/` (the same, loadable by TensorFlow alone).

`build_network` makes the network of a config in its precision; `load_classifier` loads one that was
trained in mixed precision in float32.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any

import keras

from aad_tf import configs, models
from aad_tf.classifier import Classifier
from aad_tf.configs import ExperimentConfig
from aad_tf.utils.logging import LOGGER

CONFIG = "config.json"
RUN = "run.json"
CHECKPOINTS = "checkpoints"
NETWORK = "model.keras"
SAVED_MODEL = "saved_model"
HISTORY = "history.csv"
ATTENTION = "attention"
# They say how long training takes and what is evaluated afterwards.
_AFTER_TRAINING = ("budget", "evaluation_attacks")
MAY_DIFFER = (
    *_AFTER_TRAINING,
    # They say what a run is, and compute nothing.
    *("name", "reference"),
    # They say how a computation is carried out, not what it computes.
    *("checkpoint_steps", "steps_per_execution", "jit_compile"),
    # They add files, and columns that are named by what they hold. `monitor_examples` and
    # `monitor_attack` do not: their columns are called alike whatever was measured, and pages
    # compare these over seeds.
    *("validation_attacks", "snapshot_epochs"),
)
"""Fields of a config that may differ between finished trainings that are taken for the same."""


class ModelDirectoryError(ValueError):
    """A model directory is missing, unfinished, damaged, in use, or of another config."""


def build_network(
    config: ExperimentConfig,
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    weights_follow: bool = False,
) -> keras.Model:
    """Builds the network of a config as it is before training.

    Args:
        config: its attributes `model` (such as `"lenet"`), `model_options` (keyword arguments of
            the function that builds the model) and `precision` (such as `"float32"` or
            `"mixed_bfloat16"`) are used.
        image_shape: `(height, width, channels)`.
        num_classes: number of classes, at least 2.
        weights_follow: True if the caller sets all weights afterwards. Then
            `config.model_options["weights"]`, a file or name of weights to start from, is not read.

    Returns:
        A Keras model from images `[batch, height, width, channels]` in [0, 1] to logits
        `[batch, num_classes]`, in the precision `config.precision`.

    Raises:
        TypeError: an option that the model does not have.
        ValueError: an unknown model, or a shape or number of classes that it cannot take.
    """
    options = dict(config.model_options)
    if weights_follow:
        options.pop("weights", None)
    if config.precision != "float32":
        options["dtype"] = config.precision
    return models.build(config.model, image_shape, num_classes, **options)


def read_config(model_dir: str | os.PathLike[str]) -> ExperimentConfig:
    """Reads the config of a model directory.

    Args:
        model_dir: a directory `train.main` wrote.

    Returns:
        The settings that the network was trained with, an `ExperimentConfig`.

    Raises:
        ModelDirectoryError: no such directory, no config in it, or one that cannot be read.
    """
    directory = Path(model_dir)
    if not directory.is_dir():
        raise ModelDirectoryError(
            f"No model directory at {directory}. Train one with python -m train.main "
            f"--config=... --model_dir={directory}."
        )
    path = directory / CONFIG
    if not path.is_file():
        raise ModelDirectoryError(
            f"{directory} holds no {CONFIG}, so it is not a model directory of train.main."
        )
    try:
        return configs.from_stored(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ModelDirectoryError(
            f"{path} is cut short or not a config of this version: {error}"
        ) from error


def claim(model_dir: str | os.PathLike[str], config: ExperimentConfig) -> None:
    """Checks that a directory may be used to train a config: it is empty, or holds that run.

    A config counts as the same if it differs in nothing but `budget`, a remark on how long training
    takes, and `evaluation_attacks`.

    Args:
        model_dir: directory to train in; made if it does not exist.
        config: what is to be trained.

    Raises:
        ModelDirectoryError: the directory holds something else, or a run of another config.
        OSError: it cannot be made or written.
    """
    directory = Path(model_dir)
    directory.mkdir(parents=True, exist_ok=True)
    # Names that begin with a dot are what an interrupted atomic write leaves behind.
    if all(path.name.startswith(".") for path in directory.iterdir()):
        return
    earlier = read_config(directory)
    if found := differences(earlier, config):
        raise ModelDirectoryError(
            f"{directory} holds a run of another config, which differs in "
            f"{'; '.join(found)}. Give another --model_dir, or the same config to resume."
        )


def differences(
    earlier: ExperimentConfig,
    wanted: ExperimentConfig,
    but: Collection[str] = _AFTER_TRAINING,
) -> list[str]:
    """Lists in what two configs differ.

    Args:
        earlier: the config of a run that is there.
        wanted: the config that is asked for.
        but: fields that do not count: by default `budget` and `evaluation_attacks`, for a run that
            may be resumed; `MAY_DIFFER` for a finished one.

    Returns:
        A text for each field, such as `"epochs (2 there, 10 given)"`; none for configs of the same
        run.
    """
    before, now = (
        {key: value for key, value in configs.to_dict(config).items() if key not in but}
        for config in (earlier, wanted)
    )
    return _differences(before, now)


@contextlib.contextmanager
def locked(model_dir: str | os.PathLike[str], timeout: float = 0.0) -> Iterator[None]:
    """Keeps other processes from training in a directory while the context is open.

    Args:
        model_dir: an existing directory.
        timeout: how long to wait for another process to release it, in seconds. A network file
            system may keep the lock of a lost machine for a while.

    Raises:
        ModelDirectoryError: another process is training there.
    """
    deadline = time.monotonic() + timeout
    with open(Path(model_dir) / ".lock", "w", encoding="utf-8") as file:
        waits = False
        while not _got_lock(file):
            left = deadline - time.monotonic()
            if left <= 0.0:
                raise ModelDirectoryError(
                    f"Another process is training in {model_dir}. Wait for it, or give another "
                    f"--model_dir."
                )
            if not waits:
                LOGGER.info(
                    "Waiting up to %g s for a process that trains in %s.", timeout, model_dir
                )
                waits = True
            time.sleep(min(0.5, left))
        yield


def _got_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_finished(model_dir: str | os.PathLike[str]) -> bool:
    """Whether the run of a model directory reached its end and saved its network.

    Args:
        model_dir: any directory; one that does not exist is not finished.

    Returns:
        True if `run.json` says so and the network's file exists.

    Raises:
        ModelDirectoryError: its `run.json` cannot be read.
    """
    directory = Path(model_dir)
    path = directory / RUN
    if not path.is_file() or not (directory / NETWORK).is_file():
        return False
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("state") == "finished"
    except ValueError as error:
        raise ModelDirectoryError(f"{path} is not a run record: {error}") from error


def load_classifier(model_dir: str | os.PathLike[str]) -> tuple[Classifier, ExperimentConfig]:
    """Loads the trained network of a model directory as a classifier.

    A `Classifier` is what attacks, attention maps and evaluations take: a network with its pixel
    range and the layer that attention maps explain. A network trained in mixed precision is loaded
    in float32 with the same weights, since rounding in half precision can hide gradients from
    attacks.

    Args:
        model_dir: directory in which `python -m train.main` has trained a network to the end.

    Returns:
        The classifier, and the `ExperimentConfig` (all settings) it was trained with.

    Raises:
        ModelDirectoryError: no model directory, an unfinished run, or a network file that is cut
            short.

    Example:
        >>> classifier, config = load_classifier("runs/mnist_aad_step_ll")
        >>> adversarial = aad_tf.attacks.fgsm(0.1)(classifier, images, labels)
    """
    config = read_config(model_dir)
    network = load_network(model_dir)
    if config.precision.startswith("mixed"):
        network = _in_float32(network, config)
    return Classifier.from_keras(network, config.attention_layer or None), config


def copy_weights(model_dir: str | os.PathLike[str], network: keras.Model) -> None:
    """Sets the weights of a network to those of a trained network of the same architecture.

    Args:
        model_dir: directory in which `python -m train.main` has trained a network to the end.
        network: the network that gets the weights.

    Raises:
        ModelDirectoryError: no model directory, an unfinished run, or another architecture.
    """
    trained = load_network(model_dir)
    shapes = [[tuple(w.shape) for w in model.weights] for model in (trained, network)]
    if shapes[0] != shapes[1]:
        raise ModelDirectoryError(
            f"The network of {model_dir} ({trained.name}) cannot start a {network.name}: their "
            f"weights differ in number or shape. Choose a run of the same model, options and data."
        )
    network.set_weights(trained.get_weights())


def load_network(model_dir: str | os.PathLike[str]) -> keras.Model:
    """Loads the trained network of a model directory in the precision it was trained in.

    Args:
        model_dir: directory in which `python -m train.main` has trained a network to the end.

    Returns:
        The Keras model, not compiled.

    Raises:
        ModelDirectoryError: unfinished run, or a network file that is cut short.
    """
    path = Path(model_dir) / NETWORK
    if not path.is_file():
        raise ModelDirectoryError(
            f"{model_dir} holds no {NETWORK}: its training has not finished. Run the same "
            f"train.main command again to resume it."
        )
    try:
        return keras.saving.load_model(path, compile=False)
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise ModelDirectoryError(
            f"{path} cannot be read; it is cut short or not a Keras file: {error}"
        ) from error


def _in_float32(network: keras.Model, config: ExperimentConfig) -> keras.Model:
    full = dataclasses.replace(config, precision="float32")
    image_shape, num_classes = tuple(network.input_shape[1:]), network.output_shape[-1]
    rebuilt = build_network(full, image_shape, num_classes, weights_follow=True)
    rebuilt.set_weights(network.get_weights())
    return rebuilt


def _differences(earlier: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key in sorted(set(earlier) | set(wanted)):
        old, new = _plain(earlier.get(key)), _plain(wanted.get(key))
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key} ({old!r} there, {new!r} given)")
    return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
