"""PairingModel: adversarial training with logits and attention maps kept alike under attack."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from aad_tf.attacks import GradientSignAttack
from aad_tf.attention.grad_cam import class_gradients, grad_cam_map
from aad_tf.classifier import Classifier
from aad_tf.classifier.augmentation import refuse_random_augmentation
from aad_tf.defenses.adversarial import AttackedModel
from aad_tf.losses import cross_entropy, preservation, squared_mean, unit_sum
from aad_tf.utils.checks import check_weight
from aad_tf.utils.ops import at_least_float32


@keras.saving.register_keras_serializable("aad_tf")
class PairingModel(AttackedModel):
    """Adversarial logit pairing (Kannan et al. 2018), with or without attention maps.

    The loss is the mean of the cross-entropies of clean and attacked images, as in
    `AdversarialModel`, plus `logit_weight` times the mean over classes of the squared difference of
    their logits, plus `attention_weight` times the Euclidean distance of their attention maps.
    Pairing both follows Goodman et al. (2019, arXiv 1908.11435: attention and adversarial logit
    pairing), but with the maps that `AADModel` has by default: Grad-CAM of the true class, scaled
    to sum 1. So it can be compared with that defence with all else equal.

    Logits that are paired can mask gradients: on ImageNet, the robustness reported by Kannan et al.
    did not hold under longer attacks (Engstrom et al. 2018, arXiv 1807.10272). Evaluate with many
    steps and restarts, and without gradients.

    Args:
        network: any Keras classifier with spatial features.
        attack: makes the adversarial images of each batch from the current weights; an attack
            object, or text such as `"fgsm(epsilon=0.1)"`. Its last iteration is trained on.
        logit_weight: weight >= 0 of the difference of logits; Kannan et al. take 0.5 on ImageNet.
        attention_weight: weight >= 0 of the distance of maps; with 0 no maps are made, and a step
            costs no more than one of `AdversarialModel`.
        **kwargs: further arguments of `DefenseModel`: `attention_layer` (the layer that attention
            maps explain), `bounds` (the pixel range), `input_shape`, `seed` (of random starts),
            `warmup_steps` (updates over which perturbations grow to their full size),
            `label_smoothing`.

    Raises:
        TypeError: `attack` is no attack, `network` no Keras model or Classifier, or a weight no
            number.
        ValueError: text that is no attack; an epsilon or step size larger than the pixel range;
            weights negative or not finite; a network that `Classifier.from_keras` refuses; or,
            where maps are paired, one that moves or changes images at random in training, as
            RandomFlip does.

    Example:
        >>> attack = aad_tf.attacks.pgd(0.3, step_size=0.1, num_steps=7)
        >>> model = PairingModel(network, attack=attack, attention_weight=1.0)
        >>> model.compile("adam")
        >>> model.fit(images, labels)
    """

    loss_names = ("adversarial_loss", "logit_pairing_loss", "attention_pairing_loss")

    def __init__(
        self,
        network: keras.Model | Classifier,
        *,
        attack: GradientSignAttack | str,
        logit_weight: float = 0.5,
        attention_weight: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(network, attack=attack, **kwargs)
        self.logit_weight = check_weight(logit_weight, "logit_weight")
        self.attention_weight = check_weight(attention_weight, "attention_weight")
        if self.attention_weight:
            refuse_random_augmentation(self.classifier)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments by name, as values that JSON can hold.

        The class method `from_config` builds an equal defence from them, without trained weights.
        """
        return {
            **super().get_config(),
            "logit_weight": self.logit_weight,
            "attention_weight": self.attention_weight,
        }

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
            Two dictionaries. The first has losses `[batch]`: `"loss"`, the mean of the
            cross-entropies of clean and attacked images plus both weighted distances;
            `"adversarial_loss"`, the cross-entropy of attacked images; and, before weighting,
            `"logit_pairing_loss"`, the mean over classes of the squared difference of logits, and
            `"attention_pairing_loss"`, the Euclidean distance of attention maps, which is 0 if
            `attention_weight` is 0. The second has logits `[batch, classes]`: `"clean"` and
            `"adversarial"`.
        """
        smoothing = self.label_smoothing if training else 0.0
        if self.attention_weight:
            both, tiled = tf.concat([images, adversarial], axis=0), tf.tile(labels, [2])
            found = class_gradients(self.classifier, both, tiled, training)
            clean, attacked = tf.split(found.logits, 2)
            maps = tf.split(unit_sum(grad_cam_map(found.features, found.gradients)), 2)
        else:
            clean, attacked = self.logits_of_both(images, adversarial, training)
        entropies = [cross_entropy(labels, logits, smoothing) for logits in (clean, attacked)]
        logit_distance = squared_mean(at_least_float32(clean) - at_least_float32(attacked))
        total = 0.5 * tf.add_n(entropies) + self.logit_weight * logit_distance
        map_distance = tf.zeros_like(total)
        if self.attention_weight:
            map_distance = preservation(maps[0], maps[1], "l2")
            total += self.attention_weight * map_distance
        losses = {
            "loss": total,
            "adversarial_loss": entropies[1],
            "logit_pairing_loss": logit_distance,
            "attention_pairing_loss": map_distance,
        }
        return losses, {"clean": clean, "adversarial": attacked}
