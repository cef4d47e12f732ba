"""The parts of the total loss, [AAD Eq. 9], and named choices of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from aad_tf.attention.areas import rule_for_any_batch
from aad_tf.losses.attention import MAPS, preservation, rectification
from aad_tf.losses.classification import CLASSIFICATIONS
from aad_tf.losses.distances import distance_by_name
from aad_tf.losses.names import known


@dataclass(frozen=True)
class AADLosses:
    """The parts of [AAD Eq. 9]; each may be exchanged, as the paper invites.

    Attributes:
        classification: L_c, a name in `CLASSIFICATIONS`.
        rectification: distance between softmax outputs in L_r, a name in `DISTANCES` or a
            function.
        preservation: distance between maps in L_p, a name in `DISTANCES` or a function.
        maps: how maps are made while training, a name in `MAPS`.
        normalized_maps: compare maps scaled to sum 1 in L_p.
        full_size_maps: compare maps resized to the image in L_p.
        threshold: rule of the attention area, as for `attention_area`.

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
    threshold: Any = "mean"

    def __post_init__(self) -> None:
        known(CLASSIFICATIONS, self.classification, "classification loss")
        distance_by_name(self.rectification)
        distance_by_name(self.preservation)
        known(MAPS, self.maps, "map")
        rule_for_any_batch(self.threshold)

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
        return known(PRESETS, name, "loss preset")

    def replace(self, **parts: Any) -> AADLosses:
        """A copy with some parts exchanged."""
        return dataclasses.replace(self, **parts)

    def classification_loss(
        self, labels: tf.Tensor, logits: tf.Tensor, label_smoothing: float = 0.0
    ) -> tf.Tensor:
        """L_c, `[batch]`."""
        return CLASSIFICATIONS[self.classification](labels, logits, label_smoothing)

    def rectification_loss(self, logits: tf.Tensor, masked_logits: tf.Tensor) -> tf.Tensor:
        """One term of L_r, `[batch]`."""
        return rectification(logits, masked_logits, self.rectification)

    def preservation_loss(self, clean_maps: tf.Tensor, adversarial_maps: tf.Tensor) -> tf.Tensor:
        """One term of L_p, `[batch]`, of maps prepared by `comparable_maps`."""
        return preservation(clean_maps, adversarial_maps, self.preservation)

    def attention_maps(self, features: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
        """g(x), `[batch, h, w]`."""
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
        threshold="batch_mean",
    ),
}
