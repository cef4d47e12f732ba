"""Writes networks as SavedModels or `.keras` files, and loads SavedModels as classifiers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.saved_model import save_context

from aad_tf._version import __version__
from aad_tf.classifier import Classifier
from aad_tf.export.module import NetworkModule
from aad_tf.types import Bounds, ClassifierOutput

# SavedModel loaders leave this folder to whoever wrote the model.
METADATA = "assets.extra/aad_tf.json"
FORMAT = 1


class ExportError(ValueError):
    """A SavedModel is of another source or format, or its files are missing or damaged."""


def export_saved_model(classifier: Classifier, path: str | os.PathLike[str]) -> Path:
    """Writes a classifier as a SavedModel that needs TensorFlow alone to load.

    Signatures, for `images` `[batch, H, W, C]` of any batch size:
      `serving_default`: `images` to `logits` and `probabilities`, `[batch, classes]`.
      `attention`: `images` and `class_ids`, int32 `[batch]`, to `attention_map`, `[batch, h, w]`,
        the Grad-CAM map of these classes; -1 stands for the predicted class.
      `attention_predicted`: `images` to the `attention_map` of the predicted class.

    Differentiable functions of the loaded object, for attacks on it:
      `forward(images)`: a dict of `logits` `[batch, classes]` and `features`, the output of the
        attention layer, `[batch, h, w, channels]`.
      `features(images)` and `logits_from_features(images, features)`: the same in two parts, so
        that a gradient tape can also give the gradient of logits by features.

    Images and all results are float32, also for bfloat16 and float64 networks, which keep their
    precision inside. The network runs in inference mode.

    Args:
        classifier: the network and the layer that attention maps explain.
        path: directory to write; an earlier export or an empty directory there is replaced,
            anything else is refused, and so is an export to which files were added.

    Returns:
        The directory, as an absolute path. It appears under its name only when complete.

    Raises:
        TypeError: not a Classifier around a Keras model.
        FileExistsError: the path holds something else than an export or an empty directory, or
            files that are not of the export.
        OSError: the path cannot be written.

    Example:
        >>> export_saved_model(classifier, "run/saved_model")
        >>> served = tf.saved_model.load("run/saved_model").signatures["serving_default"]
        >>> served(images=images)["probabilities"]
    """
    if not isinstance(classifier, Classifier) or isinstance(classifier, ExportedClassifier):
        raise TypeError(
            f"classifier must be a Classifier around a Keras model, got "
            f"{type(classifier).__name__}. Wrap the model with Classifier.from_keras(model), or "
            f"pass the .classifier of a defence."
        )
    target = Path(os.path.abspath(path))
    earlier = target.is_dir() and ((target / METADATA).is_file() or not any(target.iterdir()))
    if not earlier and (target.exists() or target.is_symlink()):
        raise FileExistsError(
            f"{target} exists and is no model exported by aad_tf, so it is left alone. Give "
            f"another path, or remove it."
        )
    if earlier and (added := _files_added(target)):
        raise FileExistsError(
            f"{target} is replaced as a whole, and holds files that are not of the earlier export: "
            f"{', '.join(added)}. Give another path, or move them away and back afterwards."
        )
    with _directory_beside(target) as directory:
        # Networks may hold operations with custom gradients, such as swish.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=True)
        # What was traced outside of this context would be traced again when it is saved.
        with save_context.save_context(options):
            module = NetworkModule(classifier)
            signatures = module.signatures()
        new = directory / "new"
        tf.saved_model.save(module, str(new), signatures=signatures, options=options)
        _write_metadata(classifier, new)
        replace_directory(target, new, aside=directory / "previous")
    return target


def save_network(model: keras.Model | Classifier, path: str | os.PathLike[str]) -> Path:
    """Writes a network as a `.keras` file, which Keras loads for further training.

    Args:
        model: the network, or the Classifier around it. Of a defence, pass `.network`.
        path: file to write, ending in `.keras`; replaced if it exists.

    Returns:
        The file, as an absolute path. It appears under its name only when complete.

    Raises:
        TypeError: no Keras model.
        ValueError: path does not end in `.keras`.
        IsADirectoryError: the path is a directory.
        OSError: the path cannot be written.

    Example:
        >>> save_network(network, "run/model.keras")
        >>> network = keras.saving.load_model("run/model.keras")
    """
    if isinstance(model, Classifier):
        model = model.model
    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a keras.Model, got {type(model).__name__}.")
    target = Path(os.path.abspath(path))
    if target.suffix != ".keras":
        raise ValueError(f"path must end in .keras, got {target.name!r}.")
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a directory. Give the path of a file.")
    with _directory_beside(target) as directory:
        model.save(directory / target.name)
        os.replace(directory / target.name, target)
    return target


def load_classifier(path: str | os.PathLike[str]) -> ExportedClassifier:
    """Loads an exported network as a Classifier for attacks, attention maps and evaluation.

    Args:
        path: directory that `export_saved_model` wrote.

    Returns:
        A Classifier without a Keras model: it gives logits, features and their gradients, and
        cannot be trained.

    Raises:
        FileNotFoundError: no such directory.
        ExportError: a SavedModel that `export_saved_model` did not write, one of another format, or
            files that are missing or damaged.

    Example:
        >>> classifier = load_classifier("run/saved_model")
        >>> adversarial = aad_tf.attacks.fgsm(0.1)(classifier, images, labels)
    """
    directory = Path(path)
    metadata = _read_metadata(directory)
    _check_files(directory, metadata["files"])
    return ExportedClassifier(tf.saved_model.load(str(directory)), metadata)


class ExportedClassifier(Classifier):
    """An exported network as a Classifier; made by `load_classifier`.

    Args:
        loaded: what `tf.saved_model.load` returned.
        metadata: facts that `export_saved_model` wrote beside the network: bounds, number of
            classes, input shape, attention layer, version, files.
    """

    def __init__(self, loaded: Any, metadata: dict[str, Any]) -> None:
        self.metadata = metadata
        self.bounds = Bounds(*metadata["bounds"])
        self.num_classes = metadata["num_classes"]
        self.input_shape = tuple(metadata["input_shape"])
        self.attention_layer = metadata["attention_layer"]
        # Files of earlier versions do not tell.
        self._zero_pixel = tuple(metadata.get("zero_pixel", Classifier._zero_pixel))
        self.compiled = {}
        self._loaded = loaded

    def __getattr__(self, name: str) -> Any:
        if name == "model":
            raise AttributeError(
                "An exported network holds no Keras model, so it cannot be trained. Load its "
                ".keras file instead."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def get_config(self) -> dict[str, Any]:
        """Not supported: an exported network has no config.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "An exported network cannot be written into a .keras file, as a source of an ensemble "
            "neither. Use its .keras file as the source, or save without sources: save_weights, "
            "or .network.save(path)."
        )

    @property
    def dtype(self) -> tf.DType:
        """float32, the dtype of images and results, also for a network of another precision."""
        return tf.float32

    @property
    def variables(self) -> list[tf.Variable]:
        """All variables of the network."""
        return list(self._loaded.network_variables)

    @property
    def trainable_variables(self) -> list[tf.Variable]:
        """Variables that were trainable before the export."""
        return list(self._loaded.network_trainable_variables)

    def features_watched(self, tape: tf.GradientTape) -> contextlib.AbstractContextManager[None]:
        """Context manager without effect: a tape that watches the images sees the features, too.

        Here they are what one compiled function makes of the images, whatever happens inside.

        Args:
            tape: a gradient tape that watches the images.
        """
        return contextlib.nullcontext()

    def __call__(self, images: tf.Tensor, training: bool = False) -> ClassifierOutput:
        """Runs the network once, in inference mode.

        Args:
            images: float32 `[batch, H, W, C]` within the bounds.
            training: must be False.

        Returns:
            float32 `logits` `[batch, classes]`, and `features` `[batch, h, w, channels]` of the
            attention layer.

        Raises:
            ValueError: training is True.
        """
        if training:
            raise ValueError("An exported network runs in inference mode only: training=False.")
        # Two functions, because a tape cannot see features inside of one.
        features = self._loaded.features(images)
        return ClassifierOutput(self._loaded.logits_from_features(images, features), features)


