"""Figures of attention, epoch by epoch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from matplotlib.figure import Figure

from aad_tf import plots
from aad_tf.attacks import Attack
from aad_tf.attacks.parsing import as_attack
from aad_tf.callbacks.base import ClassifierCallback, checked_arrays
from aad_tf.classifier import Classifier, checked_inputs
from aad_tf.distribute import is_chief
from aad_tf.types import Bounds
from aad_tf.utils.checks import check_count


class AttentionSnapshots(ClassifierCallback):
    """Draws where the network looks after an epoch, on clean and on attacked images.

    One row per image: the image, its attention map, the adversarial image, its attention map.
    Both maps explain the true label; beneath each stand the predicted class and its probability.

    Args:
        images: float `[batch, H, W, C]` within `bounds`; the first `max_images` are drawn.
        labels: int `[batch]`, true labels.
        directory: where `attention_epoch_0001.png` and so on go, counted as Keras prints epochs;
            made if it does not exist.
        attack: such as `aad_tf.attacks.fgsm(0.1)`, or its text; None draws clean images only.
        attention_layer: layer that maps explain; that of the defence, or found, when None.
        every: epochs between two figures.
        before_training: draw also where the network looks before its first update,
            `attention_epoch_0000.png`.
        max_images: rows of a figure.
        log_dir: directory for TensorBoard event files with the same figures, at the steps of
            `keras.callbacks.TensorBoard`; None writes none.
        bounds: pixel range the network takes.
        class_names: names for captions; class numbers when None.
        output: which of several outputs counts, as in `Classifier.from_keras`; a defence has its
            own.

    Raises:
        TypeError, ValueError: what is wrong with the images, or no attack.
        OSError: the directory cannot be made.

    Example:
        >>> drawn = AttentionSnapshots(images, labels, "run/attention", aad_tf.attacks.fgsm(0.1))
        >>> model.fit(train_images, train_labels, epochs=5, callbacks=[drawn])
    """

    def __init__(
        self,
        images: Any,
        labels: Any,
        directory: str | os.PathLike[str],
        attack: Attack | str | None = None,
        attention_layer: str | None = None,
        every: int = 1,
        max_images: int = 8,
        log_dir: str | os.PathLike[str] | None = None,
        *,
        bounds: Bounds = Bounds(0.0, 1.0),
        class_names: Sequence[str] | None = None,
        output: str | int | None = None,
        before_training: bool = False,
    ) -> None:
        super().__init__(attention_layer, bounds, every, output)
        count = check_count(max_images, "max_images")
        images, labels = checked_arrays(images, labels, self.bounds)
        self._images, self._labels = images[:count], labels[:count]
        self._attack = None if attack is None else as_attack(attack, self.bounds)
        self._class_names = class_names
        self._before_training = before_training
        self._directory = Path(directory)
        self._directory.mkdir(parents=True, exist_ok=True)
        self._log_dir = None if log_dir is None else os.fspath(log_dir)
        self._writer: Any = None

    @property
    def image_shape(self) -> tuple[int, ...]:
        """See `ClassifierCallback`."""
        return tuple(self._images.shape[1:])

    def check(self, classifier: Classifier) -> None:
        """Checks the images against the network."""
        checked_inputs(classifier, self._images, self._labels)
        names = self._class_names
        if names is not None and len(names) != classifier.num_classes:
            raise ValueError(
                f"class_names must have {classifier.num_classes} entries, got {len(names)}."
            )

    def draw(self, classifier: Classifier) -> Figure:
        """The figure for a network, also outside of `fit`."""
        images, labels = checked_inputs(classifier, self._images, self._labels)
        names = self._class_names
        truth = [f"true: {plots.class_name(label, names)}" for label in labels.numpy()]
        columns = [
            plots.image_panels(images, truth),
            plots.map_panels(classifier, images, labels, names),
        ]
        titles = ["image", "attention"]
        if self._attack is not None:
            adversarial = self._attack(classifier, images, labels, seed=0)
            columns += [
                plots.image_panels(adversarial),
                plots.map_panels(classifier, adversarial, labels, names),
            ]
            titles += ["attacked", "attention"]
        rows = list(zip(*columns, strict=True))
        return plots.attention_grid(rows, column_titles=titles, bounds=classifier.bounds)

    def measure(self, epoch: int) -> dict[str, float]:
        """Writes the figure of an epoch, of several workers the chief's; adds no logs."""
        path = self._write(epoch + 1)
        if path is not None and self._writer is not None:
            with self._writer.as_default(step=epoch):
                _write_summary("attention", path.read_bytes())
            self._writer.flush()
        return {}

    def _write(self, epochs: int) -> Path | None:
        """Writes the figure after so many epochs and returns its path; None if not the chief."""
        if not is_chief(self.model.distribute_strategy):
            return None
        path = self._directory / f"attention_epoch_{epochs:04d}.png"
        plots.save_png(self.draw(self.classifier), path)
        return path

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks the images, draws them and opens the event file; Keras calls it."""
        super().on_train_begin(logs)
        if self._before_training and int(self.model.optimizer.iterations) == 0:
            self._write(0)
        if self._log_dir is not None:
            self._writer = tf.summary.create_file_writer(self._log_dir)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Closes the event file; Keras calls it."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _write_summary(tag: str, png: bytes) -> None:
    """Writes an image as `tf.summary.image` does, which needs TensorBoard to be installed."""
    metadata = tf.compat.v1.SummaryMetadata()
    metadata.plugin_data.plugin_name = "images"
    height, width = tf.io.decode_png(png).shape[:2]
    tf.summary.write(tag, tf.stack([str(width), str(height), png]), metadata=metadata)
