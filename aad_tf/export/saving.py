"""Writes networks: SavedModels and `.keras` files, complete or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import keras
import tensorflow as tf

from aad_tf.classifier import Classifier
from aad_tf.export import files
from aad_tf.export.loading import ExportedClassifier
from aad_tf.export.module import NetworkModule


def export_saved_model(classifier: Classifier, path: str | os.PathLike[str]) -> Path:
    """Writes a classifier as a SavedModel that needs TensorFlow alone to load.

    Signatures, for any batch size:
      `serving_default`: `images` to `logits` and `probabilities`, `[batch, classes]`.
      `attention`: `images` and int32 `class_ids` to `attention_map`, `[batch, h, w]`, the map of
        `aad_tf.attention.grad_cam`; a class of -1 stands for the predicted class.
      `attention_predicted`: `images` to the `attention_map` of the predicted class.

    Differentiable functions of the loaded object, for attacks on it:
      `forward(images)`: `logits` and `features` of the attention layer.
      `features(images)` and `logits_from_features(images, features)`: the same in two parts,
        through which a tape also sees the gradient of logits by features.

    Images and all results are float32, also for bfloat16 and float64 networks, which keep their
    precision inside. The network runs in inference mode.

    Args:
        classifier: the network and its attention layer.
        path: directory to write; an earlier export there is replaced, anything else is refused.

    Returns:
        The directory, as an absolute path. It appears under its name only when complete.

    Raises:
        TypeError: not a Classifier around a Keras model.
        FileExistsError: the path holds something else than an export.
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
    if not files.may_replace(target):
        raise FileExistsError(
            f"{target} exists and is no model exported by aad_tf, so it is left alone. Give "
            f"another path, or remove it."
        )
    with files.directory_beside(target) as directory:
        module = NetworkModule(classifier)
        # Networks may hold operations with gradients of their own, such as swish.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=True)
        new = directory / "new"
        tf.saved_model.save(module, str(new), signatures=module.signatures(), options=options)
        files.write_metadata(classifier, new)
        files.replace_directory(target, new, aside=directory / "previous")
    return target


def save_network(model: keras.Model | Classifier, path: str | os.PathLike[str]) -> Path:
    """Writes a network as a `.keras` file, from which training can go on.

    Args:
        model: the network, or the Classifier around it. Of a defence, pass `.network`.
        path: file to write, ending in `.keras`; replaced if it exists.

    Returns:
        The file, as an absolute path. It appears under its name only when complete.

    Raises:
        TypeError: no Keras model.
        ValueError: path does not end in `.keras`.
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
    with files.directory_beside(target) as directory:
        model.save(directory / target.name)
        os.replace(directory / target.name, target)
    return target
