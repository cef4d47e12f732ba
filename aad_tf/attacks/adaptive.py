"""Adaptive attacks on defences that are trained with attention losses.

A network trained with attention losses may seem robust only because attacks follow the gradient of
its classification loss and nothing else. Adaptive attacks (Tramer et al. 2020: On adaptive attacks
to adversarial example defenses) also use what the defence adds. In this module that is the total
loss of Attention-based Adversarial Defense (AAD), [AAD Eq. 9], with its attention terms raised or
lowered. The attention term of A3 is in `aad_tf.attacks.attention_augmented`; `adaptive_attacks`
returns attacks of both sorts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import tensorflow as tf

from aad_tf.attacks.attention_augmented import a3
from aad_tf.attacks.auto_pgd import apgd
from aad_tf.attacks.gradient_sign import GradientSignAttack
from aad_tf.attacks.iterative import refuse_l2
from aad_tf.attacks.objectives import AwayFromLabel
from aad_tf.attacks.presets import pgd
from aad_tf.attacks.serialization import register_kind, short_name
from aad_tf.attention.grad_cam import class_gradients
from aad_tf.classifier import Classifier
from aad_tf.losses import PRESETS, AADLosses, check_weights
from aad_tf.utils.checks import check_choice, check_epsilon
from aad_tf.utils.ops import spatial_size

DEFAULT_WEIGHTS = (8.0, 4.0, 1.0)
"""alpha, beta and gamma of [AAD Sec. 4.1]."""

register_kind("aad_losses")(AADLosses)


@register_kind("aad_total")
@dataclass(frozen=True)
class AADTotal:
    """Minus the total training loss of AAD, [AAD Eq. 9]; an attack that lowers it raises that loss.

    For the current image the loss is alpha L_c + beta L_r + gamma L_p. L_c is the classification
    loss, L_r is minus the distance between the prediction for the image and for the image without
    its attention area (the places where its attention map is high), and L_p is the distance of its
    attention map from that of the original image. Maps explain the true class. No gradient flows
    through attention areas, as in training. Parts of the loss that depend on the whole batch in
    training are computed for each example by itself (`AADLosses.for_each_example`).

    Attributes:
        weights: (alpha, beta, gamma). With a negative weight the attack lowers that term.
        losses: an `AADLosses`, which says how the three terms are computed.

    Raises:
        TypeError: losses that are not an `AADLosses`.
        ValueError: weights that are not three finite numbers, or all zero.

    Example:
        >>> objective = AADTotal((8, -4, -1))  # Misclassify, and keep attention as trained.
    """

    weights: tuple[float, float, float] = DEFAULT_WEIGHTS
    losses: AADLosses = AADLosses()

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", check_weights(self.weights, signed=True))
        if not any(self.weights):
            raise ValueError("weights are all zero: there is no loss to attack.")
        if not isinstance(self.losses, AADLosses):
            raise TypeError(f"losses must be AADLosses, got {self.losses!r}.")
        object.__setattr__(self, "losses", self.losses.for_each_example())

    @property
    def name(self) -> str:
        """Short name for records, such as `"aad_total(weights=(8, 4, 1))"`."""
        return f"aad_total({self.arguments})"

    @property
    def arguments(self) -> str:
        """Weights, and losses that are not the default, as text such as `"weights=(8, 4, 1)"`."""
        options = self.options()
        if isinstance(parts := options.get("losses"), Mapping):
            # An address of a function would be another one in each process.
            texts = (f"{part!r}: {short_name(value)}" for part, value in parts.items())
            options["losses"] = f"{{{', '.join(texts)}}}"
        return ", ".join(f"{name}={value}" for name, value in options.items())

    def options(self) -> dict[str, Any]:
        """Returns the arguments of the function `aad_total` that build this objective.

        Returns:
            `weights`, a tuple of three numbers; and, if the losses are not the default, `losses`:
            the name of a preset of `AADLosses`, or a dictionary of the parts that differ from the
            default.
        """
        weights = tuple(int(each) if each == int(each) else each for each in self.weights)
        options: dict[str, Any] = {"weights": weights}
        if self.losses != AADLosses():
            presets = {losses.for_each_example(): name for name, losses in PRESETS.items()}
            parts = {
                field.name: getattr(self.losses, field.name)
                for field in dataclasses.fields(self.losses)
                if getattr(self.losses, field.name) != field.default
            }
            options["losses"] = presets.get(self.losses, parts)
        return options

    def context(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """Returns the attention maps of the original images for the preservation loss L_p.

        They are divided by their sums and resized if the losses say so.

        Args:
            classifier: the network under attack.
            images: `[batch, H, W, C]`, the original images.
            labels: int32 `[batch]`, true labels.

        Returns:
            A tuple with one tensor `[batch, h, w]`, or `[batch, H, W]` if the losses resize maps to
            the size of the images. The tuple is empty if L_p has weight 0.
        """
        if self.weights[2] == 0:
            return ()
        _, features, gradients = class_gradients(classifier, images, labels)
        return (self._maps(images, features, gradients)[1],)

    def __call__(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes the objective of a batch.

        A term of weight zero is not computed. L_r takes a second forward pass, L_r and L_p take a
        gradient of the logits.

        Args:
            classifier: the network under attack.
            images: `[batch, H, W, C]`, the current images of the attack.
            labels: int32 `[batch]`, true labels.
            *context: the maps of the original images, which the method `context` computed.

        Returns:
            Minus the total loss, `[batch]`, and the logits `[batch, classes]` of `images`.

        Raises:
            ValueError: no context, though gamma is not zero.
        """
        alpha, beta, gamma = self.weights
        if gamma and not context:
            raise ValueError(
                f"{self.name} compares with the original images: pass on what "
                f"context(classifier, original_images, labels) returns for them."
            )
        if beta == gamma == 0:
            logits = classifier(images, training=False).logits
        else:
            logits, features, gradients = class_gradients(classifier, images, labels)
            maps, comparable = self._maps(images, features, gradients)
        terms = []
        if alpha:
            terms.append(alpha * self.losses.classification_loss(labels, logits))
        if beta:
            masked = self.losses.hidden(classifier, images, maps)
            masked_logits = classifier(masked, training=False).logits
            terms.append(beta * self.losses.rectification_loss(logits, masked_logits))
        if gamma:
            terms.append(gamma * self.losses.preservation_loss(context[0], comparable))
        return -tf.add_n(terms), logits

    def _maps(
        self, images: tf.Tensor, features: tf.Tensor, gradients: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Attention maps, and the same as L_p compares them."""
        maps = self.losses.attention_maps(features, gradients)
        return maps, self.losses.comparable_maps(maps, spatial_size(images))


def aad_total(
    attack: GradientSignAttack | str,
    weights: Sequence[float] = DEFAULT_WEIGHTS,
    losses: str | Mapping[str, Any] | AADLosses = "balanced",
) -> GradientSignAttack:
    """Makes an attack that raises the total loss of AAD instead of the cross-entropy, [AAD Eq. 9].

    Step size, number of steps, budget and start are those of `attack`. The loss that it raises is
    alpha L_c + beta L_r + gamma L_p, with the classification loss L_c, the rectification loss L_r
    of [AAD Eq. 7] and the preservation loss L_p of [AAD Eq. 8]. With positive weights the image
    becomes misclassified, its prediction depends less on its attention area, and its attention map
    moves away from the original one. With negative beta and gamma the image becomes misclassified
    while attention stays as the defence trains it.

    A step takes a second forward pass and second derivatives, so it costs more than a step on the
    cross-entropy. With beta = gamma = 0, alpha a power of two, and L_c the cross-entropy, the
    result equals that of `attack` bit for bit.

    Args:
        attack: an untargeted attack on the cross-entropy of the true label, made by `pgd`, `apgd`,
            `fgsm` or `ifgsm`; or its text, such as `"pgd(epsilon=8/255, step_size=2/255,
            num_steps=20)"`.
        weights: (alpha, beta, gamma); the paper trains with (8, 4, 1). Use those that the defence
            was trained with, `model.loss_weights_aad` of an `AADModel`.
        losses: how the terms are computed: `"balanced"` (the default of `AADModel`), `"paper"` (the
            equations as printed) or `"reference_code"` (as in the authors' code); a dictionary of
            the attributes of `AADLosses` that differ from `"balanced"`, by name; or an `AADLosses`,
            such as `model.parts` of an `AADModel`.

    Returns:
        A copy of the attack with the objective `AADTotal`.

    Raises:
        TypeError: not an attack, or losses of another type.
        ValueError: text that is not an attack, an attack on another loss or in l2, weights that are
            not three finite numbers or all zero, or an unknown preset or part.

    Example:
        >>> attack = aad_total(pgd(8 / 255, 2 / 255, num_steps=20), weights=(8, 4, 1))
        >>> text = "aad_total(apgd(epsilon=8/255), weights=(8, -4, -1), losses='paper')"
        >>> attack = parse_attack(text)
    """
    if isinstance(attack, str):
        # Text may call aad_total itself, so its reader imports this module.
        from aad_tf.attacks.parsing import parse_attack

        attack = cast("GradientSignAttack", parse_attack(attack))  # Checked below.
    if not isinstance(attack, GradientSignAttack):
        raise TypeError(
            f"attack must be a GradientSignAttack such as pgd(8 / 255, 2 / 255, 20), got "
            f"{attack!r}."
        )
    if attack.objective != AwayFromLabel():
        raise ValueError(
            f"aad_total replaces the cross-entropy of the true label, and {attack.name} has "
            f"another loss, {attack.objective.name}. Give it an untargeted pgd, apgd, fgsm or "
            f"ifgsm without label smoothing."
        )
    refuse_l2(attack, "aad_total")
    objective = AADTotal(check_weights(weights, signed=True), _losses(losses))
    name = f"aad_total({attack.name},{objective.arguments})".replace(" ", "")
    return dataclasses.replace(attack, objective=objective, name=name)


def adaptive_attacks(
    epsilon: float,
    num_steps: int = 20,
    *,
    weights: Sequence[float] = DEFAULT_WEIGHTS,
    losses: str | Mapping[str, Any] | AADLosses = "balanced",
    sigma: float = 10.0,
) -> list[GradientSignAttack]:
    """Returns PGD and APGD with and without the attention losses of a defence.

    PGD and APGD (`apgd`) are each run on five losses: the cross-entropy alone, the total loss of
    AAD (`aad_total`), the total loss with beta and gamma negated, and A3 (`a3`), the cross-entropy
    with a term that moves or keeps the attention map, with sigma and with minus sigma. All have the
    same budget and number of steps, so a difference from the attack on the cross-entropy is due to
    the attention losses. PGD has a random start and steps of `2.5 * epsilon / num_steps`, at most
    `epsilon`. The fraction of images that none of the attacks gets misclassified is an upper bound
    of the robust accuracy.

    Args:
        epsilon: l-inf budget, in the unit of the images.
        num_steps: number of iterations of each attack.
        weights: (alpha, beta, gamma) of the classification, rectification and preservation loss in
            the total loss of AAD.
        losses: how these losses are computed: `"balanced"` (the default of `AADModel`), `"paper"`
            (the equations as printed) or `"reference_code"` (as in the authors' code); a dictionary
            of the attributes of `AADLosses` that differ from `"balanced"`; or an `AADLosses`.
        sigma: weight of the attention term of A3, positive; the paper takes 10.

    Returns:
        Ten attacks, to be passed to `aad_tf.evaluate_robustness`: `pgd` and its four variants, then
        `apgd` and its four variants.

    Raises:
        TypeError: losses of another type, or numbers of another type.
        ValueError: a size or count out of range, alpha zero, beta and gamma both zero, sigma not
            positive, or an unknown preset or part of the losses.

    Example:
        >>> model = aad_tf.AADModel(network, attack="step_ll(epsilon=0.15, num_steps=2)")
        >>> tried = adaptive_attacks(0.15, weights=model.loss_weights_aad, losses=model.parts)
        >>> report = aad_tf.evaluate_robustness(model, (images, labels), tried)
        >>> report.summary["adaptive"]["worst"][0]["robust_accuracy"]
        0.41
    """
    check_epsilon(epsilon)
    alpha, beta, gamma = check_weights(weights, signed=True)
    if alpha == 0 or beta == gamma == 0:
        raise ValueError(
            f"weights must have an alpha, and a beta or gamma, that is not zero, got {weights}: "
            f"else there is no classification, or no attention, to attack. The paper's are "
            f"{DEFAULT_WEIGHTS}."
        )
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, since both signs are tried, got {sigma}.")
    step_size = min(epsilon, 2.5 * epsilon / max(num_steps, 1))
    plain = (pgd(epsilon, step_size, num_steps), apgd(epsilon, num_steps))
    return [
        attack
        for each in plain
        for attack in (
            each,
            aad_total(each, (alpha, beta, gamma), losses),
            aad_total(each, (alpha, -beta, -gamma), losses),
            a3(each, sigma),
            a3(each, -sigma),
        )
    ]


def _losses(losses: Any) -> AADLosses:
    if isinstance(losses, str):
        return AADLosses.preset(losses)
    if isinstance(losses, Mapping):
        for part in losses:
            parts = [field.name for field in dataclasses.fields(AADLosses)]
            check_choice(part, parts, "part of the losses")
        return AADLosses().replace(**losses)
    return losses
