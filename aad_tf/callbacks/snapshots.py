"""Callback that draws attention maps of a few images after an epoch."""

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
    """Draws attention maps of a few images after an epoch, without and under attack.

    A figure has one row per image: the image, its Grad-CAM map, the attacked image, its map. The
    maps explain the true label; the predicted class and its probability are below each map. Beside
    it, the file `attention_epoch_0001.npz` holds the same as arrays, a `plots.Snapshot`. At the end
    of training `attention_evolution.png` shows how the maps changed from epoch to epoch, if there
    are two snapshots or more; `plots.attention_evolution` draws it from the arrays. A training that
    begins anew deletes the arrays that an earlier one left in the directory.

    Args:
        images: float `[batch, H, W, C]` within `bounds`; the first `max_images` are drawn.
        labels: int `[batch]`, true labels.
        directory: directory of the figures, which is created if needed. That of the first epoch is
            `attention_epoch_0001.png`.
        attack: such as `aad_tf.attacks.fgsm(0.1)`, or its text; None draws original images only.
        attention_layer: name of the layer that maps explain; None for that of the trained model if
            it is a defence such as `AADModel`, else for the last layer whose output is a grid of
            the image and through which every path from images to logits leads.
        every: number of epochs from one figure to the next.
        before_training: whether to draw a figure before the first update as well,
            `attention_epoch_0000.png`.
        max_images: largest number of rows of a figure.
        log_dir: directory for TensorBoard event files with the same figures, whose step is the
            epoch counted from 0; None for no event files.
        bounds: pixel range that the network takes.
        class_names: names of the classes for captions; None for class numbers.
        output: name or number of the output with the class scores, for a network with several
            outputs; not used for a defence such as `AADModel`.

    Raises:
        TypeError: images not floating point, labels not numbers, or an attack of another type.
        ValueError: text that is not an attack, or images or labels that are not valid.
        OSError: the directory cannot be created.

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
        """`(H, W, C)` of the images."""
        return tuple(self._images.shape[1:])

    def check(self, classifier: Classifier) -> None:
        """Checks that images, labels and class names fit the network; called before training.

        Args:
            classifier: the network that is trained.

        Raises:
            ValueError: images or labels that do not fit, or another number of class names than
                the network has classes.
        """
        checked_inputs(classifier, self._images, self._labels)
        names = self._class_names
        if names is not None and len(names) != classifier.num_classes:
            raise ValueError(
                f"class_names must have {classifier.num_classes} entries, got {len(names)}."
            )

    def draw(self, classifier: Classifier) -> Figure:
        """Draws the figure for any network, also outside of `fit`.

        Args:
            classifier: a network that takes the callback's images and classes.

        Returns:
            A matplotlib figure with one row per image: the image, its attention map and, if there
            is an attack, the attacked image and its map.
        """
        return _figure(self._columns(classifier), classifier.bounds)

    def _columns(self, classifier: Classifier) -> list[list[plots.Panel]]:
        """Images and their maps and, of an attack, attacked images and their maps."""
        images, labels = checked_inputs(classifier, self._images, self._labels)
        names = self._class_names
        shown = [plots.class_name(label, names, plots.LETTERS) for label in labels.numpy()]
        truth = [f"true: {name}" for name in shown]
        columns = [
            plots.image_panels(images, truth),
            plots.map_panels(classifier, images, labels, names),
        ]
        if self._attack is not None:
            adversarial = self._attack(classifier, images, labels, seed=0)
            columns += [
                plots.image_panels(adversarial),
                plots.map_panels(classifier, adversarial, labels, names),
            ]
        return columns

    def measure(self, epoch: int) -> dict[str, float]:
        """Writes figure and arrays of an epoch, on the chief worker alone; called after the epoch.

        They go to `attention_epoch_<number>.png` and `.npz`, counted from 1, and the figure to
        TensorBoard if asked for.

        Args:
            epoch: number of the epoch that has just ended, counted from 0.

        Returns:
            An empty dictionary, since nothing is added to the logs.
        """
        path = self._write(epoch + 1)
        if path is not None and self._writer is not None:
            with self._writer.as_default(step=epoch):
                _write_summary("attention", path.read_bytes())
            self._writer.flush()
        return {}

    def _write(self, epochs: int) -> Path | None:
        """Writes what there is after so many epochs; its figure, or None if not the chief."""
        if not is_chief(self.model.distribute_strategy):
            return None
        path = self._directory / f"attention_epoch_{epochs:04d}.png"
        columns, bounds = self._columns(self.classifier), self.classifier.bounds
        plots.save_png(_figure(columns, bounds), path)
        update = self._updates()
        attack = "" if self._attack is None else str(self._attack.name)
        snapshot = plots.snapshot_of(update, columns, bounds, attack)
        plots.save_snapshot(snapshot, path.with_suffix(".npz"))
        return path

    def _draw_evolution(self) -> None:
        """All moments of this training, also those before an interruption, in one picture."""
        updates = self._updates()
        found = [plots.load_snapshot(path) for path in self._arrays()]
        found = [one for one in found if one.update <= updates]
        # Where it goes on with other images or another attack, those of the newest count.
        found = [one for one in found if one.is_of_same_images(found[-1])]
        if len(found) > 1:
            figure = plots.attention_evolution(found)
            plots.save_png(figure, self._directory / "attention_evolution.png")

    def _updates(self) -> int:
        """Number of updates so far; on several replicas they are not a number to Python."""
        return int(tf.convert_to_tensor(self.model.optimizer.iterations))

    def _arrays(self) -> list[Path]:
        return sorted(self._directory.glob("attention_epoch_*.npz"))

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks that the images fit the network before training begins; Keras calls it.

        It opens the TensorBoard event file if there is a `log_dir`.

        Args:
            logs: not used.

        Raises:
            ValueError: images, labels or class names that do not fit the network.
        """
        super().on_train_begin(logs)
        if self._log_dir is not None:
            self._writer = tf.summary.create_file_writer(self._log_dir)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Deletes the arrays of an earlier training before the first update; Keras calls it.

        With `before_training` it draws the first figure. A training that is resumed, even by a
        callback that stands after this one in the list, keeps arrays and figure.

        Args:
            epoch: number of the epoch that begins, counted from 0.
            logs: not used.
        """
        # Only now all callbacks, such as BackupAndRestore, have restored what they restore.
        if epoch or self._updates():
            return
        if is_chief(self.model.distribute_strategy):
            # Of an earlier training, whose moments must not be taken for those of this one.
            for path in self._arrays():
                path.unlink()
        if self._before_training:
            self._write(0)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Draws how the maps changed, on the chief worker, and closes the TensorBoard event file.

        Keras calls it when training ends.
        """
        if is_chief(self.model.distribute_strategy):
            self._draw_evolution()
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _figure(columns: list[list[plots.Panel]], bounds: Bounds) -> Figure:
    titles = ["image", "attention", "attacked", "attention"][: len(columns)]
    rows = list(zip(*columns, strict=True))
    return plots.attention_grid(rows, column_titles=titles, bounds=bounds)


def _write_summary(tag: str, png: bytes) -> None:
    """Writes an image as `tf.summary.image` does, which needs TensorBoard to be installed."""
    metadata = tf.compat.v1.SummaryMetadata()
    metadata.plugin_data.plugin_name = "images"
    height, width = tf.io.decode_png(png).shape[:2]
    tf.summary.write(tag, tf.stack([str(width), str(height), png]), metadata=metadata)
