"""Auto-PGD (APGD): projected gradient descent that chooses its step sizes itself.

Source: F. Croce and M. Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of
Diverse Parameter-free Attacks, ICML 2020; where paper and code differ, the code.
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
    unit_noise,
    value_dtype,
    where,
)
from aad_tf.attacks.margins import (
    LogitsRatio,
    TargetedLogitsRatio,
    targets_per_example,
    with_num_targets,
    with_target,
)
from aad_tf.attacks.objectives import AwayFromLabel, Target, TowardsClass, target_classes
from aad_tf.attacks.serialization import register_kind
from aad_tf.classifier import Classifier
from aad_tf.types import Bounds
from aad_tf.utils.checks import check_choice, check_count
from aad_tf.utils.ops import project_linf

# Weight of the step against momentum (alpha of the paper); the first step has no momentum.
_STEP_WEIGHT = 0.75
# The loss must have fallen in more than this fraction of the steps since the last checkpoint.
_PROGRESS = 0.75


class Memory(NamedTuple):
    """What APGD carries of each example from one iteration to the next.

    Attributes:
        step: int32 `[batch]`, steps taken.
        restart: int32 `[batch]`, number of the restart.
        step_size: `[batch]`, in the unit of the images.
        previous: `[batch, H, W, C]`, the images before the last step.
        best: `[batch, H, W, C]`, the images of the lowest objective so far.
        best_sign: `[batch, H, W, C]`, sign of the gradient there.
        best_value: `[batch]`, the objective there.
        last_value: `[batch]`, the objective one step ago.
        found: `[batch, H, W, C]`, the last image on which the attack succeeded; the best one
            without any.
        succeeded: bool `[batch]`, whether there was one: misclassified, or taken for the target
            of a targeted attack.
        falls: int32 `[batch]`, steps since the last checkpoint in which the objective fell.
        checked_value: `[batch]`, the lowest objective at the last checkpoint.
        halved: bool `[batch]`, whether the last checkpoint halved the step size.
    """

    step: Any
    restart: Any
    step_size: Any
    previous: Any
    best: Any
    best_sign: Any
    best_value: Any
    last_value: Any
    found: Any
    succeeded: Any
    falls: Any
    checked_value: Any
    halved: Any


def checkpoints(num_steps: int) -> dict[int, int]:
    """Steps after which APGD looks at its progress, and the number of steps since the last look.

    Args:
        num_steps: steps of the whole attack.

    Returns:
        Steps since the checkpoint before, by step.

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
    """APGD of Croce and Hein (2020), l-inf: steps with momentum whose size is halved as needed.

    Every example has a step size of its own, at first twice the budget. At `checkpoints` it is
    halved, and the example goes back to its best image, if the objective fell in at most three
    quarters of the steps since the last checkpoint, or if neither the step size nor the best
    value have changed since then.

    Starts lie on the sphere: uniform noise is scaled until one of its entries reaches the budget.
    Without `random_start` it begins at the original images. With an objective that has several
    targets per example, each restart takes the next target.

    Attributes:
        num_steps: iterations of each restart.
        epsilon: radius of the l-inf ball, in the unit of the images.
        random_start: begin at a random point of the sphere; False at the original images.
        name: in records and tables.
        step_size: not given; each example has its own.

    Example:
        >>> adversarial = apgd(8 / 255)(classifier, images, labels, seed=0)
    """

    step_size: float = dataclasses.field(default=0.0, init=False, compare=False)
    num_steps: int = 100
    epsilon: float | None = None
    random_start: bool = True
    name: str = dataclasses.field(default="apgd", compare=False)

    keeps_best: ClassVar[bool] = True
    compiled_with: ClassVar[tuple[str, ...]] = ("objective", "num_steps")

    def __post_init__(self) -> None:
        check_budget(self)
        if self.noise is not None:
            raise ValueError("apgd starts at a uniform point of its budget: leave out noise.")
        super().__post_init__()

    def for_classes(self, num_classes: int) -> AutoPGD:
        """The attack on a network of so many classes, with no target twice.

        There are `num_classes - 1` targets per example at most; an attack that has more is given
        `num_classes - 1`, and a restart for each.
        """
        targets = targets_per_example(self.objective)
        if targets is None or targets < num_classes:
            return self
        fewer = with_num_targets(self.objective, num_classes - 1)
        rounds = max(1, self.restarts // targets)
        return dataclasses.replace(self, objective=fewer, restarts=rounds * (num_classes - 1))

    def result(self, state: State) -> tf.Tensor:
        """The last images on which it succeeded; of others those of the lowest objective."""
        return state.memory.found

    def start(
        self,
        classifier: Classifier,
        images: tf.Tensor,
        seed: Any,
        indices: Any = None,
        restart: Any = 0,
    ) -> tf.Tensor:
        """A random point of the sphere of the budget, within the pixel range; or the images."""
        images = tf.convert_to_tensor(images)
        if not self.random_start:
            return images
        indices = tf.range(tf.shape(images)[0]) if indices is None else indices
        known = images.shape[1:].is_fully_defined()
        shape = tuple(images.shape[1:]) if known else tf.shape(images)[1:]
        noise = tf.cast(unit_noise(seed, indices, restart, shape), images.dtype)
        noise /= tf.reduce_max(tf.abs(noise), axis=(1, 2, 3), keepdims=True)
        moved = images + self.scalars(images.dtype)[0] * noise
        return tf.ensure_shape(tf.clip_by_value(moved, *classifier.bounds), images.shape)

    def begin(
        self, classifier: Classifier, examples: Examples, seed: Any, indices: Any, restart: Any
    ) -> State:
        """The state before the first iteration; arguments as for `start`."""
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
            best_sign=tf.zeros_like(images),
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
        """See `IterativeAttack.scalars`: it chooses its step sizes itself."""
        return IterativeAttack.scalars(self, dtype)

    def iteration(
        self, classifier: Classifier, state: State, examples: Examples, *scalars: tf.Tensor
    ) -> tuple[State, tf.Tensor]:
        """See `IterativeAttack.iteration`: `noted`, `checked`, `momentum_step`."""
        (epsilon,) = scalars
        images, memory = state.images, state.memory
        examples = with_target(self.objective, examples, memory.restart)
        values, gradient, logits = objective_gradient(classifier, self.objective, images, examples)
        sign = tf.sign(gradient)
        predicted = tf.argmax(logits, -1, tf.int32)
        targets = target_classes(self.objective, examples.labels)
        succeeded = predicted != examples.labels if targets is None else predicted == targets
        memory = noted(memory, images, values, sign, succeeded)
        images, sign, memory = checked(memory, images, sign, self.num_steps)
        following = momentum_step(memory, images, sign, examples.images, epsilon, classifier.bounds)
        memory = memory._replace(step=memory.step + 1, previous=images)
        stopped = tf.nest.map_structure(tf.stop_gradient, State(following, memory))
        return stopped, logits

    def _reach(self, num_steps: int, width: float) -> float:
        return IterativeAttack._reach(self, num_steps, width)


def noted(
    memory: Memory,
    images: tf.Tensor,
    values: tf.Tensor,
    sign: tf.Tensor,
    succeeded: tf.Tensor,
) -> Memory:
    """The memory after the objective was evaluated: its falls, and the images to keep.

    Args:
        memory: before.
        images: `[batch, H, W, C]`, where the objective was evaluated.
        values: `[batch]`, the objective.
        sign: `[batch, H, W, C]`, sign of its gradient.
        succeeded: bool `[batch]`, whether the attack has its aim at these images.
    """
    first = memory.step == 0
    better = values < memory.best_value
    best = where(better, images, memory.best)
    return memory._replace(
        best=best,
        found=where(succeeded, images, where(memory.succeeded, memory.found, best)),
        succeeded=memory.succeeded | succeeded,
        best_sign=where(better, sign, memory.best_sign),
        best_value=tf.where(better, values, memory.best_value),
        last_value=tf.where(first, memory.last_value, values),
        falls=memory.falls + tf.cast(~first & (values < memory.last_value), tf.int32),
        checked_value=tf.where(first, values, memory.checked_value),
    )


def checked(
    memory: Memory, images: tf.Tensor, sign: tf.Tensor, num_steps: int
) -> tuple[tf.Tensor, tf.Tensor, Memory]:
    """Images, signs and memory after a checkpoint; unchanged where there is none at this step.

    Args:
        memory: as `noted` returned it.
        images: `[batch, H, W, C]`, where the objective was evaluated.
        sign: `[batch, H, W, C]`, sign of the gradient there.
        num_steps: steps of the whole attack.
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
    return where(back, memory.best, images), where(back, memory.best_sign, sign), memory


def momentum_step(
    memory: Memory,
    images: tf.Tensor,
    sign: tf.Tensor,
    origin: tf.Tensor,
    epsilon: tf.Tensor,
    bounds: Bounds,
) -> tf.Tensor:
    """The next images: a projected step against the gradient's sign, averaged with momentum.

    Args:
        memory: of APGD; `step`, `step_size` and `previous` are read.
        images: `[batch, H, W, C]`, from which the step goes.
        sign: `[batch, H, W, C]`, sign of the objective's gradient there.
        origin: `[batch, H, W, C]`, the original images: centres of the l-inf balls.
        epsilon: scalar, radius of the balls, in the unit of the images.
        bounds: pixel range.

    Returns:
        `[batch, H, W, C]` within the balls and the pixel range: `images` moved by 0.75 of the
        projected step and 0.25 of the last move; the first step is taken whole.
    """
    size = memory.step_size[:, tf.newaxis, tf.newaxis, tf.newaxis]
    stepped = project_linf(images - size * sign, origin, epsilon, bounds)
    weight = where(
        memory.step == 0,
        tf.ones_like(size),
        tf.fill(tf.shape(size), tf.cast(_STEP_WEIGHT, size.dtype)),
    )
    moved = images + weight * (stepped - images) + (1 - weight) * (images - memory.previous)
    return tf.ensure_shape(project_linf(moved, origin, epsilon, bounds), images.shape)


def apgd(
    epsilon: float,
    num_steps: int = 100,
    loss: str = "cross_entropy",
    restarts: int = 1,
    num_targets: int = 9,
    *,
    target: Target = None,
    num_draws: int = 1,
) -> AutoPGD:
    """Auto-PGD (Croce and Hein 2020) on one of three losses, l-inf.

    Called directly it returns the last misclassified image of its way, or the one of the lowest
    objective; an evaluation counts an image as misclassified if any on its way is.

    Args:
        epsilon: l-inf budget, in the unit of the images.
        num_steps: steps; one more gradient is taken.
        loss: `"cross_entropy"`, `"dlr"` (the difference of logits ratio), or `"targeted_dlr"`,
            which runs once for each of the classes that are nearest to the original image.
        restarts: independent random starts, of the targeted loss for each target.
        num_targets: how many classes the targeted loss tries; of fewer other classes, all.
        target: as for `fgsm`: the class that images are pushed towards, by the cross-entropy.
        num_draws: passes of the network over which losses, gradients and logits are averaged in
            each step, for networks with random layers (expectation over transformation); an image
            is then misclassified if another class has the largest mean logit.

    Raises:
        TypeError: a target that is no class number.
        ValueError: a size or count out of range, an unknown loss, a class that is its own target,
            or a target with another loss than the cross-entropy.

    Example:
        >>> attack = apgd(8 / 255, loss="dlr")
    """
    check_count(restarts, "restarts")
    objective = LOSSES[check_choice(loss, LOSSES, "loss")]
    if target is not None:
        if loss != "cross_entropy":
            raise ValueError(
                f"target={target} needs loss='cross_entropy', got {loss!r}, which chooses its "
                f"classes itself. Leave out one of the two."
            )
        objective = TowardsClass(target)
    if loss == "targeted_dlr":
        objective = dataclasses.replace(objective, num_targets=num_targets)
        restarts *= num_targets
    return AutoPGD(over_draws(objective, num_draws), num_steps, epsilon, restarts=restarts)


LOSSES: dict[str, Any] = {
    "cross_entropy": AwayFromLabel(),
    "dlr": LogitsRatio(),
    "targeted_dlr": TargetedLogitsRatio(),
}
