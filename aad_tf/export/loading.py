"""Loads exported models back as classifiers, without Keras."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import tensorflow as tf

from aad_tf.classifier import Classifier
from aad_tf.export import files
from aad_tf.types import Bounds, ClassifierOutput


def load_classifier(path: str | os.PathLike[str]) -> ExportedClassifier:
    """Loads an exported model as attacks, attention maps and evaluation take it.

    Args:
        path: directory `export_saved_model` wrote.

    Returns:
        A Classifier without the Keras model: it gives logits, features and their gradients, and
        cannot be trained.

    Raises:
        FileNotFoundError: no such directory.
        ExportError: a SavedModel of another origin or format, or files cut short.

    Example:
        >>> classifier = load_classifier("run/saved_model")
        >>> adversarial = aad_tf.attacks.fgsm(0.1)(classifier, images, labels)
    """
    directory = Path(path)
    metadata = files.read_metadata(directory)
    files.check_files(directory, metadata["files"])
    return ExportedClassifier(tf.saved_model.load(str(directory)), metadata)


class ExportedClassifier(Classifier):
    """An exported network as a Classifier; made by `load_classifier`.

    Args:
        loaded: what `tf.saved_model.load` returned.
        metadata: what was written beside the network: bounds, attention layer, version, files.
    """

    def __init__(self, loaded: Any, metadata: dict[str, Any]) -> None:
        self.metadata = metadata
        self.bounds = Bounds(*metadata["bounds"])
        self.num_classes = metadata["num_classes"]
        self.input_shape = tuple(metadata["input_shape"])
        self.attention_layer = metadata["attention_layer"]
        self.compiled = {}
        self._loaded = loaded

    def __getattr__(self, name: str) -> Any:
        if name == "model":
            raise AttributeError(
                "An exported network holds no Keras model, so it cannot be trained. Load its "
                ".keras file instead."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def dtype(self) -> tf.DType:
        """float32, whatever the network computes in."""
        return tf.float32

    @property
    def variables(self) -> list[tf.Variable]:
        """All variables of the network."""
        return list(self._loaded.network_variables)

    @property
    def trainable_variables(self) -> list[tf.Variable]:
        """Variables that were trainable before the export."""
        return list(self._loaded.network_trainable_variables)

    def __call__(self, images: tf.Tensor, training: bool = False) -> ClassifierOutput:
        """Runs the network once; see `Classifier.__call__`.

        Raises:
            ValueError: training is True.
        """
        if training:
            raise ValueError("An exported network runs in inference mode only: training=False.")
        # Two functions, because a tape cannot see features inside of one.
        features = self._loaded.features(images)
        return ClassifierOutput(self._loaded.logits_from_features(images, features), features)
