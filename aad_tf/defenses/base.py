"""DefenseModel: what every defence shares as a Keras model with its own training step."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from aad_tf.checks import (
    assert_image_range,
    assert_known_labels,
    check_count,
    check_image_shape,
    check_label_rank,
)
from aad_tf.classifier import Classifier
from aad_tf.defenses.reductions import hits, weighted_mean
from aad_tf.defenses.statistics import moving_statistics
from aad_tf.defenses.updates import check_for_replicas, prepared_gradients
from aad_tf.distribute import (
    MultiWorkerFit,
    mean_over_replicas,
    own_randomness,
    own_seed,
    share_of_examples,
)
from aad_tf.types import Bounds


class DefenseModel(MultiWorkerFit, keras.Model):
    """A Keras model that trains another one; `compile`, `fit`, `evaluate`, `predict` as usual.

    Subclasses implement `training_losses`. Calling the model returns the logits of the network,
    which keeps its identity: train the defence, then use or save the network.

    Under a strategy of `tf.distribute` the loss is the mean over the global batch, whatever part
    of it each replica holds; dropout and random starts differ between replicas, and moving
    statistics, which each replica takes of its own part, are averaged at each step.

    Args:
        network: any Keras classifier of `[batch, H, W, C]` images; a final softmax is bypassed.
        attention_layer: name of the layer attention maps explain; found when None.
        bounds: pixel range the network takes, a pair of numbers.
        input_shape: `(H, W, C)`, as for `Classifier.from_keras`.
        seed: seeds the random starts of attacks in training.
        warmup_steps: adversarial perturbations grow linearly to their full size over so many
            updates. PGD training can stay at chance for long without it.
        label_smoothing: of the classification losses of training, in [0, 1).

    Raises:
        TypeError, ValueError: as `Classifier.from_keras`; a negative number of steps.
    """

    def __init__(
        self,
        network: keras.Model | Classifier,
        *,
        attention_layer: str | None = None,
        bounds: Bounds = Bounds(0.0, 1.0),
        input_shape: tuple[int, ...] | None = None,
        seed: int = 0,
        warmup_steps: int = 0,
        label_smoothing: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(network, Classifier):
            network = Classifier.from_keras(network, attention_layer, bounds, input_shape)
        elif attention_layer not in (None, network.attention_layer):
            raise ValueError(
                f"The Classifier explains layer {network.attention_layer!r}, so attention_layer="
                f"{attention_layer!r} has no effect. Name it in Classifier.from_keras."
            )
        self.classifier = network
        self.network = network.model
        self.seed = seed
        self.warmup_steps = check_count(warmup_steps, "warmup_steps", least=0)
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}.")
        self.label_smoothing = label_smoothing
        self._trackers = {name: keras.metrics.Mean(name=name) for name in self.loss_names}
        self.clean_accuracy = keras.metrics.Mean(name="accuracy")
        self.adversarial_accuracy = (
            keras.metrics.Mean(name="adversarial_accuracy") if self.attacks_in_training else None
        )
        self.built = True

    loss_names: tuple[str, ...] = ()
    optimizer: Any  # Set by Keras when the model is compiled.
    attacks_in_training = False

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """As `keras.Model.compile`; the loss is the defence's own, XLA is off unless asked for.

        Raises:
            ValueError: a loss was given; on several replicas also several steps an execution, or
                float16 with clipped gradients.
        """
        if kwargs.get("loss") is not None or (len(args) > 1 and args[1] is not None):
            raise ValueError(
                f"{type(self).__name__} computes its own loss; call compile(optimizer) without one."
            )
        kwargs.setdefault("jit_compile", False)
        super().compile(*args, **kwargs)
        half = any(layer.compute_dtype == "float16" for layer in self.network._flatten_layers())
        if half and not isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            # Keras looks at the dtype policy of the outer model only, which is float32.
            self.optimizer = keras.optimizers.LossScaleOptimizer(self.optimizer)
        if self.distribute_strategy.num_replicas_in_sync > 1:
            check_for_replicas(self)

    def make_train_function(self, force: bool = False) -> Any:
        """Makes the compiled step; Keras calls it."""
        # Slot variables made inside the first trace would cost a second one.
        if not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        # The network is built already, and the optimizer by make_train_function.
        metrics = self._compile_metrics
        if metrics is not None and not metrics.built:
            super()._maybe_symbolic_build(iterator, data_batch)

    def save(self, filepath: Any, overwrite: bool = True, **kwargs: Any) -> None:
        """Saves the network, as a file that loads without this package.

        The defence is training equipment; `ModelCheckpoint` thus keeps the best network.
        """
        self.network.save(filepath, overwrite=overwrite, **kwargs)

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Logits `[batch, classes]` of the network."""
        return self.classifier(images, training=training).logits

    def training_losses(
        self, images: tf.Tensor, labels: tf.Tensor, adversarial: Any, training: bool
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """Losses of one batch.

        Args:
            images: `[batch, H, W, C]`.
            labels: int32 `[batch]`.
            adversarial: what `adversarial_images` returned.
            training: True in training, False in evaluation.

        Returns:
            Per-example values `[batch]`: `"loss"` and one for each of `loss_names`; and logits
            `"clean"` and, where there are any, `"adversarial"`.
        """
        raise NotImplementedError

    def adversarial_images(self, images: tf.Tensor, labels: tf.Tensor) -> Any:
        """Adversarial images a batch is trained on; None for defences without attack."""
        return None

    def attack_seed(self) -> tf.Tensor:
        """int32 `[2]`: of the seed and the number of updates, so that training resumes exactly.

        Each replica has its own.
        """
        # A model that was not compiled has no such attribute.
        optimizer = getattr(self, "optimizer", None)
        step = 0 if optimizer is None else optimizer.iterations
        return own_seed(tf.stack([tf.constant(self.seed, tf.int32), tf.cast(step, tf.int32)]))

    def warmed_up(self, images: tf.Tensor, adversarial: Any) -> Any:
        """Adversarial images with the part of their perturbation that is due at this update.

        Args:
            images: `[batch, H, W, C]`.
            adversarial: `[batch, H, W, C]`, `[rounds, batch, H, W, C]`, or None.

        Returns:
            As `adversarial`; unchanged once warm-up is over.
        """
        if adversarial is None or self.warmup_steps == 0:
            return adversarial
        done = tf.cast(self.optimizer.iterations + 1, images.dtype)
        share = tf.minimum(done / self.warmup_steps, tf.cast(1.0, images.dtype))
        return images + share * (adversarial - images)

    def train_step(self, data: Any) -> dict[str, Any]:
        """One update; Keras calls it."""
        images, labels, weights = self._unpack(data)
        adversarial = self.warmed_up(images, self.adversarial_images(images, labels))
        total, losses, logits = self._update(images, labels, weights, adversarial)
        return self._track(total, losses, logits, images, labels, weights)

    def test_step(self, data: Any) -> dict[str, Any]:
        """Losses and accuracies of one batch, attack included; Keras calls it."""
        images, labels, weights = self._unpack(data)
        adversarial = self.adversarial_images(images, labels)
        losses, logits = self.training_losses(images, labels, adversarial, training=False)
        total = self._total(losses["loss"], weights)
        return self._track(total, losses, logits, images, labels, weights)

    def _update(
        self, images: tf.Tensor, labels: tf.Tensor, weights: Any, adversarial: Any
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        share = share_of_examples(tf.shape(images)[0], self.classifier.dtype)
        with tf.GradientTape() as tape, own_randomness(self.network):
            losses, logits = self.training_losses(images, labels, adversarial, training=True)
            total = self._total(losses["loss"], weights)
            scaled = self.optimizer.scale_loss(total * share)
        variables = self.trainable_variables
        gradients = prepared_gradients(self.optimizer, tape.gradient(scaled, variables))
        self.optimizer.apply(gradients, variables)
        mean_over_replicas(moving_statistics(self.network))
        return total, losses, logits

    def _total(self, values: tf.Tensor, weights: Any) -> tf.Tensor:
        """What is minimized: the mean over the local batch, and the network's regularization."""
        total = weighted_mean(values, weights)
        for extra in self.losses:
            total += tf.cast(tf.reduce_sum(extra), total.dtype)
        return total

    def _unpack(self, data: Any) -> tuple[tf.Tensor, tf.Tensor, Any]:
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        if labels is None:
            raise ValueError(f"{type(self).__name__} needs labels: pass (images, labels).")
        images = tf.cast(images, self.classifier.dtype)
        check_image_shape(images, self.classifier.input_shape)
        labels = tf.convert_to_tensor(labels)
        if labels.shape.rank == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        check_label_rank(labels)
        images = assert_image_range(images, self.classifier.bounds)
        return images, assert_known_labels(labels, self.classifier.num_classes), weights

    def _track(
        self,
        total: tf.Tensor,
        losses: dict[str, tf.Tensor],
        logits: dict[str, tf.Tensor],
        images: tf.Tensor,
        labels: tf.Tensor,
        weights: Any,
    ) -> dict[str, Any]:
        # Losses are averaged over batches as Keras does, so "loss" is what was minimized.
        examples = tf.shape(images)[0]
        self._loss_tracker.update_state(total, sample_weight=examples)
        for name, tracker in self._trackers.items():
            tracker.update_state(weighted_mean(losses[name], weights), sample_weight=examples)
        self.clean_accuracy.update_state(hits(logits["clean"], labels), sample_weight=weights)
        if self.adversarial_accuracy is not None:
            right = hits(logits["adversarial"], labels)
            self.adversarial_accuracy.update_state(right, sample_weight=weights)
        return self.compute_metrics(images, labels, logits["clean"], weights)
