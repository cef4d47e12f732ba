"""Callbacks: numbers worked by hand, real fits, pictures read back, bad input."""

from __future__ import annotations

import csv
import io
import os

import keras
import matplotlib.image
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import attacks, data
from aad_tf.attention import MatchingArea, TopCells, grad_cam
from aad_tf.callbacks import (
    AttentionIoU,
    AttentionSnapshots,
    GradientShares,
    RobustAccuracy,
    StopOnNonFiniteLoss,
)
from aad_tf.classifier import Classifier
from aad_tf.defenses import AADModel, StandardModel
from aad_tf.types import Bounds

layers = keras.layers
FGSM = attacks.fgsm(0.1)


def brightness_network(softmax=False):
    """Class 1 has logit 10 * mean(image) - 5, class 0 has 0; the map of class 1 is 10 x / 16."""
    images = keras.Input((4, 4, 1))
    cells = layers.Conv2D(1, 1, use_bias=False, name="cells")(images)
    pooled = layers.GlobalAveragePooling2D()(cells)
    logits = layers.Dense(2, activation="softmax" if softmax else None)(pooled)
    model = keras.Model(images, logits)
    model.set_weights([np.ones((1, 1, 1, 1)), np.array([[0.0, 10.0]]), np.array([0.0, -5.0])])
    return model


def grey(*levels):
    return np.stack([np.full((4, 4, 1), level, np.float32) for level in levels])


# FGSM of 0.1 moves 0.45 and 0.52 over the border at 0.5, and repairs none but the last, which
# is wrong when clean.
GREY = grey(0.3, 0.45, 0.52, 0.9, 0.2)
GREY_LABELS = np.array([0, 0, 1, 1, 1])
ROBUST = 2 / 5


def quadrants(count=24, seed=0):
    """Noise with a bright quadrant, whose number is the label."""
    generator = np.random.RandomState(seed)
    images = generator.uniform(0, 0.5, (count, 8, 8, 1)).astype(np.float32)
    labels = np.arange(count) % 4
    for image, label in zip(images, labels, strict=True):
        row, column = 4 * (label // 2), 4 * (label % 2)
        image[row : row + 4, column : column + 4] += 0.5
    return images, labels


def small_network(softmax=False):
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, padding="same", activation="relu", name="first"),
            layers.MaxPooling2D(2, name="second"),
            layers.BatchNormalization(name="third"),
            layers.Flatten(),
            layers.Dense(4, activation="softmax" if softmax else None),
        ]
    )


def compiled(model, learning_rate=1e-2, **kwargs):
    from_logits = getattr(model.layers[-1], "activation", None) is not keras.activations.softmax
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
    model.compile(keras.optimizers.Adam(learning_rate), loss, metrics=["accuracy"], **kwargs)
    return model


def fit(model, callbacks, epochs=1, **kwargs):
    images, labels = quadrants()
    options = {"batch_size": 10, "epochs": epochs, "verbose": 0, **kwargs}
    return model.fit(images, labels, callbacks=callbacks, **options).history


def trace_counts(classifier):
    return {key: f.experimental_get_tracing_count() for key, f in classifier.compiled.items()}


# Robust accuracy ---------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 5, 128])
@pytest.mark.parametrize("softmax", [False, True])
def test_robust_accuracy_worked_by_hand(batch_size, softmax):
    classifier = Classifier.from_keras(brightness_network(softmax))
    arrays = RobustAccuracy((GREY, GREY_LABELS), FGSM, batch_size=batch_size)
    assert arrays.evaluate(classifier) == pytest.approx(ROBUST)
    batches = tf.data.Dataset.from_tensor_slices((GREY, GREY_LABELS)).batch(batch_size)
    assert RobustAccuracy(batches, FGSM).evaluate(classifier) == pytest.approx(ROBUST)
    assert set(trace_counts(classifier).values()) == {1}


def test_clean_accuracy_bounds_robust_accuracy():
    classifier = Classifier.from_keras(brightness_network())
    dataset = GREY, GREY_LABELS
    by_size = [RobustAccuracy(dataset, attacks.fgsm(size)) for size in (0.0, 0.03, 0.1, 0.5)]
    values = [callback.evaluate(classifier) for callback in by_size]
    assert values == pytest.approx([4 / 5, 3 / 5, 2 / 5, 0.0])


