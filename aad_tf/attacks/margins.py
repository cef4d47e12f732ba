"""Objectives on differences of logits: the margin, and the DLR losses of Croce and Hein (2020).

Sources: N. Carlini and D. Wagner, Towards Evaluating the Robustness of Neural Networks, 2017 (the
margin); F. Croce and M. Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of
Diverse Parameter-free Attacks, ICML 2020 (the difference of logits ratio, DLR, and its targeted
form); O. Melamed et al., MALT Powers Up Adversarial Attacks, NeurIPS 2024 (target classes by the
distance of their linearised decision boundary).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import tensorflow as tf

from aad_tf.attacks.loop import Examples, image_gradient, value_dtype
from aad_tf.attacks.objectives import AnyObjective, OfLogits, innermost
from aad_tf.attacks.serialization import LEFT_OUT_AT_DEFAULT, register_kind
from aad_tf.classifier import Classifier
from aad_tf.utils.checks import check_choice, check_count
from aad_tf.utils.norms import NORMS, l2_norm
from aad_tf.utils.ops import at_least_float32

NEAREST_BY = ("logit", "distance")
_SMALL = 1e-12
# Of the largest logits; MALT's code has 100. Each takes a gradient before the attack begins.
_CANDIDATES = 20


def margin(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Logit of the label minus the largest other logit; negative where misclassified.

    Args:
        logits: `[batch, classes]`.
        labels: int32 `[batch]`.

    Returns:
        `[batch]`, float64 for float64 logits, else float32.

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
    """Minus the DLR loss: the margin divided by the largest minus the third largest logit.

    The margin is the label's logit minus the largest other logit. The ratio does not change when
    all logits are multiplied by a positive number, so its gradient does not vanish where the
    network is very sure of the label, as that of the cross-entropy does.

    Args:
        logits: `[batch, classes]`. With two classes the margin is not divided.
        labels: int32 `[batch]`.

    Returns:
        `[batch]`, float32 or float64; with three or more classes at most 1; negative where
        misclassified.

    Example:
        >>> logits_ratio(tf.constant([[3.0, 1.0, -1.0]]), tf.constant([0])).numpy()
        array([0.5], dtype=float32)
    """
    return margin(logits, labels) / _spread(at_least_float32(logits), (2,))


def targeted_logits_ratio(logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Minus the targeted DLR loss: the label's logit minus the target's logit, as a ratio.

    The difference is divided by the largest logit minus the mean of the third and fourth largest.
    With three classes it is divided by the largest minus the third largest logit, with two classes
    by 1.

    Args:
        logits: `[batch, classes]`.
        labels: int32 `[batch]`, true labels.
        targets: int32 `[batch]`, target classes.

    Returns:
        `[batch]`, float32 or float64; negative where the target has the larger logit.

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
    """Objective: the true label's logit minus the largest other logit (Carlini and Wagner 2017).

    It is negative where the image is misclassified.

    Example:
        >>> Margin().from_logits(tf.constant([[3.0, 1.0, 0.5]]), tf.constant([0])).numpy()
        array([2.], dtype=float32)
    """

    name: ClassVar[str] = "margin"

    def from_logits(self, logits: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor) -> tf.Tensor:
        """Computes the label's logit minus the largest other logit; negative where misclassified.

        Args:
            logits: `[batch, classes]` of the current images.
            labels: int32 `[batch]`, true labels.
            *context: not used.

        Returns:
            `[batch]`, float32 or float64.
        """
        return margin(logits, labels)


@register_kind("dlr")
@dataclass(frozen=True)
class LogitsRatio(OfLogits):
    """Objective: minus the difference of logits ratio (DLR) loss of Croce and Hein (2020).

    It is the label's logit minus the largest other logit, divided by the largest minus the third
    largest logit. With two classes it is not divided.

    Example:
        >>> LogitsRatio().from_logits(tf.constant([[3.0, 1.0, -1.0]]), tf.constant([0])).numpy()
        array([0.5], dtype=float32)
    """

    name: ClassVar[str] = "dlr"

    def from_logits(self, logits: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor) -> tf.Tensor:
        """Computes minus the DLR loss: the margin over the spread of the logits.

        It is the label's logit minus the largest other logit, divided by the largest minus the
        third largest logit; with two classes it is not divided.

        Args:
            logits: `[batch, classes]` of the current images.
            labels: int32 `[batch]`, true labels.
            *context: not used.

        Returns:
            `[batch]`, float32 or float64.
        """
        return logits_ratio(logits, labels)


@dataclass(frozen=True)
class _TowardsNearest(OfLogits):
    """Towards one of the classes that are nearest to the original image, chosen by the attack.

    Attributes:
        num_targets: how many; of a network with fewer other classes, all of them.
        nearest_by: `"logit"`, the classes of the largest logits, or `"distance"`, those whose
            linearised boundary is nearest, see `linearized_distances`.
        norm: norm of that distance, `"linf"` or `"l2"`.
    """

    num_targets: int = 9
    nearest_by: str = "logit"
    norm: str = dataclasses.field(default="linf", metadata=LEFT_OUT_AT_DEFAULT)

    def __post_init__(self) -> None:
        check_count(self.num_targets, "num_targets")
        check_choice(self.nearest_by, NEAREST_BY, "nearest_by")
        check_choice(self.norm, NORMS, "norm")

    def context(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """Chooses the target classes of the original images.

        Args:
            classifier: the network under attack.
            images: `[batch, H, W, C]`, the original images.
            labels: int32 `[batch]`, true labels.

        Returns:
            A tuple of one tensor, the target classes int32 `[batch, targets]`, the nearest first.
        """
        logits = classifier(images, training=False).logits
        if self.nearest_by == "logit":
            return (nearest_classes(logits, labels, self.num_targets),)
        candidates = nearest_classes(logits, labels, max(_CANDIDATES, self.num_targets))
        distances = linearized_distances(classifier, images, labels, candidates, self.norm)
        order = tf.argsort(distances, axis=1)[:, : self.num_targets]
        return (tf.gather(candidates, order, axis=1, batch_dims=1),)

    def targeted(self, logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Computes the objective for one target class per example.

        Args:
            logits: `[batch, classes]` of the current images.
            labels: int32 `[batch]`, true labels.
            targets: int32 `[batch]`, target classes.

        Returns:
            `[batch]`, float32 or float64.
        """
        raise NotImplementedError

    def from_logits(self, logits: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor) -> tf.Tensor:
        """Computes the objective for the first of the target classes of each example.

        Args:
            logits: `[batch, classes]` of the current images.
            labels: int32 `[batch]`, true labels.
            *context: the target classes, int32 `[batch, targets]`, of which the first is used.

        Returns:
            `[batch]`, float32 or float64.

        Raises:
            ValueError: no context.
        """
        if not context:
            raise ValueError(
                f"{self.name} needs the original images: pass on what "
                f"context(classifier, original_images, labels) returns for them."
            )
        return self.targeted(logits, labels, context[0][:, 0])


