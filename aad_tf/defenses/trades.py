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

    The loss is the cross-entropy of clean images plus beta KL(p(x) || p(x')), the divergence
    between the predictions p(x) for a clean image and p(x') for its attacked image; both are means
    over the batch. The attack of the paper is `aad_tf.attacks.trades_pgd`, which maximizes the same
    divergence in inference mode with p(x) constant. Any other attack may be given.

    Gradients of the divergence flow through both p(x) and p(x'), as in the authors' code
    (github.com/yaodongyu/TRADES). Their code runs the network on clean and attacked images
    separately. Here both go through it in one pass: BatchNormalization normalizes them together,
    and dropout draws one mask for each image.

    Args:
        network: any Keras classifier.
        attack: makes the adversarial images of each batch from the current weights; an attack
            object, or text such as `"fgsm(epsilon=0.1)"`.
        beta: weight >= 0 of the divergence, 1 / lambda of the paper: 6 on CIFAR-10, 1 on MNIST in
            the authors' code.
        **kwargs: further arguments of `DefenseModel`: `attention_layer` (the layer that attention
            maps explain), `bounds` (the pixel range), `input_shape`, `seed` (of random starts),
            `warmup_steps` (updates over which perturbations grow to their full size),
            `label_smoothing`.

    Raises:
        TypeError: `attack` is no attack, beta no number, or `network` no Keras model or Classifier.
        ValueError: text that is no attack, an epsilon or step size larger than the pixel range,
            beta negative or not finite, or a network that `Classifier.from_keras` refuses.

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
        """Returns the constructor's arguments by name, as values that JSON can hold.

        The class method `from_config` builds an equal defence from them, without trained weights.
        """
        return {**super().get_config(), "beta": self.beta}

    def training_losses(
        self, images: tf.Tensor, labels: tf.Tensor, adversarial: tf.Tensor, training: bool
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """The losses of one batch, for each example.

        Args:
            images: `[batch, H, W, C]`, clean images within the network's pixel range.
            labels: int32 `[batch]`, true labels.
            adversarial: `[batch, H, W, C]`, attacked images.
            training: True in training, False in evaluation.

        Returns:
            Two dictionaries. The first has losses `[batch]`: `"classification_loss"`, the
            cross-entropy of clean images; `"divergence_loss"`, KL(p(x) || p(x')) of the predictions
            for clean images x and attacked images x'; and `"loss"`, the first plus beta times the
            second. The second has logits `[batch, classes]`: `"clean"` and `"adversarial"`.
        """
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
