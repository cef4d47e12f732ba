"""Objectives on differences of logits: the margin, and its ratios by Croce and Hein (2020).

Sources: N. Carlini and D. Wagner, Towards Evaluating the Robustness of Neural Networks, 2017 (the
margin); F. Croce and M. Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of
Diverse Parameter-free Attacks, ICML 2020 (DLR and its targeted form); O. Melamed et al., MALT
Powers Up Adversarial Attacks, NeurIPS 2024 (which targets are nearest).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import tensorflow as tf

from aad_tf.attacks.loop import Examples, value_dtype
from aad_tf.attacks.objectives import AnyObjective, OfLogits
from aad_tf.attacks.serialization import register_kind
from aad_tf.classifier import Classifier
from aad_tf.utils.checks import check_choice, check_count
from aad_tf.utils.ops import at_least_float32

_SMALL = 1e-12
# Of the largest logits; MALT's code has 100.
_CANDIDATES = 20


def margin(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Logit of the label less the largest other one, `[batch]`; negative where misclassified.

    Args:
        logits: `[batch, classes]`.
        labels: int32 `[batch]`.

    Returns:
        float32, or float64 for logits of that dtype.

    Example:
        >>> margin(tf.constant([[3.0, 1.0, 0.5]]), tf.constant([0])).numpy()
        array([2.], dtype=float32)
    """
    logits = at_least_float32(logits)
    of_label = tf.gather(logits, labels, axis=1, batch_dims=1)
    hidden = tf.one_hot(
        labels, tf.shape(logits)[1], on_value=-logits.dtype.max, off_value=0.0, dtype=logits.dtype
    )
    return of_label - tf.reduce_max(logits + hidden, axis=1)


