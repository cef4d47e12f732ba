"""What all attacks have in common that go from image to image, one iteration after the other."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
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
    random_starts,
    value_dtype,
)
from aad_tf.attacks.objectives import AnyObjective, chosen_target, target_classes
from aad_tf.attacks.serialization import attack_to_dict
from aad_tf.attacks.starts import Noise
from aad_tf.classifier import Classifier, checked_inputs
from aad_tf.types import Bounds
from aad_tf.utils.checks import check_count, check_epsilon

# Iterations of a direct call between two looks at whether the user wants it to stop.
_AT_ONCE = 100


class IterativeAttack(ABC):
    """One iteration again and again, within an l-inf budget; kinds say what an iteration does.

    Sizes are in the unit of the images: 8 / 255 for a classifier of images in [0, 1] is 8 for one
    with bounds (0, 255). They are checked against the bounds when the attack meets a classifier.
    A kind is a frozen dataclass of at least these attributes, with a method `iteration`.

    Attributes:
        objective: what is descended; it carries its own sign and labels.
        num_steps: number of iterations (rounds).
        epsilon: l-inf budget around the clean image, or None.
        random_start: start from a random point: of the budget, or as `noise` says.
        restarts: independent random starts; of each example the first is kept that ends
            misclassified, or at its target if the attack is targeted; else the last one.
        name: label for records and tables; no part of the attack's identity.
    """

    objective: AnyObjective
    num_steps: int
    epsilon: float | None
    random_start: bool
    restarts: int
    name: str
    # Of kinds that may begin elsewhere than at a uniform point of the budget.
    noise: Noise | None = None
    # Which each kind is, so that `dataclasses.replace` takes it.
    __dataclass_fields__: ClassVar[dict[str, Any]]

    # Whether it keeps the best image on its way, so that no single iterate is the last word.
    keeps_best: ClassVar[bool] = False
    # Whether it looks for the nearest image, so that iterates may lie outside the budget.
    minimum_norm: ClassVar[bool] = False
    # Attributes on which the compiled iteration depends, besides its class; sizes are its inputs.
    compiled_with: ClassVar[tuple[str, ...]] = ("objective",)

    @abstractmethod
    def iteration(
        self, classifier: Classifier, state: State, examples: Examples, *scalars: tf.Tensor
    ) -> tuple[State, tf.Tensor]:
        """One iteration.

        Args:
            classifier: the network under attack.
            state: where the iteration begins, of the structure that `begin` returns.
            examples: of the same batch.
            *scalars: as the method of this name returns them.

        Returns:
            The next state, and the logits `[batch, classes]` at `state.images`.
        """

    def __post_init__(self) -> None:
        check_count(self.num_steps, "num_steps")
        check_count(self.restarts, "restarts")
        if self.epsilon is not None:
            check_epsilon(self.epsilon, "epsilon")
        if self.random_start and self.epsilon is None and self.noise is None:
            raise ValueError("random_start needs an epsilon, the ball to start in, or noise.")
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
        if self.epsilon is not None:
            check_epsilon(self.epsilon, "epsilon", bounds)

    def for_classes(self, num_classes: int) -> IterativeAttack:
        """The attack as it is run on a network of so many classes; most are the same on all."""
        del num_classes
        return self

    def result(self, state: State) -> tf.Tensor:
        """The adversarial images `[batch, H, W, C]` that a state stands for."""
        return state.images

    @property
    def starts_in_budget(self) -> bool:
        """Whether it begins at random points, and all of them lie within the budget."""
        if not self.random_start:
            return False
        return self.noise is None or self.epsilon is None or self.noise.reach <= self.epsilon

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
            `target` too, one on the mean of several passes of the network their number in `draws`.
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
        """Where the attack begins: the images, or a random point around them.

        The point is uniform in the budget unless `noise` says otherwise.

        Args:
            classifier: tells the pixel range.
            images: `[batch, H, W, C]`, original images.
            seed: an integer, or int32 `[2]`.
            indices: int `[batch]`: index of each example in its data set; by default in the batch.
            restart: number of the restart, from 0; int or int `[batch]`.

        Returns:
            Tensor like `images`.
        """
        indices = tf.range(tf.shape(images)[0]) if indices is None else indices
        if self.random_start and self.noise is not None:
            return self.noise.around(images, classifier.bounds, seed, indices, restart)
        if not self.random_start or self.epsilon is None:
            return images
        return random_starts(images, self.epsilon, classifier.bounds, seed, indices, restart)

    def predict_logits(self, classifier: Classifier, images: tf.Tensor) -> tf.Tensor:
        """The logits by which success on some images is judged, `[batch, classes]`.

        Of an attack that averages over draws (`apgd(..., num_draws=20)`) they are the mean over as
        many passes of the network, of others those of one pass.
        """
        return mean_logits(classifier, images, draws_of(self.objective))

    def begin(
        self, classifier: Classifier, examples: Examples, seed: Any, indices: Any, restart: Any
    ) -> State:
        """The state before the first iteration; arguments as for `start`."""
        return State(self.start(classifier, examples.images, seed, indices, restart))

    def scalars(self, dtype: tf.DType) -> tuple[tf.Tensor, ...]:
        """Sizes as tensors, so that one compiled iteration serves all values: the budget."""
        return (tf.constant(math.inf if self.epsilon is None else self.epsilon, dtype),)

    def _reach(self, num_steps: int, width: float) -> float:
        """Largest possible l-inf perturbation after so many iterations, in the unit of images."""
        del num_steps
        return width if self.epsilon is None else float(self.epsilon)

    def compiled_iteration(
        self, classifier: Classifier
    ) -> Callable[[State, Examples], tuple[State, tf.Tensor]]:
        """One compiled iteration: from a state to the next, and the logits before."""
        several = self.compiled_iterations(classifier)

        def one(state: State, examples: Examples) -> tuple[State, tf.Tensor]:
            reached = several(state, examples, 1, False)
            return reached.state, reached.logits

        return one

    def compiled_iterations(
        self, classifier: Classifier
    ) -> Callable[[State, Examples, int, bool], Reached]:
        """Several iterations in one call of one compiled graph, the same for all batches and sizes.

        Args:
            classifier: the network under attack.

        Returns:
            A function of a state, examples, the largest number of iterations, and whether to end
            after the first that shows an image that `noteworthy` names.
        """
        self.check_sizes(classifier.bounds)
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
        """Images of which an evaluation must know at once, bool `[batch]`: the misclassified ones.

        Args:
            state: of the images.
            logits: `[batch, classes]` at them.
            examples: of the same batch.
            *scalars: as for `iteration`.
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
        self.check_sizes(classifier.bounds)
        scalars = self.scalars(examples.images.dtype)
        return lambda state: self.iteration(classifier, state, examples, *scalars)[0]


def check_budget(attack: IterativeAttack) -> None:
    """Raises ValueError if an attack that cannot do without a budget has none."""
    if attack.epsilon is None:
        raise ValueError(f"{attack.name} needs an epsilon: the ball that it searches.")
