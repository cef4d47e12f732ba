"""A3: gradient-sign attacks that also change, or preserve, the attention map [AAD supp. B]."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, cast

import tensorflow as tf

from aad_tf.attacks.gradient_sign import GradientSignAttack
from aad_tf.attacks.iterative import refuse_l2
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

    L is the objective of a plain attack. Att(x) is the attention area (a binary mask) of the
    original image, which stays constant; g(x_adv) is the Grad-CAM map of the current image, for
    the same class. One forward pass per iteration yields L and g.

    Attributes:
        objective: L, an objective that depends on the image through the logits alone.
        sigma: weight of the attention term, any finite number; 0 leaves L alone.
        reduction: how the l1-norm is taken over the cells of a map: `"mean"` or `"sum"`.
        scale: `"max"` divides g by its maximum per image, `"none"` leaves it as it is.
        threshold: rule of Att(x): `"mean"`, cells above the mean of the map; `TopCells(count)`, the
            `count` highest cells; or a number, cells above it in the map scaled by `scale`.
        explained: class that the maps explain: the true `"label"`, or the `"prediction"` for the
            original image.

    Raises:
        TypeError: an objective without the method `from_logits`, or a sigma that is not a number.
        ValueError: sigma not finite, an unknown option, an objective that is an
            `AttentionAugmented` already, or a numeric threshold outside [0, 1) with `scale="max"`.

    Example:
        >>> AttentionAugmented(TowardsLeastLikely(), sigma=10.0).name
        'a3(towards_least_likely, sigma=10)'
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
        """Short name for records, such as `"a3(away_from_label, sigma=10)"`."""
        return f"a3({self.objective.name}, {self.arguments})"

    @property
    def arguments(self) -> str:
        """sigma and the options that differ from their defaults, as text such as `"sigma=10"`."""
        options = {**self.options(), "sigma": f"{self.sigma:.12g}"}
        return ", ".join(f"{name}={value}" for name, value in options.items())

    def options(self) -> dict[str, Any]:
        """Returns `sigma` and the options that differ from their defaults.

        Returns:
            Values by name: `sigma`, and those of `reduction`, `scale`, `threshold` and `explained`
            that are not the default.
        """
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)[1:]
            if getattr(self, field.name) != field.default
        }

    def context(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """Computes the attention areas of the original images.

        Args:
            classifier: the network under attack.
            images: `[batch, H, W, C]`, the original images.
            labels: int32 `[batch]`, true labels.

        Returns:
            A tuple: the attention areas `[batch, h, w]` in {0, 1}; with `explained="prediction"`
            also the predicted classes, int32 `[batch]`; then what the inner objective L needs of
            the original images, if anything. With sigma 0 the last part alone.
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
        """Computes the objective of a batch by one forward pass.

        Args:
            classifier: the network under attack.
            images: `[batch, H, W, C]`, the current images of the attack.
            labels: int32 `[batch]`, true labels.
            *context: the tensors that `context` returned for the original images.

        Returns:
            The values `[batch]`, and the logits `[batch, classes]` of `images`.

        Raises:
            ValueError: no context, though sigma is not zero.
        """
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
    """Divides each map by its own maximum.

    Args:
        maps: `[batch, h, w]`, non-negative.

    Returns:
        Maps in [0, 1] of the shape and dtype of `maps`. A map whose maximum is at most 1e-18
        becomes zero, with gradient zero. For other maps, gradients flow through the maximum too.
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
    """Makes an attention-augmented attack (A3) of a gradient-sign attack, [AAD Eqs. 10-12].

    Step size, number of steps, budget and start are those of `attack`. The objective L that it
    lowers becomes L - sigma ||Att(x) - g(x_adv)||_1, where Att(x) is the attention area (a binary
    mask) of the original image and g(x_adv) the Grad-CAM map of the current image. A positive sigma
    moves attention out of its original area while the label is attacked, a negative one keeps it
    there; with 0 the result is that of `attack`.

    This is A3 as the supplement of the AAD paper has it, not Adaptive Auto Attack, which Liu et al.
    (2022) call A3 too.

    The cross-entropy, which `fgsm`, `ifgsm` and `pgd` use, is nearly constant where the network is
    sure of the label. There the attention term determines the signs of most pixels at any sigma,
    and fewer images may end misclassified than under `attack`.

    Args:
        attack: a gradient-sign attack, made by `step_ll`, `fgsm`, `ifgsm`, `iter_ll`, `pgd` or
            `apgd`; or its text, such as `"step_ll(epsilon=4/255, num_steps=3)"`.
        sigma: weight of the attention term, any finite number; the paper takes 10.
        reduction: how the l1-norm is taken over the cells of a map: `"mean"`; or `"sum"`, as in the
            paper's equation, where the term grows with the number of cells.
        scale: `"max"` divides g by its maximum per image, so that it lies in [0, 1] like Att(x);
            `"none"` takes g as it is, as in the paper's equation.
        threshold: rule of the area Att(x): `"mean"`, cells above the mean of the map;
            `TopCells(count)`, the highest cells; or a number, cells above it in the map scaled by
            `scale`. In the authors' code it is 0.2 of the maximum.
        explained: class that both maps explain: the true `"label"`, or the `"prediction"` for the
            original image. They are the same on images that are classified correctly.

    Returns:
        A copy of the attack with the objective `AttentionAugmented`.

    Raises:
        TypeError: not a gradient-sign attack, an objective without `from_logits`, or a sigma that
            is not a number.
        ValueError: text that is not an attack, an attack in l2, sigma not finite, an unknown
            option, an attack made by `a3` already, or a numeric threshold outside [0, 1) with
            `scale="max"`.

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
    refuse_l2(attack, "a3")
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
