"""A3: gradient-sign attacks that also move, or keep, what the network looks at [AAD supp. B]."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, cast

import tensorflow as tf

from aad_tf.attacks.gradient_sign import GradientSignAttack
from aad_tf.attacks.loop import objective_context
from aad_tf.attacks.objectives import LogitsObjective
from aad_tf.attacks.serialization import register_kind
from aad_tf.attention.areas import MeanThreshold, TopCells, attention_area
from aad_tf.attention.grad_cam import class_gradients, grad_cam_map, predicted_classes
from aad_tf.classifier import Classifier
from aad_tf.utils.checks import check_choice, check_number

_REDUCTIONS = {"mean": tf.reduce_mean, "sum": tf.reduce_sum}
# Maps below this count as zero; above it the square of a maximum is no subnormal float32.
_SMALLEST_PEAK = 1e-18

register_kind("top_cells")(TopCells)
register_kind("mean_threshold")(MeanThreshold)


@register_kind("a3")
@dataclass(frozen=True)
class AttentionAugmented:
    """L - sigma ||Att(x) - g(x_adv)||_1, the total attack loss of [AAD Eqs. 10, 11].

    Att(x) is the attention area of the original image, constant during the attack; g(x_adv) the
    Grad-CAM map of the image under attack, for the same class. Both come from the forward pass
    that the loss needs anyway. The attributes are the arguments of `a3`, but for the objective.

    Attributes:
        objective: L, a function of the logits.
    """

    objective: LogitsObjective
    sigma: float
    reduction: str = "mean"
    scale: str = "max"
    threshold: Any = "mean"
    explained: str = "label"

    def __post_init__(self) -> None:
        if isinstance(self.objective, AttentionAugmented):
            raise ValueError(
                f"The attack is attention-augmented already, with sigma={self.objective.sigma:g}; "
                f"choose one sigma and give a3 the plain attack."
            )
        if not isinstance(self.objective, LogitsObjective):
            raise TypeError(
                f"a3 needs an objective with from_logits(logits, labels), so that loss and "
                f"attention share a forward pass; {type(self.objective).__name__} has none."
            )
        check_number(self.sigma, "sigma")
        check_choice(self.reduction, _REDUCTIONS, "reduction")
        check_choice(self.scale, ("max", "none"), "scale")
        check_choice(self.explained, ("label", "prediction"), "explained")
        _check_threshold(self.threshold, self.scale)

    @property
    def name(self) -> str:
        """Short name for records: the loss, sigma, and what differs from the defaults."""
        return f"a3({self.objective.name}, {self.arguments})"

    @property
    def arguments(self) -> str:
        """sigma, and the options that differ from their defaults, as text."""
        options = {**self.options(), "sigma": f"{self.sigma:.12g}"}
        return ", ".join(f"{name}={value}" for name, value in options.items())

    def options(self) -> dict[str, Any]:
        """The arguments of `a3` that build this objective: sigma, and those that are no default."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)[1:]
            if getattr(self, field.name) != field.default
        }

    def context(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """Att(x) of the original images, `[batch, h, w]`, and the classes if they are predicted.

        What the loss itself needs of the original images comes last.
        """
        inner = objective_context(classifier, self.objective, images, labels)
        if self.sigma == 0:
            return inner
        explained = labels if self.explained == "label" else None
        logits, maps = self._logits_and_maps(classifier, images, explained)
        predicted = () if self.explained == "label" else (predicted_classes(logits),)
        return (attention_area(maps, self.threshold), *predicted, *inner)

    def __call__(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Values to descend and logits, from one forward pass; see `ContextObjective`."""
        if self.sigma == 0:
            return self.objective(classifier, images, labels, *context)
        if not context:
            raise ValueError(
                f"{self.name} compares with the original images: pass on what "
                f"context(classifier, original_images, labels) returns for them."
            )
        area, *inner = context
        explained = labels if self.explained == "label" else inner.pop(0)
        logits, maps = self._logits_and_maps(classifier, images, explained)
        values = self.objective.from_logits(logits, labels, *inner)
        deviation = _REDUCTIONS[self.reduction](tf.abs(area - maps), axis=(1, 2))
        return values - self.sigma * tf.cast(deviation, values.dtype), logits

    def _logits_and_maps(
        self, classifier: Classifier, images: tf.Tensor, class_ids: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Both from one forward pass; of the predicted classes where `class_ids` is None."""
        logits, features, gradients = class_gradients(classifier, images, class_ids)
        maps = grad_cam_map(features, gradients)
        return logits, divided_by_maximum(maps) if self.scale == "max" else maps


def divided_by_maximum(maps: tf.Tensor) -> tf.Tensor:
    """Maps in [0, 1]; a map of zeros stays as it is, with zero gradient.

    Args:
        maps: `[batch, h, w]`, non-negative.

    Returns:
        Tensor of the shape and dtype of `maps`. The gradient through the maximum is part of its
        gradient.
    """
    peak = tf.reduce_max(maps, axis=(1, 2), keepdims=True)
    usable = peak > _SMALLEST_PEAK
    maps = tf.where(usable, maps, tf.zeros_like(maps))
    return maps / tf.where(usable, peak, tf.ones_like(peak))


def a3(
    attack: GradientSignAttack | str,
    sigma: float,
    reduction: str = "mean",
    scale: str = "max",
    threshold: Any = "mean",
    explained: str = "label",
) -> GradientSignAttack:
    """Attention-augmented attack on top of a gradient-sign attack, [AAD Eqs. 10-12].

    Steps, budget and start stay those of `attack`; its loss L becomes
    L - sigma ||Att(x) - g(x_adv)||_1, with the attention area Att(x) of the original image and
    the attention map g(x_adv) of the image under attack. A positive sigma moves attention off
    its area while the label is attacked, a negative one keeps it there, 0 is `attack` itself.

    The loss of `fgsm`, `ifgsm` and `pgd` is nearly flat where the network is sure of the label,
    so there the attention term settles most signs at any sigma, and fewer images may end
    misclassified.

    Args:
        attack: any gradient-sign attack: `step_ll`, `fgsm`, `ifgsm`, `iter_ll`, `pgd`; or its text.
        sigma: weight of the attention term; the paper takes 10.
        reduction: of the l1-norm over cells: `"mean"`, or `"sum"` as printed, with which the
            weight of the term grows with the grid.
        scale: of g: `"max"` divides each map by its maximum, so that it lies in [0, 1] like Att;
            `"none"` takes the map as printed, whose size is up to the network.
        threshold: rule of Att(x): `"mean"` (kappa is the map's mean), `TopCells(count)`, or a
            number: kappa for maps scaled by `scale`. The authors' code has 0.2 of the maximum.
        explained: class that both maps explain: the true `"label"`, or the `"prediction"` of the
            original image. They are the same on images that the network classifies correctly.

    Raises:
        TypeError: not an attack, or one whose objective is no function of the logits.
        ValueError: text that is no attack, sigma not finite, an unknown option, or an attack made
            by `a3`.

    Example:
        >>> attack = a3(step_ll(4 / 255, num_steps=3), sigma=10)  # [AAD Table 9]
        >>> adversarial = attack(classifier, images, labels)
    """
    if isinstance(attack, str):
        # Text may call a3 itself, so its reader imports this module.
        from aad_tf.attacks.parsing import parse_attack

        attack = cast("GradientSignAttack", parse_attack(attack))  # Checked below.
    if not isinstance(attack, GradientSignAttack):
        raise TypeError(
            f"attack must be a GradientSignAttack such as step_ll(4 / 255), got {attack!r}."
        )
    plain: Any = attack.objective  # Which the dataclass checks.
    sigma = check_number(sigma, "sigma")
    objective = AttentionAugmented(plain, sigma, reduction, scale, threshold, explained)
    name = f"a3({attack.name},{objective.arguments})".replace(" ", "")
    return dataclasses.replace(attack, objective=objective, name=name)


def _check_threshold(threshold: Any, scale: str) -> None:
    """Refuses rules by which an image's area would depend on the other images of its batch."""
    if threshold == "mean" or isinstance(threshold, TopCells) or threshold == MeanThreshold():
        return
    if isinstance(threshold, str) or callable(threshold):
        raise ValueError(
            f"threshold must be 'mean', TopCells(count) or a number, got {threshold!r}: the area "
            f"of an image under attack must not depend on the other images of its batch."
        )
    value = check_number(threshold, "threshold")
    if scale == "max" and not 0 <= value < 1:
        raise ValueError(
            f"threshold must be in [0, 1) for maps divided by their maximum, got {threshold}."
        )
