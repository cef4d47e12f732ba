"""Losses of the AAD framework, [AAD Eqs. 7-9]; every function returns one value an example."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from aad_tf.attention.areas import threshold_rule
from aad_tf.attention.grad_cam import grad_cam_map, softmax_grad_cam_map
from aad_tf.checks import near_names
from aad_tf.ops import at_least_float32, safe_divide, safe_norm


def soft_margin(
    labels: tf.Tensor,
    logits: tf.Tensor,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> tf.Tensor:
    """Multi-label soft margin loss against the one-hot label, L_c of [AAD Eq. 9].

    Args:
        labels: int `[batch]`.
        logits: `[batch, classes]`.
        reduction: over classes, `"mean"` (the usual definition) or `"sum"`.
        label_smoothing: part of the target that is spread evenly over all classes, in [0, 1).

    Returns:
        `[batch]`, non-negative.

    Raises:
        ValueError: unknown reduction.

    Example:
        >>> soft_margin(tf.constant([0]), tf.constant([[0.0, 0.0]])).numpy()  # log 2
        array([0.6931472], dtype=float32)
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}.")
    logits = at_least_float32(logits)
    targets = tf.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    if label_smoothing:
        targets = targets * (1.0 - label_smoothing) + label_smoothing / logits.shape[-1]
    values = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
    reduce = tf.reduce_mean if reduction == "mean" else tf.reduce_sum
    return reduce(values, axis=-1)


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor, label_smoothing: float = 0.0) -> tf.Tensor:
    """Softmax cross-entropy of the label, `[batch]`.

    Args:
        labels: int `[batch]`.
        logits: `[batch, classes]`.
        label_smoothing: part of the target that is spread evenly over all classes, in [0, 1)
            (Szegedy et al. 2016: 0.1).

    Returns:
        `[batch]`, non-negative.
    """
    logits = at_least_float32(logits)
    own = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    if label_smoothing == 0.0:
        return own
    every = -tf.reduce_mean(tf.nn.log_softmax(logits), axis=-1)
    return (1.0 - label_smoothing) * own + label_smoothing * every


def l1_norm(difference: tf.Tensor) -> tf.Tensor:
    """Sum of absolute values of each example."""
    return tf.reduce_sum(tf.abs(difference), axis=_example_axes(difference))


def l2_norm(difference: tf.Tensor) -> tf.Tensor:
    """Euclidean norm of each example, with zero gradient at zero."""
    return safe_norm(difference, axis=_example_axes(difference))


def squared_sum(difference: tf.Tensor) -> tf.Tensor:
    """Sum of squares of each example."""
    return tf.reduce_sum(tf.square(difference), axis=_example_axes(difference))


def squared_mean(difference: tf.Tensor) -> tf.Tensor:
    """Mean of squares of each example."""
    return tf.reduce_mean(tf.square(difference), axis=_example_axes(difference))


def absolute_mean(difference: tf.Tensor) -> tf.Tensor:
    """Mean of absolute values of each example."""
    return tf.reduce_mean(tf.abs(difference), axis=_example_axes(difference))


def _example_axes(values: tf.Tensor) -> tuple[int, ...]:
    return tuple(range(1, values.shape.rank))


CLASSIFICATIONS: dict[str, Callable[[tf.Tensor, tf.Tensor, float], tf.Tensor]] = {
    "soft_margin": lambda labels, logits, smooth: soft_margin(labels, logits, "mean", smooth),
    "soft_margin_sum": lambda labels, logits, smooth: soft_margin(labels, logits, "sum", smooth),
    "cross_entropy": cross_entropy,
}
DISTANCES: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "l1": l1_norm,
    "l2": l2_norm,
    "squared_sum": squared_sum,
    "squared_mean": squared_mean,
    "absolute_mean": absolute_mean,
}
MAPS: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "grad_cam": grad_cam_map,
    "softmax_grad_cam": softmax_grad_cam_map,
}


def rectification(
    logits: tf.Tensor, masked_logits: tf.Tensor, distance: str | Callable = "l2"
) -> tf.Tensor:
    """Rewards predictions that collapse once the attention area is hidden: [AAD Eq. 7], one term.

    Args:
        logits: `[batch, classes]` of the image.
        masked_logits: `[batch, classes]` of the image without its attention area.
        distance: name in `DISTANCES`, or a function of the difference of softmax outputs.

    Returns:
        `[batch]`, at most 0: minus the distance between the two softmax outputs.

    Example:
        >>> rectification(tf.constant([[9.0, 0.0]]), tf.constant([[9.0, 0.0]])).numpy()
        array([-0.], dtype=float32)
    """
    probabilities = tf.nn.softmax(at_least_float32(logits))
    masked = tf.nn.softmax(at_least_float32(masked_logits))
    return -_distance(distance)(probabilities - masked)


def preservation(
    clean_maps: tf.Tensor, adversarial_maps: tf.Tensor, distance: str | Callable = "l1"
) -> tf.Tensor:
    """Penalises attention that moves under attack: [AAD Eq. 8], one term.

    Args:
        clean_maps: `[batch, h, w]`, g(x).
        adversarial_maps: `[batch, h, w]`, g(x_adv).
        distance: name in `DISTANCES`, or a function of the difference of the maps.

    Returns:
        `[batch]`, non-negative.
    """
    return _distance(distance)(clean_maps - adversarial_maps)


def unit_sum(maps: tf.Tensor) -> tf.Tensor:
    """Scales each map to sum 1; a map of zeros stays zero.

    The distance between such maps speaks of where attention lies and not of the scale of the
    logits, which a network could otherwise shrink to please the preservation loss.
    """
    return safe_divide(maps, tf.reduce_sum(maps, axis=(1, 2), keepdims=True))


def _distance(distance: str | Callable) -> Callable[[tf.Tensor], tf.Tensor]:
    return distance if callable(distance) else _known(DISTANCES, distance, "distance")


def _known(table: dict[str, Any], name: str, what: str) -> Any:
    if name not in table:
        raise ValueError(f"Unknown {what} {name!r}." + near_names(name, table))
    return table[name]


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
        _known(CLASSIFICATIONS, self.classification, "classification loss")
        _distance(self.rectification)
        _distance(self.preservation)
        _known(MAPS, self.maps, "map")
        threshold_rule(self.threshold)

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
        return _known(PRESETS, name, "loss preset")

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
