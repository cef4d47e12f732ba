"""The parts of the total loss, [AAD Eq. 9], and named choices of them.

Here stand the choices: the rule of the attention area (`threshold`; the rules themselves are in
`attention/areas.py`), how maps are made and scaled, and the distances. `AADModel.training_losses`
(`defenses/aad.py`) puts them together with the weights alpha, beta and gamma.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import tensorflow as tf

from aad_tf.attention.areas import MeanThreshold, mask_out, rule_for_any_batch
from aad_tf.classifier import Classifier
from aad_tf.losses.attention import MAPS, distance_by_name, preservation, rectification, unit_sum
from aad_tf.losses.classification import CLASSIFICATIONS
from aad_tf.utils.checks import check_choice, check_number
from aad_tf.utils.ops import resize_maps

ATTENTION_NOISE = ("independent", "shared", "none")
"""What dropout may do to L_r and L_p in training; see `AADModel`."""


@dataclass(frozen=True)
class AADLosses:
    """The parts of [AAD Eq. 9]; each may be exchanged, as the paper invites.

    Attributes:
        classification: L_c, a name in `CLASSIFICATIONS`.
        rectification: distance between softmax outputs in L_r, a name in `DISTANCES` or a
            function.
        preservation: distance between maps in L_p, a name in `DISTANCES` or a function.
        maps: how maps are made while training, a name in `MAPS`: `"grad_cam"`, or
            `"softmax_grad_cam"`, the authors' softmax over the grid (`..._of_each` with each
            example by itself).
        normalized_maps: compare maps scaled to sum 1 in L_p.
        full_size_maps: compare maps resized to the image in L_p.
        preservation_over: how L_p is reduced over the batch: `"batch_mean"`, as the other terms, or
            `"batch_sum"`, as in the authors' code, which is the mean times the number of examples
            of the batch, of all replicas together; it grows with the batch size.
        threshold: rule of the attention area: `"mean"`, above the mean of each map;
            `"batch_mean"`, above the mean of all maps of the batch, of the clean images and of each
            round apart; or a rule such as `TopCells(10)`. `MatchingArea`, which belongs to one
            batch, is refused.
        fill: what hidden pixels become in L_r, [AAD Eq. 6], in the unit of the images: a number,
            or one per channel. None takes the pixel that the network itself sees as zero,
            `Classifier.zero_pixel`: 0.5 in [0, 1] where a Rescaling to [-1, 1] stands in front, as
            in CifarNet, and as the authors' code has it; 0 where there is no such layer.

    Example:
        >>> AADLosses.preset("paper").replace(rectification="squared_mean").rectification
        'squared_mean'
    """

    classification: str = "cross_entropy"
    rectification: str | Callable = "squared_mean"
    preservation: str | Callable = "l1"
    maps: str = "grad_cam"
    normalized_maps: bool = True
    full_size_maps: bool = False
    # Records that were written before it keep the parameters of their attacks.
    preservation_over: str = dataclasses.field(
        default="batch_mean", metadata={"left_out_at_default": True}
    )
    threshold: Any = "mean"
    fill: float | tuple[float, ...] | None = None
    # What a field was before records had it.
    before_recorded: ClassVar[dict[str, Any]] = {"fill": 0.0}

    def __post_init__(self) -> None:
        check_choice(self.classification, CLASSIFICATIONS, "classification loss")
        distance_by_name(self.rectification)
        distance_by_name(self.preservation)
        check_choice(self.maps, MAPS, "map")
        check_choice(self.preservation_over, ("batch_mean", "batch_sum"), "preservation_over")
        rule_for_any_batch(self.threshold)
        if isinstance(self.fill, Sequence) and not isinstance(self.fill, str):
            # Hashable, as keys of compiled functions must be; JSON gives lists back.
            numbers = tuple(check_number(each, "fill") for each in self.fill)
            object.__setattr__(self, "fill", numbers)
        elif self.fill is not None:
            check_number(self.fill, "fill")

    @classmethod
    def preset(cls, name: str) -> AADLosses:
        """A named choice of parts.

        Args:
            name: `"balanced"` (the default: trains on MNIST and CIFAR-10 alike), `"paper"` (the
                equations as printed, sums over examples turned into means) or `"reference_code"`
                (what the authors' code does).

        Raises:
            ValueError: unknown name.
        """
        return PRESETS[check_choice(name, PRESETS, "loss preset")]

    def replace(self, **parts: Any) -> AADLosses:
        """A copy with some parts exchanged."""
        return dataclasses.replace(self, **parts)

    def for_each_example(self) -> AADLosses:
        """The same, but with each example by itself where it depends on the others of its batch.

        The rule `"batch_mean"` becomes `"mean"`, the maps `"softmax_grad_cam"` are scaled by the
        gradients of their own example, and L_p is not multiplied by the number of examples: an
        image under attack must not depend on which others are attacked beside it. Parts of one's
        own stay as they are.

        Example:
            >>> AADLosses.preset("reference_code").for_each_example().threshold
            'mean'
        """
        over_batch = self.threshold in ("batch_mean", MeanThreshold(over_batch=True))
        maps = {"softmax_grad_cam": "softmax_grad_cam_of_each"}.get(self.maps, self.maps)
        return self.replace(
            threshold="mean" if over_batch else self.threshold,
            maps=maps,
            preservation_over="batch_mean",
        )

    def classification_loss(
        self, labels: tf.Tensor, logits: tf.Tensor, label_smoothing: float = 0.0
    ) -> tf.Tensor:
        """L_c, `[batch]`, of int labels `[batch]` and logits `[batch, classes]`."""
        return CLASSIFICATIONS[self.classification](labels, logits, label_smoothing)

    def rectification_loss(self, logits: tf.Tensor, masked_logits: tf.Tensor) -> tf.Tensor:
        """A term of L_r, `[batch]`, of `[batch, classes]` logits of whole and masked images."""
        return rectification(logits, masked_logits, self.rectification)

    def preservation_loss(self, clean_maps: tf.Tensor, adversarial_maps: tf.Tensor) -> tf.Tensor:
        """One term of L_p, `[batch]`, of maps scaled as `comparable_maps` does."""
        return preservation(clean_maps, adversarial_maps, self.preservation)

    def comparable_maps(self, maps: tf.Tensor, size: tuple[Any, Any]) -> tf.Tensor:
        """Maps as `preservation_loss` takes them: scaled and resized as the parts say.

        Args:
            maps: `[batch, h, w]`.
            size: height and width of the images.

        Returns:
            `[batch, h, w]`, or `[batch, height, width]` with `full_size_maps`.
        """
        if self.normalized_maps:
            maps = unit_sum(maps)
        return resize_maps(maps, size) if self.full_size_maps else maps

    def hidden(self, classifier: Classifier, images: tf.Tensor, maps: tf.Tensor) -> tf.Tensor:
        """Images without their attention area, as L_r takes them; see `mask_out`.

        Args:
            classifier: the network, whose zero is the value of hidden pixels unless `fill` is.
            images: `[batch, H, W, C]`.
            maps: `[batch, h, w]`, as `attention_maps` makes them.
        """
        fill = classifier.zero_pixel if self.fill is None else self.fill
        return mask_out(images, maps, self.threshold, fill)

    def check_fill(self, classifier: Classifier) -> None:
        """Refuses hidden pixels that a network does not take.

        Raises:
            ValueError: `fill` outside the network's bounds, or not one value per channel.
        """
        values = self.fill if isinstance(self.fill, tuple) else (self.fill,)
        lower, upper = classifier.bounds
        # 0 is Eq. 6 as printed, whatever the range.
        if any(value and not lower <= value <= upper for value in values):
            raise ValueError(
                f"fill must lie within the pixel range [{lower}, {upper}] of the network, got "
                f"{self.fill}. None takes the network's own zero, {classifier.zero_pixel}."
            )
        channels = classifier.input_shape[-1]
        if len(values) not in (1, channels):
            raise ValueError(
                f"fill must be one number, or one for each of the {channels} channels of the "
                f"images, got {self.fill}."
            )

    def attention_maps(self, features: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
        """g(x), `[batch, h, w]`, of features and their gradients `[batch, h, w, channels]`."""
        return MAPS[self.maps](features, gradients)


PRESETS = {
    "balanced": AADLosses(),
    "paper": AADLosses(
        classification="soft_margin",
        rectification="l2",
        preservation="l1",
        normalized_maps=False,
    ),
    "reference_code": AADLosses(
        classification="cross_entropy",
        rectification="squared_mean",
        preservation="squared_sum",
        maps="softmax_grad_cam",
        normalized_maps=False,
        full_size_maps=True,
        preservation_over="batch_sum",
        threshold="batch_mean",
    ),
}


def check_weights(weights: Sequence[float], signed: bool = False) -> tuple[float, float, float]:
    """Returns alpha, beta and gamma of [AAD Eq. 9] as floats.

    Args:
        weights: (alpha, beta, gamma).
        signed: whether weights may be negative.

    Raises:
        ValueError: not three finite numbers, or negative ones where they are not `signed`.

    Example:
        >>> check_weights((8, -4, -1), signed=True)
        (8.0, -4.0, -1.0)
    """
    try:
        alpha, beta, gamma = (check_number(weight, "weights") for weight in weights)
        if not signed and min(alpha, beta, gamma) < 0:
            raise ValueError("weights are negative")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"weights must be three finite numbers (alpha, beta, gamma)"
            f"{'' if signed else ' >= 0'}, got {weights!r}."
        ) from error
    return alpha, beta, gamma
