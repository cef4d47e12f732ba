"""Which fraction of the gradient each loss term makes up in training."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from aad_tf.callbacks.base import EpochCallback, checked_arrays
from aad_tf.classifier import checked_inputs
from aad_tf.defenses import AADModel
from aad_tf.defenses.base import kept, moving_statistics
from aad_tf.distribute import seed_states
from aad_tf.types import Bounds
from aad_tf.utils.checks import check_bounds


class GradientShares(EpochCallback):
    """Each loss term's fraction of the parameter gradient of an AADModel, on a fixed batch.

    A term may take training over by its scale alone; the fractions show it. For each term of
    [AAD Eq. 9], weight included, the norm of its gradient by all trainable parameters is divided
    by the sum of the three norms. Logs: `gradient_share_classification`,
    `gradient_share_rectification`, `gradient_share_preservation`.

    In inference mode, the default, dropout adds no noise: the fractions are of what the terms are
    about. In training mode they are of what training follows, where differences between dropout
    masks may make up much of L_p. Nothing that training depends on is changed.

    Args:
        images: float `[batch, H, W, C]` within `bounds`; of the size of training's batches where a
            term depends on it, as `preservation_over="batch_sum"` does.
        labels: int `[batch]`.
        every: epochs between two measurements.
        training: whether the network runs in training mode.
        name: what the logs' names begin with.
        bounds: pixel range the network takes.

    Raises:
        TypeError: images not floating point; from `fit`, if the model is no AADModel.
        ValueError: what is wrong with the images or labels.

    Example:
        >>> model = AADModel(network, attack=aad_tf.attacks.step_ll(0.15))
        >>> model.compile("adam")
        >>> model.fit(images, labels, callbacks=[GradientShares(images[:100], labels[:100])])
    """

    def __init__(
        self,
        images: Any,
        labels: Any,
        every: int = 1,
        *,
        training: bool = False,
        name: str = "gradient_share",
        bounds: Bounds = Bounds(0.0, 1.0),
    ) -> None:
        super().__init__(every)
        self._training = training
        self._name = name
        self._images, self._labels = checked_arrays(images, labels, check_bounds(bounds))

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks model and batch; Keras calls it."""
        if not isinstance(self.model, AADModel):
            raise TypeError(
                f"GradientShares needs an AADModel, whose loss has several terms, got "
                f"{type(self.model).__name__}. Leave the callback out."
            )
        checked_inputs(self.model.classifier, self._images, self._labels)

    def measure(self, epoch: int) -> dict[str, float]:
        """See `EpochCallback`."""
        model, training = self.model, self._training
        images, labels = checked_inputs(model.classifier, self._images, self._labels)
        norms_of = model.classifier.cached_function(
            ("gradient_norms", model, training),
            lambda images, labels: _gradient_norms(model, images, labels, training),
            [model.classifier.image_spec, model.classifier.labels_spec],
        )
        norms = norms_of(images, labels)
        fractions = tf.math.divide_no_nan(norms, tf.reduce_sum(norms)).numpy()
        names = [f"{self._name}_{name.removesuffix('_loss')}" for name in model.loss_names]
        return dict(zip(names, fractions.tolist(), strict=True))


def _gradient_norms(
    model: AADModel, images: tf.Tensor, labels: tf.Tensor, training: bool
) -> tf.Tensor:
    """Norms of the gradients of the weighted loss terms, float32 `[terms]` as `loss_names`."""
    adversarial = model.adversarial_images(images, labels)
    changed = [*moving_statistics(model.network), *seed_states(model.network)] if training else []
    with kept(changed), tf.GradientTape(persistent=True) as tape:
        losses, _ = model.training_losses(images, labels, adversarial, training=training)
        terms = [
            weight * tf.reduce_mean(losses[name])
            for weight, name in zip(model.loss_weights_aad, model.loss_names, strict=True)
        ]
    norms = []
    for term in terms:
        gradients = tape.gradient(term, model.trainable_variables)
        # None for parameters that the term does not depend on.
        reached = [tf.cast(gradient, tf.float32) for gradient in gradients if gradient is not None]
        norms.append(tf.linalg.global_norm(reached) if reached else tf.constant(0.0))
    return tf.stack(norms)
