"""Objectives: functions of one value per image, which an attack lowers by gradient descent.

An objective determines the direction of the attack by its sign, and which class it uses: the true
label, a target class or the least likely class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import tensorflow as tf

from aad_tf.attacks.serialization import register_kind
from aad_tf.classifier import Classifier
from aad_tf.losses import kl_divergence
from aad_tf.utils.checks import check_count, check_number
from aad_tf.utils.ops import at_least_float32

# A class, one for each true class, or None for an attack that is not targeted.
Target = int | tuple[int, ...] | None


class Objective(Protocol):
    """A function with one value per example, which an attack lowers by gradient descent.

    Its sign determines the direction of the attack: FGSM, which raises the cross-entropy of the
    true label, lowers minus the cross-entropy. Objectives are hashable: attacks with equal
    objectives share one compiled iteration.

    Example:
        >>> @register_kind("logit_of_label")
        ... @dataclass(frozen=True)
        ... class LogitOfLabel:
        ...     name: ClassVar[str] = "logit_of_label"
        ...
        ...     def __call__(self, classifier, images, labels):
        ...         logits = classifier(images, training=False).logits
        ...         return tf.gather(logits, labels, axis=1, batch_dims=1), logits
        >>> attack = GradientSignAttack(LogitOfLabel(), step_size=0.01, num_steps=5)
    """

    @property
    def name(self) -> str:
        """Short name of the objective in the records that an evaluation writes."""
        ...

    def __call__(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes the objective of a batch by a forward pass of the network.

        Args:
            classifier: the network under attack.
            images: `[batch, H, W, C]`, the current images of the attack.
            labels: int32 `[batch]`, true labels.

        Returns:
            The values of the objective, `[batch]`, float32 or float64, and the logits
            `[batch, classes]` of the same forward pass.
        """
        ...


@runtime_checkable
class LogitsObjective(Objective, Protocol):
    """An objective that depends on the image through the logits alone.

    Its value can be computed from the logits of a forward pass that is made for another purpose.

    Example:
        >>> isinstance(AwayFromLabel(), LogitsObjective)
        True
    """

    def from_logits(self, logits: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor) -> tf.Tensor:
        """Computes the values of the objective from logits.

        Attacks call it in each iteration once they have run the network themselves.

        Args:
            logits: `[batch, classes]` of the current images.
            labels: int32 `[batch]`, true labels.
            *context: the tensors that the objective's method `context` computed once from the
                original images; nothing if it has no such method.

        Returns:
            The values that the attack lowers, `[batch]`, float32 or float64.
        """
        ...


