"""An iteration of a gradient-sign attack, the loops over iterations, and the rule of restarts.

`IterativeAttack.run` runs the loops of this module for direct calls and for training steps. Five
modules act between iterations: `aad_tf.evaluation.pool` takes out misclassified images,
`aad_tf.evaluation.diagnostics` judges every iterate, `aad_tf.attacks.shared_work` runs several
attacks at once, `aad_tf.attention_study.network_pass` computes attention maps, and
`aad_tf.defenses.aad` may update the weights (`update_per_round`). They use the iterations of this
module, or those of the attack's class. Which restart of an attack is kept is decided by
`starts_again` everywhere. Random starts are in `aad_tf.attacks.starts`.

The data of an attack are in two structures. All of their tensors have the batch as first axis, so
that examples can be removed, added, and be at different iterations in one batch:

- `Examples`: what stays constant, such as the original image and the label;
- `State`: what an iteration changes, such as the current image. An attack with momentum or with a
  step size that adapts stores them in `State.memory`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from aad_tf.attacks.objectives import AnyObjective, ContextObjective
from aad_tf.classifier import Classifier
from aad_tf.classifier.second_order import no_gradient
from aad_tf.types import Bounds
from aad_tf.utils.norms import direction, project

# Up to here a graph spells the iterations out; beyond, a loop keeps it small.
_UNROLLED = 10


class Examples(NamedTuple):
    """The inputs of an attack, constant while it runs.

    Attributes:
        images: `[batch, H, W, C]`, the original images, which are the centres of the budgets.
        labels: int32 `[batch]`, true labels.
        context: tensors with the batch as first axis that the objective computed once from the
            original images, such as their attention maps; empty for most objectives.
    """

    images: Any
    labels: Any
    context: tuple[Any, ...] = ()


class State(NamedTuple):
    """The variables of an attack, which an iteration changes.

    Attributes:
        images: `[batch, H, W, C]`, the current images.
        memory: a structure of tensors `[batch, ...]`, such as step sizes and momentum, that an
            attack carries from one iteration to the next; empty for gradient-sign attacks.
    """

    images: Any
    memory: Any = ()


Iteration = Callable[[State], State]


class Reached(NamedTuple):
    """The result of several iterations.

    Attributes:
        state: the `State` after the last iteration.
        before: the `State` before the last iteration.
        logits: `[batch, classes]` of the images `before.images`.
        count: int32 scalar, the number of iterations that were made.
    """

    state: Any
    before: Any
    logits: Any
    count: Any


def iteration(
    classifier: Classifier,
    objective: AnyObjective,
    state: State,
    examples: Examples,
    step_size: Any,
    epsilon: Any,
    norm: str = "linf",
) -> tuple[State, tf.Tensor]:
    """Makes one iteration: the objective's gradient, a step against it, the projection.

    Args:
        classifier: the network under attack.
        objective: function whose value the step lowers.
        state: the current images `[batch, H, W, C]`, at which the gradient is taken.
        examples: original images `[batch, H, W, C]`, labels int32 `[batch]`, and what the objective
            computed once from the original images.
        step_size: scalar, in the unit of the images.
        epsilon: scalar, radius of the ball around the original images, in the unit of the images;
            with infinity, images are only clipped to the pixel range.
        norm: norm of ball and step: `"linf"`, whose step is along the sign of the gradient, or
            `"l2"`.

    Returns:
        The state with the moved images `[batch, H, W, C]`, and the logits `[batch, classes]` of the
        images before the step.

    [AAD Eq. 3], [Agrawal Eqs. 1, 2]
    """
    _, gradient, logits = objective_gradient(classifier, objective, state.images, examples)
    moved = projected_step(
        state.images, gradient, examples.images, step_size, epsilon, classifier.bounds, norm
    )
    return state._replace(images=moved), logits


def objective_gradient(
    classifier: Classifier, objective: AnyObjective, images: tf.Tensor, examples: Examples
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Computes an objective and its gradient with respect to the images.

    Args:
        classifier: the network under attack.
        objective: function that is differentiated.
        images: `[batch, H, W, C]`, the images at which it is evaluated.
        examples: labels int32 `[batch]`, and what the objective computed once from the original
            images.

    Returns:
        Values of the objective `[batch]`, the gradient `[batch, H, W, C]`, and the logits
        `[batch, classes]`.

    Raises:
        ValueError: the objective has no gradient with respect to the images.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        values, logits = objective(classifier, images, examples.labels, *examples.context)
    return values, image_gradient(classifier, tape, values, images), logits


def image_gradient(
    classifier: Classifier, tape: tf.GradientTape, values: tf.Tensor, images: tf.Tensor
) -> tf.Tensor:
    """Returns the gradient of values of a network with respect to the images.

    Args:
        classifier: the network, for the error.
        tape: tape that watched the images while the values were computed.
        values: `[batch]`.
        images: `[batch, H, W, C]`.

    Returns:
        `[batch, H, W, C]`.

    Raises:
        ValueError: there is none, as where the network rounds its pixels; the message says where it
            ends and which attacks do without.
    """
    gradient = tape.gradient(values, images)
    if gradient is None:
        raise ValueError(no_gradient(classifier.gradient_ends))
    return gradient


def projected_step(
    images: tf.Tensor,
    gradient: tf.Tensor,
    origin: tf.Tensor,
    step_size: Any,
    epsilon: Any,
    bounds: Bounds,
    norm: str = "linf",
) -> tf.Tensor:
    """Moves images by one step against a gradient, and projects them.

    The step of l-inf is against the sign of the gradient. That of l2 is against the gradient of
    each example divided by its l2-norm; where the gradient is zero, there is no step.

    Args:
        images: `[batch, H, W, C]`, the current images.
        gradient: gradient of the objective, of the shape of `images`.
        origin: the original images, of the same shape: centres of the balls.
        step_size: scalar, in the unit of the images.
        epsilon: scalar, radius of the balls, in the unit of the images; may be infinite.
        bounds: pixel range, to which the result is clipped.
        norm: norm of balls and steps, `"linf"` or `"l2"`.

    Returns:
        `[batch, H, W, C]` in the dtype of `images`; no gradient flows through it.

    [AAD Eq. 3], [Agrawal Eqs. 1, 2]
    """
    moved = images - tf.cast(step_size, images.dtype) * direction(gradient, norm)
    projected = project(moved, origin, epsilon, bounds, norm)
    # Gradients of networks of open size come without a static shape.
    return tf.stop_gradient(tf.ensure_shape(projected, images.shape))


def last_state(iterate: Iteration, state: State, num_steps: int) -> State:
    """Makes `num_steps` iterations of an attack; works eagerly and inside a compiled graph.

    Args:
        iterate: function that makes one iteration, from a state to the next state.
        state: the state (current images and the attack's memory) before the first iteration.
        num_steps: number of iterations.

    Returns:
        The state after the last iteration, of the same shapes and dtypes as `state`.
    """
    if tf.executing_eagerly() or num_steps <= _UNROLLED:
        for _ in range(num_steps):
            state = iterate(state)
        return state
    _, state = tf.while_loop(
        lambda number, state: number < num_steps,
        lambda number, state: (number + 1, _shaped_like(iterate(state), state)),
        (0, state),
        parallel_iterations=1,
    )
    return state


def iterations(
    iterate: Callable[[State], tuple[State, tf.Tensor, tf.Tensor]],
    state: State,
    logits: tf.Tensor,
    most: tf.Tensor,
) -> Reached:
    """Makes several iterations of an attack inside a compiled graph; it may stop early.

    The loop ends after `most` iterations, or after the first for which `iterate` returns True as
    its third result.

    Args:
        iterate: function that makes one iteration, from a state to the next state, the logits
            `[batch, classes]` of the state before, and a bool scalar: whether to stop.
        state: the state (current images and the attack's memory) before the first iteration.
        logits: any tensor of the shape and dtype of these logits; its values are not used.
        most: int32 scalar, the largest number of iterations, at least 1.

    Returns:
        The states after and before the last iteration, the logits, and how many iterations
        there were.
    """

    def body(count: Any, ends: Any, reached: State, before: State, logits: Any) -> tuple:
        del ends, before, logits
        following, found, ends = iterate(reached)
        return count + 1, ends, _shaped_like(following, reached), reached, found

    count, _, reached, before, logits = tf.while_loop(
        lambda count, ends, *_: (count < most) & ~ends,
        body,
        (0, False, state, state, logits),
        parallel_iterations=1,
    )
    return Reached(reached, before, logits, count)


def all_images(iterate: Iteration, state: State, num_steps: int) -> tf.Tensor:
    """Returns the images after every iteration; works eagerly and inside a compiled graph.

    Args:
        iterate: function that makes one iteration, from a state to the next state.
        state: the state (current images and the attack's memory) before the first iteration.
        num_steps: number of iterations.

    Returns:
        `[num_steps, batch, H, W, C]`; the first entry is that after the first iteration.
    """
    if tf.executing_eagerly() or num_steps <= _UNROLLED:
        images = []
        for _ in range(num_steps):
            state = iterate(state)
            images.append(state.images)
        return tf.stack(images)

    def body(number: tf.Tensor, state: State, images: tf.TensorArray) -> tuple:
        state = _shaped_like(iterate(state), state)
        return number + 1, state, images.write(number, state.images)

    array = tf.TensorArray(state.images.dtype, size=num_steps, element_shape=state.images.shape)
    loop = tf.while_loop(
        lambda number, state, images: number < num_steps,
        body,
        (0, state, array),
        parallel_iterations=1,
    )
    return loop[2].stack()


def _shaped_like(state: State, before: State) -> State:
    return tf.nest.map_structure(lambda new, old: tf.ensure_shape(new, old.shape), state, before)


def starts_again(succeeded: Any, restart: Any, restarts: int) -> Any:
    """Says which examples are attacked once more after a restart.

    An example starts again if the attack has not succeeded and there are restarts left. Thus the
    result of each example is that of the first restart that succeeds, or else of the last one.

    Args:
        succeeded: bool `[batch]`, at the end of a restart: whether the image is misclassified or,
            for a targeted attack, predicted as the target class.
        restart: number of the restart that has ended, from 0; an integer or int `[batch]`.
        restarts: number of restarts of the attack, at least 1.

    Returns:
        bool `[batch]`, True where the attack starts again.
    """
    return ~succeeded & (restart + 1 < restarts)


def first_success(
    run: Callable[[int], tf.Tensor],
    succeeded: Callable[[tf.Tensor], tf.Tensor],
    restarts: int,
) -> tf.Tensor:
    """Runs the restarts of a batch and keeps the result of one restart for each example.

    Args:
        run: function from the number of a restart, from 0, to its images `[..., batch, H, W, C]`.
        succeeded: function from such images to bool `[batch]`, whether the attack succeeded.
        restarts: number of restarts, at least 1. Eagerly, the loop ends as soon as the attack has
            succeeded on all examples.

    Returns:
        `[..., batch, H, W, C]`: for each example the images of the first restart that succeeded,
        or of the last restart if none did.
    """
    kept = run(0)
    for restart in range(restarts - 1):
        again = starts_again(succeeded(kept), restart, restarts)
        if tf.executing_eagerly() and not bool(tf.reduce_any(again)):
            break
        kept = tf.ensure_shape(where(again, run(restart + 1), kept), kept.shape)
    return kept


def where(condition: tf.Tensor, one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Chooses between two tensors example by example.

    Args:
        condition: bool `[batch]`.
        one: `[..., batch, H, W, C]`, taken where the condition is True.
        other: the same shape, taken elsewhere.

    Returns:
        `[..., batch, H, W, C]`.
    """
    return tf.where(condition[:, tf.newaxis, tf.newaxis, tf.newaxis], one, other)


def value_dtype(classifier: Classifier) -> tf.DType:
    """Returns the dtype in which objectives give their values.

    Args:
        classifier: the network under attack.

    Returns:
        float64 for a float64 classifier; else float32, also for one of half precision.
    """
    return tf.float64 if classifier.dtype == tf.float64 else tf.float32


def objective_context(
    classifier: Classifier, objective: AnyObjective, images: tf.Tensor, labels: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    """Computes what an objective needs of the original images, once per attack.

    Args:
        classifier: the network under attack.
        objective: objective of the attack.
        images: `[batch, H, W, C]`, original images.
        labels: int32 `[batch]`, true labels.

    Returns:
        The tensors that the objective's method `context` returns, with the batch as first axis; an
        empty tuple for an objective without such a method.
    """
    if not isinstance(objective, ContextObjective):
        return ()
    return tuple(objective.context(classifier, images, labels))


def compiled_context(
    classifier: Classifier, objective: AnyObjective
) -> Callable[[Any, Any], tuple[tf.Tensor, ...]]:
    """Compiles the computation of what an objective needs of the original images.

    Args:
        classifier: the network under attack.
        objective: objective of the attack.

    Returns:
        A function from original images `[batch, H, W, C]` and int32 labels `[batch]` to a tuple of
        tensors with the batch as first axis; the tuple is empty if the objective needs nothing. It
        is traced once for all batch sizes.
    """
    if not isinstance(objective, ContextObjective):
        return lambda images, labels: ()
    return classifier.cached_function(
        ("objective_context", objective),
        lambda images, labels: objective_context(classifier, objective, images, labels),
        [classifier.image_spec, classifier.labels_spec],
    )


def compiled_gradient_sign_iteration(classifier: Classifier, objective: AnyObjective) -> Any:
    """Compiles one iteration of a gradient-sign attack: gradient, signed step, projection.

    Args:
        classifier: the network under attack.
        objective: objective of the attack.

    Returns:
        A function from a `State` (the current images), `Examples` (original images, labels and what
        the objective computed from them), step size and epsilon (scalars in the classifier's dtype)
        to the next `State` and the logits `[batch, classes]` before the step. It is traced once for
        all batch sizes, step sizes and budgets.
    """
    return classifier.cached_function(
        ("attack_iteration", objective),
        lambda *arguments: iteration(classifier, objective, *arguments),
        lambda: iteration_spec(classifier, objective),
    )


def iteration_spec(classifier: Classifier, objective: AnyObjective) -> list[Any]:
    """Returns the input signature of a compiled iteration, for `tf.function`.

    Args:
        classifier: the network under attack.
        objective: objective of the attack, which determines the tensors in `Examples.context`.

    Returns:
        A list of four: a `State` with the spec of the current images and without memory; `Examples`
        with those of original images, labels and context; and scalar specs of the step size and of
        epsilon. The batch axis is None.
    """
    context: tuple[tf.TensorSpec, ...] = ()
    if isinstance(objective, ContextObjective):
        function: Any = compiled_context(classifier, objective)
        outputs = function.get_concrete_function().structured_outputs
        context = tuple(tf.TensorSpec(output.shape, output.dtype) for output in outputs)
    examples = Examples(classifier.image_spec, classifier.labels_spec, context)
    scalar = tf.TensorSpec((), classifier.dtype)
    return [State(classifier.image_spec), examples, scalar, scalar]
