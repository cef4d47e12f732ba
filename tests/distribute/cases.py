"""What each process of a distributed test does; the same code runs alone and on many workers."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aad_tf.attacks import fgsm, pgd, step_ll
from aad_tf.callbacks import AttentionIoU, AttentionSnapshots, RobustAccuracy
from aad_tf.data import ReplicaShare
from aad_tf.defenses import (
    AADModel,
    AdversarialModel,
    DefenseModel,
    EnsembleAdversarialModel,
    StandardModel,
)
from aad_tf.distribute import (
    distributed,
    in_agreement,
    is_chief,
    is_multi_worker,
    own_randomness,
    own_seed,
)
from tests.networks import SHAPE, batch_norm_network, random_images, small_network

Arrays = dict[str, np.ndarray]
EXAMPLES, BATCH = 43, 10  # The last batch has three examples: two replicas hold two and one.


def examples(dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    labels = np.random.default_rng(1).integers(0, 3, EXAMPLES).astype("int32")
    return random_images(EXAMPLES, seed=1, dtype=dtype), labels


def bounds(share: ReplicaShare) -> np.ndarray:
    """First and last place of the slices of the replicas of a share, batch after batch."""
    found = []
    for start in range(0, EXAMPLES, BATCH):
        places = np.arange(start, min(start + BATCH, EXAMPLES))
        slices = np.array_split(places, share.total)[share.first : share.first + share.count]
        found += [(part[0], part[-1] + 1) for part in slices]
    return np.array(found)


def dataset(share: ReplicaShare, dtype: str = "float32") -> tf.data.Dataset:
    images, labels = (tf.constant(values) for values in examples(dtype))
    slices = tf.data.Dataset.from_tensor_slices(bounds(share))
    return slices.map(lambda part: (images[part[0] : part[1]], labels[part[0] : part[1]]))


class Logs(keras.callbacks.Callback):
    """Keeps the logs of every step and epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[float] = []
        self.epochs: list[dict[str, float]] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps.append(float(logs["loss"]))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs.append({name: float(value) for name, value in logs.items()})


def fitted(
    strategy: tf.distribute.Strategy,
    model: DefenseModel,
    epochs: int,
    dtype: str = "float32",
    steps: int | None = None,
) -> Arrays:
    """Fits and evaluates; returns all that can be compared."""
    logs = Logs()
    data = distributed(strategy, lambda share: dataset(share, dtype).repeat(), endless=True)
    finite = distributed(strategy, lambda share: dataset(share, dtype))
    model.fit(
        data,
        epochs=epochs,
        steps_per_epoch=steps or -(-EXAMPLES // BATCH),
        validation_data=finite,
        callbacks=[logs],
        verbose=0,
    )
    evaluated = model.evaluate(finite, verbose=0, return_dict=True)
    names = sorted(logs.epochs[0])
    return {
        "steps": np.array(logs.steps),
        "names": np.array(names),
        "epochs": np.array([[row[name] for name in names] for row in logs.epochs]),
        "evaluated": np.array([float(evaluated[name]) for name in sorted(evaluated)]),
        **{f"weight{i}": np.asarray(w) for i, w in enumerate(model.network.get_weights())},
    }


def plain(strategy: tf.distribute.Strategy) -> Arrays:
    with strategy.scope():
        model = StandardModel(small_network(), label_smoothing=0.1)
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9))
    return fitted(strategy, model, epochs=3)


def aad(strategy: tf.distribute.Strategy, dtype: str, epochs: int, steps: int | None) -> Arrays:
    with strategy.scope():
        network = small_network(dtype=dtype if dtype == "float64" else None)
        model = AADModel(network, attack=step_ll(0.1, num_steps=2))
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9))
    return fitted(strategy, model, epochs, dtype, steps)


def aad_first_steps(strategy: tf.distribute.Strategy) -> Arrays:
    return aad(strategy, "float32", epochs=1, steps=3)


def aad_float64(strategy: tf.distribute.Strategy) -> Arrays:
    return aad(strategy, "float64", epochs=6, steps=None)


def batch_normalization(strategy: tf.distribute.Strategy) -> Arrays:
    """AAD with batch statistics, which each replica takes of its own part."""
    with strategy.scope():
        model = AADModel(batch_norm_network(), attack=step_ll(0.1, num_steps=2))
        model.compile(keras.optimizers.SGD(0.01))
    return fitted(strategy, model, epochs=1)