def test_random_starts_are_those_of_the_epoch_before():
    classifier = Classifier.from_keras(small_network())
    pgd = attacks.pgd(0.1, 0.05, 2)
    seen = []

    def attack(*arguments, **keywords):
        seen.append(pgd(*arguments, **keywords).numpy())
        return seen[-1]

    image = quadrants(1)[0]
    callback = RobustAccuracy((np.repeat(image, 4, axis=0), np.zeros(4, int)), attack, batch_size=2)
    callback.evaluate(classifier)
    callback.evaluate(classifier)
    np.testing.assert_array_equal(seen[0], seen[2])
    np.testing.assert_array_equal(seen[1], seen[3])
    assert not np.array_equal(seen[0], seen[1])


def test_measuring_changes_no_weights():
    model = small_network()
    before = model.get_weights()
    classifier = Classifier.from_keras(model)
    RobustAccuracy(quadrants(), FGSM).evaluate(classifier)
    AttentionIoU(quadrants(), FGSM).evaluate(classifier)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def plain():
    return compiled(small_network())


def plain_softmax_in_blocks():
    return compiled(small_network(softmax=True), steps_per_execution=2)


def standard():
    model = StandardModel(small_network())
    model.compile("adam", steps_per_execution=2)
    return model


def aad():
    model = AADModel(small_network(), attack=attacks.step_ll(0.1, 2))
    model.compile("adam")
    return model


MODELS = pytest.mark.parametrize("make", [plain, plain_softmax_in_blocks, standard, aad])


@MODELS
def test_all_callbacks_in_a_fit_compile_once(make, tmp_path):
    images, labels = quadrants(12, seed=1)
    robust = RobustAccuracy((images, labels), FGSM, batch_size=5)
    overlap = AttentionIoU((images, labels), FGSM, TopCells(3), batch_size=5)
    pictures = AttentionSnapshots(images, labels, tmp_path, FGSM, max_images=2)
    model = make()
    history = fit(model, [StopOnNonFiniteLoss(), robust, overlap, pictures], epochs=3)
    for name in ("val_robust_accuracy", "val_attention_iou"):
        assert len(history[name]) == 3
        assert all(0.0 <= value <= 1.0 for value in history[name])
    assert len(os.listdir(tmp_path)) == 3
    for callback in (robust, overlap, pictures):
        counts = trace_counts(callback.classifier)
        assert counts and set(counts.values()) == {1}
    assert history["val_robust_accuracy"][-1] == robust.evaluate(robust.classifier)
    if isinstance(model, (StandardModel, AADModel)):
        assert robust.classifier is overlap.classifier is model.classifier


def test_softmax_of_a_plain_model_stays_its_own():
    model = plain_softmax_in_blocks()
    fit(model, [RobustAccuracy(quadrants(), FGSM)])
    outputs = model.predict(quadrants()[0], verbose=0)
    np.testing.assert_allclose(outputs.sum(axis=-1), 1.0, atol=1e-5)
    assert outputs.min() >= 0


class LateNetwork(keras.Model):
    """Built by its first batch only."""

    def __init__(self):
        super().__init__()
        self.features = layers.Conv2D(3, 3)
        self.classify = layers.Dense(4)

    def call(self, images):
        return self.classify(tf.reduce_mean(self.features(images), axis=(1, 2)))


def test_subclassed_model_that_fit_builds():
    model = LateNetwork()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert len(fit(model, [RobustAccuracy(quadrants(), FGSM)])["val_robust_accuracy"]) == 1


def test_callback_serves_one_model_after_another():
    callback = RobustAccuracy(quadrants(), FGSM)
    for model in (plain(), plain()):
        value = fit(model, [callback])["val_robust_accuracy"][0]
        assert callback.classifier.model is model
        assert value == callback.evaluate(Classifier.from_keras(model))


def test_early_stopping_and_checkpoint_watch_robust_accuracy(tmp_path):
    """A network that does not learn does not improve, so training ends after the patience."""
    model = compiled(small_network(), learning_rate=0.0)
    model.get_layer("third").momentum = 1.0
    robust = RobustAccuracy(quadrants(), FGSM)
    stop = keras.callbacks.EarlyStopping("val_robust_accuracy", mode="max", patience=2)
    path = str(tmp_path / "{epoch}-{val_robust_accuracy:.2f}.keras")
    keep = keras.callbacks.ModelCheckpoint(
        path, "val_robust_accuracy", mode="max", save_best_only=True
    )
    history = fit(model, [robust, stop, keep], epochs=9)
    values = history["val_robust_accuracy"]
    assert len(values) == 3 and len(set(values)) == 1
    assert stop.stopped_epoch == 2
    assert os.listdir(tmp_path) == [f"1-{values[0]:.2f}.keras"]


