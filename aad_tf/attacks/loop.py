"""An iteration of an attack, the loop over iterations, random starts and restarts.

Direct calls of an attack and training (`..._in_graph`) run this loop. The pool of
`aad_tf.evaluation` and the passes of `aad_tf.attention_study` stop between iterations, so they
call `iteration` themselves (a pass that explains on the way only `signed_step`); starts and the
rule of restarts are those of this module everywhere. What an attack knows of an example stands in
two structures whose tensors have one entry per example, so that examples can be taken out, put in
and run side by side at different iterations:

- `Examples`: what stays constant, the original image above all;
- `State`: what an iteration changes, the image under attack above all. An attack that adapts its
  step size or keeps a momentum carries them in `State.memory`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from aad_tf.attacks.objectives import AnyObjective, ContextObjective
from aad_tf.classifier import Classifier
from aad_tf.types import Bounds
from aad_tf.utils.ops import project_linf

# Up to here a graph spells the iterations out; beyond, a loop keeps it small.
_UNROLLED = 10
# Of Threefry-2x32.
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
_BLOCKS = 5


class Examples(NamedTuple):
    """What an attack is given of each example, constant while it runs.

    Attributes:
        images: `[batch, H, W, C]`, the original images: centres of the balls.
        labels: int32 `[batch]`, true labels.
        context: what the objective needs of the original images; see `objective_context`.
    """

    images: Any
    labels: Any
    context: tuple[Any, ...] = ()


class State(NamedTuple):
    """What an iteration changes.

    Attributes:
        images: `[batch, H, W, C]`, the images under attack.
        memory: tensors `[batch, ...]` that an attack carries from one iteration to the next;
            gradient-sign attacks need none.
    """

    images: Any
    memory: Any = ()


Iteration = Callable[[State], State]


class Reached(NamedTuple):
    """Where several iterations have led.

    Attributes:
        state: after the last of them.
        before: the state before the last of them.
        logits: `[batch, classes]` at `before.images`.
        count: int32, how many iterations there were.
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
) -> tuple[State, tf.Tensor]:
    """One iteration: the objective's gradient, a signed step, the projection.

    Args:
        classifier: the network under attack.
        objective: what is descended.
        state: where the gradient is taken.
        examples: of the same batch.
        step_size: scalar, in the unit of the images.
        epsilon: scalar, radius of the l-inf ball; infinity keeps the pixel range only.

    Returns:
        The next state, and the logits at `state.images`.

    [AAD Eq. 3], [Agrawal Eqs. 1, 2]
    """
    _, gradient, logits = objective_gradient(classifier, objective, state.images, examples)
    moved = signed_step(
        state.images, gradient, examples.images, step_size, epsilon, classifier.bounds
    )
    return state._replace(images=moved), logits