def logits_ratio(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Minus the DLR loss: the margin over the difference of the largest and third largest logit.

    The ratio does not change when logits are multiplied, so it has gradients where the
    cross-entropy has none because the network is too sure.

    Args:
        logits: `[batch, classes]`; of two classes the margin is not divided.
        labels: int32 `[batch]`.

    Returns:
        `[batch]`, at most 1; negative where misclassified.

    Example:
        >>> logits_ratio(tf.constant([[3.0, 1.0, -1.0]]), tf.constant([0])).numpy()
        array([0.5], dtype=float32)
    """
    return margin(logits, labels) / _spread(at_least_float32(logits), (2,))


def targeted_logits_ratio(logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Minus the targeted DLR loss: how far the label's logit is above the target's, as a ratio.

    The denominator is the largest logit less the mean of the third and fourth largest; of three
    classes less the third, of two classes 1.

    Args:
        logits: `[batch, classes]`.
        labels: int32 `[batch]`.
        targets: int32 `[batch]`.

    Returns:
        `[batch]`, float32 or float64.

    Example:
        >>> logits, labels, targets = [[4.0, 1.0, 2.0, -2.0]], [0], [1]
        >>> targeted_logits_ratio(tf.constant(logits), labels, targets).numpy()
        array([0.6666667], dtype=float32)
    """
    return _difference(logits, labels, targets) / _spread(at_least_float32(logits), (2, 3))


def _spread(logits: tf.Tensor, ranks: tuple[int, ...]) -> tf.Tensor:
    """Largest logit less the mean of those of some ranks, counted from 0, as far as they exist."""
    classes = int(logits.shape[1])
    ranks = tuple(rank for rank in ranks if rank < classes)
    if not ranks:
        return tf.ones_like(logits[:, 0])
    largest = tf.math.top_k(logits, ranks[-1] + 1).values
    return largest[:, 0] - tf.add_n([largest[:, rank] for rank in ranks]) / len(ranks) + _SMALL


@register_kind("margin")
@dataclass(frozen=True)
class Margin(OfLogits):
    """The logit of the true label less the largest other one (Carlini and Wagner 2017).

    It is negative where the image is misclassified.
    """

    name: ClassVar[str] = "margin"

    def from_logits(self, logits: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor) -> tf.Tensor:
        """Values `[batch]` to descend; see `LogitsObjective`."""
        return margin(logits, labels)


@register_kind("dlr")
@dataclass(frozen=True)
class LogitsRatio(OfLogits):
    """Minus the difference of logits ratio (DLR) loss, see `logits_ratio`."""

    name: ClassVar[str] = "dlr"

    def from_logits(self, logits: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor) -> tf.Tensor:
        """Values `[batch]` to descend; see `LogitsObjective`."""
        return logits_ratio(logits, labels)


@dataclass(frozen=True)
class _TowardsNearest(OfLogits):
    """Towards one of the classes that are nearest to the original image, chosen by the attack.

    Attributes:
        num_targets: how many; of a network with fewer other classes, all of them.
        nearest_by: `"logit"`, the classes of the largest logits, or `"distance"`, those whose
            linearised boundary is nearest, see `linearized_distances`.
    """

    num_targets: int = 9
    nearest_by: str = "logit"

    def __post_init__(self) -> None:
        check_count(self.num_targets, "num_targets")
        check_choice(self.nearest_by, ("logit", "distance"), "nearest_by")

    def context(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """Target classes of the original images, int32 `[batch, targets]`."""
        logits = classifier(images, training=False).logits
        if self.nearest_by == "logit":
            return (nearest_classes(logits, labels, self.num_targets),)
        candidates = nearest_classes(logits, labels, max(_CANDIDATES, self.num_targets))
        distances = linearized_distances(classifier, images, labels, candidates)
        order = tf.argsort(distances, axis=1)[:, : self.num_targets]
        return (tf.gather(candidates, order, axis=1, batch_dims=1),)

    def targeted(self, logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Values `[batch]` to descend towards targets `[batch]`."""
        raise NotImplementedError

    def from_logits(self, logits: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor) -> tf.Tensor:
        """Values `[batch]` to descend towards the first of the targets; see `LogitsObjective`."""
        if not context:
            raise ValueError(
                f"{self.name} needs the original images: pass on what "
                f"context(classifier, original_images, labels) returns for them."
            )
        return self.targeted(logits, labels, context[0][:, 0])


@register_kind("targeted_dlr")
@dataclass(frozen=True)
class TargetedLogitsRatio(_TowardsNearest):
    """Minus the targeted DLR loss towards one of the classes nearest to the original image.

    Each restart of an attack goes towards another one: that of the second largest logit first.

    Attributes:
        num_targets: how many; of a network with fewer other classes, all of them.
        nearest_by: `"logit"` or `"distance"`, what nearest means; see `linearized_distances`.
    """

    name: ClassVar[str] = "targeted_dlr"

    def targeted(self, logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Values `[batch]` to descend; see `targeted_logits_ratio`."""
        return targeted_logits_ratio(logits, labels, targets)


@register_kind("targeted_margin")
@dataclass(frozen=True)
class TargetedMargin(_TowardsNearest):
    """The logit of the true label less that of one of the classes nearest to the original image.

    Attributes:
        num_targets: how many; of a network with fewer other classes, all of them.
        nearest_by: `"logit"` or `"distance"`, what nearest means; see `linearized_distances`.
    """

    name: ClassVar[str] = "targeted_margin"

    def targeted(self, logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Values `[batch]` to descend."""
        return _difference(logits, labels, targets)


def nearest_classes(logits: tf.Tensor, labels: tf.Tensor, count: int) -> tf.Tensor:
    """The classes of the largest logits but for the label, int32 `[batch, at most count]`.

    Args:
        logits: `[batch, classes]`.
        labels: int32 `[batch]`.
        count: how many; of fewer other classes, all of them.
    """
    classes = int(logits.shape[1])
    hidden = tf.one_hot(labels, classes, on_value=logits.dtype.min, off_value=0, dtype=logits.dtype)
    count = min(count, classes - 1)
    return tf.math.top_k(tf.maximum(logits + hidden, logits.dtype.min), count).indices


def linearized_distances(
    classifier: Classifier, images: tf.Tensor, labels: tf.Tensor, candidates: tf.Tensor
) -> tf.Tensor:
    """How far the boundary to other classes is, were logits linear: l-inf, pixel range aside.

    The margin of two logits over the l1-norm of its gradient, by which MALT (Melamed et al. 2024)
    orders targets. Takes one gradient per candidate.

    Args:
        classifier: the network.
        images: `[batch, H, W, C]`.
        labels: int32 `[batch]`.
        candidates: int32 `[batch, count]`, classes.

    Returns:
        `[batch, count]`, float32 or float64.
    """

    def distance(classes: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            logits = classifier(images, training=False).logits
            gap = _difference(logits, labels, classes)
        gradient = at_least_float32(tape.gradient(gap, images))
        slope = tf.reduce_sum(tf.abs(gradient), axis=(1, 2, 3))
        return gap / (slope + tf.cast(_SMALL, slope.dtype))

    columns = tf.map_fn(
        distance, tf.transpose(candidates), fn_output_signature=value_dtype(classifier)
    )
    return tf.ensure_shape(tf.transpose(columns), candidates.shape)


def _difference(logits: tf.Tensor, labels: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Logit of the label less that of another class, `[batch]`."""
    logits = at_least_float32(logits)
    return tf.subtract(
        *(tf.gather(logits, classes, axis=1, batch_dims=1) for classes in (labels, others))
    )


def with_target(objective: AnyObjective, examples: Examples, number: tf.Tensor) -> Examples:
    """Examples with one target each, where the objective has several per example.

    Args:
        objective: what is descended.
        examples: with the context of the objective.
        number: int32 `[batch]`, which target; beyond the last one it begins again.
    """
    if targets_per_example(objective) is None:
        return examples
    # Of A3, its own context comes first.
    *others, targets = examples.context
    column = (number % tf.shape(targets)[1])[:, tf.newaxis]
    chosen = tf.gather(targets, column, axis=1, batch_dims=1)
    return examples._replace(context=(*others, chosen))


def targets_per_example(objective: AnyObjective) -> int | None:
    """How many targets an objective has per example, None if it chooses none; A3's is looked into.

    Example:
        >>> targets_per_example(TargetedMargin(5))
        5
    """
    objective = getattr(objective, "objective", objective)
    return objective.num_targets if isinstance(objective, _TowardsNearest) else None


def with_num_targets(objective: Any, count: int) -> Any:
    """The objective with another number of targets per example; A3's is looked into."""
    if hasattr(objective, "objective"):
        inner = with_num_targets(objective.objective, count)
        return dataclasses.replace(objective, objective=inner)
    return dataclasses.replace(objective, num_targets=count)
