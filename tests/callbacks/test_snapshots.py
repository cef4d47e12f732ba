"""Snapshots of attention have the sizes and captions worked by hand, and reach TensorBoard."""

from __future__ import annotations

import io
import os

import keras
import matplotlib.image
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attention import grad_cam
from aad_tf.callbacks import AttentionSnapshots
from aad_tf.classifier import Classifier
from aad_tf.plots import displayable, load_snapshot, overlay, save_snapshot
from tests.callbacks.small_fits import (
    FGSM,
    brightness_network,
    fit,
    grey,
    plain,
    quadrants,
    small_network,
)


def size_of(path):
    return matplotlib.image.imread(path).shape[:2]


def test_snapshot_sizes(tmp_path):
    """Panels of 1.4 inches, gaps of 0.08, titles 0.28, captions 0.17, 100 pixels per inch."""
    images, labels = quadrants(5)
    callbacks = [
        AttentionSnapshots(images, labels, tmp_path / "deep" / "both", FGSM, max_images=3),
        AttentionSnapshots(images, labels, tmp_path / "clean"),
    ]
    fit(plain(), callbacks)
    name = "attention_epoch_0001.png"
    expected = round(100 * (0.28 + 3 * 1.65)), round(100 * (0.08 + 4 * 1.48))
    assert size_of(tmp_path / "deep" / "both" / name) == expected
    expected = round(100 * (0.28 + 5 * 1.65)), round(100 * (0.08 + 2 * 1.48))
    assert size_of(tmp_path / "clean" / name) == expected
    assert sorted(os.listdir(tmp_path / "clean")) == ["attention_epoch_0001.npz", name]


def test_a_snapshot_before_training_is_of_the_first_weights(tmp_path):
    images, labels = quadrants(2)
    model = plain()
    callback = AttentionSnapshots(images, labels, tmp_path, max_images=1, before_training=True)
    fit(model, [callback])
    names = ["attention_epoch_0000.png", "attention_epoch_0001.png"]
    assert sorted(path.name for path in tmp_path.glob("attention_epoch_*.png")) == names
    first, second = ((tmp_path / name).read_bytes() for name in names)
    assert first != second
    # A fit that goes on has no first update, and leaves the picture alone.
    callback.on_epoch_begin(0)
    assert (tmp_path / names[0]).read_bytes() == first