def objective_gradient(
    classifier: Classifier, objective: AnyObjective, images: tf.Tensor, examples: Examples
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """An objective's values `[batch]`, their gradient by the images, and the logits, all at once.

    Args:
        classifier: the network under attack.
        objective: what is descended.
        images: `[batch, H, W, C]`, where the gradient is taken.
        examples: of the same batch.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        values, logits = objective(classifier, images, examples.labels, *examples.context)
    return values, tape.gradient(values, images), logits


def signed_step(
    images: tf.Tensor,
    gradient: tf.Tensor,
    origin: tf.Tensor,
    step_size: Any,
    epsilon: Any,
    bounds: Bounds,
) -> tf.Tensor:
    """Images after a step against the gradient's sign, projected; gradients stop here."""
    moved = images - tf.cast(step_size, images.dtype) * tf.sign(gradient)
    projected = project_linf(moved, origin, epsilon, bounds)
    # Gradients of networks of open size come without a static shape.
    return tf.stop_gradient(tf.ensure_shape(projected, images.shape))


def last_state(iterate: Iteration, state: State, num_steps: int) -> State:
    """The state after `num_steps` iterations, op by op or inside a graph.

    Args:
        iterate: one iteration, from state to state.
        state: where the loop begins.
        num_steps: number of iterations.

    Returns:
        A state of the same shapes and dtypes as `state`.
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
    """Several iterations inside one compiled graph, which is called once for all of them.

    The loop ends after `most` iterations, or after the first that says it is the last one.

    Args:
        iterate: one iteration: from a state to the next state, the logits `[batch, classes]` at
            the state given, and a bool scalar, whether this iteration is the last one.
        state: where the loop begins.
        logits: any tensor of the shape and dtype of these logits; its values are not used.
        most: int32 scalar, how many iterations there are at most, 1 or more.

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
    """Images after every iteration, `[num_steps, batch, H, W, C]`; see `last_state`."""
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
    """The rule of restarts: where the attack has not succeeded it starts again, as long as it may.

    So of every example the first restart that succeeds is kept, or the last one.

    Args:
        succeeded: bool `[batch]`, at the end of a restart: whether the image is misclassified, or
            predicted as the target if the attack has one.
        restart: number of that restart, from 0; an integer or `[batch]`.
        restarts: how many an attack has.

    Returns:
        bool `[batch]`.
    """
    return ~succeeded & (restart + 1 < restarts)


def first_success(
    run: Callable[[int], tf.Tensor],
    succeeded: Callable[[tf.Tensor], tf.Tensor],
    restarts: int,
) -> tf.Tensor:
    """Runs the restarts of a batch and keeps one of each example, by the rule of `starts_again`.

    Args:
        run: from the number of a restart, from 0, to its images `[..., batch, H, W, C]`.
        succeeded: from such images to bool `[batch]`, whether the attack succeeded.
        restarts: how many there are at most.

    Returns:
        `[..., batch, H, W, C]`: of each example the images of the first restart that succeeded,
        or of the last one.
    """
    kept = run(0)
    for restart in range(restarts - 1):
        again = starts_again(succeeded(kept), restart, restarts)
        if tf.executing_eagerly() and not bool(tf.reduce_any(again)):
            break
        kept = tf.ensure_shape(where(again, run(restart + 1), kept), kept.shape)
    return kept


def where(condition: tf.Tensor, one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """`tf.where` by example: bool `[batch]` chooses among values `[..., batch, H, W, C]`."""
    return tf.where(condition[:, tf.newaxis, tf.newaxis, tf.newaxis], one, other)


def value_dtype(classifier: Classifier) -> tf.DType:
    """The dtype of the values of objectives: at least float32."""
    return tf.float64 if classifier.dtype == tf.float64 else tf.float32


def random_starts(
    images: Any, epsilon: float, bounds: Bounds, seed: Any, indices: Any, restart: Any
) -> tf.Tensor:
    """Uniform points of the l-inf balls of radius `epsilon` around images, within the bounds.

    Args:
        images: `[batch, H, W, C]`, centres of the balls.
        epsilon: radius, in the unit of the images.
        bounds: pixel range, into which the points are clipped.
        seed: any integer, or int32 `[2]`.
        indices: int `[batch]`: index of each example in its data set; in training in its batch.
        restart: int or int `[batch]`: number of the restart, from 0.

    Returns:
        `[batch, H, W, C]` in the dtype of `images`. A point depends on the seed, the index and
        the restart alone, see `unit_noise`.
    """
    images = tf.convert_to_tensor(images)
    known = images.shape[1:].is_fully_defined()
    shape = tuple(images.shape[1:]) if known else tf.shape(images)[1:]
    noise = tf.cast(unit_noise(seed, indices, restart, shape), images.dtype)
    starts = tf.clip_by_value(images + tf.cast(epsilon, images.dtype) * noise, *bounds)
    return tf.ensure_shape(starts, images.shape)


def unit_noise(seed: Any, indices: Any, restart: Any, shape: Any) -> tf.Tensor:
    """Uniform noise that depends on the seed, the example and the restart alone.

    Neither the batch nor the order of examples changes it, nor whether it is drawn op by op or in
    a graph, so training, a direct call and an evaluation begin at the same points. The bits are
    those of Threefry-2x32 with 20 rounds (Salmon et al. 2011), whose stream is fixed.

    Args:
        seed: any integer, or int32 `[2]`, of which an integer is `[seed, 0]`.
        indices: int `[batch]`: index of each example in its data set; in training in its batch.
        restart: int or int `[batch]`: number of the restart, from 0.
        shape: of one example, integers; inside a graph it may be a tensor.

    Returns:
        float32 `[batch, *shape]` in [-1, 1), multiples of 2**-23.

    Example:
        >>> unit_noise(seed=0, indices=[3, 7], restart=0, shape=(28, 28, 1)).shape
        TensorShape([2, 28, 28, 1])
    """
    seed, indices, restart = _words(seed, indices, restart)
    noise = _compiled_noise()(shape, seed, indices, restart)
    if not tf.is_tensor(shape):
        noise.set_shape((None, *shape))
    return noise


def noise_keys(seed: Any, indices: Any, restart: Any) -> tf.Tensor:
    """Keys from which `unit_draws` draws; arguments as for `unit_noise`. int32 `[batch, 2]`."""
    return _compiled(_stacked_keys, _PAIR, _NUMBERS, _NUMBERS)(*_words(seed, indices, restart))


def unit_draws(keys: tf.Tensor, step: tf.Tensor, count: Any) -> tf.Tensor:
    """Uniform numbers that depend on the keys of an example and on its step alone.

    Args:
        keys: as `noise_keys` returned them.
        step: int32 `[batch]`. At step 0 the numbers are those of `unit_noise`.
        count: how many per example.

    Returns:
        float32 `[batch, count]` in [-1, 1), multiples of 2**-23.
    """
    draws = _compiled(_draws, _PAIRS, _NUMBERS, _NUMBER)(keys, step, count)
    if not tf.is_tensor(count):
        draws.set_shape((None, count))
    return draws


def _words(seed: Any, indices: Any, restart: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Seed int32 `[2]`, indices and restarts int32 `[batch]`."""
    if not tf.is_tensor(seed):
        words = [int(seed) & 0xFFFFFFFF, int(seed) >> 32 & 0xFFFFFFFF]
        seed = tf.constant(np.array(words, np.uint32).view(np.int32))
    indices = tf.cast(indices, tf.int32)
    restart = tf.broadcast_to(tf.cast(restart, tf.int32), tf.shape(indices))
    return tf.cast(seed, tf.int32), indices, restart


_NUMBERS, _PAIRS = tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None, 2), tf.int32)
_PAIR, _NUMBER = tf.TensorSpec((2,), tf.int32), tf.TensorSpec((), tf.int32)


@functools.cache
def _compiled(function: Callable[..., tf.Tensor], *signature: tf.TensorSpec) -> Any:
    """One trace for images of all sizes, inside of other graphs too: it takes a while."""
    return tf.function(function, input_signature=signature, autograph=False)


def _compiled_noise() -> Any:
    return _compiled(_noise, _NUMBERS, _PAIR, _NUMBERS, _NUMBERS)


def _noise(shape: Any, seed: tf.Tensor, indices: tf.Tensor, restart: tf.Tensor) -> tf.Tensor:
    keys = _keys(seed, indices, restart)
    unit = _unit(keys, tf.zeros_like(keys[0]), tf.reduce_prod(shape))
    return tf.reshape(unit, tf.concat([[-1], shape], axis=0))


def _draws(keys: tf.Tensor, step: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    words = (tf.bitcast(keys[:, 0], tf.uint32), tf.bitcast(keys[:, 1], tf.uint32))
    return _unit(words, tf.bitcast(step, tf.uint32), count)


def _stacked_keys(seed: tf.Tensor, indices: tf.Tensor, restart: tf.Tensor) -> tf.Tensor:
    keys = _keys(seed, indices, restart)
    return tf.stack([tf.bitcast(each, tf.int32) for each in keys], axis=1)


def _keys(seed: tf.Tensor, indices: tf.Tensor, restart: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    first, second, index, restart = (
        tf.bitcast(each, tf.uint32) for each in (*tf.unstack(seed), indices, restart)
    )
    return _threefry((first, second), (index, restart))


def _unit(keys: tuple[tf.Tensor, tf.Tensor], step: tf.Tensor, count: Any) -> tf.Tensor:
    counter = tf.bitcast(tf.range((count + 1) // 2), tf.uint32)[tf.newaxis]
    one, two = (each[:, tf.newaxis] for each in keys)
    words = _threefry((one, two), (counter, step[:, tf.newaxis] + tf.zeros_like(counter)))
    bits = tf.bitwise.right_shift(tf.concat(words, axis=1)[:, :count], tf.constant(8, tf.uint32))
    # 24 bits, which float32 holds exactly.
    return tf.cast(tf.cast(bits, tf.int32), tf.float32) * 2.0**-23 - 1.0


def _threefry(
    key: tuple[tf.Tensor, tf.Tensor], counter: tuple[tf.Tensor, tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Threefry-2x32-20: two words of pseudorandom bits for each counter under each key, uint32."""
    xor = tf.bitwise.bitwise_xor
    parts = (*key, xor(xor(*key), tf.constant(_PARITY, tf.uint32)))
    keys = tf.stack([part + tf.zeros_like(parts[0]) for part in parts])
    rotations = tf.constant(_ROTATIONS, tf.uint32)
    one, two = counter[0] + keys[0], counter[1] + keys[1]

    def block(number: tf.Tensor, one: tf.Tensor, two: tf.Tensor) -> tuple[tf.Tensor, ...]:
        for bits in tf.unstack(rotations[number % 2]):
            one = one + two
            two = xor(_rotated(two, bits), one)
        injected = tf.bitcast(number + 1, tf.uint32)
        return number + 1, one + keys[(number + 1) % 3], two + keys[(number + 2) % 3] + injected

    # A loop, since networks are traced with their random starts again and again.
    return tf.while_loop(
        lambda number, one, two: number < _BLOCKS, block, (0, one, two), parallel_iterations=1
    )[1:]


def _rotated(words: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    left = tf.bitwise.left_shift(words, bits)
    return tf.bitwise.bitwise_or(left, tf.bitwise.right_shift(words, 32 - bits))


def objective_context(
    classifier: Classifier, objective: AnyObjective, images: tf.Tensor, labels: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    """What an objective needs to know of the original images, computed once per attack.

    Args:
        classifier: the network under attack.
        objective: what is descended.
        images: `[batch, H, W, C]`, original images.
        labels: int32 `[batch]`, true labels.

    Returns:
        Tensors with one entry per example; empty for objectives without `context`.
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
    return classifier.cached_function(
        ("objective_context", objective),
        lambda images, labels: objective_context(classifier, objective, images, labels),
        [classifier.image_spec, classifier.labels_spec],
    )


def compiled_iteration(classifier: Classifier, objective: AnyObjective) -> Any:
    """The compiled `iteration` of a pair: one trace, whatever batch, step size and budget.

    Returns:
        A function of a `State`, `Examples`, step size and budget to the next state and logits.
    """
    return classifier.cached_function(
        ("attack_iteration", objective),
        lambda *arguments: iteration(classifier, objective, *arguments),
        lambda: iteration_spec(classifier, objective),
    )


def iteration_spec(classifier: Classifier, objective: AnyObjective) -> list[Any]:
    """The signature of `State`, `Examples`, step size and budget of any batch."""
    context: tuple[tf.TensorSpec, ...] = ()
    if isinstance(objective, ContextObjective):
        function: Any = compiled_context(classifier, objective)
        outputs = function.get_concrete_function().structured_outputs
        context = tuple(tf.TensorSpec(output.shape, output.dtype) for output in outputs)
    examples = Examples(classifier.image_spec, classifier.labels_spec, context)
    scalar = tf.TensorSpec((), classifier.dtype)
    return [State(classifier.image_spec), examples, scalar, scalar]