def test_measured_values_reach_csv_beside_validation(tmp_path):
    path = tmp_path / "log.csv"
    callbacks = [RobustAccuracy(quadrants(), FGSM, name="fgsm"), keras.callbacks.CSVLogger(path)]
    history = fit(plain(), callbacks, epochs=2, validation_data=quadrants(8, seed=2))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_fgsm"]) for row in rows] == pytest.approx(history["val_fgsm"])
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "val_fgsm"} == set(history)


def test_every_second_epoch(tmp_path):
    images, labels = quadrants(4)
    robust = RobustAccuracy((images, labels), FGSM, every=2)
    pictures = AttentionSnapshots(images, labels, tmp_path, every=2)
    history = fit(plain(), [robust, pictures], epochs=5)
    assert len(history["val_robust_accuracy"]) == 2
    assert sorted(os.listdir(tmp_path)) == [
        "attention_epoch_0002.png",
        "attention_epoch_0004.png",
    ]


def test_two_measures_of_one_name_are_refused():
    twice = [RobustAccuracy(quadrants(), FGSM), RobustAccuracy(quadrants(), attacks.fgsm(0.2))]
    with pytest.raises(ValueError, match="hold val_robust_accuracy already.*name=..."):
        fit(plain(), twice)


# Attention IoU -----------------------------------------------------------------------------


def flipped(classifier, images, labels, *, seed=None):
    """Stands for an attack that moves attention by a known amount."""
    return tf.reverse(images, axis=[2])


def bright_columns(*columns):
    image = np.zeros((4, 4, 1), np.float32)
    image[:, list(columns)] = 1.0
    return image


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_attention_iou_worked_by_hand(batch_size):
    """The map is the image: flipping columns 0; 0, 1, 2; 1, 2 gives IoU 0, 8 / 16, 1."""
    images = np.stack([bright_columns(0), bright_columns(0, 1, 2), bright_columns(1, 2)])
    classifier = Classifier.from_keras(brightness_network())
    callback = AttentionIoU((images, [1, 1, 1]), flipped, batch_size=batch_size)
    assert callback.evaluate(classifier) == pytest.approx((0 + 0.5 + 1) / 3)


def to_black_if_dim(classifier, images, labels, *, seed=None):
    """Stands for an attack that puts out attention on images with one bright column."""
    mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
    return tf.where(mean < 0.3, tf.zeros_like(images), images)


@pytest.mark.parametrize("threshold", ["mean", TopCells(4)])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_empty_pairs_are_left_out_and_counted(threshold, batch_size):
    """Black to black is empty; one column to black has IoU 0; two columns stay, IoU 1."""
    images = np.stack([bright_columns(), bright_columns(), bright_columns(0), bright_columns(1, 2)])
    data = images, [1, 1, 1, 1]
    callback = AttentionIoU(data, to_black_if_dim, threshold, batch_size=batch_size)
    callback.set_model(brightness_network())
    expected = {"val_attention_iou": 0.5, "val_attention_iou_empty": 0.5}
    assert callback.measure(0) == expected
    assert callback.evaluate(callback.classifier) == 0.5


def test_nothing_but_empty_pairs():
    callback = AttentionIoU((np.stack([bright_columns()] * 2), [1, 1]), to_black_if_dim)
    callback.set_model(brightness_network())
    assert callback.measure(0) == {"val_attention_iou": 0.0, "val_attention_iou_empty": 1.0}


def test_attention_iou_of_highest_cells_in_numpy():
    classifier = Classifier.from_keras(small_network())
    images, labels = quadrants(7)
    attack = attacks.fgsm(0.3)
    adversarial = attack(classifier, images, labels)
    overlaps = []
    for clean, other in zip(
        grad_cam(classifier, images, labels).numpy(),
        grad_cam(classifier, adversarial, labels).numpy(),
        strict=True,
    ):
        # A zero map has no highest cells.
        order = [np.argsort(-m.ravel(), kind="stable")[: 5 * m.any()] for m in (clean, other)]
        kept = [set(cells) for cells in order]
        if kept[0] | kept[1]:
            overlaps.append(len(kept[0] & kept[1]) / len(kept[0] | kept[1]))
    assert 0 < np.mean(overlaps) < 1
    callback = AttentionIoU((images, labels), attack, TopCells(5), batch_size=3)
    assert callback.evaluate(classifier) == pytest.approx(np.mean(overlaps))


