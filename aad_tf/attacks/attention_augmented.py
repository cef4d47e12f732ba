"""A3: gradient-sign attacks that also move, or keep, what the network looks at [AAD supp. B]."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from aad_tf.attacks.gradient_sign import GradientSignAttack
from aad_tf.attacks.objectives import ContextObjective, LogitsObjective
from aad_tf.attacks.serialization import register_kind
from aad_tf.attention.areas import MeanThreshold, TopCells, attention_area
from aad_tf.attention.grad_cam import class_gradients, grad_cam_map
from aad_tf.classifier import Classifier

# Reductions over the cells of a map, and what maps are divided by.
_REDUCTIONS = {"mean": tf.reduce_mean, "sum": tf.reduce_sum}
_SCALES = ("max", "none")
_EXPLAINED = ("label", "prediction")
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
    that the loss needs anyway. The arguments are those of `a3`.

    Attributes:
        objective: L, a function of the logits.
        sigma: weight of the attention term; 0 leaves it out.
        reduction: `"mean"` or `"sum"` over the cells of the map.
        scale: `"max"` divides g by its maximum, `"none"` takes it as it is.
        threshold: rule of Att.
        explained: class that both maps explain.
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
        _check_number(self.sigma, "sigma")
        _check_choice(self.reduction, "reduction", _REDUCTIONS)
        _check_choice(self.scale, "scale", _SCALES)
        _check_choice(self.explained, "explained", _EXPLAINED)
        _check_threshold(self.threshold, self.scale)

    @property
    def name(self) -> str:
        """Short name for records: the loss, sigma, and what differs from the defaults."""
        return f"a3({self.objective.name}, {self.arguments})"

    @property
    def arguments(self) -> str:
        """sigma, and the options that differ from their defaults, as text."""
        options = [
            f"{field.name}={getattr(self, field.name)}"
            for field in dataclasses.fields(self)[2:]
            if getattr(self, field.name) != field.default
        ]
        return ", ".join([f"sigma={self.sigma:.12g}", *options])

    def context(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """Att(x) of the original images, `[batch, h, w]`, and the classes if they are predicted.

        What the loss itself needs of the original images comes last.
        """
        plain = self.objective
        inner = (
            plain.context(classifier, images, labels) if isinstance(plain, ContextObjective) else ()
        )
        if self.sigma == 0:
            return inner
        known = labels if self.explained == "label" else None
        logits, maps = self._logits_and_maps(classifier, images, known)
        area = attention_area(maps, self.threshold)
        return (area, *inner) if known is not None else (area, _predicted(logits), *inner)

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
        own = 1 if self.explained == "label" else 2
        area, class_ids = (*context[:own], labels)[:2]
        logits, maps = self._logits_and_maps(classifier, images, class_ids)
        values = self.objective.from_logits(logits, labels, *context[own:])
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
    attack: GradientSignAttack,
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
        attack: any gradient-sign attack: `step_ll`, `fgsm`, `ifgsm`, `iter_ll`, `pgd`.
        sigma: weight of the attention term; the paper takes 10.
        reduction: of the l1-norm over cells: `"mean"`, or `"sum"` as printed, with which the
            weight of the term grows with the grid.
        scale: of g: `"max"` divides each map by its maximum, so that it lies in [0, 1] like Att;
            `"none"` takes the map as printed, whose size is up to the network.
        threshold: rule of Att(x): `"mean"` (kappa is the map's mean), `TopCells(count)`, or a
            number: kappa for maps scaled by `scale`. The authors' code has 0.2 of the maximum.
        explained: class that both maps explain: the true `"label"`, or the `"prediction"` of the
            original image. They are the same on images that the network classifies correctly.

    Returns:
        The attack.

    Raises:
        TypeError: not an attack, or one whose objective is no function of the logits.
        ValueError: sigma not finite, an unknown option, or an attack made by `a3`.

    Example:
        >>> attack = a3(step_ll(4 / 255, num_steps=3), sigma=10)  # [AAD Table 9]
        >>> adversarial = attack(classifier, images, labels)
    """
    if not isinstance(attack, GradientSignAttack):
        raise TypeError(
            f"attack must be a GradientSignAttack such as step_ll(4 / 255), got {attack!r}."
        )
    # isinstance tells the type checker nothing here: the dataclass looks for itself.
    plain: Any = attack.objective
    sigma = _check_number(sigma, "sigma")
    objective = AttentionAugmented(plain, sigma, reduction, scale, threshold, explained)
    name = f"a3({attack.name},{objective.arguments})".replace(" ", "")
    return dataclasses.replace(attack, objective=objective, name=name)


def _predicted(logits: tf.Tensor) -> tf.Tensor:
    return tf.argmax(tf.stop_gradient(logits), axis=-1, output_type=tf.int32)


def _check_number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}.")
    return float(value)


def _check_choice(value: Any, name: str, choices: Any) -> None:
    if value not in tuple(choices):
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}.")


def _check_threshold(threshold: Any, scale: str) -> None:
    """Refuses rules by which an image's area would depend on the other images of its batch."""
    if threshold == "mean" or isinstance(threshold, TopCells) or threshold == MeanThreshold():
        return
    if isinstance(threshold, str) or callable(threshold):
        raise ValueError(
            f"threshold must be 'mean', TopCells(count) or a number, got {threshold!r}: the area "
            f"of an image under attack must not depend on the other images of its batch."
        )
    value = _check_number(threshold, "threshold")
    if scale == "max" and not 0 <= value < 1:
        raise ValueError(
            f"threshold must be in [0, 1) for maps divided by their maximum, got {threshold}."
        )