@runtime_checkable
class ContextObjective(Protocol):
    """An objective that needs something of the original image, such as its prediction.

    It is computed once per attack by `context`, not once per iteration, and is passed to every
    call.

    Example:
        >>> isinstance(AwayFromPrediction(), ContextObjective)
        True
    """

    @property
    def name(self) -> str:
        """Short name of the objective in the records that an evaluation writes."""
        ...

    def context(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """Computes what the objective needs of the original images.

        An attack calls it once, before its first iteration, and passes the tensors to every call of
        the objective.

        Args:
            classifier: the network under attack.
            images: `[batch, H, W, C]`, the original images.
            labels: int32 `[batch]`, true labels.

        Returns:
            Tensors whose first axis is the batch; each entry depends on that example alone.
        """
        ...

    def __call__(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes the objective of a batch by a forward pass of the network.

        Args:
            classifier: the network under attack.
            images: `[batch, H, W, C]`, the current images of the attack.
            labels: int32 `[batch]`, true labels.
            *context: the tensors that `context` returned for the original images.

        Returns:
            The values of the objective, `[batch]`, and the logits `[batch, classes]` of `images`.
        """
        ...


AnyObjective = Objective | ContextObjective


class OfLogits:
    """Base class of objectives whose value is computed from the logits of one forward pass.

    Subclasses have a `name` and a method `from_logits`, from logits `[batch, classes]`, true labels
    `[batch]` and the tensors of their method `context`, if they have one, to values `[batch]`.
    """

    name: ClassVar[str]
    from_logits: Callable[..., tf.Tensor]

    def __call__(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs the network once, in inference mode, and computes the objective of a batch.

        Args:
            classifier: the network under attack.
            images: `[batch, H, W, C]`, the current images of the attack.
            labels: int32 `[batch]`, true labels.
            *context: the tensors that the objective's method `context` returned, if it has one.

        Returns:
            The values of the objective, `[batch]`, and the logits `[batch, classes]` of `images`.
        """
        logits = classifier(images, training=False).logits
        return self.from_logits(logits, labels, *context), logits


@register_kind("away_from_label")
@dataclass(frozen=True)
class AwayFromLabel(OfLogits):
    """Minus the cross-entropy of the true label, the objective of FGSM, IFGSM and PGD.

    Attributes:
        label_smoothing: part of the label's probability that is spread evenly over all classes in
            the cross-entropy, in [0, 1]; 0 for none.

    Raises:
        TypeError: `label_smoothing` is not a number.
        ValueError: `label_smoothing` is outside of [0, 1].

    Example:
        >>> attack = GradientSignAttack(AwayFromLabel(), step_size=0.1, epsilon=0.1)
        >>> attack == fgsm(0.1)
        True
    """

    label_smoothing: float = 0.0
    name: ClassVar[str] = "away_from_label"

    def __post_init__(self) -> None:
        _check_label_smoothing(self)

    def from_logits(self, logits: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor) -> tf.Tensor:
        """Computes minus the cross-entropy of the true label.

        Args:
            logits: `[batch, classes]` of the current images.
            labels: int32 `[batch]`, true labels.
            *context: not used.

        Returns:
            `[batch]`, float32 or float64.
        """
        return -attack_cross_entropy(logits, labels, self.label_smoothing)


@register_kind("away_from_prediction")
@dataclass(frozen=True)
class AwayFromPrediction(OfLogits):
    """Minus KL(p(x) || p(x')), with the softmax p, the original image x and the current image x'.

    It is the objective of the attack inside TRADES (Zhang et al. 2019). The prediction p(x) is
    computed once, in inference mode, and stays constant. At x' = x the gradient is zero, so an
    attack with this objective needs a random start.

    Example:
        >>> trades_pgd(0.3, step_size=0.01, num_steps=40).objective
        AwayFromPrediction()
    """

    name: ClassVar[str] = "away_from_prediction"

    def context(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """Returns a tuple of one tensor, the logits of the original images, `[batch, classes]`.

        Args:
            classifier: the network under attack; runs in inference mode.
            images: `[batch, H, W, C]`, the original images.
            labels: not used.
        """
        del labels
        return (classifier(images, training=False).logits,)

    def from_logits(self, logits: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor) -> tf.Tensor:
        """Computes minus KL(p(x) || p(x')), the divergence of predictions for each example.

        Args:
            logits: `[batch, classes]` of the current images x'.
            labels: not used.
            *context: one tensor, the logits `[batch, classes]` of the original images x.

        Returns:
            `[batch]`, float32 or float64.

        Raises:
            ValueError: the tensor of the original images is not given.
        """
        del labels
        _check_context(self, context)
        return -kl_divergence(context[0], logits)


@register_kind("towards_least_likely")
@dataclass(frozen=True)
class TowardsLeastLikely(OfLogits):
    """Cross-entropy of the least likely class, L(f(x), y_LL) of [AAD Eq. 3].

    The least likely class is the one with the lowest logit for the current image. It is chosen
    anew in each iteration, as in the AAD authors' code; `TowardsFirstLeastLikely` chooses it once.

    Attributes:
        label_smoothing: part of the class's probability that is spread evenly over all classes in
            the cross-entropy, in [0, 1]; 0 for none.

    Raises:
        TypeError: `label_smoothing` is not a number.
        ValueError: `label_smoothing` is outside of [0, 1].

    Example:
        >>> step_ll(4 / 255, num_steps=2).objective
        TowardsLeastLikely(label_smoothing=0.0)
    """

    label_smoothing: float = 0.0
    name: ClassVar[str] = "towards_least_likely"

    def __post_init__(self) -> None:
        _check_label_smoothing(self)

    def from_logits(self, logits: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor) -> tf.Tensor:
        """Computes the cross-entropy of the class with the lowest of these logits.

        Args:
            logits: `[batch, classes]` of the current images.
            labels: not used.
            *context: not used.

        Returns:
            `[batch]`, float32 or float64.
        """
        del labels
        return attack_cross_entropy(logits, least_likely(logits), self.label_smoothing)


@register_kind("towards_first_least_likely")
@dataclass(frozen=True)
class TowardsFirstLeastLikely(OfLogits):
    """Cross-entropy of the class with the lowest logit for the original image.

    The class is the same in every iteration, as in Kurakin et al. (2017); `TowardsLeastLikely`
    chooses it anew in each iteration.

    Attributes:
        label_smoothing: part of the class's probability that is spread evenly over all classes in
            the cross-entropy, in [0, 1]; 0 for none.

    Raises:
        TypeError: `label_smoothing` is not a number.
        ValueError: `label_smoothing` is outside of [0, 1].

    Example:
        >>> iter_ll(4 / 255).objective
        TowardsFirstLeastLikely(label_smoothing=0.0)
    """

    label_smoothing: float = 0.0
    name: ClassVar[str] = "towards_first_least_likely"

    def __post_init__(self) -> None:
        _check_label_smoothing(self)

    def context(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """Returns a tuple of one tensor, the least likely class of each image, int32 `[batch]`.

        Args:
            classifier: the network under attack; runs in inference mode.
            images: `[batch, H, W, C]`, the original images.
            labels: not used.
        """
        del labels
        return (least_likely(classifier(images, training=False).logits),)

    def from_logits(self, logits: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor) -> tf.Tensor:
        """Computes the cross-entropy of the class that was least likely for the original image.

        Args:
            logits: `[batch, classes]` of the current images.
            labels: not used.
            *context: one tensor, the least likely class of each original image, int32 `[batch]`.

        Returns:
            `[batch]`, float32 or float64.

        Raises:
            ValueError: the tensor of the original images is not given.
        """
        del labels
        _check_context(self, context)
        return attack_cross_entropy(logits, context[0], self.label_smoothing)


@register_kind("towards_class")
@dataclass(frozen=True)
class TowardsClass(OfLogits):
    """Cross-entropy of a given target class, the objective of a targeted attack.

    For an image whose true label is the target, value and gradient are zero, so the attack does not
    change it.

    Attributes:
        target: number of one class for all images; or a tuple with one class per class of the
            network, where images of true class i have the target `target[i]`, another class than i.
        label_smoothing: part of the target's probability that is spread evenly over all classes in
            the cross-entropy, in [0, 1]; 0 for none.

    Raises:
        TypeError: a target that is not an integer, or `label_smoothing` that is not a number.
        ValueError: a negative or empty target, a class that is its own target, or `label_smoothing`
            outside of [0, 1]. Raised when the network first runs: a target that the network does
            not have, or a tuple whose length is not the number of its classes.

    Example:
        >>> next_class = TowardsClass(tuple((i + 1) % 10 for i in range(10)))
    """

    target: int | tuple[int, ...]
    label_smoothing: float = 0.0
    name: ClassVar[str] = "towards_class"

    def __post_init__(self) -> None:
        _check_label_smoothing(self)
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
        """Returns the target class of each image.

        Args:
            labels: int `[batch]`, true labels.

        Returns:
            int32 `[batch]`.
        """
        chosen = tf.constant(self.target, tf.int32)
        return tf.gather(chosen, labels) if self._per_class else tf.fill(tf.shape(labels), chosen)

    def from_logits(self, logits: tf.Tensor, labels: tf.Tensor, *context: tf.Tensor) -> tf.Tensor:
        """Computes the cross-entropy of the target class; 0 where the target is the true label.

        Args:
            logits: `[batch, classes]` of the current images.
            labels: int32 `[batch]`, true labels.
            *context: not used.

        Returns:
            `[batch]`, float32 or float64.

        Raises:
            ValueError: a target that is not one of the classes of the logits, or a tuple of targets
                whose length is not the number of classes.
        """
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


def _check_label_smoothing(objective: Any) -> None:
    """Refuses a `label_smoothing` outside of [0, 1], and keeps it as a float."""
    smoothing = check_number(objective.label_smoothing, "label_smoothing")
    if not 0.0 <= smoothing <= 1.0:
        raise ValueError(f"label_smoothing must be in [0, 1], got {smoothing}.")
    object.__setattr__(objective, "label_smoothing", smoothing)


def _check_context(objective: AnyObjective, context: tuple[tf.Tensor, ...]) -> None:
    if not context:
        raise ValueError(
            f"{objective.name} needs the original images: pass on what "
            f"context(classifier, original_images, labels) returns for them."
        )


def target_classes(objective: AnyObjective, labels: Any) -> tf.Tensor | None:
    """Finds the target classes of a targeted attack.

    Args:
        objective: the attack's objective. If it contains another objective in its attribute
            `objective`, as `AttentionAugmented` and `MeanOverDraws` do, the innermost one is used.
        labels: int `[batch]`, true labels.

    Returns:
        int32 `[batch]`, the target class of each example, if the objective is a `TowardsClass`;
        None for all other objectives.
    """
    objective = innermost(objective)
    return objective.targets(labels) if isinstance(objective, TowardsClass) else None


def chosen_target(objective: AnyObjective) -> int | tuple[int, ...] | None:
    """Returns the attribute `target` of an objective, None if the attack is not targeted.

    Args:
        objective: the attack's objective. If it contains another objective in its attribute
            `objective`, as `AttentionAugmented` and `MeanOverDraws` do, the innermost one is used.

    Returns:
        A class number, or a tuple with one target per class; None without a target.
    """
    return getattr(innermost(objective), "target", None)


def innermost(objective: Any) -> Any:
    """Finds the objective that others are made of.

    Args:
        objective: any objective. `AttentionAugmented` and `MeanOverDraws` contain another one, in
            their attribute `objective`, which may contain one itself.

    Returns:
        The objective that contains no other.
    """
    while hasattr(objective, "objective"):
        objective = objective.objective
    return objective


def least_likely(logits: tf.Tensor) -> tf.Tensor:
    """Finds the class of the lowest logit; of equal logits the first class.

    Args:
        logits: `[batch, classes]`.

    Returns:
        int32 `[batch]`; no gradient flows through it.
    """
    return tf.argmin(tf.stop_gradient(logits), axis=-1, output_type=tf.int32)


def attack_cross_entropy(
    logits: tf.Tensor, labels: tf.Tensor, label_smoothing: float = 0.0
) -> tf.Tensor:
    """Softmax cross-entropy with optional label smoothing.

    Args:
        logits: `[batch, classes]`, floating point of any precision.
        labels: int32 `[batch]`.
        label_smoothing: in [0, 1]: this part of the label's probability is spread evenly over all
            classes.

    Returns:
        `[batch]`, float64 for float64 logits, else float32.
    """
    logits = at_least_float32(logits)
    if label_smoothing == 0.0:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    classes = logits.shape[-1]
    targets = tf.one_hot(labels, classes, dtype=logits.dtype)
    targets = targets * (1.0 - label_smoothing) + label_smoothing / classes
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)