def test_attention_does_not_move_without_perturbation():
    callback = AttentionIoU(quadrants(), attacks.fgsm(0.0), TopCells(4))
    assert callback.evaluate(Classifier.from_keras(small_network())) == 1.0


@pytest.mark.parametrize("make", [plain, standard])
def test_attention_layer_by_name(make):
    callback = AttentionIoU(quadrants(), FGSM, attention_layer="first", name="first_iou")
    history = fit(make(), [callback, AttentionIoU(quadrants(), FGSM)])
    assert callback.classifier.attention_layer == "first"
    assert {"val_first_iou", "val_attention_iou"} <= set(history)


# Snapshots ---------------------------------------------------------------------------------


def picture_size(path):
    return matplotlib.image.imread(path).shape[:2]


def test_snapshot_sizes(tmp_path):
    """Panels of 1.4 inches, gaps of 0.08, titles 0.28, captions 0.17, 100 pixels an inch."""
    images, labels = quadrants(5)
    callbacks = [
        AttentionSnapshots(images, labels, tmp_path / "deep" / "both", FGSM, max_images=3),
        AttentionSnapshots(images, labels, tmp_path / "clean"),
    ]
    fit(plain(), callbacks)
    name = "attention_epoch_0001.png"
    expected = round(100 * (0.28 + 3 * 1.65)), round(100 * (0.08 + 4 * 1.48))
    assert picture_size(tmp_path / "deep" / "both" / name) == expected
    expected = round(100 * (0.28 + 5 * 1.65)), round(100 * (0.08 + 2 * 1.48))
    assert picture_size(tmp_path / "clean" / name) == expected
    assert os.listdir(tmp_path / "clean") == [name]


def captions_of(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_snapshot_captions_worked_by_hand(tmp_path):
    """The logit difference is 10 g - 5: 4 at 0.9, 3 after FGSM of 0.1."""
    classifier = Classifier.from_keras(brightness_network())
    callback = AttentionSnapshots(
        grey(0.9, 0.45), [1, 0], tmp_path, FGSM, class_names=("dark", "light")
    )
    assert captions_of(callback.draw(classifier)) == [
        "true: light", f"light ({1 / (1 + np.exp(-4)):.2f})",
        "", f"light ({1 / (1 + np.exp(-3)):.2f})",
        "true: dark", f"dark ({1 / (1 + np.exp(-0.5)):.2f})",
        "", f"light ({1 / (1 + np.exp(-0.5)):.2f})",
    ]  # fmt: skip
    numbers = AttentionSnapshots(grey(0.9), [1], tmp_path)
    assert captions_of(numbers.draw(classifier)) == ["true: 1", "1 (0.98)"]


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


# Losses ------------------------------------------------------------------------------------


def linear_network(**kwargs):
    """Has no ReLU or max pooling, which may turn NaN into 0."""
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(4)]
    )
    return compiled(model, **kwargs)


def broken_at(example):
    images, labels = quadrants()
    images[example, 0, 0, 0] = np.nan
    return images, labels


def fit_in_order(model, images, labels, callbacks):
    return model.fit(images, labels, batch_size=10, shuffle=False, verbose=0, callbacks=callbacks)


def test_non_finite_loss_stops_training_and_keeps_good_weights(tmp_path):
    keep = keras.callbacks.ModelCheckpoint(tmp_path / "kept.keras", save_freq=1)
    with pytest.raises(FloatingPointError, match="in epoch 1, batch 2: loss is nan"):
        fit_in_order(linear_network(), *broken_at(example=13), [StopOnNonFiniteLoss(), keep])
    kept = keras.saving.load_model(tmp_path / "kept.keras")
    assert all(np.isfinite(weight).all() for weight in kept.get_weights())


def test_non_finite_loss_in_blocks_of_steps():
    model = linear_network(steps_per_execution=2)
    with pytest.raises(FloatingPointError, match="batch 2 or one of the 1 before it"):
        fit_in_order(model, *broken_at(example=0), [StopOnNonFiniteLoss()])


def test_non_finite_loss_of_validation():
    message = r"epoch 1, at its end: val_loss is nan \(finite: loss is \d"
    with pytest.raises(FloatingPointError, match=message):
        fit(linear_network(), [StopOnNonFiniteLoss()], validation_data=broken_at(example=3))


