"""Callback that measures which fraction of the training gradient comes from each loss of AAD."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from aad_tf.callbacks.base import EpochCallback, checked_arrays
from aad_tf.classifier import checked_inputs
from aad_tf.defenses import AADModel
from aad_tf.defenses.statistics import kept
from aad_tf.types import Bounds
from aad_tf.utils.checks import check_bounds


class GradientShares(EpochCallback):
    """Measures which fraction of an AADModel's gradient comes from each of its three losses.

    It shows whether one loss dominates training by its scale. On a fixed batch it computes the
    gradient of each term of [AAD Eq. 9], weight included, with respect to all trainable parameters,
    and divides its l2-norm by the sum of the three norms. The logs get the fractions, in [0, 1], as
    `gradient_share_classification`, `gradient_share_rectification` and
    `gradient_share_preservation`.

    By default the network runs in inference mode, without the noise of dropout. In training mode
    the fractions are those of the gradient that training follows, and differences between dropout
    masks may be a large part of the preservation loss. Measuring does not change the training:
    weights, moving statistics and random states are restored.

    Args:
        images: float `[batch, H, W, C]` within `bounds`. If the model's preservation loss is a sum
            over the batch, as with its losses `"reference_code"`, use the batch size of training.
        labels: int `[batch]`, true labels.
        every: number of epochs from one measurement to the next.
        training: whether the network runs in training mode.
        name: beginning of the names in the logs.
        bounds: pixel range that the network takes.

    Raises:
        TypeError: images not floating point or labels not numbers; from `fit`, if the model is not
            an AADModel.
        ValueError: images or labels of wrong shape or out of range.

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
        """Checks that the model is an AADModel and the batch fits it; Keras calls it.

        Args:
            logs: not used.

        Raises:
            TypeError: another model.
            ValueError: images or labels that do not fit the network.
        """
        if not isinstance(self.model, AADModel):
            raise TypeError(
                f"GradientShares needs an AADModel, whose loss has several terms, got "
                f"{type(self.model).__name__}. Leave the callback out."
            )
        checked_inputs(self.model.classifier, self._images, self._labels)

    def measure(self, epoch: int) -> dict[str, float]:
        """Computes the share of each of AAD's three losses in the gradient of the parameters.

        Args:
            epoch: number of the epoch that has just ended, counted from 0; not used.

        Returns:
            For the classification, rectification and preservation loss, by the names
            `<name>_classification`, `<name>_rectification` and `<name>_preservation`: the l2-norm
            of the gradient of the weighted loss divided by the sum of the three norms, in [0, 1].
            Their sum is 1, or 0 if all gradients are zero.
        """
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
    # In training mode layers may change their weights, too, as SpectralNormalization does.
    with (
        kept(model.network.variables if training else []),
        tf.GradientTape(persistent=True) as tape,
    ):
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
