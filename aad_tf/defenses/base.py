"""DefenseModel: the base class of all defences, a Keras model with a training step of its own.

`train_step` is the step of every defence: it makes adversarial images and hands them to
`training_losses`, which each defence implements. Mixed precision, sample weights and several
replicas are dealt with here, for all defences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from aad_tf.classifier import Classifier
from aad_tf.defenses.checks import check_for_replicas
from aad_tf.defenses.saving import attack_from_config, classifier_from_config, load_one_way
from aad_tf.defenses.statistics import moving_statistics
from aad_tf.distribute import (
    MultiWorkerFit,
    clip_global_gradients,
    mean_over_replicas,
    per_replica_dropout_seeds,
    per_replica_seed,
    propagate_nonfinite,
    replica_loss_weight,
)
from aad_tf.types import Bounds
from aad_tf.utils.checks import (
    LARGEST_SEED,
    assert_any_images,
    assert_image_range,
    assert_known_labels,
    check_count,
    check_image_shape,
    label_vector,
    takes_gray_levels,
    warn_of_unit_images,
)

# Keeps the random starts of evaluation independent of those of training.
_EVALUATION = 2


class DefenseModel(MultiWorkerFit, keras.Model):
    """A Keras model that trains another one; `compile`, `fit`, `evaluate`, `predict` as usual.

    Subclasses implement `training_losses`; those that train on an attack also set
    `attacks_in_training` and implement `adversarial_images`. The network is trained in place and is
    not copied: train the defence, then use `.network`. Calling the defence returns the logits of
    the network.

    A file that `save` or `ModelCheckpoint` wrote holds the whole defence, ready for more of `fit`:
    network, attack, losses, optimizer and its state. `keras.saving.load_model` reads it once this
    package is imported. `model.network.save(path)` writes the network alone, which Keras loads
    without this package.

    Under a strategy of `tf.distribute` the loss is the mean over the global batch, also where
    replicas hold batches of different sizes, of at least one example each. Dropout and random
    starts differ between replicas. Moving statistics, such as those of BatchNormalization, are
    averaged over replicas at each step.

    Args:
        network: any Keras classifier of `[batch, H, W, C]` images; a final softmax or sigmoid is
            bypassed. A network with several outputs is given as a `Classifier` that was made with
            the output that counts.
        attention_layer: name of the layer that attention maps explain; None takes the last layer
            whose output is a grid of the image and through which every path to the logits leads.
        bounds: lowest and highest pixel value that a Keras model takes; a given `Classifier` has
            bounds of its own, and this argument is not used.
        input_shape: `(H, W, C)` of the images, for a Keras model that was never called or that
            leaves their size open; not used for a given `Classifier`.
        seed: int from 0 to 2**31 - 1, seed of the random starts of attacks in training.
        warmup_steps: number of updates over which adversarial perturbations grow linearly to their
            full size; 0 for none. PGD training can stay at chance for long without it.
        label_smoothing: part of the target that the classification losses of training spread
            evenly over all classes, in [0, 1).

    Attributes:
        network: the Keras model that is trained.
        classifier: the same as a `Classifier`, which attacks and attention maps take.
        loss_names: of the class: names of the losses that `training_losses` returns beside
            `"loss"`, which the history reports.
        attacks_in_training: of the class: whether the defence trains on an attack; then the history
            reports `adversarial_accuracy`.

    Raises:
        TypeError: `network` is no Keras model or Classifier, or a number is not an integer.
        ValueError: a network that `Classifier.from_keras` refuses, an `attention_layer` other than
            that of a given Classifier, a negative number of steps, or a seed or `label_smoothing`
            out of range.

    Example:
        >>> class PlainModel(DefenseModel):
        ...     def training_losses(self, images, labels, adversarial, training):
        ...         logits = self.classifier(images, training=training).logits
        ...         return {"loss": cross_entropy(labels, logits)}, {"clean": logits}
        >>> model = PlainModel(network)
        >>> model.compile("adam")
        >>> history = model.fit(images, labels)
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
        # The network casts its images itself: float64 stays float64.
        super().__init__(autocast=False, **kwargs)
        if not isinstance(network, Classifier):
            network = Classifier.from_keras(network, attention_layer, bounds, input_shape)
        elif attention_layer not in (None, network.attention_layer):
            raise ValueError(
                f"The Classifier explains layer {network.attention_layer!r}, so attention_layer="
                f"{attention_layer!r} has no effect. Name it in Classifier.from_keras."
            )
        self.classifier = network
        self.network = network.model
        self.seed = check_count(seed, "seed", 0, LARGEST_SEED)
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
    # Set by Keras when the model is compiled.
    optimizer: Any
    jit_compile: Any
    attacks_in_training = False

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Configures training, as `keras.Model.compile` does, with the defence's own loss.

        XLA is off unless `jit_compile=True`. A network with float16 layers gets an optimizer that
        scales its loss.

        Args:
            *args: arguments of `keras.Model.compile`, the optimizer first; no loss and no
                `loss_weights`.
            **kwargs: arguments of `keras.Model.compile` by name, such as `metrics`; no `loss` and
                no `loss_weights`.

        Raises:
            ValueError: a loss or `loss_weights` were given; on several replicas also
                `steps_per_execution` above 1, XLA on CPUs, or clipped gradients in float16.
        """
        if kwargs.get("loss") is not None or (len(args) > 1 and args[1] is not None):
            raise ValueError(
                f"{type(self).__name__} computes its own loss; call compile(optimizer) without one."
            )
        if kwargs.get("loss_weights") is not None or (len(args) > 2 and args[2] is not None):
            raise ValueError(
                f"{type(self).__name__} adds up its own losses; call compile(optimizer) without "
                f"loss_weights. Arguments of a defence weigh them, as AADModel(weights=...) does."
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
        """Returns the function that `fit` runs for each step; Keras calls it when `fit` begins.

        The variables of the optimizer are created first.

        Args:
            force: whether the function is made anew if there is one already.
        """
        # Slot variables made inside the first trace would cost a second one.
        self._build_optimizer()
        return super().make_train_function(force)

    def _make_function(self, step_function: Callable[[Any], Any]) -> Any:
        """Keras's compiled step; images and labels are checked before XLA, which cannot."""
        bounds = self.classifier.bounds
        # Of several replicas, which meet inside the step, Keras must compile the whole.
        with_xla = self.jit_compile and self.distribute_strategy.num_replicas_in_sync == 1
        if not with_xla and (self.jit_compile or not takes_gray_levels(bounds)):
            return super()._make_function(step_function)
        step = step_function
        if with_xla:
            step = tf.function(step, jit_compile=True, reduce_retracing=True, autograph=False)

        def checked_step(data: Any) -> Any:
            images, labels, weights = self._unpack(data)
            warn_of_unit_images(images, bounds)
            return step((images, labels, weights))

        self.jit_compile = False
        try:
            return super()._make_function(checked_step)
        finally:
            self.jit_compile = with_xla

    def _build_optimizer(self) -> list[keras.Variable]:
        """Makes the state of the optimizer, if there is one, and returns it."""
        optimizer = getattr(self, "optimizer", None)
        if optimizer is None:
            return []
        if not optimizer.built:
            with self.distribute_strategy.scope():
                optimizer.build(self.trainable_variables)
        return list(optimizer.variables)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        # The network is built already, and the optimizer by make_train_function.
        metrics = self._compile_metrics
        if metrics is not None and not metrics.built:
            super()._maybe_symbolic_build(iterator, data_batch)

    def save(self, filepath: Any, overwrite: bool = True, **kwargs: Any) -> None:
        """Writes the whole defence, with the state of the optimizer, as a `.keras` file.

        Args:
            filepath: path of the file, ending in `.keras`.
            overwrite: whether a file that exists is replaced without a question.
            **kwargs: further arguments of `keras.Model.save`.

        Raises:
            ValueError: an `.h5` file, which can hold a network alone.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                f"A defence is saved as a .keras file, got {str(filepath)!r}. The network alone "
                f"can be written as .h5: model.network.save(path)."
            )
        super().save(filepath, overwrite=overwrite, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, from which `from_config` builds an equal defence.

        Subclasses add their own arguments. Weights are not among them.

        Returns:
            Values that JSON can hold, by name of the argument; the network and an attack are
            dictionaries from which they are rebuilt.
        """
        return {
            **super().get_config(),
            "network": self.classifier.get_config(),
            "seed": self.seed,
            "warmup_steps": self.warmup_steps,
            "label_smoothing": self.label_smoothing,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Builds the defence that `get_config` described, with newly initialized weights.

        Args:
            config: arguments of the constructor by name, as `get_config` returned them.
            custom_objects: the user's classes and functions by name, as Keras takes them.

        Returns:
            A defence of this class, not compiled.
        """
        config = {**config, "network": classifier_from_config(config["network"], custom_objects)}
        if "attack" in config:
            config["attack"] = attack_from_config(config["attack"])
        return cls(**config)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a defence as it was compiled before it was saved; Keras calls it on loading.

        Args:
            config: arguments of `compile` by name, as Keras wrote them into the file.
        """
        if type(self).compile is not DefenseModel.compile:
            # Keras's own says that a subclass with another compile must bring its own.
            super().compile_from_config(config)
            return
        # Earlier versions took loss_weights, and did not use them.
        config = {**config, "loss_weights": None}
        self.compile(**keras.saving.deserialize_keras_object(config))
        self._build_optimizer()

    def load_weights(self, filepath: Any, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """Loads weights that this defence saved, or its network alone.

        Args:
            filepath: a `.keras` or `.weights.h5` file of this defence, which also holds the state
                of the optimizer; or a `.keras`, `.weights.h5` or `.h5` file of its network alone.
            skip_mismatch: True leaves out what does not fit, with a warning; False raises an error.
            **kwargs: further arguments of `keras.Model.load_weights`.

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file fits neither the defence nor its network; all weights are as
                before.
        """
        # Of an optimizer that is not built, Keras loads nothing.
        state = [*self.variables, *self._build_optimizer()]
        ways = (super().load_weights, self.network.load_weights)
        try:
            load_one_way(ways, filepath, skip_mismatch, state, kwargs)
        except ValueError as error:
            raise ValueError(
                f"{filepath} holds weights neither of this {type(self).__name__} nor of its "
                f"network {self.network.name!r}: expected what save or save_weights of this model, "
                f"or of its .network, wrote. As weights of the network: {error}"
            ) from error

    def export(
        self,
        filepath: Any,
        format: str = "tf_saved_model",
        verbose: Any = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> None:
        """Exports the network for inference, as `keras.Model.export` does.

        What is exported gives logits for images of any batch size.
        `aad_tf.export.export_saved_model(model.classifier, path)` adds probabilities and attention
        maps.

        Args:
            filepath: directory or file to write.
            format: a format of `keras.Model.export`, such as `"tf_saved_model"`.
            verbose: whether a summary is printed; None for Keras's default.
            input_signature: a list with the `keras.InputSpec` of the images; None takes
                `(None, H, W, C)`, float64 for a float64 network and else float32.
            **kwargs: further arguments of `keras.Model.export`.
        """
        if input_signature is None:
            dtype = "float64" if self.classifier.dtype == tf.float64 else "float32"
            input_signature = [keras.InputSpec(dtype=dtype, shape=self.input_shape)]
        super().export(filepath, format, verbose, input_signature, **kwargs)

    def get_layer(self, name: str | None = None, index: int | None = None) -> keras.Layer:
        """Finds a layer of the network by its name.

        Args:
            name: name of a layer of the network, or of the network itself.
            index: instead of a name, 0 for the network, the only layer of the defence itself.

        Returns:
            The layer, or the network.

        Raises:
            ValueError: no such layer.
        """
        own = index is not None or name in (None, self.network.name)
        return super().get_layer(name, index) if own else self.network.get_layer(name)

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """`(None, H, W, C)` of the images; H and W are None for a network that takes any size."""
        return (None, *self.classifier.input_shape)

    @property
    def output_shape(self) -> tuple[int | None, int]:
        """`(None, classes)` of the logits."""
        return (None, self.classifier.num_classes)

    @property
    def inputs(self) -> list[Any]:
        """Symbolic input tensors of the network; a subclassed Keras model has none."""
        return self.network.inputs

    @property
    def outputs(self) -> list[Any]:
        """Symbolic output tensors of the network itself; a final softmax is not bypassed."""
        return self.network.outputs

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Computes the logits of the network.

        Args:
            images: `[batch, H, W, C]` within the network's pixel range.
            training: whether the network runs in training mode, with dropout and batch statistics.

        Returns:
            `[batch, classes]`, before the softmax.
        """
        return self.classifier(images, training=training).logits

    def training_losses(
        self, images: tf.Tensor, labels: tf.Tensor, adversarial: Any, training: bool
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """The losses of one batch, for each example; subclasses implement it.

        `train_step` calls it inside a gradient tape, `test_step` without one.

        Args:
            images: `[batch, H, W, C]`, clean images within the network's pixel range.
            labels: int32 `[batch]`, true labels.
            adversarial: attacked images `[batch, H, W, C]` or `[rounds, batch, H, W, C]`, as the
                subclass's `adversarial_images` makes them; None without attack.
            training: True in training, False in evaluation.

        Returns:
            Two dicts. The first holds losses of each example, `[batch]`: `"loss"`, whose mean is
            minimized, and one entry for each name in the attribute `loss_names`. If the network
            runs more than once, it also holds `"penalty"`, the scalar that `penalty()` gave after
            the pass that is trained on. The second holds the logits `[batch, classes]` that
            accuracies are counted on: `"clean"` and, for defences with an attack, `"adversarial"`.

        Raises:
            NotImplementedError: the subclass does not implement it.
        """
        raise NotImplementedError

    def penalty(self) -> tf.Tensor:
        """Sums what layers of the network add to the loss, such as L2 penalties of their weights.

        Activity penalties are those of the last call of the network, since Keras forgets those of a
        call as soon as the network runs again.

        Returns:
            A scalar, 0 without any penalty.
        """
        dtype = self.classifier.dtype
        extras = [tf.cast(tf.reduce_sum(extra), dtype) for extra in self.losses]
        return tf.add_n(extras) if extras else tf.zeros((), dtype)

    def adversarial_images(
        self, images: tf.Tensor, labels: tf.Tensor, training: bool = True
    ) -> Any:
        """Adversarial images of one batch; subclasses that train on an attack implement it.

        `train_step` and `test_step` call it and pass the result to `training_losses`.

        Args:
            images: `[batch, H, W, C]`, clean images within the network's pixel range.
            labels: int32 `[batch]`, true labels.
            training: True for the images that are trained on, False for those of `evaluate`.

        Returns:
            `[batch, H, W, C]`, or `[rounds, batch, H, W, C]` with the images of several iterations
            of the attack; None from defences without attack.
        """
        return None

    def attack_seed(self, training: bool = True) -> tf.Tensor:
        """Seed of the attack's random starts for one batch; it differs between replicas.

        Args:
            training: True derives it from `seed` and the number of updates, so that training that
                is resumed equals training without a break. False derives it from `seed` and the
                number of examples evaluated so far, so that batches have different starts and
                repeated calls of `evaluate` the same.

        Returns:
            int32 `[2]`.
        """
        if training:
            # A model that was not compiled has no such attribute.
            optimizer = getattr(self, "optimizer", None)
            count = 0 if optimizer is None else optimizer.iterations
        else:
            # Keras resets its metrics at the start of each evaluation.
            count = self._loss_tracker.count
        seed = tf.stack([tf.constant(self.seed, tf.int32), tf.cast(count, tf.int32)])
        if not training:
            seed = tf.random.experimental.stateless_fold_in(seed, _EVALUATION)
        return per_replica_seed(seed)

    def warmed_up(self, images: tf.Tensor, adversarial: Any) -> Any:
        """Scales perturbations down while the first `warmup_steps` updates last.

        At update n, counted from 1, a perturbation is multiplied by min(n / warmup_steps, 1).

        Args:
            images: `[batch, H, W, C]`, clean images.
            adversarial: attacked images `[batch, H, W, C]`, or `[rounds, batch, H, W, C]` after
                several iterations of the attack; None without attack.

        Returns:
            Scaled adversarial images in the shape of `adversarial`; None for None.
        """
        if adversarial is None or self.warmup_steps == 0:
            return adversarial
        done = tf.cast(self.optimizer.iterations + 1, tf.float64)
        fraction = tf.cast(tf.minimum(done / self.warmup_steps, 1.0), images.dtype)
        return images + fraction * (adversarial - images)

    def train_step(self, data: Any) -> dict[str, Any]:
        """Makes one update of the weights on a batch; Keras calls it.

        Adversarial images are made, and during the first `warmup_steps` updates their perturbations
        are scaled down. Then the gradient of the mean loss over the batch is applied, and metrics
        are updated.

        Args:
            data: `(images, labels)` or `(images, labels, sample_weights)`: images
                `[batch, H, W, C]`, labels int `[batch]`, weights float `[batch]`.

        Returns:
            Metrics so far in this epoch, by name.

        Raises:
            TypeError: labels that are not numbers.
            ValueError: no labels, or images or labels of another shape.
            tf.errors.InvalidArgumentError: no images, or none for one of several replicas;
                pixels out of range or not finite; or unknown labels.
        """
        images, labels, weights = self._unpack(data)
        adversarial = self.warmed_up(images, self.adversarial_images(images, labels))
        total, losses, logits = self._update(images, labels, weights, adversarial)
        return self._track(total, losses, logits, images, labels, weights)

    def test_step(self, data: Any) -> dict[str, Any]:
        """Computes losses and accuracies of a batch, clean and attacked; Keras calls it.

        Args:
            data: `(images, labels)` or `(images, labels, sample_weights)`: images
                `[batch, H, W, C]`, labels int `[batch]`, weights float `[batch]`.

        Returns:
            Metrics so far in this evaluation, by name.

        Raises:
            TypeError: labels that are not numbers.
            ValueError: no labels, or images or labels of another shape.
            tf.errors.InvalidArgumentError: no images, or none for one of several replicas;
                pixels out of range or not finite; or unknown labels.
        """
        images, labels, weights = self._unpack(data)
        adversarial = self.adversarial_images(images, labels, training=False)
        losses, logits = self.training_losses(images, labels, adversarial, training=False)
        total = self._total(losses, weights)
        return self._track(total, losses, logits, images, labels, weights)

    def _update(
        self, images: tf.Tensor, labels: tf.Tensor, weights: Any, adversarial: Any
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        fraction = replica_loss_weight(tf.shape(images)[0], self.classifier.dtype)
        with tf.GradientTape() as tape, per_replica_dropout_seeds(self.network):
            losses, logits = self.training_losses(images, labels, adversarial, training=True)
            total = self._total(losses, weights)
            scaled = self.optimizer.scale_loss(total * fraction)
        variables = self.trainable_variables
        gradients = tape.gradient(scaled, variables)
        # As the optimizer, which adds up those of all replicas, must get them to update as one
        # device would.
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            gradients = propagate_nonfinite(gradients)
        else:
            gradients = clip_global_gradients(self.optimizer, gradients)
        self.optimizer.apply(gradients, variables)
        mean_over_replicas(moving_statistics(self.network))
        return total, losses, logits

    def _total(self, losses: dict[str, tf.Tensor], weights: Any) -> tf.Tensor:
        """What is minimized: the mean over the local batch, and the network's penalties."""
        total = weighted_mean(losses["loss"], weights)
        penalty = losses["penalty"] if "penalty" in losses else self.penalty()
        return total + tf.cast(penalty, total.dtype)

    def _unpack(self, data: Any) -> tuple[tf.Tensor, tf.Tensor, Any]:
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        if labels is None:
            raise ValueError(f"{type(self).__name__} needs labels: pass (images, labels).")
        images = tf.cast(self.classifier.images_of(images), self.classifier.dtype)
        check_image_shape(images, self.classifier.input_shape)
        # A step that was traced for images of another shape before leaves theirs open.
        images = tf.ensure_shape(images, (None, *self.classifier.input_shape))
        labels = label_vector(labels)
        images = assert_any_images(images)
        images = assert_image_range(images, self.classifier.bounds, self.classifier.shrinking)
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
        self.clean_accuracy.update_state(is_correct(logits["clean"], labels), sample_weight=weights)
        if self.adversarial_accuracy is not None:
            correct = is_correct(logits["adversarial"], labels)
            self.adversarial_accuracy.update_state(correct, sample_weight=weights)
        return self.compute_metrics(images, labels, logits["clean"], weights)


def weighted_mean(values: tf.Tensor, weights: Any) -> tf.Tensor:
    """Mean over the batch of weighted values, as Keras reduces its own losses.

    Args:
        values: `[batch]`.
        weights: `[batch]` or `[batch, 1]`, one per example; None weighs all by 1.

    Returns:
        A scalar: the sum of values times weights, divided by the number of examples.
    """
    if weights is not None:
        values = values * tf.cast(tf.reshape(weights, tf.shape(values)), values.dtype)
    return tf.reduce_mean(values)


def is_correct(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Tells for each example whether it is classified correctly.

    Args:
        logits: `[batch, classes]`.
        labels: int32 `[batch]`.

    Returns:
        float32 `[batch]`: 1 if the highest logit is that of the label, else 0.
    """
    return tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32) == labels, tf.float32)
