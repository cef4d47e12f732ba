"""The one step and the one loop behind FGSM, IFGSM, StepLL, Iter-LL, PGD and their like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from aad_tf.attacks.objectives import AnyObjective, ContextObjective
from aad_tf.classifier import Classifier
from aad_tf.ops import project_linf

# Up to here a training step spells the rounds out; beyond, a loop keeps the graph small.
_UNROLLED_STEPS = 10


def gradient_sign_step(
    classifier: Classifier,
    objective: AnyObjective,
    images: tf.Tensor,
    origin: tf.Tensor,
    labels: tf.Tensor,
    step_size: tf.Tensor,
    epsilon: tf.Tensor,
    context: Sequence[tf.Tensor] = (),
) -> tuple[tf.Tensor, tf.Tensor]:
    """One signed gradient step and its projection: [AAD Eq. 3], [Agrawal Eqs. 1, 2].

    Args:
        classifier: the network under attack.
        objective: what is descended.
        images: `[batch, H, W, C]`, where the gradient is taken.
        origin: clean images, centre of the ball.
        labels: int32 `[batch]`, true labels.
        step_size: scalar, step in pixel units.
        epsilon: scalar, radius of the l-inf ball; infinity keeps the pixel range only.
        context: what `objective_context` returned for the clean images.

    Returns:
        Images after the step, and the logits at `images` before it.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        values, logits = objective(classifier, images, labels, *context)
    gradient = tape.gradient(values, images)
    moved = images - tf.cast(step_size, images.dtype) * tf.sign(gradient)
    return tf.stop_gradient(project_linf(moved, origin, epsilon, classifier.bounds)), logits


def objective_context(
    classifier: Classifier, objective: AnyObjective, images: tf.Tensor, labels: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    """What an objective needs to know of the clean images: one tensor or several, mostly none.

    Args:
        classifier: the network under attack.
        objective: what is descended.
        images: `[batch, H, W, C]`, clean images.
        labels: int32 `[batch]`, true labels.

    Returns:
        Tensors with one entry an example; empty for objectives without `context`.
    """
    if not isinstance(objective, ContextObjective):
        return ()
    return tuple(objective.context(classifier, images, labels))


def compiled_context(
    classifier: Classifier, objective: AnyObjective
) -> Callable[[Any, Any], tuple[tf.Tensor, ...]]:
    """The compiled `objective_context` of a pair: from images and labels, in one trace."""
    if not isinstance(objective, ContextObjective):
        return lambda images, labels: ()
    key = ("objective_context", objective)
    function = classifier.compiled.get(key)
    if function is None:
        function = tf.function(
            lambda images, labels: objective_context(classifier, objective, images, labels),
            input_signature=[classifier.image_spec, tf.TensorSpec((None,), tf.int32)],
            autograph=False,
        )
        # Traced at once: TensorFlow takes first calls of many functions for retracing.
        function.get_concrete_function()
        classifier.compiled[key] = function
    return function


def compiled_step(classifier: Classifier, objective: AnyObjective) -> Any:
    """The compiled `gradient_sign_step` of a pair: one trace, whatever batch, step and budget.

    Returns:
        A function of images, origin, labels, step size, budget and the tensors of the context.
    """
    key = ("gradient_sign_step", objective)
    function = classifier.compiled.get(key)
    if function is None:
        scalar = tf.TensorSpec((), classifier.dtype)
        spec, labels_spec = classifier.image_spec, tf.TensorSpec((None,), tf.int32)

        def step(images, origin, labels, step_size, epsilon, *context):
            return gradient_sign_step(
                classifier, objective, images, origin, labels, step_size, epsilon, context
            )

        specs = context_specs(classifier, objective)
        function = tf.function(
            step,
            input_signature=[spec, spec, labels_spec, scalar, scalar, *specs],
            autograph=False,
        )
        # Traced at once: TensorFlow takes first calls of many functions for retracing.
        function.get_concrete_function()
        classifier.compiled[key] = function
    return function


def context_specs(classifier: Classifier, objective: AnyObjective) -> list[tf.TensorSpec]:
    """Signature of what the context of an objective holds; empty for objectives without one."""
    if not isinstance(objective, ContextObjective):
        return []
    function: Any = compiled_context(classifier, objective)
    outputs = function.get_concrete_function().structured_outputs
    return [tf.TensorSpec(output.shape, output.dtype) for output in outputs]


def last_of_loop(
    step: Callable[[tf.Tensor], tf.Tensor], start: tf.Tensor, num_steps: int
) -> tf.Tensor:
    """Images after `num_steps` steps, inside a graph.

    Args:
        step: one step, from images to images.
        start: where the loop begins.
        num_steps: number of steps.

    Returns:
        Tensor of the shape of `start`.
    """
    if num_steps <= _UNROLLED_STEPS:
        for _ in range(num_steps):
            start = step(start)
        return start
    _, images = tf.while_loop(
        lambda index, images: index < num_steps,
        lambda index, images: (index + 1, tf.ensure_shape(step(images), start.shape)),
        (0, start),
        parallel_iterations=1,
    )
    return images


def all_of_loop(
    step: Callable[[tf.Tensor], tf.Tensor], start: tf.Tensor, num_steps: int
) -> tf.Tensor:
    """Images after every step, `[num_steps, ...]`, inside a graph; see `last_of_loop`."""
    if num_steps <= _UNROLLED_STEPS:
        images, rounds = start, []
        for _ in range(num_steps):
            images = step(images)
            rounds.append(images)
        return tf.stack(rounds)

    def body(index: tf.Tensor, images: tf.Tensor, rounds: tf.TensorArray) -> tuple:
        images = tf.ensure_shape(step(images), start.shape)
        return index + 1, images, rounds.write(index, images)

    rounds = tf.TensorArray(start.dtype, size=num_steps, element_shape=start.shape)
    loop = tf.while_loop(
        lambda index, images, rounds: index < num_steps,
        body,
        (0, start, rounds),
        parallel_iterations=1,
    )
    return loop[2].stack()
