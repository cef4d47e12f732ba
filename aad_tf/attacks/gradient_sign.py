"""GradientSignAttack: what to descend, how far, how often, from where."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from aad_tf.attacks.objectives import AnyObjective
from aad_tf.attacks.serialization import attack_to_dict, register_kind
from aad_tf.attacks.steps import (
    all_of_loop,
    compiled_context,
    compiled_step,
    gradient_sign_step,
    last_of_loop,
    objective_context,
)
from aad_tf.checks import check_count, check_epsilon
from aad_tf.classifier import Classifier, checked_inputs
from aad_tf.types import Bounds


@register_kind("gradient_sign")
@dataclass(frozen=True)
class GradientSignAttack:
    """Iterated signed gradient descent of an objective under an l-inf budget.

    Sizes are in the unit of the images, whatever the classifier's bounds, and at most 1. A network
    that takes 0..255 should get a Rescaling(255) layer in front, and images in [0, 1].

    Attributes:
        objective: what is descended; it carries its own sign and labels.
        step_size: size of a step, in the unit of the images, in [0, 1] (not /255).
        num_steps: number of steps (rounds).
        epsilon: l-inf budget around the clean image; None lets rounds accumulate to
            `num_steps * step_size`, as the AAD paper does.
        random_start: start from a uniform point of the budget.
        restarts: independent random starts; of each example the first that fools the network is
            kept.
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
            The perturbation as a fraction of the width of the pixel range, so in [0, 1] and the
            epsilon of images in [0, 1].

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
            images, `epsilon_255` in 255ths of the width of their range.
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
            "step_size": self.step_size,
            "random_start": self.random_start,
            "restarts": self.restarts,
            "objective": self.objective.name,
            "labels": "true",
            "parameters": attack_to_dict(self),
        }
        unusual = {} if tuple(bounds) == (0.0, 1.0) else {"bounds": [float(b) for b in bounds]}
        return {**model, **unusual}

    def rounds(
        self, classifier: Classifier, images: Any, labels: Any, *, seed: int | None = None
    ) -> tf.Tensor:
        """Adversarial images after every round: x_adv1, x_adv2, ... of [AAD Sec. 3.3].

        Args:
            classifier: the network under attack; runs in inference mode throughout.
            images: float `[batch, H, W, C]` within the classifier's bounds.
            labels: int `[batch]`, true labels.
            seed: seeds random starts (default 0); the same seed gives the same images.

        Returns:
            `[num_steps, batch, H, W, C]`; gradients stop here. With restarts, the rounds of the
            restart kept for each example.

        Raises:
            TypeError: no Classifier, images not floating point, or labels not integers.
            ValueError: wrong rank or shape, NaN, values out of range, labels out of range.
        """
        images, labels = checked_inputs(classifier, images, labels)
        step = self._eager_step(classifier, images, labels)

        def run(start: tf.Tensor) -> tf.Tensor:
            rounds = []
            for _ in range(self.num_steps):
                start = step(start)
                rounds.append(start)
            return tf.stack(rounds)

        return self._keep_first_success(classifier, images, labels, seed, run, axis=1)

    def __call__(
        self, classifier: Classifier, images: Any, labels: Any, *, seed: int | None = None
    ) -> tf.Tensor:
        """Adversarial images after the last round, `[batch, H, W, C]`; see `rounds`."""
        images, labels = checked_inputs(classifier, images, labels)
        step = self._eager_step(classifier, images, labels)

        def run(start: tf.Tensor) -> tf.Tensor:
            for _ in range(self.num_steps):
                start = step(start)
            return start

        return self._keep_first_success(classifier, images, labels, seed, run, axis=0)

    def rounds_in_graph(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor, seed: Any
    ) -> tf.Tensor:
        """`rounds` without checks, for use inside a compiled training step.

        Args:
            classifier: the network under attack.
            images: `[batch, H, W, C]` in the classifier's dtype.
            labels: int32 `[batch]`.
            seed: int32 `[2]`, may be a tensor.

        Returns:
            `[num_steps, batch, H, W, C]`.
        """
        step = self._graph_step(classifier, images, labels)
        run = functools.partial(all_of_loop, step, num_steps=self.num_steps)
        return self._keep_first_success(classifier, images, labels, seed, run, axis=1)

    def last_in_graph(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor, seed: Any
    ) -> tf.Tensor:
        """The last round only, `[batch, H, W, C]`; see `rounds_in_graph`."""
        step = self._graph_step(classifier, images, labels)
        run = functools.partial(last_of_loop, step, num_steps=self.num_steps)
        return self._keep_first_success(classifier, images, labels, seed, run, axis=0)

    def step_in_graph(
        self, classifier: Classifier, current: tf.Tensor, images: tf.Tensor, labels: tf.Tensor
    ) -> tf.Tensor:
        """One more step from `current` under the budget around `images`, without checks.

        What the objective needs of `images` is computed by the network as it is now.
        """
        return self._graph_step(classifier, images, labels)(current)

    def start(self, images: tf.Tensor, classifier: Classifier, seed: Any) -> tf.Tensor:
        """Where the attack begins: the images, or a uniform point of the budget around them."""
        if not self.random_start or self.epsilon is None:
            return images
        noise = tf.random.stateless_uniform(
            tf.shape(images), seed, -self.epsilon, self.epsilon, images.dtype
        )
        return tf.clip_by_value(images + noise, *classifier.bounds)

    def scalars(self, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
        """Step size and budget as tensors, so that one compiled step serves all values."""
        epsilon = math.inf if self.epsilon is None else self.epsilon
        return tf.constant(self.step_size, dtype), tf.constant(epsilon, dtype)

    def _reach(self, num_steps: int, width: float) -> float:
        reach = num_steps * self.step_size
        if self.epsilon is None:
            return min(reach, width)
        return self.epsilon if self.random_start else min(self.epsilon, reach)

    def _eager_step(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor
    ) -> Callable[[tf.Tensor], tf.Tensor]:
        function = compiled_step(classifier, self.objective)
        scalars = self.scalars(images.dtype)
        context = compiled_context(classifier, self.objective)(images, labels)
        return lambda current: function(current, images, labels, *scalars, *context)[0]

    def _graph_step(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor
    ) -> Callable[[tf.Tensor], tf.Tensor]:
        scalars = self.scalars(images.dtype)
        context = objective_context(classifier, self.objective, images, labels)
        return lambda current: gradient_sign_step(
            classifier, self.objective, current, images, labels, *scalars, context
        )[0]

    def _keep_first_success(
        self,
        classifier: Classifier,
        images: tf.Tensor,
        labels: tf.Tensor,
        seed: Any,
        run: Callable[[tf.Tensor], tf.Tensor],
        axis: int,
    ) -> tf.Tensor:
        """Runs every restart; `axis` is where the result of `run` holds the batch."""
        seed = tf.convert_to_tensor(seed if tf.is_tensor(seed) else [seed or 0, 0], tf.int32)
        kept = run(self.start(images, classifier, seed))
        for restart in range(1, self.restarts):
            last = kept if axis == 0 else kept[-1]
            # Op by op, a forward pass takes several times as long as the compiled one.
            eager = tf.executing_eagerly()
            logits = classifier.predict_logits(last) if eager else classifier(last).logits
            fooled = tf.argmax(logits, -1, tf.int32) != labels
            fresh = run(self.start(images, classifier, seed + [0, restart]))
            shape = [1] * axis + [-1] + [1] * (images.shape.rank - 1)
            kept = tf.where(tf.reshape(fooled, shape), kept, fresh)
        return kept