def statistics_of_one_step(strategy: tf.distribute.Strategy) -> Arrays:
    """One step of a network that begins with batch normalization: statistics known by hand."""
    keras.utils.set_random_seed(0)
    norm = keras.layers.BatchNormalization(momentum=0.9)
    layers = keras.layers
    with strategy.scope():
        network = keras.Sequential(
            [
                keras.Input(SHAPE),
                norm,
                layers.Conv2D(2, 3),
                layers.GlobalAveragePooling2D(),
                layers.Dense(3),
            ]
        )
        model = StandardModel(network)
        model.compile("sgd")
    data = distributed(strategy, lambda share: dataset(share).repeat(), endless=True)
    model.fit(data, epochs=1, steps_per_epoch=1, verbose=0)
    return {"mean": norm.moving_mean.numpy(), "variance": norm.moving_variance.numpy()}


def other_defenses(strategy: tf.distribute.Strategy) -> Arrays:
    """Ensemble training, with random draws and dropout; and PGD-like random starts."""
    found: Arrays = {}
    with strategy.scope():
        dropping = small_network(middle=[keras.layers.Dropout(0.5)])
        source = small_network(seed=5)
        models = {
            "ensemble": EnsembleAdversarialModel(dropping, sources=[source], attack=fgsm(0.1)),
            "adversarial": AdversarialModel(
                small_network(), attack=pgd(0.1, 0.05, 1), warmup_steps=2
            ),
        }
        for model in models.values():
            model.compile("adam")
    for name, model in models.items():
        found |= {f"{name}_{k}": v for k, v in fitted(strategy, model, 1, steps=3).items()}
    return found


def randomness(strategy: tf.distribute.Strategy) -> Arrays:
    """Dropout masks and seeds of every replica, as this process sees them."""
    with strategy.scope():
        network = keras.Sequential([keras.Input((1000,)), keras.layers.Dropout(0.5, seed=3)])

    def masks() -> tuple[tf.Tensor, tf.Tensor]:
        with own_randomness(network):
            return network(tf.ones((1, 1000)), training=True), own_seed(tf.constant([3, 4]))

    before = network.non_trainable_variables[0].numpy()
    results = strategy.run(tf.function(masks))
    local = [strategy.experimental_local_results(value) for value in results]
    return {
        "masks": np.concatenate([value.numpy() for value in local[0]]),
        "seeds": np.stack([value.numpy() for value in local[1]]),
        "state_before": before,
        "state_after": network.non_trainable_variables[0].numpy(),
    }


def keras_habits(strategy: tf.distribute.Strategy) -> Arrays:
    """Arrays, sample weights, compiled metrics and `predict`, as a user would write them."""
    with strategy.scope():
        model = StandardModel(small_network())
        top2 = keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")
        model.compile("sgd", metrics=[top2])
    images, labels = (values[:40] for values in examples())
    history = model.fit(images, labels, batch_size=10, epochs=2, shuffle=False, verbose=0)
    return {
        "top2": np.array(history.history["top2"]),
        "loss": np.array(history.history["loss"]),
        "predicted": model.predict(images, batch_size=10, verbose=0),
    }


