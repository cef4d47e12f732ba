"""Standard training, and adversarial training on attacked images with or without clean ones."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from aad_tf.attacks import GradientSignAttack
from aad_tf.classifier import Classifier
from aad_tf.defenses.base import DefenseModel
from aad_tf.defenses.checks import check_sizes, training_attack
from aad_tf.defenses.saving import attack_to_config
from aad_tf.losses import cross_entropy


@keras.saving.register_keras_serializable("aad_tf")
class StandardModel(DefenseModel):
    """Training by cross-entropy on clean images, the "clean model" of [AAD Table 5].

    Args:
        network: any Keras classifier.
        **kwargs: further arguments of `DefenseModel`: `attention_layer` (the layer that attention
            maps explain), `bounds` (the pixel range), `input_shape`, `seed` and `warmup_steps`
            (without effect here), `label_smoothing`.

    Raises:
        TypeError: `network` is no Keras model or Classifier, or a number is not an integer.
        ValueError: a network that `Classifier.from_keras` refuses, or a number out of range.

    Example:
        >>> model = StandardModel(network)
        >>> model.compile("adam")
        >>> model.fit(images, labels)
    """

    def training_losses(
        self, images: tf.Tensor, labels: tf.Tensor, adversarial: Any, training: bool
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """The cross-entropy of each clean image.

        Args:
            images: `[batch, H, W, C]`, clean images within the network's pixel range.
            labels: int32 `[batch]`, true labels.
            adversarial: None; not used.
            training: True in training, False in evaluation.

        Returns:
            Two dictionaries: `"loss"`, `[batch]`; and `"clean"`, the logits `[batch, classes]`.
        """
        logits = self.classifier(images, training=training).logits
        loss = cross_entropy(labels, logits, self.label_smoothing if training else 0.0)
        return {"loss": loss}, {"clean": logits}


class AttackedModel(DefenseModel):
    """Base class of defences that train on the final images of an attack on the current weights.

    Args:
        network: any Keras classifier.
        attack: makes the adversarial images of each batch from the current weights; an attack
            object, or text such as `"fgsm(epsilon=0.1)"`.
        **kwargs: further arguments of `DefenseModel`: `attention_layer` (the layer that attention
            maps explain), `bounds` (the pixel range), `input_shape`, `seed` (of random starts),
            `warmup_steps` (updates over which perturbations grow to their full size),
            `label_smoothing`.

    Raises:
        TypeError: `attack` is no attack, or `network` no Keras model or Classifier.
        ValueError: text that is no attack, an epsilon or step size larger than the pixel range, or
            a network that `Classifier.from_keras` refuses.
    """

    attacks_in_training = True

    def __init__(
        self,
        network: keras.Model | Classifier,
        *,
        attack: GradientSignAttack | str,
        **kwargs: Any,
    ) -> None:
        super().__init__(network, **kwargs)
        self.attack = training_attack(attack)
        # Classes that users make call this from a constructor of their own.
        check_sizes(self.attack, self.classifier, stacklevel=4)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments by name, as values that JSON can hold.

        The class method `from_config` builds an equal defence from them, without trained weights.
        """
        return {**super().get_config(), "attack": attack_to_config(self.attack)}

    def adversarial_images(
        self, images: tf.Tensor, labels: tf.Tensor, training: bool = True
    ) -> tf.Tensor:
        """Attacks the network as it is now and returns the final images.

        Args:
            images: `[batch, H, W, C]`, clean images within the network's pixel range.
            labels: int32 `[batch]`, true labels.
            training: True for the images that are trained on, False for those of `evaluate`; the
                two have different random starts.

        Returns:
            `[batch, H, W, C]`.
        """
        seed = self.attack_seed(training)
        return self.attack.last_in_graph(self.classifier, images, labels, seed)

    def logits_of_both(
        self, images: tf.Tensor, adversarial: tf.Tensor, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Logits of clean and of attacked images from one pass of the network.

        BatchNormalization normalizes both together.

        Args:
            images: `[batch, H, W, C]`, clean images.
            adversarial: `[batch, H, W, C]`, attacked images.
            training: True in training, False in evaluation.

        Returns:
            Logits `[batch, classes]` of the clean images, then those of the attacked images.
        """
        both = tf.concat([images, adversarial], axis=0)
        clean, attacked = tf.split(self.classifier(both, training=training).logits, 2)
        return clean, attacked


@keras.saving.register_keras_serializable("aad_tf")
class AdversarialModel(AttackedModel):
    """FGSM and StepLL training (Kurakin et al. 2017) and PGD training (Madry et al. 2018).

    The loss is the cross-entropy of attacked images, or the mean of those of clean and attacked
    images.

    Args:
        network: any Keras classifier.
        attack: makes the adversarial images of each batch from the current weights; an attack
            object, or text such as `"fgsm(epsilon=0.1)"`.
        replace_clean: True trains on adversarial images alone, as Madry et al. do; False on the
            mean of the cross-entropies of clean and adversarial images.
        **kwargs: further arguments of `DefenseModel`: `attention_layer` (the layer that attention
            maps explain), `bounds` (the pixel range), `input_shape`, `seed` (of random starts),
            `warmup_steps` (updates over which perturbations grow to their full size),
            `label_smoothing`.

    Raises:
        TypeError: `attack` is no attack, or `network` no Keras model or Classifier.
        ValueError: text that is no attack, an epsilon or step size larger than the pixel range, or
            a network that `Classifier.from_keras` refuses.

    Example:
        >>> model = AdversarialModel(network, attack=aad_tf.attacks.fgsm(0.15))
        >>> model.compile("adam")
        >>> model.fit(images, labels)
    """

    loss_names = ("adversarial_loss",)

    def __init__(
        self,
        network: keras.Model | Classifier,
        *,
        attack: GradientSignAttack | str,
        replace_clean: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(network, attack=attack, **kwargs)
        self.replace_clean = replace_clean

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments by name, as values that JSON can hold.

        The class method `from_config` builds an equal defence from them, without trained weights.
        """
        return {**super().get_config(), "replace_clean": self.replace_clean}

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
            Two dictionaries. The first has losses `[batch]`: `"adversarial_loss"`, the
            cross-entropy of attacked images; and `"loss"`, the mean of those of clean and attacked
            images or, with `replace_clean`, that of attacked images alone. With `replace_clean` it
            also has the scalar `"penalty"` that layers add to the loss, such as L2 penalties. The
            second has logits `[batch, classes]`: `"clean"` and `"adversarial"`.
        """
        smoothing = self.label_smoothing if training else 0.0
        if self.replace_clean:
            attacked = self.classifier(adversarial, training=training).logits
            loss, penalty = cross_entropy(labels, attacked, smoothing), self.penalty()
            # The accuracy that fit logs. It costs one forward pass, without dropout and without a
            # gradient, beside the 2 k + 3 passes of a step with k iterations of the attack.
            clean = tf.stop_gradient(self.classifier(images, training=False).logits)
            return {"loss": loss, "adversarial_loss": loss, "penalty": penalty}, {
                "clean": clean,
                "adversarial": attacked,
            }
        clean, attacked = self.logits_of_both(images, adversarial, training)
        adversarial_loss = cross_entropy(labels, attacked, smoothing)
        loss = 0.5 * (cross_entropy(labels, clean, smoothing) + adversarial_loss)
        return {"loss": loss, "adversarial_loss": adversarial_loss}, {
            "clean": clean,
            "adversarial": attacked,
        }