def test_the_evolution_is_of_this_training_alone(tmp_path):
    """Arrays of later epochs, or of other images, are those of another training."""
    images, labels = quadrants(2)

    def path(epoch):
        return tmp_path / f"attention_epoch_{epoch:04d}.npz"

    callback = AttentionSnapshots(images, labels, tmp_path, FGSM, before_training=True)
    model = plain()
    fit(model, [callback], epochs=2)
    updates = [load_snapshot(path(epoch)).update for epoch in range(3)]
    assert updates == [0, int(model.optimizer.iterations) // 2, int(model.optimizer.iterations)]
    drawn = tmp_path / "attention_evolution.png"
    # Two rows for each image; the image and three moments beside the titles of rows.
    size = round(100 * (0.28 + 4 * 1.65)), round(100 * (0.9 + 4 * 1.48))
    assert size_of(drawn) == size
    # Of a later update, as if this training had been set back to its checkpoint.
    later = load_snapshot(path(2))
    save_snapshot(later._replace(update=later.update + 1), path(3))
    other = load_snapshot(path(0))
    assert other.attack == FGSM.name
    save_snapshot(other._replace(images=255 - other.images), path(0))
    callback.on_train_end()
    assert size_of(drawn) == (size[0], size[1] - 148)
    # With or without an attack, a training that begins anew knows nothing of this one.
    fit(plain(), [AttentionSnapshots(images, labels, tmp_path, every=2)], epochs=3)
    assert [one.name for one in sorted(tmp_path.glob("*.npz"))] == [path(2).name]


def test_an_interrupted_training_has_its_evolution(tmp_path):
    """The last snapshot was made before the interruption, in an epoch that is not repeated."""
    images, labels = quadrants(2)
    model = plain()
    kinds = {"every": 2, "before_training": True}
    fit(model, [AttentionSnapshots(images, labels, tmp_path, **kinds)], epochs=2)
    (tmp_path / "attention_evolution.png").unlink()
    again = AttentionSnapshots(images, labels, tmp_path, **kinds)
    model.fit(images, labels, epochs=3, initial_epoch=2, verbose=0, callbacks=[again])
    assert size_of(tmp_path / "attention_evolution.png")[1] == round(100 * (0.9 + 3 * 1.48))


@pytest.mark.parametrize("snapshots_first", [True, False])
def test_a_training_that_is_restored_keeps_its_snapshots(tmp_path, snapshots_first):
    """BackupAndRestore sets weights and updates in `on_train_begin`, before or after this one."""
    images, labels = quadrants(2)

    class Interrupted(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def resumable(*others):
        drawn = AttentionSnapshots(images, labels, tmp_path, before_training=True)
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
        callbacks = [drawn, backup] if snapshots_first else [backup, drawn]
        fit(plain(), [*callbacks, *others], epochs=3)

    with pytest.raises(KeyboardInterrupt):
        resumable(Interrupted())
    first = {path.name: path.read_bytes() for path in tmp_path.glob("*.npz")}
    assert sorted(first) == [f"attention_epoch_{epoch:04d}.npz" for epoch in range(3)]
    resumable()
    kept = {path.name: path.read_bytes() for path in tmp_path.glob("*.npz")}
    assert kept.pop("attention_epoch_0003.npz") and kept == first


def captions_of(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_snapshot_captions_worked_by_hand(tmp_path):
    """The logit difference is 10 g - 5: 4 at 0.9, 3 after FGSM of 0.1."""
    classifier = Classifier.from_keras(brightness_network())
    callback = AttentionSnapshots(
        grey(0.9, 0.45), [1, 0], tmp_path, FGSM, class_names=("dark", "light")
    )
    assert captions_of(callback.draw(classifier)) == [
        "true: light", f"light {1 / (1 + np.exp(-4)):.2f}",
        "", f"light {1 / (1 + np.exp(-3)):.2f}",
        "true: dark", f"dark {1 / (1 + np.exp(-0.5)):.2f}",
        "", f"light {1 / (1 + np.exp(-0.5)):.2f}",
    ]  # fmt: skip
    numbers = AttentionSnapshots(grey(0.9), [1], tmp_path)
    assert captions_of(numbers.draw(classifier)) == ["true: 1", "1 0.98"]


def test_each_panel_shows_its_image_and_map(tmp_path):
    images, labels = quadrants(2)
    classifier = Classifier.from_keras(small_network(), "first")
    figure = AttentionSnapshots(images, labels, tmp_path, FGSM).draw(classifier)
    shown = np.reshape([axes.images[0].get_array() for axes in figure.axes], (2, 4, 8, 8, 3))
    attacked = FGSM(classifier, images, labels).numpy()
    for first, batch in ((0, images), (2, attacked)):
        maps = grad_cam(classifier, batch, labels).numpy()
        for row, (image, attention) in enumerate(zip(batch, maps, strict=True)):
            np.testing.assert_allclose(shown[row, first], displayable(image), atol=1e-6)
            np.testing.assert_allclose(shown[row, first + 1], overlay(image, attention), atol=1e-5)
    assert np.abs(shown[:, 2] - shown[:, 0]).max() > 0.05


def test_snapshots_for_tensorboard(tmp_path):
    images, labels = quadrants(2)
    log_dir = tmp_path / "logs"
    callback = AttentionSnapshots(images, labels, tmp_path / "png", FGSM, log_dir=log_dir)
    fit(plain(), [callback], epochs=2)
    (event_file,) = log_dir.iterdir()
    found = {}
    for event in tf.compat.v1.train.summary_iterator(str(event_file)):
        for value in event.summary.value:
            assert value.tag == "attention"
            assert value.metadata.plugin_data.plugin_name == "images"
            found[event.step] = tf.make_ndarray(value.tensor)
    assert sorted(found) == [0, 1]
    for step, (width, height, png) in found.items():
        path = tmp_path / "png" / f"attention_epoch_{step + 1:04d}.png"
        assert png == path.read_bytes()
        assert matplotlib.image.imread(io.BytesIO(png)).shape[:2] == (int(height), int(width))