@register_kind("targeted_dlr")
@dataclass(frozen=True)
class TargetedLogitsRatio(_TowardsNearest):
    """Objective: minus the targeted DLR loss of Croce and Hein (2020).

    It is the label's logit minus the target's logit, divided by the largest logit minus the mean of
    the third and fourth largest. With three classes the divisor is the largest minus the third
    largest logit, with two classes it is 1.

    The attack chooses the target classes of each original image. Each restart uses another target,
    the nearest first.

    Attributes:
        num_targets: number of target classes; all other classes if the network has fewer.
        nearest_by: which classes are nearest: `"logit"`, those of the largest logits; or
            `"distance"`, as in MALT (Melamed et al. 2024), those with the smallest distance to the
            linearised decision boundary: the difference of the two logits divided by a norm of its
            gradient, the l1-norm for the l-inf distance. It is computed for the 20 classes of the
            largest logits (for `num_targets`, if those are more), MALT's code computes it for 100.
            Each takes one gradient per image before the first step. 20 keep that small beside even
            the cheap attack `quick_cascade`, and up to 21 classes nothing is left out. With more, a
            class beyond them is never a target, however steep its logit is.
        norm: norm of that distance, `"linf"` or `"l2"`.

    Raises:
        TypeError: a number of targets that is not an integer.
        ValueError: fewer than one target, or another `nearest_by` or norm.

    Example:
        >>> objective = TargetedLogitsRatio(num_targets=3)
        >>> attack = AutoPGD(objective, num_steps=30, epsilon=8 / 255, restarts=3)
    """

    name: ClassVar[str] = "targeted_dlr"

    def targeted(self, logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Computes minus the targeted DLR loss.

        It is the label's logit minus the target's logit, divided by the largest logit minus the
        mean of the third and fourth largest (with three classes minus the third largest, with two
        classes divided by 1).

        Args:
            logits: `[batch, classes]` of the current images.
            labels: int32 `[batch]`, true labels.
            targets: int32 `[batch]`, target classes.

        Returns:
            `[batch]`, float32 or float64.
        """
        return targeted_logits_ratio(logits, labels, targets)


@register_kind("targeted_margin")
@dataclass(frozen=True)
class TargetedMargin(_TowardsNearest):
    """Objective: the true label's logit minus the logit of a target class.

    The attack chooses the target classes of each original image, and uses one after the other, the
    nearest first.

    Attributes:
        num_targets: number of target classes; all other classes if the network has fewer.
        nearest_by: which classes are nearest: `"logit"`, those of the largest logits; or
            `"distance"`, among the 20 largest logits those with the smallest distance to the
            linearised decision boundary, as for `TargetedLogitsRatio`.
        norm: norm of that distance, `"linf"` or `"l2"`.

    Raises:
        TypeError: a number of targets that is not an integer.
        ValueError: fewer than one target, or another `nearest_by` or norm.

    Example:
        >>> objective = TargetedMargin(num_targets=3)
        >>> attack = AutoPGD(objective, num_steps=30, epsilon=8 / 255, restarts=3)
    """

    name: ClassVar[str] = "targeted_margin"

    def targeted(self, logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Computes the label's logit minus the target's logit.

        Args:
            logits: `[batch, classes]` of the current images.
            labels: int32 `[batch]`, true labels.
            targets: int32 `[batch]`, target classes.

        Returns:
            `[batch]`, float32 or float64.
        """
        return _difference(logits, labels, targets)


def nearest_classes(logits: tf.Tensor, labels: tf.Tensor, count: int) -> tf.Tensor:
    """Finds the classes of the largest logits, without the label.

    Args:
        logits: `[batch, classes]`.
        labels: int32 `[batch]`.
        count: number of classes wanted; all other classes if there are fewer.

    Returns:
        int32 `[batch, min(count, classes - 1)]`, the class of the largest logit first.
    """
    classes = int(logits.shape[1])
    hidden = tf.one_hot(labels, classes, on_value=logits.dtype.min, off_value=0, dtype=logits.dtype)
    count = min(count, classes - 1)
    return tf.math.top_k(tf.maximum(logits + hidden, logits.dtype.min), count).indices


def linearized_distances(
    classifier: Classifier,
    images: tf.Tensor,
    labels: tf.Tensor,
    candidates: tf.Tensor,
    norm: str = "linf",
) -> tf.Tensor:
    """The distance from each image to the linearised decision boundary of other classes.

    It is the label's logit minus that of the other class, divided by the l1-norm (in l2 by the
    l2-norm) of the gradient of this difference, by which MALT (Melamed et al. 2024) orders target
    classes. The pixel range is not taken into account. It takes one gradient per class.

    Args:
        classifier: the network, run in inference mode.
        images: `[batch, H, W, C]`.
        labels: int32 `[batch]`, true labels.
        candidates: int32 `[batch, count]`, other classes.
        norm: norm of the distance, `"linf"` or `"l2"`.

    Returns:
        `[batch, count]`, float32 or float64, in the unit of the images; negative where the other
        class has the larger logit.
    """

    def distance(classes: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            logits = classifier(images, training=False).logits
            gap = _difference(logits, labels, classes)
        gradient = at_least_float32(image_gradient(classifier, tape, gap, images))
        if norm == "l2":
            slope = l2_norm(gradient)[:, 0, 0, 0]
        else:
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


def norm_of_targets(nearest_by: str, norm: str) -> str:
    """Returns the norm by which an objective orders target classes in an attack of some norm.

    Args:
        nearest_by: `"logit"` or `"distance"`.
        norm: norm of the attack, `"linf"` or `"l2"`.

    Returns:
        The norm of the attack, but `"linf"` where no distance is computed.

    Example:
        >>> norm_of_targets("distance", "l2"), norm_of_targets("logit", "l2")
        ('l2', 'linf')
    """
    return norm if nearest_by == "distance" else "linf"


def with_target(objective: AnyObjective, examples: Examples, number: tf.Tensor) -> Examples:
    """Selects one target class per example, for objectives that have several per example.

    Args:
        objective: objective of the attack.
        examples: original images, labels, and what the objective computed once from the images, of
            which the last tensor holds the target classes, int32 `[batch, targets]`.
        number: int32 `[batch]`, which target of each example is selected, modulo their number.

    Returns:
        The examples with the selected targets, `[batch, 1]`, in place of all targets; unchanged if
        the objective has no such targets.
    """
    if targets_per_example(objective) is None:
        return examples
    # In front of them may stand what an objective around this one computed, as that of A3.
    *others, targets = examples.context
    column = (number % tf.shape(targets)[1])[:, tf.newaxis]
    chosen = tf.gather(targets, column, axis=1, batch_dims=1)
    return examples._replace(context=(*others, chosen))


def targets_per_example(objective: AnyObjective) -> int | None:
    """Returns how many target classes an objective chooses for each example.

    Args:
        objective: objective of an attack. If it contains another objective in its attribute
            `objective`, as `AttentionAugmented` and `MeanOverDraws` do, the innermost one is used.

    Returns:
        `num_targets` of a `TargetedLogitsRatio` or `TargetedMargin`; None for other objectives.

    Example:
        >>> targets_per_example(TargetedMargin(5))
        5
    """
    objective = innermost(objective)
    return objective.num_targets if isinstance(objective, _TowardsNearest) else None


def with_num_targets(objective: Any, count: int) -> Any:
    """Returns a copy of an objective with another number of target classes per example.

    Args:
        objective: an objective with the attribute `num_targets`, or one that contains such an
            objective in its attribute `objective`.
        count: number of target classes, at least 1.

    Returns:
        An objective of the same class.
    """
    if hasattr(objective, "objective"):
        inner = with_num_targets(objective.objective, count)
        return dataclasses.replace(objective, objective=inner)
    return dataclasses.replace(objective, num_targets=count)
