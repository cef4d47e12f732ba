"""AADModel: Attention-based Adversarial Defense, [AAD Sec. 3].

`AADModel.training_losses` makes maps and masked images and adds up the losses. The choice of
threshold, distances and scaling of maps is an `AADLosses` (`losses/aad.py`); the loss functions are
in `losses/attention.py`. The training step is that of every defence, `DefenseModel.train_step`
(`defenses/base.py`), except with `update_per_round`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from aad_tf.attacks import GradientSignAttack, attack_from_dict, attack_to_dict
from aad_tf.attention.grad_cam import ClassGradients, class_gradients
from aad_tf.classifier import Classifier
from aad_tf.classifier.augmentation import refuse_random_augmentation
from aad_tf.defenses.base import DefenseModel
from aad_tf.defenses.checks import check_sizes, training_attack
from aad_tf.defenses.saving import attack_to_config
from aad_tf.defenses.shared_noise import random_layers, shared_noise
from aad_tf.defenses.statistics import kept_statistics
from aad_tf.distribute import global_batch_size
from aad_tf.losses import ATTENTION_NOISE, AADLosses, check_weights
from aad_tf.utils.checks import check_choice
from aad_tf.utils.ops import spatial_size


@keras.saving.register_keras_serializable("aad_tf")
class AADModel(DefenseModel):
    """Trains a network to attend to the object and to keep its attention under attack.

    The loss is alpha L_c + beta L_r + gamma L_p, [AAD Eq. 9]. L_c classifies clean and attacked
    images, L_r makes predictions depend on the attention area (the places where the attention map
    is high): it is low if they change much once this area is hidden. L_p keeps attention maps of
    clean and attacked images alike. A round is the image after one iteration of the attack. L_c and
    L_r are summed over the clean image and the rounds trained on, L_p over those rounds [AAD Sec.
    3.3]; the sums are averaged over the batch. With `update_per_round` each update has the losses
    of the clean image and of one round.

    A term of weight zero is not computed, except L_c, and the history reports it as 0. With weights
    (8, 0, 0) a step costs as much as adversarial training on the same images.

    Args:
        network: any Keras classifier with spatial features.
        attack: makes adversarial images in each step; an attack object, or text such as
            `"step_ll(epsilon=0.15, num_steps=2)"`.
        attention_layer: name of the layer that attention maps explain; None takes the last layer
            whose output is a grid of the image and through which every path to the logits leads.
        weights: (alpha, beta, gamma); the paper's 8 : 4 : 1 by default.
        losses: how the three losses are computed: an `AADLosses`, or the name of one.
            `"balanced"`, which trains on MNIST and CIFAR-10 alike: L_c is the cross-entropy, and
            L_p compares Grad-CAM maps that are scaled to sum 1. `"paper"`, the equations as
            printed: L_c is the soft margin loss, and maps are not scaled. `"reference_code"`, as in
            the authors' code: L_c is the cross-entropy, and a map is a softmax over its cells.
        rounds: `"all"` trains on every round, `"last"` on the last. None takes all rounds of an
            attack without epsilon, whose iterations accumulate (StepLL), and the last round of one
            that is projected onto an epsilon ball (PGD, IFGSM).
        update_per_round: True updates the weights after each round, and the next round attacks the
            updated weights, as in the authors' code; the clean image counts in every update. False
            makes one update for the sum.
        attention_noise: what dropout and batch statistics do to L_r and L_p in training, which
            compare several passes of the network. `"independent"` (the default, as in the authors'
            code): all passes run in training mode, and each version of an example has a dropout
            mask of its own, so that L_p is not 0 even between equal images. `"shared"`: the clean,
            attacked and masked versions of an example have the same dropout masks. `"none"`: L_r
            and L_p come from passes in inference mode, which costs one more forward pass; L_c still
            comes from one in training mode.
        **kwargs: further arguments of `DefenseModel`: `bounds` (the pixel range), `input_shape`,
            `seed` (of random starts), `warmup_steps` (updates over which perturbations grow to
            their full size), `label_smoothing`.

    Attributes:
        attack: the attack, an object.
        loss_weights_aad: (alpha, beta, gamma), as floats.
        parts: the `AADLosses`, also where `losses` was a name.

    Raises:
        TypeError: `attack` is no attack, `losses` neither an `AADLosses` nor text, or `network` no
            Keras model or Classifier.
        ValueError: unknown name of losses, rounds or noise; layers whose random numbers cannot be
            shared; a value of hidden pixels outside the network's pixel range; weights that are not
            three finite numbers >= 0; update_per_round together with rounds, restarts or an attack
            that needs its earlier images, such as `apgd`; an epsilon or step size larger than the
            pixel range; a network that `Classifier.from_keras` refuses, or one that moves or
            changes images at random in training, as RandomFlip does.

    Example:
        >>> model = AADModel(network, attack=aad_tf.attacks.step_ll(0.15, num_steps=2))
        >>> model.compile("adam")
        >>> model.fit(images, labels, epochs=5)
    """

    loss_names = ("classification_loss", "rectification_loss", "preservation_loss")
    attacks_in_training = True

    def __init__(
        self,
        network: keras.Model | Classifier,
        *,
        attack: GradientSignAttack | str,
        attention_layer: str | None = None,
        weights: Sequence[float] = (8, 4, 1),
        losses: str | AADLosses = "balanced",
        rounds: str | None = None,
        update_per_round: bool = False,
        attention_noise: str = "independent",
        **kwargs: Any,
    ) -> None:
        attack = training_attack(attack)
        if rounds not in (None, "all", "last"):
            raise ValueError(f"rounds must be 'all', 'last' or None, got {rounds!r}.")
        if update_per_round and (rounds is not None or attack.restarts > 1):
            raise ValueError(
                "update_per_round trains on every round as it is made, so it goes with neither "
                "rounds= nor an attack with restarts."
            )
        super().__init__(network, attention_layer=attention_layer, **kwargs)
        refuse_random_augmentation(self.classifier)
        self.attack = attack
        check_sizes(attack, self.classifier)
        self.loss_weights_aad = check_weights(weights)
        self.parts = AADLosses.preset(losses) if isinstance(losses, str) else losses
        if not isinstance(self.parts, AADLosses):
            raise TypeError(f"losses must be AADLosses or the name of a preset, got {losses!r}.")
        self.parts.check_fill(self.classifier)
        self.trains_all_rounds = attack.epsilon is None if rounds is None else rounds == "all"
        if update_per_round and getattr(attack, "keeps_best", False):
            raise ValueError(
                f"update_per_round goes on from the last image alone, and {attack.name} needs what "
                f"came before it. Take an attack without memory, such as step_ll or pgd."
            )
        self.rounds = rounds
        self.update_per_round = update_per_round
        self.attention_noise = check_choice(attention_noise, ATTENTION_NOISE, "attention_noise")
        if attention_noise == "shared":
            random_layers(self.network)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments by name, as values that JSON can hold.

        The class method `from_config` builds an equal defence from them, without trained weights.
        """
        return {
            **super().get_config(),
            "attack": attack_to_config(self.attack),
            "weights": list(self.loss_weights_aad),
            "losses": _losses_to_config(self.parts),
            "rounds": self.rounds,
            "update_per_round": self.update_per_round,
            "attention_noise": self.attention_noise,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Builds the defence that `get_config` described, with newly initialized weights.

        Args:
            config: arguments of the constructor by name, as `get_config` returned them.
            custom_objects: the user's classes and functions by name, as Keras takes them.

        Returns:
            A defence, not compiled.
        """
        # Before `fill` was a choice, hidden pixels were black.
        losses = _losses_from_config({"fill": 0.0, **config["losses"]}, custom_objects)
        return super().from_config({**config, "losses": losses}, custom_objects)

    def adversarial_images(
        self, images: tf.Tensor, labels: tf.Tensor, training: bool = True
    ) -> tf.Tensor:
        """Attacks the network as it is now.

        Args:
            images: `[batch, H, W, C]`, clean images within the network's pixel range.
            labels: int32 `[batch]`, true labels.
            training: True for the images that are trained on, False for those of `evaluate`; the
                two have different random starts.

        Returns:
            `[rounds, batch, H, W, C]`: the images after each iteration of the attack, if the
            defence trains on every round; or after the last one alone, with `rounds` 1.
        """
        arguments = (self.classifier, images, labels, self.attack_seed(training))
        if self.trains_all_rounds:
            return self.attack.rounds_in_graph(*arguments)
        return self.attack.last_in_graph(*arguments)[tf.newaxis]

    def train_step(self, data: Any) -> dict[str, Any]:
        """Makes adversarial images and updates the weights on one batch; Keras calls it.

        There is one update on the sum over rounds. With `update_per_round` there is one after each
        round, and the next round attacks the updated network.

        Args:
            data: `(images, labels)` or `(images, labels, sample_weights)`: images
                `[batch, H, W, C]`, labels int `[batch]`, weights float `[batch]`.

        Returns:
            Means of the metrics in this epoch so far, by name. With `update_per_round` the losses
            and accuracies of a batch are those of the update for its last round.

        Raises:
            TypeError: labels that are not numbers.
            ValueError: no labels, or images or labels of another shape.
            tf.errors.InvalidArgumentError: pixels out of range or not finite, or unknown labels.
        """
        if not self.update_per_round:
            return super().train_step(data)
        images, labels, weights = self._unpack(data)
        adversarial = self.attack.start(self.classifier, images, self.attack_seed())
        for _ in range(self.attack.num_steps):
            adversarial = self.attack.step_in_graph(self.classifier, adversarial, images, labels)
            trained_on = self.warmed_up(images, adversarial[tf.newaxis])
            update = self._update(images, labels, weights, trained_on)
        return self._track(*update, images, labels, weights)

    def training_losses(
        self, images: tf.Tensor, labels: tf.Tensor, adversarial: tf.Tensor, training: bool
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """The three losses of AAD and their weighted sum, for each example, [AAD Eq. 9].

        A round is the images after one iteration of the attack. The attention area of an image is
        where its attention map is high, by default above the map's mean. Pixels are hidden by
        giving them one value, by default the one that reaches the network's first weights as zero.

        Clean images and rounds go through the network as one batch, and so do the same images with
        their attention areas hidden. So there are two passes for any number of rounds, or one if
        the rectification loss has weight zero. If the constructor was given
        `attention_noise="none"`, attention maps are made in inference mode, without dropout, so
        that in training they take one more pass. Where maps or areas depend on a whole batch, the
        clean images and each round count as batches of their own.

        Args:
            images: float `[batch, H, W, C]`, clean images within the network's pixel range.
            labels: int32 `[batch]`, true labels.
            adversarial: `[rounds, batch, H, W, C]`, the images of each round that is trained on.
            training: True in training, False in evaluation.

        Returns:
            Two dictionaries. The first has four losses, float32 (float64 in a float64 network)
            `[batch]`: `"loss"`, the weighted sum of the others; `"classification_loss"`, by default
            the cross-entropy, and `"rectification_loss"`, minus the change of the prediction when
            the attention area is hidden, both summed over the clean image and the rounds;
            `"preservation_loss"`, the distance of the attention map from that of the clean image,
            summed over the rounds (times the number of examples in the batch, if the `AADLosses`
            have `preservation_over="batch_sum"`). The last two are 0 if their weight is. The first
            dictionary also has `"penalty"`, a scalar: what layers add to the loss. The second has
            logits `[batch, classes]`: `"clean"`, and `"adversarial"` of the last round.
        """
        versions = 1 + adversarial.shape[0]
        batch = tf.concat([images, *tf.unstack(adversarial)], axis=0)
        tiled = tf.tile(labels, [versions])
        _, beta, gamma = self.loss_weights_aad
        with self._noise(versions, training) as same_noise:
            seen = self._passes(batch, tiled, versions, training, same_noise)
        smoothing = self.label_smoothing if training else 0.0
        classification = self.parts.classification_loss(tiled, seen.logits, smoothing)
        terms = {"classification_loss": _sum_of_versions(classification, versions)}
        for name in self.loss_names[1:]:
            terms[name] = tf.zeros_like(terms["classification_loss"])
        if beta:
            rectification = self.parts.rectification_loss(seen.attended, seen.masked)
            terms["rectification_loss"] = _sum_of_versions(rectification, versions)
        if gamma:
            size = spatial_size(batch)
            clean, *attacked = (self.parts.comparable_maps(each, size) for each in seen.maps)
            terms["preservation_loss"] = tf.add_n(
                [self.parts.preservation_loss(clean, other) for other in attacked]
            )
            if self.parts.preservation_over == "batch_sum":
                examples = global_batch_size(tf.shape(images)[0], clean.dtype)
                terms["preservation_loss"] *= examples
        weighted = zip(self.loss_weights_aad, self.loss_names, strict=True)
        total = tf.add_n([weight * terms[name] for weight, name in weighted])
        by_version = tf.split(seen.logits, versions)
        return {"loss": total, "penalty": seen.penalty, **terms}, {
            "clean": by_version[0],
            "adversarial": by_version[-1],
        }

    def _noise(self, versions: int, training: bool) -> Any:
        """The context in which passes share their random numbers, if they do."""
        if training and self.attention_noise == "shared":
            return shared_noise(self.network, versions)
        return contextlib.nullcontext(lambda: None)

    def _passes(
        self,
        batch: tf.Tensor,
        labels: tf.Tensor,
        versions: int,
        training: bool,
        same_noise: Callable[[], None],
    ) -> _Passes:
        """Runs the network on all versions, and on them without their attention areas."""
        _, beta, gamma = self.loss_weights_aad
        # Whether passes for attention run as that for L_c does.
        in_training = training and self.attention_noise != "none"
        attended: ClassGradients | None = None
        maps: list[tf.Tensor] = []
        masked_logits = None
        if (beta or gamma) and in_training == training:
            attended = class_gradients(self.classifier, batch, labels, training)
            logits = attended.logits
        else:
            logits = self.classifier(batch, training=training).logits
        penalty = self.penalty()
        if (beta or gamma) and attended is None:
            attended = class_gradients(self.classifier, batch, labels, training=False)
        if attended is not None:
            maps = self._maps_by_version(attended, versions)
        if beta:
            pairs = zip(tf.split(batch, versions), maps, strict=True)
            masked = [self.parts.hidden(self.classifier, *pair) for pair in pairs]
            same_noise()
            with kept_statistics(self.network, in_training):
                masked_logits = self.classifier(tf.concat(masked, 0), training=in_training).logits
        attended_logits = None if attended is None else attended.logits
        return _Passes(logits, penalty, attended_logits, maps, masked_logits)

    def _maps_by_version(self, attended: ClassGradients, versions: int) -> list[tf.Tensor]:
        """Maps of the clean images and of each round, each of its own batch alone."""
        by_version = zip(
            tf.split(attended.features, versions),
            tf.split(attended.gradients, versions),
            strict=True,
        )
        return [self.parts.attention_maps(*each) for each in by_version]


class _Passes(NamedTuple):
    """What the network says of all versions of a batch.

    Attributes:
        logits: for L_c, `[versions * batch, classes]`.
        penalty: what layers add to the loss in that pass.
        attended: the logits that go with `maps`; None without attention terms.
        maps: one `[batch, h, w]` per version.
        masked: logits without attention areas; None if L_r has weight zero.
    """

    logits: tf.Tensor
    penalty: tf.Tensor
    attended: tf.Tensor | None
    maps: list[tf.Tensor]
    masked: tf.Tensor | None


def _losses_to_config(losses: AADLosses) -> dict[str, Any]:
    """The parts by name; distances and rules of one's own as Keras writes functions and objects."""
    config = {}
    for field in dataclasses.fields(losses):
        part = getattr(losses, field.name)
        if dataclasses.is_dataclass(part):
            config[field.name] = attack_to_dict(part)
        else:
            config[field.name] = keras.saving.serialize_keras_object(part)
    return config


def _losses_from_config(config: dict[str, Any], custom_objects: Any) -> AADLosses:
    return AADLosses(
        **{
            name: attack_from_dict(part)
            if isinstance(part, dict) and "kind" in part
            else keras.saving.deserialize_keras_object(part, custom_objects)
            for name, part in config.items()
        }
    )


def _sum_of_versions(values: tf.Tensor, versions: int) -> tf.Tensor:
    return tf.add_n(tf.split(values, versions))