@contextlib.contextmanager
def _directory_beside(target: Path) -> Iterator[Path]:
    """A temporary directory on the file system of `target`, gone after the context."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise OSError(
            error.errno, f"Cannot write to {target.parent} ({error.strerror}); choose another path"
        ) from error
    with temporary as name:
        yield Path(name)


def replace_directory(target: Path, new: Path, aside: Path) -> None:
    """Replaces a directory by another one, as completely as renaming can.

    Args:
        target: the directory to replace; it need not exist.
        new: the directory to put in its place, on the same file system.
        aside: where the old directory is moved to; it is moved back if the replacement fails.

    Raises:
        OSError: a directory cannot be moved.
    """
    if target.exists():
        os.replace(target, aside)
    try:
        os.replace(new, target)
    except BaseException:
        if aside.exists():
            os.replace(aside, target)
        raise


def _write_metadata(classifier: Classifier, directory: Path) -> None:
    """Writes what a reader must know of the network, and the size and hash of every file."""
    files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    metadata = {
        "format": FORMAT,
        "aad_tf": __version__,
        "bounds": [float(bound) for bound in classifier.bounds],
        "zero_pixel": list(classifier.zero_pixel),
        "num_classes": classifier.num_classes,
        "input_shape": list(classifier.input_shape),
        "attention_layer": classifier.attention_layer,
        "dtype": classifier.dtype.name,
        "files": {path.relative_to(directory).as_posix(): _describe(path) for path in files},
    }
    path = directory / METADATA
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")


def _describe(path: Path) -> dict[str, Any]:
    """Size in bytes and SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _read_metadata(directory: Path) -> dict[str, Any]:
    """Reads what `_write_metadata` wrote."""
    if not directory.exists():
        raise FileNotFoundError(
            f"No exported model at {directory}. Write one with "
            f"aad_tf.export.export_saved_model(classifier, {str(directory)!r})."
        )
    path = directory / METADATA
    if not path.is_file():
        saved_model = (directory / "saved_model.pb").is_file()
        what = "a SavedModel of another origin" if saved_model else "no SavedModel"
        raise ExportError(
            f"{directory} is {what}: it lacks {METADATA}, which says what pixels and layers it "
            f"has. Wrap the Keras model with Classifier.from_keras and export it with "
            f"aad_tf.export.export_saved_model."
        )
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExportError(
            f"{path} is cut short ({error}). Copy or export the model again."
        ) from error
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise ExportError(
            f"{path} is not of format {FORMAT}, the one this version of aad_tf reads. Export the "
            f"network again with this version."
        )
    return metadata


def _files_added(directory: Path) -> list[str]:
    """Files in an earlier export that its metadata do not list; all is its own if it is damaged."""
    if not any(directory.iterdir()):
        return []
    try:
        known = {METADATA, *_read_metadata(directory)["files"]}
    except ExportError:
        return []
    found = [path for path in sorted(directory.rglob("*")) if not path.is_dir()]
    names = (path.relative_to(directory).as_posix() for path in found)
    return [name for name in names if name not in known]


def _check_files(directory: Path, files: dict[str, dict[str, Any]]) -> None:
    """Raises ExportError unless every file is there as it was written."""
    for name, expected in files.items():
        path = directory / name
        if not path.is_file():
            raise ExportError(f"{directory} lacks {name}. Copy or export the model again.")
        found = _describe(path)
        if found["bytes"] != expected["bytes"]:
            raise ExportError(
                f"{path} is cut short: expected {expected['bytes']} bytes, found "
                f"{found['bytes']}. Copy or export the model again."
            )
        if found["sha256"] != expected["sha256"]:
            raise ExportError(
                f"{path} is damaged: its content is not what was exported. Copy or export the "
                f"model again."
            )
