"""What an attack descends. An objective carries its own sign and its own labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import tensorflow as tf

from aad_tf.attacks.serialization import register_kind
from aad_tf.classifier import Classifier
from aad_tf.losses import kl_divergence
from aad_tf.utils.checks import check_count
from aad_tf.utils.ops import at_least_float32

# A class, one for each true class, or None for an attack that is not targeted.
Target = int | tuple[int, ...] | None


class Objective(Protocol):
    """A value per example that an attack makes smaller; hashable, so compiled steps are shared."""

    @property
    def name(self) -> str:
        """Short name for records."""
        ...

    def __call__(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs the network once.

        Args:
            classifier: the network under attack.
            images: `[batch, H, W, C]`.
            labels: int32 `[batch]`, true labels.

        Returns:
            Values `[batch]` to descend, and the logits `[batch, classes]` they came from.
        """
        ...


@runtime_checkable
class LogitsObjective(Objective, Protocol):
    """An objective that is a function of the logits, so that others can share its forward pass."""

    def from_logits(self, logits: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor) -> tf.Tensor:
        """Values to descend.

        Args:
            logits: `[batch, classes]`.
            labels: int32 `[batch]`, true labels.
            *context: for objectives that are a `ContextObjective` too, what `context` returned.

        Returns:
            `[batch]`, float32 or float64.
        """
        ...