def test_non_finite_loss_of_a_defence_names_the_term():
    model = AADModel(small_network(), attack=FGSM)
    model.compile(keras.optimizers.SGD(1e30))
    with pytest.raises(FloatingPointError, match="classification_loss is (nan|inf)"):
        fit(model, [StopOnNonFiniteLoss()], epochs=9)


def test_finite_losses_and_other_metrics_pass():
    callback = StopOnNonFiniteLoss()
    callback.set_model(plain())
    callback.on_epoch_begin(0)
    callback.on_train_batch_end(0, {"loss": 1.0, "ratio": float("nan")})
    with pytest.raises(FloatingPointError, match="out_loss is -inf"):
        callback.on_train_batch_end(0, {"loss": 1.0, "out_loss": float("-inf")})


def test_gradient_shares_agree_with_gradients_taken_one_by_one():
    images, labels = quadrants(6)
    network = small_network()
    attack = attacks.step_ll(0.1, 2)
    weights = (8.0, 4.0, 1.0)

    def norm(one):
        model = AADModel(network, attack=attack, weights=np.eye(3)[one] * weights)
        adversarial = model.adversarial_images(tf.constant(images), tf.constant(labels, tf.int32))
        with tf.GradientTape() as tape:
            losses, _ = model.training_losses(
                tf.constant(images), tf.constant(labels, tf.int32), adversarial, training=False
            )
            loss = tf.reduce_mean(losses["loss"])
        gradients = tape.gradient(loss, network.trainable_variables)
        return np.sqrt(sum(np.sum(np.square(gradient)) for gradient in gradients))

    norms = np.array([norm(one) for one in range(3)])
    model = AADModel(network, attack=attack, weights=weights)
    model.compile(keras.optimizers.SGD(0.0))
    callback = GradientShares(images, labels)
    callback.set_model(model)
    found = callback.measure(0)
    np.testing.assert_allclose(list(found.values()), norms / norms.sum(), rtol=1e-4)
    assert list(found) == [
        "gradient_share_classification",
        "gradient_share_rectification",
        "gradient_share_preservation",
    ]


@pytest.mark.parametrize("update_per_round", [False, True])
def test_gradient_shares_in_a_fit(update_per_round):
    model = AADModel(
        small_network(),
        attack=attacks.step_ll(0.1, 2),
        weights=(1, 1, 0),
        update_per_round=update_per_round,
    )
    model.compile("adam")
    callback = GradientShares(*quadrants(6))
    history = fit(model, [callback], epochs=3)
    terms = ("classification", "rectification", "preservation")
    shares = np.array([history[f"gradient_share_{term}"] for term in terms])
    np.testing.assert_allclose(shares.sum(axis=0), 1.0, atol=1e-6)
    assert (shares[:2] > 0).all() and (shares[2] == 0).all()
    assert callback._compiled[1].experimental_get_tracing_count() == 1


@pytest.mark.parametrize("make", [plain, standard])
def test_gradient_shares_need_several_terms(make):
    with pytest.raises(TypeError, match="GradientShares needs an AADModel.*Leave the callback out"):
        fit(make(), [GradientShares(*quadrants(4))])


# Bad input ---------------------------------------------------------------------------------


def endless():
    return tf.data.Dataset.from_tensor_slices(quadrants()).batch(5).repeat()


@pytest.mark.parametrize(
    ("dataset", "error", "message"),
    [
        (lambda x, y: (255 * x, y), ValueError, "divide by 255"),
        (lambda x, y: ((255 * x).astype(np.uint8), y), TypeError, "must be floating point"),
        (lambda x, y: (x * np.nan, y), ValueError, "NaN or infinity"),
        (lambda x, y: (x[0], y[:1]), ValueError, "rank 4"),
        (lambda x, y: (x[:0], y[:0]), ValueError, "no examples"),
        (lambda x, y: (x, y[:3]), ValueError, "one entry an example, got 24 and 3"),
        (lambda x, y: (x, np.eye(4)[y]), ValueError, "one-hot"),
        (lambda x, y: x, TypeError, "pair of arrays"),
        (lambda x, y: tf.data.Dataset.from_tensor_slices((x, y)), ValueError, "dataset.batch"),
        (lambda x, y: tf.data.Dataset.from_tensors(x), TypeError, "tuples .images, labels."),
        (lambda x, y: endless(), ValueError, "endless.*take"),
    ],
)
def test_examples_are_checked_when_given(dataset, error, message):
    with pytest.raises(error, match=message):
        RobustAccuracy(dataset(*quadrants()), FGSM)


