"""TradesModel: TRADES, accuracy on clean images against the stability of predictions."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from aad_tf.attacks import GradientSignAttack
from aad_tf.classifier import Classifier
from aad_tf.defenses.adversarial import AttackedModel
from aad_tf.losses import cross_entropy, kl_divergence
from aad_tf.utils.checks import check_weight


@keras.saving.register_keras_serializable("aad_tf")
class TradesModel(AttackedModel):
    """TRADES (Zhang et al. 2019, arXiv 1901.08573, Eq. 5).

    The loss is the cross-entropy of clean images plus beta KL(p(x) || p(x')), the divergence of the
    prediction for attacked images from that for clean ones, both as means over the batch. The
    attack of the paper, `attacks.trades_pgd`, climbs the same divergence in inference mode, with
    p(x) constant; any other attack is taken too.

    As in the authors' code (github.com/yaodongyu/TRADES), where the clean prediction is not
    detached, gradients of the divergence flow through both p(x) and p(x'). Unlike there, where each
    runs by itself and x twice, clean and attacked images go through the network in one pass:
    BatchNormalization normalizes them together, and dropout draws once for each image.

    Args:
        network: any Keras classifier.
        attack: makes the adversarial images of each batch from the current weights; an attack or
            its text.
        beta: weight of the divergence, 1 / lambda of the paper: 6 on CIFAR-10, 1 on MNIST in the
            authors' code.
        **kwargs: as `DefenseModel`.

    Raises:
        TypeError: no attack, or beta no number.
        ValueError: text that is no attack, sizes beyond the pixel range, beta negative or not
            finite.

    Example:
        >>> attack = aad_tf.attacks.trades_pgd(8 / 255, step_size=2 / 255, num_steps=10)
        >>> model = aad_tf.TradesModel(network, attack=attack, beta=6.0)
        >>> model.compile("adam")
        >>> model.fit(images, labels)
    """

    loss_names = ("classification_loss", "divergence_loss")

    def __init__(
        self,
        network: keras.Model | Classifier,
        *,
        attack: GradientSignAttack | str,
        beta: float = 6.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(network, attack=attack, **kwargs)
        self.beta = check_weight(beta, "beta")

    def get_config(self) -> dict[str, Any]:
        """See `DefenseModel`."""
        return {**super().get_config(), "beta": self.beta}

    def training_losses(
        self, images: tf.Tensor, labels: tf.Tensor, adversarial: tf.Tensor, training: bool
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """Cross-entropy, divergence and their weighted sum; see `DefenseModel`."""
        clean, attacked = self.logits_of_both(images, adversarial, training)
        smoothing = self.label_smoothing if training else 0.0
        classification = cross_entropy(labels, clean, smoothing)
        divergence = kl_divergence(clean, attacked)
        losses = {
            "loss": classification + self.beta * divergence,
            "classification_loss": classification,
            "divergence_loss": divergence,
        }
        return losses, {"clean": clean, "adversarial": attacked}
