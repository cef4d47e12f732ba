"""How much each loss term has to say in training."""

from __future__ import annotations

import functools
from typing import Any

import keras
import tensorflow as tf

from aad_tf.callbacks.base import EpochCallback
from aad_tf.callbacks.examples import check_batch, checked_arrays
from aad_tf.defenses import AADModel
from aad_tf.types import Bounds
from aad_tf.utils.checks import check_bounds
from aad_tf.utils.ops import safe_divide


class GradientShares(EpochCallback):
    """Each loss term's share of the parameter gradient of an AADModel, on a fixed batch.

    A term may take training over by its scale alone; the shares show it. For each term of
    [AAD Eq. 9], weight included, the norm of its gradient by all trainable parameters is divided
    by the sum of the three norms. Logs: `gradient_share_classification`,
    `gradient_share_rectification`, `gradient_share_preservation`. The network runs in inference
    mode, so that dropout adds no noise.

    Args:
        images: float `[batch, H, W, C]` within `bounds`.
        labels: int `[batch]`.
        every: epochs between two measurements.
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
        self, images: Any, labels: Any, every: int = 1, *, bounds: Bounds = Bounds(0.0, 1.0)
    ) -> None:
        super().__init__(every)
        self._images, self._labels = checked_arrays(images, labels, check_bounds(bounds))
        self._compiled: tuple[keras.Model, Any] | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks model and batch; Keras calls it."""
        if not isinstance(self.model, AADModel):
            raise TypeError(
                f"GradientShares needs an AADModel, whose loss has several terms, got "
                f"{type(self.model).__name__}. Leave the callback out."
            )
        check_batch(self.model.classifier, self._images, self._labels)

    def measure(self, epoch: int) -> dict[str, float]:
        """See `EpochCallback`."""
        model = self.model
        images, labels = check_batch(model.classifier, self._images, self._labels)
        if self._compiled is None or self._compiled[0] is not model:
            norms_of = functools.partial(gradient_norms, model)
            self._compiled = model, tf.function(norms_of, autograph=False)
        norms = self._compiled[1](images, labels)
        shares = safe_divide(norms, tf.reduce_sum(norms)).numpy()
        names = [name.removesuffix("_loss") for name in model.loss_names]
        return {f"gradient_share_{name}": float(x) for name, x in zip(names, shares, strict=True)}


def gradient_norms(model: AADModel, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Norms of the gradients of each weighted loss term by the trainable parameters.

    Args:
        model: the defence; runs in inference mode.
        images: `[batch, H, W, C]` in the dtype of the network.
        labels: int32 `[batch]`.

    Returns:
        float32 `[terms]`, in the order of `model.loss_names`.
    """
    adversarial = model.adversarial_images(images, labels)
    with tf.GradientTape(persistent=True) as tape:
        losses, _ = model.training_losses(images, labels, adversarial, training=False)
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