@pytest.mark.parametrize(
    ("dataset", "error", "message"),
    [
        (lambda x, y: (x, y + 1), ValueError, r"labels must lie in \[0, 4\), got \[1, 4\]"),
        (lambda x, y: (x, y.astype(np.float32)), TypeError, "labels must be integers"),
        (lambda x, y: (x[:, :5], y), ValueError, r"shape \[batch, 8, 8, 1\]"),
        (lambda x, y: tf.data.Dataset.from_tensor_slices((x, y)).batch(4).take(0), ValueError,
         "data set is empty"),
        (lambda x, y: tf.data.Dataset.from_tensor_slices((255 * x, y)).batch(4), ValueError,
         "divide by 255"),
    ],
)  # fmt: skip
def test_examples_are_checked_against_the_network_before_an_epoch(dataset, error, message):
    model = plain()
    before = model.get_weights()
    with pytest.raises(error, match=message):
        fit(model, [RobustAccuracy(dataset(*quadrants()), FGSM)])
    np.testing.assert_array_equal(before[0], model.get_weights()[0])


def test_arguments_are_checked_when_given(tmp_path):
    images, labels = quadrants(4)
    with pytest.raises(TypeError, match="attack must be an attack.*parse_attack"):
        RobustAccuracy((images, labels), "fgsm(0.1)")
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        RobustAccuracy((images, labels), FGSM, every=0)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        RobustAccuracy((images, labels), FGSM, batch_size=0)
    with pytest.raises(ValueError, match="Unknown threshold rule 'median'"):
        AttentionIoU((images, labels), FGSM, "median")
    with pytest.raises(TypeError, match="MatchingArea belongs to the masks of one batch"):
        AttentionIoU((images, labels), FGSM, MatchingArea(np.ones((4, 4, 4))))
    with pytest.raises(ValueError, match="max_images must be at least 1"):
        AttentionSnapshots(images, labels, tmp_path, max_images=0)
    with pytest.raises(ValueError, match="divide by 255"):
        GradientShares(255 * images, labels)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        AttentionSnapshots(images, labels, tmp_path / "file")


def test_class_names_are_as_many_as_classes(tmp_path):
    with pytest.raises(ValueError, match="class_names must have 4 entries, got 2"):
        fit(plain(), [AttentionSnapshots(*quadrants(4), tmp_path, class_names=("a", "b"))])


def test_unknown_attention_layer_lists_candidates():
    with pytest.raises(ValueError, match="No layer is named 'secnd'.*'second'"):
        fit(plain(), [AttentionIoU(quadrants(), FGSM, attention_layer="secnd")])


def test_other_pixel_ranges():
    images, labels = quadrants()
    symmetric = Bounds(-1.0, 1.0)
    network = small_network()
    model = StandardModel(network, bounds=symmetric)
    model.compile("adam")
    with pytest.raises(ValueError, match=r"takes \(-1.0, 1.0\). Pass bounds="):
        fit(model, [RobustAccuracy((images, labels), FGSM)])
    callback = RobustAccuracy((2 * images - 1, labels), FGSM, bounds=symmetric)
    assert len(fit(model, [callback])["val_robust_accuracy"]) == 1
    assert len(fit(compiled(network), [callback])["val_robust_accuracy"]) == 1


# Real data ---------------------------------------------------------------------------------


def test_aad_on_digits_watches_its_robustness(tmp_path):
    """Training against FGSM raises accuracy under FGSM: 0.29, then 0.42 with this seed."""
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(8, 5, strides=2, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )
    model = AADModel(network, attack=FGSM)
    model.compile(keras.optimizers.Adam(1e-2))
    validation = data.evaluation_batches("digits", "validation", 50)
    images, labels = next(iter(validation))
    callbacks = [
        StopOnNonFiniteLoss(),
        RobustAccuracy(validation, FGSM),
        AttentionIoU(validation, FGSM, TopCells(8)),
        GradientShares(images, labels),
        AttentionSnapshots(images, labels, tmp_path, FGSM, max_images=2),
    ]
    batches = data.training_batches("digits", 50, seed=0)
    history = model.fit(batches, steps_per_epoch=20, epochs=2, verbose=0, callbacks=callbacks)
    robust = history.history["val_robust_accuracy"]
    assert robust[1] > max(robust[0], 0.3)
    assert min(history.history["val_attention_iou"]) > 0
    assert len(os.listdir(tmp_path)) == 2