def clipped_and_weighted(strategy: tf.distribute.Strategy) -> Arrays:
    """Global clipping, an L2 penalty and sample weights."""
    penalty = keras.regularizers.L2(0.01)
    with strategy.scope():
        middle = keras.layers.Conv2D(4, 1, kernel_regularizer=penalty)
        model = StandardModel(small_network(middle=[middle]))
        model.compile(keras.optimizers.SGD(1.0, global_clipnorm=0.05))

    def weighted(share: ReplicaShare) -> tf.data.Dataset:
        def weigh(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return images, labels, 0.5 + tf.cast(labels, tf.float32)

        return dataset(share).map(weigh).repeat()

    data = distributed(strategy, weighted, endless=True)
    history = model.fit(data, epochs=2, steps_per_epoch=4, verbose=0)
    return {
        "loss": np.array(history.history["loss"]),
        **{f"weight{i}": np.asarray(w) for i, w in enumerate(model.network.get_weights())},
    }


class OverflowsOnTheLast(StandardModel):
    """Its loss overflows where an image is all white."""

    def training_losses(self, images: Any, *arguments: Any, **options: Any) -> Any:
        losses, logits = super().training_losses(images, *arguments, **options)
        white = tf.reduce_any(tf.reduce_min(images, axis=[1, 2, 3]) > 0.99)
        return {name: value * tf.where(white, 1e38, 1.0) for name, value in losses.items()}, logits


def loss_scale(strategy: tf.distribute.Strategy) -> Arrays:
    """Scaled gradients that overflow in the first step, on the last replica alone."""
    with strategy.scope():
        model = OverflowsOnTheLast(small_network())
        model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)))
        before = [np.asarray(weight) for weight in model.network.get_weights()]

    def batches(share: ReplicaShare) -> tf.data.Dataset:
        white = tf.data.Dataset.range(len(bounds(share))).map(
            lambda number: (number == share.count - 1) & (share.first + share.count == share.total)
        )
        blank = tf.data.Dataset.zip(dataset(share), white)
        return blank.map(
            lambda example, all_white: (tf.where(all_white, 1.0, 0.9 * example[0]), example[1])
        )

    data = distributed(strategy, lambda share: batches(share).repeat(), endless=True)
    model.fit(data, epochs=1, steps_per_epoch=1, verbose=0)
    skipped = model.network.get_weights()
    scale = float(model.optimizer.dynamic_scale.numpy())
    model.fit(data, epochs=1, steps_per_epoch=3, verbose=0)
    return {
        "unchanged": np.array([np.array_equal(a, b) for a, b in zip(before, skipped, strict=True)]),
        "scale": np.array(scale),
        "finite": np.array(all(np.isfinite(w).all() for w in model.network.get_weights())),
    }


def refusals(strategy: tf.distribute.Strategy) -> Arrays:
    """What `compile` says of settings that several replicas cannot be trained with."""
    said = []
    with strategy.scope():
        half = StandardModel(small_network(dtype="mixed_float16"))
        full = StandardModel(small_network())
        for model, arguments in (
            (full, {"optimizer": "sgd", "steps_per_execution": 2}),
            (half, {"optimizer": keras.optimizers.SGD(clipnorm=1.0)}),
        ):
            try:
                model.compile(**arguments)
                said.append("")
            except ValueError as error:
                said.append(str(error))
    return {"said": np.array(said)}


def callbacks(strategy: tf.distribute.Strategy) -> Arrays:
    """What looks at the network between epochs, and a picture that one process writes."""
    with strategy.scope():
        model = StandardModel(small_network())
        model.compile("sgd")
    images, labels = (values[:12] for values in examples())
    with tempfile.TemporaryDirectory() as directory:
        watching = [
            RobustAccuracy((images, labels), fgsm(0.1)),
            AttentionIoU((images, labels), fgsm(0.1)),
            AttentionSnapshots(images[:2], labels[:2], directory),
        ]
        data = distributed(strategy, lambda share: dataset(share).repeat(), endless=True)
        history = model.fit(data, epochs=1, steps_per_epoch=2, callbacks=watching, verbose=0)
        pictures = len(os.listdir(directory))
    values = {name: np.array(found) for name, found in history.history.items()}
    return {**values, "pictures": np.array(pictures)}


def stopping(strategy: tf.distribute.Strategy) -> Arrays:
    """A worker asks to stop in its third step: the second one, if there are two."""
    with strategy.scope():
        model = StandardModel(small_network())
        model.compile("sgd")
    stopped_at: list[int] = []
    asks = not in_first_of_several(strategy)

    class Ask(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == 2 and asks:
                model.ask_to_stop()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if model.asked_to_stop:
                stopped_at.append(batch)
                model.stop_training = True

    data = distributed(strategy, lambda share: dataset(share).repeat(), endless=True)
    model.fit(data, epochs=1, steps_per_epoch=8, callbacks=[Ask()], verbose=0)
    return {"stopped_at": np.array(stopped_at)}


def in_first_of_several(strategy: tf.distribute.Strategy) -> bool:
    return is_multi_worker(strategy) and is_chief(strategy)


def agreement(strategy: tf.distribute.Strategy) -> Arrays:
    own = 0 if in_first_of_several(strategy) else 1
    return {
        "same": np.array(in_agreement(strategy, [7, 8])),
        "different": np.array(in_agreement(strategy, [7, own])),
    }


CASES = {
    case.__name__: case
    for case in (
        plain,
        aad_first_steps,
        aad_float64,
        batch_normalization,
        statistics_of_one_step,
        other_defenses,
        randomness,
        keras_habits,
        clipped_and_weighted,
        loss_scale,
        refusals,
        callbacks,
        stopping,
        agreement,
    )
}
