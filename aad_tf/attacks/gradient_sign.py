"""GradientSignAttack: what to descend, how far, how often, from where."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import tensorflow as tf

from aad_tf.attacks.loop import (
    Examples,
    Iteration,
    State,
    all_images,
    compiled_context,
    compiled_iteration,
    first_success,
    iteration,
    last_state,
    objective_context,
    random_starts,
)
from aad_tf.attacks.objectives import AnyObjective, chosen_target, target_classes
from aad_tf.attacks.serialization import attack_to_dict, register_kind
from aad_tf.classifier import Classifier, checked_inputs
from aad_tf.types import Bounds
from aad_tf.utils.checks import check_count, check_epsilon


@register_kind("gradient_sign")
@dataclass(frozen=True)
class GradientSignAttack:
    """Iterated signed gradient descent of an objective under an l-inf budget.

    Sizes are in the unit of the images: 8 / 255 for a classifier of images in [0, 1] is 8 for one
    with bounds (0, 255). They are checked against the bounds when the attack meets a classifier.

    Attributes:
        objective: what is descended; it carries its own sign and labels.
        step_size: size of a step, in the unit of the images.
        num_steps: number of iterations (rounds).
        epsilon: l-inf budget around the clean image; None lets iterations accumulate to
            `num_steps * step_size`, as the AAD paper does.
        random_start: start from a uniform point of the budget.
        restarts: independent random starts; of each example the first is kept that ends
            misclassified, or at its target if the attack is targeted; else the last one.
        name: label for records and tables; no part of the attack's identity.

    Example:
        >>> attack = pgd(epsilon=8 / 255, step_size=2 / 255, num_steps=10)
        >>> adversarial = attack(classifier, images, labels, seed=0)
    """

    objective: AnyObjective
    step_size: float
    num_steps: int = 1
    epsilon: float | None = None
    random_start: bool = False
    restarts: int = 1
    name: str = dataclasses.field(default="gradient_sign", compare=False)

    # Whether it keeps the best image on its way, so that no single iterate is the last word.
    keeps_best: ClassVar[bool] = False
    # Whether it looks for the nearest image, so that iterates may lie outside the budget.
    minimum_norm: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_epsilon(self.step_size, "step_size")
        check_count(self.num_steps, "num_steps")
        check_count(self.restarts, "restarts")
        if self.epsilon is not None:
            check_epsilon(self.epsilon, "epsilon")
        if self.random_start and self.epsilon is None:
            raise ValueError("random_start needs an epsilon: the ball to start in.")
        if self.restarts > 1 and not self.random_start:
            raise ValueError(
                f"restarts={self.restarts} without random_start repeats the same attack; set "
                f"random_start=True or restarts=1."
            )

    def check_sizes(self, bounds: Bounds) -> None:
        """Raises ValueError if a size is larger than the width of the pixel range.

        Args:
            bounds: pixel range of the images.

        Example:
            >>> fgsm(8).check_sizes(Bounds(0, 255))
        """
        if self.epsilon is None:
            check_epsilon(self.step_size, "epsilon of each step", bounds)
        else:
            check_epsilon(self.epsilon, "epsilon", bounds)
            check_epsilon(self.step_size, "step_size", bounds)

    def for_classes(self, num_classes: int) -> GradientSignAttack:
        """The attack as it is run on a network of so many classes; most are the same on all."""
        del num_classes
        return self

    def result(self, state: State) -> tf.Tensor:
        """The adversarial images `[batch, H, W, C]` that a state stands for."""
        return state.images

    @property
    def total_epsilon(self) -> float:
        """Largest possible l-inf perturbation of images in [0, 1], in their unit."""
        return self.epsilon_after()

    def epsilon_after(
        self, num_steps: int | None = None, bounds: Bounds = Bounds(0.0, 1.0)
    ) -> float:
        """Largest possible l-inf perturbation after some iterations.

        Args:
            num_steps: iterations, from 0 to all; None for all of them.
            bounds: pixel range of the images.

        Returns:
            The perturbation as a fraction of the width of the pixel range: the epsilon of images
            in [0, 1].

        Raises:
            ValueError: more iterations than the attack has.

        Example:
            >>> step_ll(4 / 255, num_steps=3).epsilon_after(2) * 255
            8.0
        """
        num_steps = self.num_steps if num_steps is None else num_steps
        check_count(num_steps, "num_steps", least=0)
        if num_steps > self.num_steps:
            raise ValueError(
                f"num_steps must be at most {self.num_steps}, those of the attack, got {num_steps}."
            )
        return self._reach(num_steps, bounds[1] - bounds[0]) / (bounds[1] - bounds[0])

    def threat_model(self, bounds: Bounds = Bounds(0.0, 1.0)) -> dict[str, Any]:
        """What a robust accuracy under this attack speaks of, ready for a record.

        Args:
            bounds: pixel range of the images; part of the record unless it is (0, 1).

        Returns:
            Entries that `json` can write. `parameters` are those of the attack, as
            `attack_to_dict` gives them, and `attack` is its name. `epsilon` is in the unit of the
            images, `epsilon_255` in 255ths of the width of their range. A targeted attack has its
            `target` too.
        """
        width = bounds[1] - bounds[0]
        epsilon = self._reach(self.num_steps, width)
        model = {
            "attack": self.name,
            "norm": "linf",
            "epsilon": epsilon,
            "epsilon_255": epsilon / width * 255,
            "projected": self.epsilon is not None,
            "steps": self.num_steps,
            "step_size": None if self.keeps_best else self.step_size,
            "random_start": self.random_start,
            "restarts": self.restarts,
            "objective": self.objective.name,
            "labels": "true",
            "parameters": attack_to_dict(self),
        }
        unusual: dict[str, Any] = {}
        if tuple(bounds) != (0.0, 1.0):
            unusual["bounds"] = [float(bound) for bound in bounds]
        if self.minimum_norm:
            unusual["minimum_norm"] = True
        if (target := chosen_target(self.objective)) is not None:
            unusual["target"] = list(target) if isinstance(target, tuple) else target
        return {**model, **unusual}

    def rounds(
        self,
        classifier: Classifier,
        images: Any,
        labels: Any,
        *,
        seed: int | None = None,
        first_index: int = 0,
    ) -> tf.Tensor:
        """Adversarial images after every iteration: x_adv1, x_adv2, ... of [AAD Sec. 3.3].

        Args:
            classifier: the network under attack; runs in inference mode throughout.
            images: float `[batch, H, W, C]` within the classifier's bounds.
            labels: int `[batch]`, true labels.
            seed: seeds random starts (default 0); the same seed gives the same images.
            first_index: index of the first image in its data set. The random start of an example
                depends on the seed, its index and the restart alone, so a batch from the middle
                of a data set starts as `evaluate_robustness` starts it.

        Returns:
            `[num_steps, batch, H, W, C]`; gradients stop here. With restarts, the iterations of the
            restart kept for each example. An attack that keeps its best image (`apgd`, `fab`,
            `square`) returns that one only when it is called.

        Raises:
            TypeError: no Classifier, images not floating point, or labels no numbers.
            ValueError: wrong rank or shape, NaN, values out of range, labels out of range, or sizes
                beyond the classifier's pixel range.
        """
        images, labels = checked_inputs(classifier, images, labels)
        indices = first_index + tf.range(len(images))
        return self.run(classifier, images, labels, seed or 0, indices, every=True)

    def __call__(
        self,
        classifier: Classifier,
        images: Any,
        labels: Any,
        *,
        seed: int | None = None,
        first_index: int = 0,
    ) -> tf.Tensor:
        """Adversarial images `[batch, H, W, C]`: the last of `rounds`, or the best one kept."""
        images, labels = checked_inputs(classifier, images, labels)
        indices = first_index + tf.range(len(images))
        return self.run(classifier, images, labels, seed or 0, indices)

    def rounds_in_graph(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor, seed: Any
    ) -> tf.Tensor:
        """`rounds` without checks, for use inside a compiled training step.

        Args:
            classifier: the network under attack.
            images: `[batch, H, W, C]` in the classifier's dtype.
            labels: int32 `[batch]`.
            seed: int32 `[2]`, may be a tensor; `[n, 0]` is the seed n of `rounds`.

        Returns:
            `[num_steps, batch, H, W, C]`.
        """
        return self.run(classifier, images, labels, seed, every=True)

    def last_in_graph(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor, seed: Any
    ) -> tf.Tensor:
        """`[batch, H, W, C]`, as a direct call returns it; see `rounds_in_graph`."""
        return self.run(classifier, images, labels, seed)

    def step_in_graph(
        self, classifier: Classifier, current: tf.Tensor, images: tf.Tensor, labels: tf.Tensor
    ) -> tf.Tensor:
        """One more iteration from `current` under the budget around `images`, without checks.

        What the objective needs of `images` is computed by the network as it is now.

        Raises:
            ValueError: an attack whose iterations depend on those before, such as `apgd`.
        """
        if self.keeps_best:
            raise ValueError(
                f"An iteration of {self.name} depends on those before, so it cannot go on from an "
                f"image alone. Take an attack without memory, such as pgd or step_ll."
            )
        iterate = self._iteration(classifier, self._examples(classifier, images, labels))
        return iterate(State(current)).images

    def start(
        self,
        classifier: Classifier,
        images: tf.Tensor,
        seed: Any,
        indices: Any = None,
        restart: Any = 0,
    ) -> tf.Tensor:
        """Where the attack begins: the images, or a uniform point of the budget around them.

        Args:
            classifier: tells the pixel range.
            images: `[batch, H, W, C]`, original images.
            seed: an integer, or int32 `[2]`.
            indices: int `[batch]`: index of each example in its data set; by default in the batch.
            restart: number of the restart, from 0; int or int `[batch]`.

        Returns:
            Tensor like `images`.
        """
        if not self.random_start or self.epsilon is None:
            return images
        indices = tf.range(tf.shape(images)[0]) if indices is None else indices
        return random_starts(images, self.epsilon, classifier.bounds, seed, indices, restart)

    def begin(
        self, classifier: Classifier, examples: Examples, seed: Any, indices: Any, restart: Any
    ) -> State:
        """The state before the first iteration; arguments as for `start`."""
        return State(self.start(classifier, examples.images, seed, indices, restart))

    def scalars(self, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
        """Step size and budget as tensors, so that one compiled step serves all values."""
        epsilon = math.inf if self.epsilon is None else self.epsilon
        return tf.constant(self.step_size, dtype), tf.constant(epsilon, dtype)

    def _reach(self, num_steps: int, width: float) -> float:
        reach = num_steps * self.step_size
        if self.epsilon is None:
            return min(reach, width)
        return self.epsilon if self.random_start else min(self.epsilon, reach)

    def compiled_iteration(
        self, classifier: Classifier
    ) -> Callable[[State, Examples], tuple[State, tf.Tensor]]:
        """One iteration in one compiled graph: from a state to the next, and the logits before."""
        self.check_sizes(classifier.bounds)
        function = compiled_iteration(classifier, self.objective)
        scalars = self.scalars(classifier.dtype)
        return lambda state, examples: function(state, examples, *scalars)

    def compiled_context(
        self, classifier: Classifier
    ) -> Callable[[Any, Any], tuple[tf.Tensor, ...]]:
        """What the objective needs of original images and labels, in one compiled graph."""
        return compiled_context(classifier, self.objective)

    def run(
        self,
        classifier: Classifier,
        images: tf.Tensor,
        labels: tf.Tensor,
        seed: Any,
        indices: Any = None,
        every: bool = False,
    ) -> tf.Tensor:
        """All iterations and restarts without checks, op by op around compiled graphs or in one.

        Args:
            classifier: the network under attack.
            images: `[batch, H, W, C]` in the classifier's dtype.
            labels: int32 `[batch]`.
            seed: an integer, or int32 `[2]`.
            indices: as for `start`.
            every: return the images after every iteration, as `rounds` does.
        """
        attack = self.for_classes(classifier.num_classes)
        examples = attack._examples(classifier, images, labels)
        iterate = attack._iteration(classifier, examples)
        indices = tf.range(tf.shape(images)[0]) if indices is None else indices

        def run(restart: int) -> tf.Tensor:
            state = attack.begin(classifier, examples, seed, indices, restart)
            if every:
                return all_images(iterate, state, attack.num_steps)
            # The last image is judged by one more iteration.
            calls = attack.num_steps + attack.keeps_best
            return attack.result(last_state(iterate, state, calls))

        def succeeded(found: tf.Tensor) -> tf.Tensor:
            last = found[-1] if every else found
            # Op by op, a forward pass takes several times as long as the compiled one.
            eager = tf.executing_eagerly()
            logits = classifier.predict_logits(last) if eager else classifier(last).logits
            predicted = tf.argmax(logits, -1, tf.int32)
            targets = target_classes(attack.objective, labels)
            return predicted != labels if targets is None else predicted == targets

        return first_success(run, succeeded, attack.restarts)

    def _examples(self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor) -> Examples:
        if tf.executing_eagerly():
            return Examples(images, labels, self.compiled_context(classifier)(images, labels))
        context = objective_context(classifier, self.objective, images, labels)
        return Examples(images, labels, context)

    def _iteration(self, classifier: Classifier, examples: Examples) -> Iteration:
        if tf.executing_eagerly():
            compiled = self.compiled_iteration(classifier)
            return lambda state: compiled(state, examples)[0]
        self.check_sizes(classifier.bounds)
        scalars = self.scalars(examples.images.dtype)
        return lambda state: iteration(classifier, self.objective, state, examples, *scalars)[0]


def check_budget(attack: GradientSignAttack) -> None:
    """Raises ValueError if an attack that cannot do without a budget has none."""
    if attack.epsilon is None:
        raise ValueError(f"{attack.name} needs an epsilon: the ball that it searches.")
