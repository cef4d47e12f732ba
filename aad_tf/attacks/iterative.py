"""IterativeAttack: the base class of attacks that change the images iteration by iteration."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import tensorflow as tf

from aad_tf.attacks.draws import draws_of, mean_logits
from aad_tf.attacks.loop import (
    Examples,
    Iteration,
    Reached,
    State,
    all_images,
    compiled_context,
    first_success,
    iteration_spec,
    iterations,
    last_state,
    objective_context,
    value_dtype,
)
from aad_tf.attacks.objectives import AnyObjective, chosen_target, target_classes
from aad_tf.attacks.serialization import attack_to_dict
from aad_tf.attacks.starts import Noise, checked_seed, random_starts
from aad_tf.classifier import Classifier, checked_inputs
from aad_tf.types import Bounds
from aad_tf.utils.checks import check_choice, check_count, check_epsilon
from aad_tf.utils.norms import NORMS
from aad_tf.utils.ops import without_autograph

# Iterations of a direct call between two looks at whether the user wants it to stop.
_AT_ONCE = 100


class IterativeAttack(ABC):
    """Base class of attacks that repeat one iteration within a budget, in l-inf or l2.

    A subclass is a frozen dataclass with at least these attributes and a method `iteration`. Step
    sizes and budgets are in the unit of the images: 8 / 255 for a classifier of images in [0, 1]
    corresponds to 8 for one with bounds (0, 255). They are compared with the classifier's bounds
    when the attack is run.

    Attributes:
        objective: function of one value per image, which the attack lowers.
        num_steps: number of iterations (rounds) per restart.
        epsilon: budget around the original image; None for no budget.
        random_start: whether to start from a random point of the budget instead of the original
            image; if `noise` is given, from the original image plus that noise.
        restarts: number of runs with different random starts. For each example the result of the
            first run that succeeds is kept (the image is misclassified, or predicted as the target
            of a targeted attack), else that of the last run.
        name: label in records and tables; attacks that differ in their names alone are equal.
        noise: `UniformNoise` or `GaussianNoise` that a random start adds to the image; None for a
            uniform point of the budget.
        norm: norm of the budget and of step sizes, `"linf"` or `"l2"`. It belongs to what an attack
            is: its parameters in records name it where it is not `"linf"`.
        keeps_best: of the class: whether the attack keeps the best image on its way and returns
            that one, as `apgd`, `fab` and `square` do, and not the last image.
        minimum_norm: of the class: whether the attack looks for the nearest misclassified image, as
            `fab` does, so that images on the way may lie outside the budget.
        compiled_with: of the class: names of the attributes on which the compiled iteration
            depends. The sizes that the method `scalars` returns are inputs of it instead.

    Raises:
        TypeError: a size that is not a number, or a count that is not an integer.
        ValueError: a negative or infinite budget, a count below 1, a random start with neither
            budget nor noise, several restarts without a random start, an unknown norm, or noise in
            l2.

    Example:
        >>> attack = pgd(epsilon=0.1, step_size=0.02, num_steps=10)
        >>> isinstance(attack, IterativeAttack), attack.num_steps, attack.restarts
        (True, 10, 1)
    """

    objective: AnyObjective
    num_steps: int
    epsilon: float | None
    random_start: bool
    restarts: int
    name: str
    noise: Noise | None = None
    norm: str = "linf"
    # Which each kind is, so that `dataclasses.replace` takes it.
    __dataclass_fields__: ClassVar[dict[str, Any]]

    keeps_best: ClassVar[bool] = False
    minimum_norm: ClassVar[bool] = False
    compiled_with: ClassVar[tuple[str, ...]] = ("objective", "norm")

    @abstractmethod
    def iteration(
        self, classifier: Classifier, state: State, examples: Examples, *scalars: tf.Tensor
    ) -> tuple[State, tf.Tensor]:
        """Makes one iteration on a batch.

        Args:
            classifier: the network under attack.
            state: the current images `[batch, H, W, C]` and the attack's memory, such as momentum.
            examples: original images `[batch, H, W, C]`, labels int32 `[batch]`, and what the
                objective computed once from the original images.
            *scalars: sizes as scalar tensors, such as epsilon in the unit of the images; the
                method `scalars` returns them.

        Returns:
            The state after the iteration, and the logits `[batch, classes]` of the images before
            it.
        """

    def __post_init__(self) -> None:
        check_count(self.num_steps, "num_steps")
        check_count(self.restarts, "restarts")
        if self.epsilon is not None:
            check_epsilon(self.epsilon, "epsilon")
        if self.random_start and self.epsilon is None and self.noise is None:
            raise ValueError("random_start needs an epsilon, the ball to start in, or noise.")
        check_choice(self.norm, NORMS, "norm")
        if self.norm != "linf" and self.noise is not None:
            raise ValueError(
                f"noise is that of l-inf attacks, for its size is one per pixel: leave it out, or "
                f"norm={self.norm!r}. A random start in l2 is a uniform point of the ball."
            )
        if self.restarts > self._different_runs and not self.random_start:
            raise ValueError(
                f"restarts={self.restarts} without random_start repeats the same attack; set "
                f"random_start=True or restarts={self._different_runs}."
            )

    @property
    def _different_runs(self) -> int:
        """How many restarts differ even without a random start."""
        return 1

    def check_sizes(
        self, bounds: Bounds, image_shape: Sequence[int | None] = (None, None, None)
    ) -> None:
        """Checks that the budget fits the pixel range.

        Args:
            bounds: pixel range of the images.
            image_shape: `(H, W, C)` of the images, on which the largest budget in l2 depends; with
                an entry None, an l2 budget may have any size.

        Raises:
            ValueError: epsilon is larger than the largest distance between two images: the width of
                the pixel range, in l2 times the root of the number of values of an image.

        Example:
            >>> fgsm(8).check_sizes(Bounds(0, 255))
        """
        if self.epsilon is not None:
            self._check_size(self.epsilon, "epsilon", bounds, image_shape)

    def _check_size(
        self, size: float, name: str, bounds: Bounds, image_shape: Sequence[int | None]
    ) -> None:
        check_epsilon(size, name, bounds, norm=self.norm, image_shape=image_shape)

    def for_classes(self, num_classes: int) -> IterativeAttack:
        """Returns the attack that is run on a network with `num_classes` classes.

        It differs from this attack only if the attack tries several target classes per example
        (`apgd` with targeted DLR, `fab`) and the network has fewer classes besides the true one.
        Then it tries all of those.

        Args:
            num_classes: number of classes of the network, at least 2.

        Returns:
            An attack of the same class; this one if nothing differs.
        """
        del num_classes
        return self

    def result(self, state: State) -> tf.Tensor:
        """Returns the adversarial images of a batch after the last iteration.

        Args:
            state: the state after the last iteration: current images and the attack's memory.

        Returns:
            `[batch, H, W, C]`: the current images, or the best ones so far for an attack that keeps
            these in its memory (`apgd`, `fab`, `square`).
        """
        return state.images

    @property
    def starts_in_budget(self) -> bool:
        """Whether the attack has random starts, and all of them lie within its budget."""
        if not self.random_start:
            return False
        return self.noise is None or self.epsilon is None or self.noise.reach <= self.epsilon

    @property
    def total_epsilon(self) -> float:
        """Largest possible perturbation after all iterations, in its norm, of images in [0, 1]."""
        return self.epsilon_after()

    def epsilon_after(
        self, num_steps: int | None = None, bounds: Bounds = Bounds(0.0, 1.0)
    ) -> float:
        """Largest possible perturbation after a number of iterations, in the attack's norm.

        Args:
            num_steps: number of iterations, from 0 to those of the attack; None for all.
            bounds: pixel range of the images.

        Returns:
            The perturbation divided by the width of the pixel range. In l-inf 1 is the whole range;
            in l2 it may be larger, infinite where nothing bounds it.

        Raises:
            TypeError: a number of iterations that is not an integer.
            ValueError: a negative number, or more iterations than the attack has.

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
        """Describes the threat model of the attack, for the record of an evaluation.

        Args:
            bounds: pixel range of the images.

        Returns:
            A dictionary that `json` can write:
            `attack`: the attack's name; `parameters`: a dictionary from which `attack_from_dict`
                rebuilds the attack; `objective`: the objective's name.
            `norm`: `"linf"` or `"l2"`; `epsilon`: largest possible perturbation in that norm, in
                the unit of the images; `epsilon_255`: the same in 255ths of the width of the pixel
                range, in either norm, so that 0.5 is 127.5 (both None where nothing bounds the
                perturbation in l2, as for `fab(None, norm="l2")`); `projected`: whether a budget
                bounds all iterations together.
            `steps`, `restarts`: numbers of iterations and restarts; `step_size`: in the unit of the
                images, None where the attack chooses it; `random_start`: bool; `labels`: always
                `"true"`, since attacks get the true labels.
            Only where they apply: `bounds`, if the pixel range is not (0, 1); `minimum_norm`: True,
                if the attack looks for the nearest misclassified image; `target`: target class or
                classes; `draws`: passes of the network that each iteration averages.
        """
        width = bounds[1] - bounds[0]
        reach = self._reach(self.num_steps, width)
        # JSON has no infinity.
        epsilon = reach if math.isfinite(reach) else None
        model = {
            "attack": self.name,
            "norm": self.norm,
            "epsilon": epsilon,
            "epsilon_255": None if epsilon is None else epsilon / width * 255,
            "projected": self.epsilon is not None,
            "steps": self.num_steps,
            "step_size": None if self.keeps_best else getattr(self, "step_size", None),
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
        if (num_draws := draws_of(self.objective)) > 1:
            unusual["draws"] = num_draws
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
        """Returns the images after every iteration: x_adv1, x_adv2, ... of [AAD Sec. 3.3].

        Args:
            classifier: the network under attack; runs in inference mode throughout.
            images: float `[batch, H, W, C]` within the classifier's bounds.
            labels: int `[batch]`, true labels.
            seed: int64, seed of random starts; None is 0. The same seed gives the same images.
            first_index: index of the first image in its data set. The random start of an example
                depends on the seed, its index and the restart alone, so that a batch from the
                middle of a data set starts at the same points as in `evaluate_robustness`.

        Returns:
            `[num_steps, batch, H, W, C]`, the first iteration first; no gradient flows through it.
            With restarts, the iterations of the restart that is kept for each example. Attacks that
            keep their best image (`apgd`, `fab`, `square`) return the images of each iteration
            here, and the best image only when the attack itself is called.

        Raises:
            TypeError: no Classifier, images not floating point, labels not numbers, or a seed that
                is not an integer.
            ValueError: images of wrong rank or shape, with NaN or outside of the classifier's
                bounds, labels that are not classes, sizes larger than the pixel range, or a seed
                beyond int64.
            RuntimeError: a call inside a `tf.function`.
        """
        images, labels = checked_inputs(classifier, images, labels)
        indices = first_index + tf.range(len(images))
        return self.run(classifier, images, labels, checked_seed(seed), indices, every=True)

    def __call__(
        self,
        classifier: Classifier,
        images: Any,
        labels: Any,
        *,
        seed: int | None = None,
        first_index: int = 0,
    ) -> tf.Tensor:
        """Attacks a batch of images.

        Args:
            classifier: the network under attack; runs in inference mode throughout.
            images: float `[batch, H, W, C]` within the classifier's bounds.
            labels: int `[batch]`, true labels.
            seed: int64, seed of random starts; None is 0. The same seed gives the same images.
            first_index: index of the first image in its data set, on which random starts depend.

        Returns:
            Adversarial images `[batch, H, W, C]`: those after the last iteration, or the best ones
            for attacks that keep these (`apgd`, `fab`, `square`).

        Raises:
            TypeError: no Classifier, images not floating point, labels not numbers, or a seed that
                is not an integer.
            ValueError: images of wrong rank or shape, with NaN or outside of the classifier's
                bounds, labels that are not classes, sizes larger than the pixel range, or a seed
                beyond int64.
            RuntimeError: a call inside a `tf.function`.
        """
        images, labels = checked_inputs(classifier, images, labels)
        indices = first_index + tf.range(len(images))
        return self.run(classifier, images, labels, checked_seed(seed), indices)

    @without_autograph
    def rounds_in_graph(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor, seed: Any
    ) -> tf.Tensor:
        """Returns the images after every iteration, inside a compiled training step.

        Images and labels are not checked.

        Args:
            classifier: the network under attack.
            images: `[batch, H, W, C]` in the classifier's dtype.
            labels: int32 `[batch]`, true labels.
            seed: int32 `[2]`, a tensor or not; `[n, 0]` gives the random starts of the integer n.

        Returns:
            `[num_steps, batch, H, W, C]`, the first iteration first.

        Raises:
            ValueError: epsilon or a step size is larger than the width of the pixel range.
        """
        return self.run(classifier, images, labels, seed, every=True)

    @without_autograph
    def last_in_graph(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor, seed: Any
    ) -> tf.Tensor:
        """Attacks a batch inside a compiled training step; images and labels are not checked.

        Args:
            classifier: the network under attack.
            images: `[batch, H, W, C]` in the classifier's dtype.
            labels: int32 `[batch]`, true labels.
            seed: int32 `[2]`, a tensor or not; `[n, 0]` gives the random starts of the integer n.

        Returns:
            Adversarial images `[batch, H, W, C]`: those after the last iteration, or the best ones
            for attacks that keep these (`apgd`, `fab`, `square`).

        Raises:
            ValueError: epsilon or a step size is larger than the width of the pixel range.

        Example:
            >>> def train_step(self, batch):
            ...     images, labels = batch
            ...     attacked = attack.last_in_graph(self.classifier, images, labels, [0, 0])
        """
        return self.run(classifier, images, labels, seed)

    @without_autograph
    def step_in_graph(
        self, classifier: Classifier, current: tf.Tensor, images: tf.Tensor, labels: tf.Tensor
    ) -> tf.Tensor:
        """Makes one more iteration inside a compiled training step; inputs are not checked.

        What the objective needs of the original images is computed with the present weights of the
        network.

        Args:
            classifier: the network under attack.
            current: `[batch, H, W, C]`, the images that are moved.
            images: `[batch, H, W, C]`, the original images: centres of the budget.
            labels: int32 `[batch]`, true labels.

        Returns:
            The moved images `[batch, H, W, C]`.

        Raises:
            ValueError: an attack whose iterations depend on earlier ones, such as `apgd`; or
                epsilon or a step size larger than the width of the pixel range.
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
        """Returns the starting points of a batch.

        With a random start, a point is uniform in the budget around its image, or the image plus
        the attack's `noise` if it has one. Without, it is the image.

        Args:
            classifier: its bounds are the pixel range, to which points are clipped.
            images: `[batch, H, W, C]`, original images.
            seed: an integer, or int32 `[2]`: its low and high 32 bits.
            indices: int `[batch]`, index of each example in its data set; None for 0, 1, ...
            restart: number of the restart, from 0; int or int `[batch]`.

        Returns:
            `[batch, H, W, C]` in the dtype of `images`.
        """
        indices = tf.range(tf.shape(images)[0]) if indices is None else indices
        if self.random_start and self.noise is not None:
            return self.noise.around(images, classifier.bounds, seed, indices, restart)
        if not self.random_start or self.epsilon is None:
            return images
        return random_starts(
            images, self.epsilon, classifier.bounds, seed, indices, restart, self.norm
        )

    def predict_logits(self, classifier: Classifier, images: tf.Tensor) -> tf.Tensor:
        """Computes the logits from which it is decided whether images are misclassified.

        Args:
            classifier: the network.
            images: `[batch, H, W, C]`.

        Returns:
            `[batch, classes]`, in inference mode: the mean over as many passes of the network as
            the attack averages (`num_draws` of `pgd` and `apgd`), for most attacks one pass.
        """
        return mean_logits(classifier, images, draws_of(self.objective))

    def begin(
        self, classifier: Classifier, examples: Examples, seed: Any, indices: Any, restart: Any
    ) -> State:
        """Makes the state of a batch before the first iteration.

        Args:
            classifier: the network under attack.
            examples: original images `[batch, H, W, C]`, labels int32 `[batch]`, and what the
                objective computed once from the original images.
            seed: an integer, or int32 `[2]`: its low and high 32 bits.
            indices: int `[batch]`, index of each example in its data set.
            restart: number of the restart, from 0; int or int `[batch]`.

        Returns:
            A `State`: the starting points `[batch, H, W, C]`, and the attack's memory, which is
            empty unless a subclass fills it.
        """
        return State(self.start(classifier, examples.images, seed, indices, restart))

    def scalars(self, dtype: tf.DType) -> tuple[tf.Tensor, ...]:
        """Returns the sizes that a compiled iteration takes as inputs, as scalar tensors.

        Attacks that differ in these sizes alone share one compiled iteration.

        Args:
            dtype: dtype of the tensors.

        Returns:
            One tensor: epsilon in the unit of the images, infinity without a budget.
        """
        return (tf.constant(math.inf if self.epsilon is None else self.epsilon, dtype),)

    def _reach(self, num_steps: int, width: float) -> float:
        """Largest possible perturbation after so many iterations, in the unit of the images."""
        del num_steps
        return self._farthest(width) if self.epsilon is None else float(self.epsilon)

    def _farthest(self, width: float) -> float:
        """Largest possible perturbation without a budget; in l2 it depends on the image's size."""
        return width if self.norm == "linf" else math.inf

    def compiled_iteration(
        self, classifier: Classifier
    ) -> Callable[[State, Examples], tuple[State, tf.Tensor]]:
        """Compiles one iteration of the attack for a network.

        Args:
            classifier: the network under attack.

        Returns:
            A function for any batch size, from a `State` (current images and memory) and `Examples`
            (original images, labels, and what the objective computed from them) to the `State`
            after the iteration and the logits `[batch, classes]` of the images before it.

        Raises:
            ValueError: a size is larger than the width of the classifier's pixel range.
        """
        several = self.compiled_iterations(classifier)

        def one(state: State, examples: Examples) -> tuple[State, tf.Tensor]:
            reached = several(state, examples, 1, False)
            return reached.state, reached.logits

        return one

    def compiled_iterations(
        self, classifier: Classifier
    ) -> Callable[[State, Examples, int, bool], Reached]:
        """Compiles a loop of iterations, which serves all batch sizes, step sizes and budgets.

        Args:
            classifier: the network under attack.

        Returns:
            A function of a `State` (current images and memory), `Examples` (original images,
            labels, and what the objective computed from them), the largest number of iterations
            (int, at least 1) and a bool: whether to stop early. It then stops after the first
            iteration that starts from an image for which the method `noteworthy` is True, such as
            one that is misclassified. It returns a `Reached`: the states after and before the last
            iteration, the logits before it, and the number of iterations made.

        Raises:
            ValueError: a size is larger than the width of the classifier's pixel range.
        """
        self.check_sizes(classifier.bounds, classifier.input_shape)
        function = classifier.cached_function(
            (
                "attack_iterations",
                type(self),
                *(getattr(self, each) for each in self.compiled_with),
            ),
            functools.partial(self._iterations, classifier),
            lambda: self._signature(classifier),
        )
        scalars = self.scalars(classifier.dtype)
        return lambda state, examples, most, stops: function(state, examples, most, stops, *scalars)

    def noteworthy(
        self, state: State, logits: tf.Tensor, examples: Examples, *scalars: tf.Tensor
    ) -> tf.Tensor:
        """Says for which images an evaluation should stop between two iterations.

        The loop of `compiled_iterations` calls it for the images before each iteration.

        Args:
            state: current images `[batch, H, W, C]` and the attack's memory; not used here.
            logits: `[batch, classes]` of these images.
            examples: of which the true labels, int32 `[batch]`, are used.
            *scalars: epsilon and other sizes of the attack; not used here.

        Returns:
            bool `[batch]`: True where the image is misclassified or a logit is NaN or infinite.
        """
        del state, scalars
        finite = tf.reduce_all(tf.math.is_finite(logits), axis=1)
        return (tf.argmax(logits, -1, tf.int32) != examples.labels) | ~finite

    def _iterations(
        self,
        classifier: Classifier,
        state: State,
        examples: Examples,
        most: tf.Tensor,
        stops: tf.Tensor,
        *scalars: tf.Tensor,
    ) -> Reached:
        def iterate(state: State) -> tuple[State, tf.Tensor, tf.Tensor]:
            following, logits = self.iteration(classifier, state, examples, *scalars)
            logits = tf.cast(logits, dtype)
            noteworthy = self.noteworthy(state, logits, examples, *scalars)
            return following, logits, stops & tf.reduce_any(noteworthy)

        dtype = value_dtype(classifier)
        unknown = tf.zeros((tf.shape(state.images)[0], classifier.num_classes), dtype)
        return iterations(iterate, state, unknown, most)

    def _signature(self, classifier: Classifier) -> list[Any]:
        state, examples, scalar, _ = iteration_spec(classifier, self.objective)
        if type(self).begin is not IterativeAttack.begin:
            state = self._state_spec(classifier)
        most, stops = tf.TensorSpec((), tf.int32), tf.TensorSpec((), tf.bool)
        return [state, examples, most, stops, *[scalar] * len(self.scalars(classifier.dtype))]

    def _state_spec(self, classifier: Classifier) -> State:
        """The shapes and dtypes of what an attack with a memory begins with."""

        def begin(images: tf.Tensor, labels: tf.Tensor, indices: tf.Tensor) -> State:
            return self.begin(classifier, Examples(images, labels), 0, indices, 0)

        numbers = classifier.labels_spec
        traced = tf.function(
            begin, input_signature=[classifier.image_spec, numbers, numbers], autograph=False
        ).get_concrete_function()
        return tf.nest.map_structure(
            lambda output: tf.TensorSpec(output.shape, output.dtype), traced.structured_outputs
        )

    def compiled_context(
        self, classifier: Classifier
    ) -> Callable[[Any, Any], tuple[tf.Tensor, ...]]:
        """Compiles the computation of what the objective needs of the original images.

        Args:
            classifier: the network under attack.

        Returns:
            A function from original images `[batch, H, W, C]` and labels int32 `[batch]` to a tuple
            of tensors with the batch as first axis; the tuple is empty for most objectives.
        """
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
        """Runs all iterations and restarts; images and labels are not checked.

        It works eagerly, where it calls compiled iterations, and inside a compiled graph.

        Args:
            classifier: the network under attack.
            images: `[batch, H, W, C]` in the classifier's dtype.
            labels: int32 `[batch]`, true labels.
            seed: an integer, or int32 `[2]`: its low and high 32 bits.
            indices: int `[batch]`, index of each example in its data set; None for 0, 1, ...
            every: whether to return the images after every iteration.

        Returns:
            Adversarial images `[batch, H, W, C]`; with `every`, `[num_steps, batch, H, W, C]`.

        Raises:
            ValueError: epsilon or a step size is larger than the width of the pixel range.
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
            if not tf.executing_eagerly():
                return attack.result(last_state(iterate, state, calls))
            several = attack.compiled_iterations(classifier)
            for done in range(0, calls, _AT_ONCE):
                state = several(state, examples, min(_AT_ONCE, calls - done), False).state
            return attack.result(state)

        def succeeded(found: tf.Tensor) -> tf.Tensor:
            logits = attack.predict_logits(classifier, found[-1] if every else found)
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
        self.check_sizes(classifier.bounds, classifier.input_shape)
        scalars = self.scalars(examples.images.dtype)
        return lambda state: self.iteration(classifier, state, examples, *scalars)[0]


def check_budget(attack: IterativeAttack) -> None:
    """Checks that an attack has a budget.

    Args:
        attack: the attack.

    Raises:
        ValueError: its `epsilon` is None.
    """
    if attack.epsilon is None:
        raise ValueError(f"{attack.name} needs an epsilon: the ball that it searches.")


def refuse_l2(attack: IterativeAttack, name: str) -> None:
    """Raises an error for an attack in l2 where only l-inf is defined.

    Args:
        attack: the attack.
        name: what was asked to take it.

    Raises:
        ValueError: the attack's norm is not `"linf"`.
    """
    if attack.norm != "linf":
        raise ValueError(
            f"{name} takes attacks in l-inf, as its source does, and {attack.name} has "
            f"norm={attack.norm!r}. Leave out the norm."
        )