@runtime_checkable
class ContextObjective(Protocol):
    """An objective that compares the image under attack with the original one.

    What it needs of the original image is computed once per attack, not once per iteration.
    """

    @property
    def name(self) -> str:
        """Short name for records."""
        ...

    def context(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """What stays constant during an attack.

        Args:
            classifier: the network under attack.
            images: `[batch, H, W, C]`, the original images.
            labels: int32 `[batch]`, true labels.

        Returns:
            Tensors with one entry per example, each depending on that example alone.
        """
        ...

    def __call__(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """As `Objective`, with what `context` returned for the original images."""
        ...


AnyObjective = Objective | ContextObjective


class OfLogits:
    """Runs the network once and leaves the values to `from_logits`."""

    name: ClassVar[str]
    from_logits: Callable[..., tf.Tensor]

    def __call__(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Values `[batch]` to descend, and the logits they came from; see `Objective`."""
        logits = classifier(images, training=False).logits
        return self.from_logits(logits, labels, *context), logits


@register_kind("away_from_label")
@dataclass(frozen=True)
class AwayFromLabel(OfLogits):
    """Minus the cross-entropy of the true label: descending it is FGSM, IFGSM, PGD.

    Attributes:
        label_smoothing: of the cross-entropy, in [0, 1]; 0 for none.
    """

    label_smoothing: float = 0.0
    name: ClassVar[str] = "away_from_label"

    def from_logits(self, logits: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor) -> tf.Tensor:
        """Values `[batch]` to descend; see `LogitsObjective`."""
        return -attack_cross_entropy(logits, labels, self.label_smoothing)


@register_kind("away_from_prediction")
@dataclass(frozen=True)
class AwayFromPrediction(OfLogits):
    """Minus KL(p(x) || p(x')), the divergence from the prediction for the original image x.

    Descending it is the attack inside TRADES (Zhang et al. 2019). The prediction p(x) is computed
    once, in inference mode, and stays constant. At x itself the gradient is zero: start elsewhere.
    """

    name: ClassVar[str] = "away_from_prediction"

    def context(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """The logits of the original images, `[batch, classes]`."""
        del labels
        return (classifier(images, training=False).logits,)

    def from_logits(self, logits: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor) -> tf.Tensor:
        """Values `[batch]` to descend, given the context; see `LogitsObjective`."""
        del labels
        _check_context(self, context)
        return -kl_divergence(context[0], logits)


@register_kind("towards_least_likely")
@dataclass(frozen=True)
class TowardsLeastLikely(OfLogits):
    """Cross-entropy of the least likely class, L(f(x), y_LL) of [AAD Eq. 3].

    The class is the one with the lowest logit at the point where the objective is evaluated,
    found in the same forward pass; over several rounds it is chosen again, as in the authors' code.

    Attributes:
        label_smoothing: of the cross-entropy, in [0, 1]; 0 for none.
    """

    label_smoothing: float = 0.0
    name: ClassVar[str] = "towards_least_likely"

    def from_logits(self, logits: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor) -> tf.Tensor:
        """Values `[batch]` to descend; see `LogitsObjective`."""
        del labels
        return attack_cross_entropy(logits, least_likely(logits), self.label_smoothing)


@register_kind("towards_first_least_likely")
@dataclass(frozen=True)
class TowardsFirstLeastLikely(OfLogits):
    """Cross-entropy of the class that was least likely on the original image, in every round.

    This is the target of Kurakin et al. (2017); `TowardsLeastLikely` chooses it in each round.

    Attributes:
        label_smoothing: of the cross-entropy, in [0, 1]; 0 for none.
    """

    label_smoothing: float = 0.0
    name: ClassVar[str] = "towards_first_least_likely"

    def context(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """The least likely class of the original images, int32 `[batch]`."""
        del labels
        return (least_likely(classifier(images, training=False).logits),)

    def from_logits(self, logits: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor) -> tf.Tensor:
        """Values `[batch]` to descend, given the context; see `LogitsObjective`."""
        del labels
        _check_context(self, context)
        return attack_cross_entropy(logits, context[0], self.label_smoothing)


@register_kind("towards_class")
@dataclass(frozen=True)
class TowardsClass(OfLogits):
    """Cross-entropy of a class of one's own choice: descending it is a targeted attack.

    An image of the target class itself has gradient zero: it stays where it is.

    Attributes:
        target: one class for all images, or one for each true class: an image of class i is pushed
            towards `target[i]`, which must be another class.
        label_smoothing: of the cross-entropy.

    Raises:
        TypeError: not class numbers.
        ValueError: a negative class, or a class that is its own target; when the network runs, a
            class that it does not have, or not one target for each of its classes.

    Example:
        >>> next_class = TowardsClass(tuple((i + 1) % 10 for i in range(10)))
    """

    target: int | tuple[int, ...]
    label_smoothing: float = 0.0
    name: ClassVar[str] = "towards_class"

    def __post_init__(self) -> None:
        target: Any = self.target
        if isinstance(target, (list, np.ndarray)) and np.ndim(target) == 1:
            target = tuple(target)
        for each in target if isinstance(target, tuple) else (target,):
            check_count(each, "target", least=0)
        target = tuple(map(int, target)) if isinstance(target, tuple) else int(target)
        object.__setattr__(self, "target", target)
        own = [i for i, each in enumerate(target) if i == each] if self._per_class else []
        if own or target == ():
            raise ValueError(
                f"target must name another class for each class, got {target}: class "
                f"{own[0] if own else 0} has {'itself' if own else 'none'}."
            )

    @property
    def _per_class(self) -> bool:
        return isinstance(self.target, tuple)

    def targets(self, labels: tf.Tensor) -> tf.Tensor:
        """The class that each image is pushed towards, int32 `[batch]`; `labels` are true ones."""
        chosen = tf.constant(self.target, tf.int32)
        return tf.gather(chosen, labels) if self._per_class else tf.fill(tf.shape(labels), chosen)

    def from_logits(self, logits: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor) -> tf.Tensor:
        """Values `[batch]` to descend; see `LogitsObjective`."""
        self._check(logits.shape[-1])
        targets = self.targets(labels)
        values = attack_cross_entropy(logits, targets, self.label_smoothing)
        return tf.where(targets == labels, tf.zeros_like(values), values)

    def _check(self, num_classes: int) -> None:
        chosen = self.target if isinstance(self.target, tuple) else (self.target,)
        if max(chosen) >= num_classes:
            raise ValueError(
                f"target must lie in [0, {num_classes}), the classes of the network, got "
                f"{self.target}."
            )
        if self._per_class and len(chosen) != num_classes:
            raise ValueError(
                f"target must be one class, or one for each of the {num_classes} classes of the "
                f"network, got {len(chosen)}."
            )


def _check_context(objective: AnyObjective, context: tuple[tf.Tensor, ...]) -> None:
    if not context:
        raise ValueError(
            f"{objective.name} needs the original images: pass on what "
            f"context(classifier, original_images, labels) returns for them."
        )


def target_classes(objective: AnyObjective, labels: Any) -> tf.Tensor | None:
    """The classes that a targeted attack aims at, int32 `[batch]`; None if it is not targeted.

    Args:
        objective: that of the attack; of A3's, the one inside it counts.
        labels: int `[batch]`, true labels.
    """
    objective = getattr(objective, "objective", objective)
    return objective.targets(labels) if isinstance(objective, TowardsClass) else None


def chosen_target(objective: AnyObjective) -> int | tuple[int, ...] | None:
    """The `target` of a targeted attack, or None; of A3's, the objective inside it counts."""
    return getattr(getattr(objective, "objective", objective), "target", None)


def least_likely(logits: tf.Tensor) -> tf.Tensor:
    """The class with the lowest logit of `[batch, classes]`, int32 `[batch]`; of ties the first."""
    return tf.argmin(tf.stop_gradient(logits), axis=-1, output_type=tf.int32)


def attack_cross_entropy(
    logits: tf.Tensor, labels: tf.Tensor, label_smoothing: float = 0.0
) -> tf.Tensor:
    """Softmax cross-entropy, with label smoothing where it is asked for.

    Args:
        logits: `[batch, classes]`, of any precision.
        labels: int32 `[batch]`.
        label_smoothing: in [0, 1]: this part of the label's probability is spread evenly over all
            classes.

    Returns:
        `[batch]`, at least float32.
    """
    logits = at_least_float32(logits)
    if label_smoothing == 0.0:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    classes = logits.shape[-1]
    targets = tf.one_hot(labels, classes, dtype=logits.dtype)
    targets = targets * (1.0 - label_smoothing) + label_smoothing / classes
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)
