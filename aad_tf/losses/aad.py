"""The parts of the total loss, [AAD Eq. 9], and named choices of them.

An `AADLosses` holds the choices: the rule of the attention area (the rules are in
`attention/areas.py`), how maps are made and scaled, and the distances. `AADModel.training_losses`
(`defenses/aad.py`) adds up the losses with the weights alpha, beta and gamma.
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
"""Names of what dropout may do to L_r and L_p in training; argument of `AADModel`."""


@dataclass(frozen=True)
class AADLosses:
    """How the losses in alpha L_c + beta L_r + gamma L_p of [AAD Eq. 9] are computed.

    L_c classifies. L_r makes predictions depend on the attention area, the places where the
    attention map is high: it is minus the distance between the predictions for whole images and
    for masked images, whose area is hidden. L_p keeps attention maps of clean and attacked images
    alike. The weights alpha, beta and gamma are given elsewhere, to `AADModel`.

    Attributes:
        classification: the loss L_c: `"cross_entropy"`, `"soft_margin"` (mean over classes) or
            `"soft_margin_sum"` (sum over classes).
        rectification: distance between the softmax outputs of whole and masked images in L_r:
            `"l1"` (sum of absolute values), `"l2"` (Euclidean norm), `"squared_sum"`,
            `"squared_mean"`, `"absolute_mean"`, or a function from differences `[batch, classes]`
            to `[batch]`.
        preservation: distance between clean and attacked maps in L_p: one of the same names, or a
            function from differences `[batch, h, w]` to `[batch]`.
        maps: how attention maps are made in training: `"grad_cam"`; `"softmax_grad_cam"`, as in the
            authors' code: gradients are divided by their root mean square over the whole batch, and
            each map is a softmax over its cells instead of a ReLU; or `"softmax_grad_cam_of_each"`,
            the same with the root mean square of each example by itself.
        normalized_maps: True scales each map to sum 1 before L_p compares them.
        full_size_maps: True resizes maps to the size of the images before L_p compares them.
        preservation_over: how L_p is reduced over the batch: `"batch_mean"`, as the other terms, or
            `"batch_sum"`, as in the authors' code: the mean times the number of examples in the
            batch of all replicas together.
        threshold: rule of the attention area that L_r hides: `"mean"`, cells above the mean of
            their map; `"batch_mean"`, cells above the mean of all maps of the batch, taken apart
            for the clean images and for each round of the attack; a number, cells above it;
            `TopCells(n)`, the n highest cells of each map; or a function from maps to areas.
        fill: value of hidden pixels in L_r, [AAD Eq. 6], in the unit of the images: a number, or a
            tuple of one per channel. None takes the pixel value that the network sees as zero:
            0.5 for images in [0, 1] that a Rescaling layer of the network maps to [-1, 1], as in
            the authors' code; 0 without such a layer.

    Raises:
        TypeError: `fill` holds no numbers; or `threshold` is neither a name, a number nor a
            function, or is a `MatchingArea`, whose masks belong to one batch.
        ValueError: a name that is none of these, or a `fill` or `threshold` that is not finite.

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
        """Returns the `AADLosses` of a name: how each of the three losses of AAD is computed.

        Args:
            name: `"balanced"` (the default: trains on MNIST and CIFAR-10 alike), `"paper"` (the
                equations as printed, sums over examples turned into means) or `"reference_code"`
                (what the authors' code does).

        Returns:
            The `AADLosses` of that name, which is shared and cannot be changed.

        Raises:
            ValueError: unknown name.
        """
        return PRESETS[check_choice(name, PRESETS, "loss preset")]

    def replace(self, **parts: Any) -> AADLosses:
        """Returns a copy with some attributes exchanged.

        Args:
            **parts: new values by the name of the attribute, such as `rectification="l2"`.

        Returns:
            A new `AADLosses`; this one stays as it is.

        Raises:
            TypeError: a name that is no attribute, or a value of a type that the constructor
                refuses.
            ValueError: another value that the constructor refuses.
        """
        return dataclasses.replace(self, **parts)

    def for_each_example(self) -> AADLosses:
        """Returns a copy whose losses of one example do not depend on the others of its batch.

        An attack that follows these losses needs this, so that an adversarial image does not depend
        on which others are attacked with it. The threshold `"batch_mean"` becomes `"mean"`, the
        maps `"softmax_grad_cam"` become `"softmax_grad_cam_of_each"`, and `preservation_over`
        becomes `"batch_mean"`. All other choices stay as they are.

        Returns:
            A new `AADLosses`; this one stays as it is.

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
        """The classification loss L_c of each example, [AAD Eq. 9].

        The attribute `classification` says which it is: the cross-entropy, or the soft margin loss
        as a mean or as a sum over classes.

        Args:
            labels: int `[batch]`, true labels.
            logits: `[batch, classes]`.
            label_smoothing: part of the target that is spread evenly over all classes, in [0, 1).

        Returns:
            `[batch]`, non-negative.
        """
        return CLASSIFICATIONS[self.classification](labels, logits, label_smoothing)

    def rectification_loss(self, logits: tf.Tensor, masked_logits: tf.Tensor) -> tf.Tensor:
        """The rectification loss L_r of the clean images or of one round, [AAD Eq. 7].

        Args:
            logits: `[batch, classes]` of the whole images.
            masked_logits: `[batch, classes]` of the images without their attention areas.

        Returns:
            `[batch]`, at most 0: minus the distance between the two softmax outputs that the
            attribute `rectification` names.
        """
        return rectification(logits, masked_logits, self.rectification)

    def preservation_loss(self, clean_maps: tf.Tensor, adversarial_maps: tf.Tensor) -> tf.Tensor:
        """The preservation loss L_p of one round of the attack, [AAD Eq. 8].

        Args:
            clean_maps: `[batch, h, w]`, attention maps of the clean images, non-negative; scaled to
                sum 1 each if the attribute `normalized_maps` says so.
            adversarial_maps: the same of the attacked images.

        Returns:
            `[batch]`, non-negative: the distance between the maps that the attribute `preservation`
            names.
        """
        return preservation(clean_maps, adversarial_maps, self.preservation)

    def comparable_maps(self, maps: tf.Tensor, size: tuple[Any, Any]) -> tf.Tensor:
        """Scales and resizes attention maps before the preservation loss compares them.

        Args:
            maps: `[batch, h, w]`, attention maps, non-negative.
            size: height and width of the images, in pixels.

        Returns:
            If the attribute `normalized_maps` is True, each map is divided by its sum. If
            `full_size_maps` is True, the maps are then resized bilinearly to
            `[batch, height, width]`; else they stay `[batch, h, w]`.
        """
        if self.normalized_maps:
            maps = unit_sum(maps)
        return resize_maps(maps, size) if self.full_size_maps else maps

    def hidden(self, classifier: Classifier, images: tf.Tensor, maps: tf.Tensor) -> tf.Tensor:
        """Hides the attention area of images, [AAD Eq. 6].

        The area is found in the maps by the rule in the attribute `threshold`, such as `"mean"`,
        cells above the mean of their map. Its pixels get the value in the attribute `fill`.

        Args:
            classifier: the network. If `fill` is None, hidden pixels get the value that this
                network sees as zero.
            images: `[batch, H, W, C]`, in the network's pixel range.
            maps: `[batch, h, w]`, attention maps of the images.

        Returns:
            Masked images, [AAD Eq. 6], in the shape and dtype of `images`; no gradient flows to
            the maps.
        """
        fill = classifier.zero_pixel if self.fill is None else self.fill
        return mask_out(images, maps, self.threshold, fill)

    def check_fill(self, classifier: Classifier) -> None:
        """Checks that `fill`, the value of hidden pixels, suits the images of a network.

        None, and 0 whatever the pixel range, always pass.

        Args:
            classifier: gives the pixel range and the number of channels.

        Raises:
            ValueError: a value outside the network's pixel range, or several values that are not
                one per channel.
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
        """Computes attention maps g(x), [AAD Eq. 1].

        The attribute `maps` says how: Grad-CAM, or a softmax over the cells of each map.

        Args:
            features: `[batch, h, w, channels]`, output of the layer that is explained.
            gradients: gradient of the logit of the explained class with respect to `features`, of
                the same shape.

        Returns:
            `[batch, h, w]`, non-negative, not resized; a map of a softmax sums to 1.
        """
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
    """Checks the weights alpha, beta and gamma of the three losses in [AAD Eq. 9].

    Args:
        weights: (alpha, beta, gamma), of the classification, rectification and preservation loss.
        signed: whether weights may be negative.

    Returns:
        The same three numbers as floats.

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
