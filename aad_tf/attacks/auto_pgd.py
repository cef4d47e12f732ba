"""Auto-PGD (APGD): projected gradient descent that chooses its step sizes itself.

Source: F. Croce and M. Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of
Diverse Parameter-free Attacks, ICML 2020. Where the paper and the authors' code differ, this module
follows their code.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import tensorflow as tf

from aad_tf.attacks.draws import over_draws
from aad_tf.attacks.gradient_sign import GradientSignAttack
from aad_tf.attacks.iterative import IterativeAttack, check_budget
from aad_tf.attacks.loop import (
    Examples,
    State,
    objective_gradient,
    value_dtype,
    where,
)
from aad_tf.attacks.margins import (
    NEAREST_BY,
    LogitsRatio,
    Margin,
    TargetedLogitsRatio,
    norm_of_targets,
    targets_per_example,
    with_num_targets,
    with_target,
)
from aad_tf.attacks.objectives import (
    AwayFromLabel,
    AwayFromPrediction,
    Target,
    TowardsClass,
    target_classes,
)
from aad_tf.attacks.serialization import register_kind
from aad_tf.attacks.starts import example_shape, unit_directions, unit_noise
from aad_tf.classifier import Classifier
from aad_tf.types import Bounds
from aad_tf.utils.checks import check_choice, check_count
from aad_tf.utils.norms import direction, project

# Weight of the step against momentum (alpha of the paper); the first step has no momentum.
_STEP_WEIGHT = 0.75
# The loss must have fallen in more than this fraction of the steps since the last checkpoint.
_PROGRESS = 0.75


class Memory(NamedTuple):
    """The variables that APGD keeps for each example from one iteration to the next.

    Attributes:
        step: int32 `[batch]`, number of steps taken.
        restart: int32 `[batch]`, number of the restart, from 0.
        step_size: `[batch]`, in the unit of the images.
        previous: `[batch, H, W, C]`, the images before the last step.
        best: `[batch, H, W, C]`, the images of the lowest objective so far.
        best_direction: `[batch, H, W, C]`, direction of the objective's gradient at `best`: its
            sign in l-inf, the gradient divided by its l2-norm in l2.
        best_value: `[batch]`, the objective at `best`.
        last_value: `[batch]`, the objective at the last evaluation.
        found: `[batch, H, W, C]`, the last images on which the attack succeeded; `best` where it
            has not.
        succeeded: bool `[batch]`, whether an image so far was misclassified or, for a targeted
            attack, predicted as the target.
        falls: int32 `[batch]`, steps since the last checkpoint in which the objective fell.
        checked_value: `[batch]`, the lowest objective up to the last checkpoint.
        halved: bool `[batch]`, whether the last checkpoint halved the step size.
    """

    step: Any
    restart: Any
    step_size: Any
    previous: Any
    best: Any
    best_direction: Any
    best_value: Any
    last_value: Any
    found: Any
    succeeded: Any
    falls: Any
    checked_value: Any
    halved: Any


def checkpoints(num_steps: int) -> dict[int, int]:
    """Returns the steps of APGD after which it decides whether to halve its step size.

    Args:
        num_steps: number of steps of the attack, at least 1.

    Returns:
        A dictionary from the number of each such step to the number of steps since the checkpoint
        before it.

    Example:
        >>> list(checkpoints(100))
        [22, 41, 57, 70, 80, 87, 93, 99]
    """
    gap = max(int(0.22 * num_steps), 1)
    decrease, smallest = max(int(0.03 * num_steps), 1), max(int(0.06 * num_steps), 1)
    found, step = {}, gap
    while step <= num_steps:
        found[step] = gap
        gap = max(gap - decrease, smallest)
        step += gap
    return found


@register_kind("auto_pgd")
@dataclass(frozen=True)
class AutoPGD(GradientSignAttack):
    """APGD of Croce and Hein (2020): steps with momentum whose size is halved as needed.

    Every example has its own step size, which starts at twice the budget. At the steps that
    `checkpoints` returns it is halved, and the example goes back to its best image, if the
    objective fell in at most three quarters of the steps since the last checkpoint, or if neither
    the step size nor the best value changed since then.

    In l-inf a step is along the sign of the gradient, and a random start is uniform noise that is
    scaled until its largest entry equals the budget. In l2 a step is along the gradient divided by
    its l2-norm, and a random start is normal noise scaled to the l2-norm of the budget. (The
    original code adds 1e-12 to norms before it divides by them, so that gradients of about that
    norm or less give shorter steps; here every step has its full length, and only a gradient of
    zero gives none.) Starts are then clipped to the pixel range.

    With an objective that has several target classes per example, each restart uses the next
    target. Fewer restarts than targets leave targets out.

    Attributes:
        objective: function of one value per image, which the attack lowers, such as
            `AwayFromLabel()`.
        num_steps: number of iterations of each restart.
        epsilon: radius of the ball, in the unit of the images; must be given.
        random_start: whether to start at a random point of the surface of the ball; False starts at
            the original images.
        restarts: number of runs with different random starts, or different targets. None, the
            default, is one for each target of the objective, or one if it has none.
        name: label in records and tables.
        step_size: cannot be given; each example has its own step size.
        noise: must be None.
        norm: norm of steps and ball, `"linf"` or `"l2"`.

    Raises:
        TypeError: a size that is not a number, or a count that is not an integer.
        ValueError: no epsilon, noise, a number out of range, an unknown norm, or several restarts
            of the same target without a random start.

    Example:
        >>> adversarial = apgd(8 / 255)(classifier, images, labels, seed=0)
    """

    step_size: float = dataclasses.field(default=0.0, init=False, compare=False)
    num_steps: int = 100
    epsilon: float | None = None
    random_start: bool = True
    restarts: int = None  # type: ignore[assignment]
    name: str = dataclasses.field(default="apgd", compare=False)

    keeps_best: ClassVar[bool] = True
    compiled_with: ClassVar[tuple[str, ...]] = ("objective", "num_steps", "norm")

    def __post_init__(self) -> None:
        check_budget(self)
        if self.noise is not None:
            raise ValueError(
                "apgd starts at a random point of the surface of its budget: leave out noise."
            )
        if self.restarts is None:
            object.__setattr__(self, "restarts", self._different_runs)
        super().__post_init__()

    @property
    def _different_runs(self) -> int:
        return targets_per_example(self.objective) or 1

    def for_classes(self, num_classes: int) -> AutoPGD:
        """Returns the attack that is run on a network with `num_classes` classes.

        An attack whose objective tries more than `num_classes - 1` target classes per example gets
        an objective with `num_classes - 1` targets, and fewer restarts accordingly, so that no
        target is tried more often than before. Every other attack is returned as it is.

        Args:
            num_classes: number of classes of the network, at least 2.

        Returns:
            The attack for such a network.
        """
        targets = targets_per_example(self.objective)
        if targets is None or targets < num_classes:
            return self
        fewer = with_num_targets(self.objective, num_classes - 1)
        rounds, more = divmod(self.restarts, targets)
        restarts = rounds * (num_classes - 1) + min(more, num_classes - 1)
        return dataclasses.replace(self, objective=fewer, restarts=restarts)

    def result(self, state: State) -> tf.Tensor:
        """Returns the adversarial images of a batch after the last iteration.

        Args:
            state: the state after the last iteration; its `memory` is APGD's `Memory`, of which
                `found` is returned.

        Returns:
            `[batch, H, W, C]`: for each example the last image on which the attack succeeded, or
            the image of the lowest objective if it never did.
        """
        return state.memory.found

    def start(
        self,
        classifier: Classifier,
        images: tf.Tensor,
        seed: Any,
        indices: Any = None,
        restart: Any = 0,
    ) -> tf.Tensor:
        """Returns the starting points of a batch.

        Args:
            classifier: its bounds are the pixel range, to which points are clipped.
            images: `[batch, H, W, C]`, original images.
            seed: an integer, or int32 `[2]`: its low and high 32 bits.
            indices: int `[batch]`, index of each example in its data set; None for 0, 1, ...
            restart: number of the restart, from 0; int or int `[batch]`.

        Returns:
            `[batch, H, W, C]`: random points at the distance of the budget before they are clipped;
            the images themselves without a random start.
        """
        images = tf.convert_to_tensor(images)
        if not self.random_start:
            return images
        indices = tf.range(tf.shape(images)[0]) if indices is None else indices
        drawn = (seed, indices, restart, example_shape(images))
        if self.norm == "l2":
            noise = tf.cast(unit_directions(*drawn), images.dtype)
        else:
            noise = tf.cast(unit_noise(*drawn), images.dtype)
            noise /= tf.reduce_max(tf.abs(noise), axis=(1, 2, 3), keepdims=True)
        moved = images + self.scalars(images.dtype)[0] * noise
        return tf.ensure_shape(tf.clip_by_value(moved, *classifier.bounds), images.shape)

    def begin(
        self, classifier: Classifier, examples: Examples, seed: Any, indices: Any, restart: Any
    ) -> State:
        """Makes the state of a batch before the first iteration.

        Args:
            classifier: the network under attack.
            examples: original images, float `[batch, H, W, C]` within the classifier's bounds;
                labels int32 `[batch]`; and `context`, tensors that the objective (the loss to be
                lowered) needs of the original images, such as their target classes; empty for most.
            seed: an integer, or int32 `[2]`: its low and high 32 bits.
            indices: int `[batch]`, index of each example in its data set. It determines the noise
                of the random start, together with `seed` and `restart`.
            restart: number of the restart, from 0; int or int `[batch]`.

        Returns:
            A `State`: `images`, the starting points `[batch, H, W, C]`; and `memory`, a `Memory` of
            what Auto-PGD keeps for each example, such as its step size (at first twice the budget),
            its best image and the loss there (at first the starting point, and the largest number
            of the dtype), and whether the attack has succeeded (False).
        """
        images = self.start(classifier, examples.images, seed, indices, restart)
        count = tf.shape(images)[0]
        whole = tf.zeros((count,), tf.int32)
        values = tf.zeros((count,), value_dtype(classifier))
        memory = Memory(
            step=whole,
            restart=whole + tf.cast(restart, tf.int32),
            step_size=tf.fill((count,), 2 * self.scalars(images.dtype)[0]),
            previous=images,
            best=images,
            best_direction=tf.zeros_like(images),
            best_value=values + values.dtype.max,
            # The original code compares the loss after the first step with 0, too.
            last_value=values,
            found=images,
            succeeded=tf.fill((count,), False),
            falls=whole,
            checked_value=values,
            # So that the first checkpoint looks at falls alone.
            halved=tf.fill((count,), True),
        )
        return State(images, memory)

    def scalars(self, dtype: tf.DType) -> tuple[tf.Tensor, ...]:
        """Returns the size that one iteration takes, since step sizes are in the attack's memory.

        Args:
            dtype: dtype of the tensor.

        Returns:
            One scalar tensor: epsilon, in the unit of the images.
        """
        return IterativeAttack.scalars(self, dtype)

    def iteration(
        self, classifier: Classifier, state: State, examples: Examples, *scalars: tf.Tensor
    ) -> tuple[State, tf.Tensor]:
        """Makes one iteration: evaluates the objective, updates the memory, takes a step.

        Args:
            classifier: the network under attack.
            state: the current images `[batch, H, W, C]` and APGD's `Memory`: step sizes, previous
                and best images.
            examples: original images `[batch, H, W, C]`, labels int32 `[batch]`, and tensors that
                the objective needs of the original images, such as their target classes.
            *scalars: epsilon, a scalar tensor in the unit of the images.

        Returns:
            The state after the step, and the logits `[batch, classes]` of the images before it.
        """
        (epsilon,) = scalars
        images, memory = state.images, state.memory
        examples = with_target(self.objective, examples, memory.restart)
        values, gradient, logits = objective_gradient(classifier, self.objective, images, examples)
        along = direction(gradient, self.norm)
        predicted = tf.argmax(logits, -1, tf.int32)
        targets = target_classes(self.objective, examples.labels)
        succeeded = predicted != examples.labels if targets is None else predicted == targets
        memory = noted(memory, images, values, along, succeeded)
        images, along, memory = checked(memory, images, along, self.num_steps)
        following = momentum_step(
            memory, images, along, examples.images, epsilon, classifier.bounds, self.norm
        )
        memory = memory._replace(step=memory.step + 1, previous=images)
        stopped = tf.nest.map_structure(tf.stop_gradient, State(following, memory))
        return stopped, logits

    def _reach(self, num_steps: int, width: float) -> float:
        return IterativeAttack._reach(self, num_steps, width)


def noted(
    memory: Memory,
    images: tf.Tensor,
    values: tf.Tensor,
    along: tf.Tensor,
    succeeded: tf.Tensor,
) -> Memory:
    """Updates what APGD remembers of each example after the objective was evaluated.

    Args:
        memory: APGD's `Memory` before the evaluation: step sizes, best images and values, counts.
        images: `[batch, H, W, C]`, the images at which the objective was evaluated.
        values: `[batch]`, values of the objective.
        along: `[batch, H, W, C]`, direction of its gradient with respect to the images.
        succeeded: bool `[batch]`, whether the attack succeeded on these images.

    Returns:
        The `Memory` in which the best images (lowest objective), the last images on which the
        attack succeeded, and the counts of steps with a falling objective are updated.
    """
    first = memory.step == 0
    better = values < memory.best_value
    best = where(better, images, memory.best)
    return memory._replace(
        best=best,
        found=where(succeeded, images, where(memory.succeeded, memory.found, best)),
        succeeded=memory.succeeded | succeeded,
        best_direction=where(better, along, memory.best_direction),
        best_value=tf.where(better, values, memory.best_value),
        last_value=tf.where(first, memory.last_value, values),
        falls=memory.falls + tf.cast(~first & (values < memory.last_value), tf.int32),
        checked_value=tf.where(first, values, memory.checked_value),
    )


def checked(
    memory: Memory, images: tf.Tensor, along: tf.Tensor, num_steps: int
) -> tuple[tf.Tensor, tf.Tensor, Memory]:
    """Halves the step size of the examples that make no progress, at the checkpoints of APGD.

    At the steps that `checkpoints(num_steps)` names, the step size of an example is halved if the
    objective fell in at most three quarters of the steps since the last checkpoint, or if neither
    its step size nor its lowest objective changed since then. Its image and direction are then
    replaced by those of the lowest objective so far. All other examples stay as they are.

    Args:
        memory: APGD's `Memory` (step sizes, best images and values, counts), already updated with
            the present evaluation of the objective.
        images: `[batch, H, W, C]`, the images at which the objective was evaluated.
        along: `[batch, H, W, C]`, direction of the gradient there.
        num_steps: number of steps of the attack.

    Returns:
        Images and directions `[batch, H, W, C]` of the next step, and the new `Memory`.
    """
    gaps = checkpoints(num_steps)
    gap = tf.gather([gaps.get(step, 0) for step in range(num_steps + 1)], memory.step)
    due = gap > 0
    dtype = memory.best_value.dtype
    stalled = tf.cast(memory.falls, dtype) <= _PROGRESS * tf.cast(gap, dtype)
    unchanged = ~memory.halved & (memory.best_value >= memory.checked_value)
    halved = stalled | unchanged
    back = due & halved
    memory = memory._replace(
        step_size=tf.where(back, memory.step_size / 2, memory.step_size),
        falls=tf.where(due, 0, memory.falls),
        checked_value=tf.where(due, memory.best_value, memory.checked_value),
        halved=tf.where(due, halved, memory.halved),
    )
    return where(back, memory.best, images), where(back, memory.best_direction, along), memory


def momentum_step(
    memory: Memory,
    images: tf.Tensor,
    along: tf.Tensor,
    origin: tf.Tensor,
    epsilon: tf.Tensor,
    bounds: Bounds,
    norm: str = "linf",
) -> tf.Tensor:
    """Takes a projected step against the gradient's direction, combined with the previous move.

    Args:
        memory: APGD's `Memory`, of which the number of steps taken, `[batch]`, the step sizes,
            `[batch]`, and the images before the last step, `[batch, H, W, C]`, are used.
        images: `[batch, H, W, C]`, the images before the step.
        along: `[batch, H, W, C]`, direction of the objective's gradient at them.
        origin: `[batch, H, W, C]`, the original images: centres of the balls.
        epsilon: scalar, radius of the balls, in the unit of the images.
        bounds: pixel range.
        norm: norm of the balls, `"linf"` or `"l2"`.

    Returns:
        `[batch, H, W, C]` within the balls and the pixel range: `images` moved by 0.75 of the
        projected step and 0.25 of the last move; the first step is taken whole.
    """
    size = memory.step_size[:, tf.newaxis, tf.newaxis, tf.newaxis]
    stepped = project(images - size * along, origin, epsilon, bounds, norm)
    weight = where(
        memory.step == 0,
        tf.ones_like(size),
        tf.fill(tf.shape(size), tf.cast(_STEP_WEIGHT, size.dtype)),
    )
    moved = images + weight * (stepped - images) + (1 - weight) * (images - memory.previous)
    return tf.ensure_shape(project(moved, origin, epsilon, bounds, norm), images.shape)


def apgd(
    epsilon: float,
    num_steps: int = 100,
    loss: str = "cross_entropy",
    restarts: int = 1,
    num_targets: int = 9,
    *,
    target: Target = None,
    num_draws: int = 1,
    nearest_by: str = "logit",
    norm: str = "linf",
) -> AutoPGD:
    """Auto-PGD (Croce and Hein 2020) on one of five losses, in l-inf or l2.

    Called directly, the attack returns for each example the last misclassified image among its
    iterations, or the image of the lowest objective if none was. An evaluation counts an example as
    misclassified if the image of any iteration is.

    Args:
        epsilon: budget in the norm, in the unit of the images.
        num_steps: number of steps per restart; the last image takes one gradient more.
        loss: `"cross_entropy"` of the true label; `"dlr"`, the difference of logits ratio;
            `"targeted_dlr"`, which is run once for each of `num_targets` target classes;
            `"margin"`, the largest other logit minus the label's (Carlini and Wagner 2017); or
            `"kl"`, the divergence of the softmax from that of the original image, as in TRADES,
            which does not use the label.
        restarts: number of runs with different random starts; with `"targeted_dlr"` for each
            target.
        num_targets: number of target classes of `"targeted_dlr"`, those nearest to the original
            image; all other classes if the network has fewer.
        target: None, or the class whose cross-entropy is lowered: one number for all images, or a
            tuple with one target per true class. Needs `loss="cross_entropy"`.
        num_draws: number of passes of the network over which loss, gradient and logits of each step
            are averaged, for networks with random layers (expectation over transformation). An
            image is then misclassified if another class has the largest mean logit.
        nearest_by: which classes are nearest for `"targeted_dlr"`: `"logit"`, those of the largest
            logits, as published; or `"distance"`, those of the nearest linearised decision
            boundary, as in MALT, worth trying with more than ten classes, of which nine targets
            leave some out (see `TargetedLogitsRatio`).
        norm: `"linf"` or `"l2"`.

    Returns:
        The attack, to be called with a classifier, images and labels.

    Raises:
        TypeError: a size that is not a number, a count or a target that is not an integer.
        ValueError: a size or count out of range, an unknown loss, norm or `nearest_by`, a class
            that is its own target, a target with another loss than the cross-entropy, or
            `nearest_by="distance"` with a loss that has no target classes.

    Example:
        >>> attack = apgd(8 / 255, loss="dlr")
        >>> in_l2 = apgd(0.5, norm="l2")
    """
    check_count(restarts, "restarts")
    objective = objective_of(check_choice(loss, LOSSES, "loss"), target)
    if loss == "targeted_dlr":
        objective = TargetedLogitsRatio(num_targets, nearest_by, norm_of_targets(nearest_by, norm))
        restarts *= num_targets
    elif check_choice(nearest_by, NEAREST_BY, "nearest_by") != "logit":
        raise ValueError(
            f"nearest_by={nearest_by!r} orders the target classes of loss='targeted_dlr', and "
            f"loss={loss!r} has none. Leave out nearest_by, or take that loss."
        )
    return AutoPGD(
        over_draws(objective, num_draws), num_steps, epsilon, restarts=restarts, norm=norm
    )


LOSSES: dict[str, Any] = {
    "cross_entropy": AwayFromLabel(),
    "dlr": LogitsRatio(),
    "targeted_dlr": TargetedLogitsRatio(),
    "margin": Margin(),
    "kl": AwayFromPrediction(),
}


def objective_of(loss: str, target: Target = None) -> Any:
    """Returns the objective of a loss by its name in `LOSSES`, or that of a target class.

    Args:
        loss: name of the loss that an attack raises.
        target: None; or the class or classes whose cross-entropy is lowered instead, which needs
            the loss `"cross_entropy"`.

    Returns:
        The objective, which attacks lower.

    Raises:
        TypeError: a target that is not a class number.
        ValueError: a target with another loss, or a class that is its own target.
    """
    if target is None:
        return LOSSES[loss]
    if loss != "cross_entropy":
        raise ValueError(
            f"target={target} needs loss='cross_entropy', got {loss!r}, which has no target or "
            f"chooses its classes itself. Leave out one of the two."
        )
    return TowardsClass(target)
