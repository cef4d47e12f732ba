"""Attacks that know what an attention defence was trained on.

A network trained with attention losses may look robust only because attacks descend its
classification loss and nothing else. Adaptive attacks (Tramer et al. 2020: On adaptive attacks to
adversarial example defenses) descend what the defence adds as well. Here that is the total loss of
AAD, [AAD Eq. 9], in both directions; `attention_augmented` has the attention term of A3, and
`adaptive_attacks` lists them all.
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
    """Minus the total loss that AAD trains on, [AAD Eq. 9]: descending it climbs that loss.

    Of an image under attack the loss is alpha L_c + beta L_r + gamma L_p, the terms that
    `AADModel` adds to its training loss for that image: L_c classifies it, L_r is minus the
    distance between its prediction and that without its attention area, and L_p is the distance
    of its attention map from that of the original image. Maps explain the true class, areas are
    constants, as in training. What depends on a whole batch there, the rule `"batch_mean"` and the
    maps of the authors' code, is taken for each example (`AADLosses.for_each_example`).

    Attributes:
        weights: (alpha, beta, gamma). A negative weight turns its term around.
        losses: how the three terms are measured.

    Raises:
        TypeError: losses that are no `AADLosses`.
        ValueError: weights not three finite numbers, or all of them zero.

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
        """Short name for records: the weights, and the losses if they are not the default."""
        return f"aad_total({self.arguments})"

    @property
    def arguments(self) -> str:
        """What `options` returns as text, with functions by their names."""
        options = self.options()
        if isinstance(parts := options.get("losses"), Mapping):
            # An address of a function would be another one in each process.
            texts = (f"{part!r}: {short_name(value)}" for part, value in parts.items())
            options["losses"] = f"{{{', '.join(texts)}}}"
        return ", ".join(f"{name}={value}" for name, value in options.items())

    def options(self) -> dict[str, Any]:
        """The arguments of `aad_total` that build this objective: weights, and losses if unusual.

        Losses are the name of a preset, or the parts that differ from the default one.
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
        """The maps of the original images as L_p compares them; empty if L_p has weight 0.

        They are `[batch, h, w]`, or of the size of the images if the losses resize maps.
        """
        if self.weights[2] == 0:
            return ()
        _, features, gradients = class_gradients(classifier, images, labels)
        return (self._maps(images, features, gradients)[1],)

    def __call__(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Values to descend and logits, from two forward passes; see `ContextObjective`.

        A term of weight zero is not computed: without L_r and L_p this is the classification loss.
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
    """An attack on the total loss of AAD instead of the cross-entropy, [AAD Eqs. 7-9].

    Steps, budget and start stay those of `attack`. Its loss becomes
    alpha L_c + beta L_r + gamma L_p of the image under attack, which is climbed: the image is
    misclassified, its prediction no longer depends on its attention area, and attention moves.
    With beta and gamma negative it is misclassified while attention stays as the defence wants it.
    A step takes a second forward pass and derivatives of derivatives: on LeNet 2.2 times as long as
    a plain one. With both zero, and alpha a power of two, it is `attack`
    itself to the last bit, as long as L_c is the cross-entropy.

    Args:
        attack: an untargeted attack on the cross-entropy of the true label: `pgd`, `apgd`, `fgsm`,
            `ifgsm`; or its text.
        weights: (alpha, beta, gamma); the paper trains with 8 : 4 : 1. Take those that the defence
            was trained with: `model.loss_weights_aad` of an `AADModel`.
        losses: how the terms are measured: the name of a preset of `AADLosses`, a dictionary of
            the parts that differ from the default one, or `AADLosses`, such as `model.parts` of an
            `AADModel`.

    Raises:
        TypeError: not an attack, or losses that are none.
        ValueError: text that is no attack, an attack on another loss, weights not three finite
            numbers or all zero, an unknown preset or part.

    Example:
        >>> attack = aad_total(pgd(8 / 255, 2 / 255, num_steps=20), weights=(8, 4, 1))
        >>> parse_attack("aad_total(apgd(epsilon=8/255), weights=(8, -4, -1), losses='paper')")
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
    """All adaptive attacks on an attention defence, each next to the plain attack it departs from.

    PGD and APGD, each on five losses: the cross-entropy alone, the total loss of AAD
    (`aad_total`), the same with the attention terms turned around, and A3 (`a3`) with sigma and
    minus sigma. All have the same budget and number of steps, so what one adds to the plain attack
    is the knowledge of the defence. PGD starts at random with steps of `2.5 epsilon / num_steps`,
    at most `epsilon`. What no attack of the list breaks is an upper bound of the robust accuracy.

    Args:
        epsilon: l-inf budget, in the unit of the images.
        num_steps: of each attack.
        weights: (alpha, beta, gamma) of the total loss, as for `aad_total`.
        losses: as for `aad_total`.
        sigma: weight of the attention term of A3, positive; the paper takes 10.

    Returns:
        Ten attacks, for `aad_tf.evaluate_robustness`: `pgd` and its four variants, then `apgd` and
        its four.

    Raises:
        TypeError: as `aad_total`.
        ValueError: a size or count out of range, alpha, or both beta and gamma zero, which would
            leave no plain or no adaptive part, sigma not positive, or as `aad_total`.

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
