"""Random starts of attacks, and the pseudorandom numbers that they are made of.

`random_starts` draws a uniform point of the budget, the start of most attacks. `UniformNoise` and
`GaussianNoise` are starts elsewhere, for the argument `noise` of `GradientSignAttack`. All random
numbers depend on the seed, the example and the restart alone, so that training, direct calls and
evaluations start at the same points.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from aad_tf.attacks.serialization import register_kind
from aad_tf.types import Bounds
from aad_tf.utils.checks import check_count, check_epsilon
from aad_tf.utils.norms import direction

# Of Threefry-2x32.
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
_BLOCKS = 5


@register_kind("uniform_noise")
@dataclass(frozen=True)
class UniformNoise:
    """Random start with uniform noise in [-radius, radius], independent for each pixel and channel.

    Attributes:
        radius: largest absolute noise, in the unit of the images; it may exceed the budget of the
            attack.

    Raises:
        TypeError: a radius that is not a number.
        ValueError: a radius negative or not finite.

    Example:
        >>> noise = UniformNoise(0.6)  # as nfgsm(0.3) has it
        >>> attack = GradientSignAttack(AwayFromLabel(), 0.3, random_start=True, noise=noise)
    """

    radius: float

    def __post_init__(self) -> None:
        check_epsilon(self.radius, "radius")

    @property
    def reach(self) -> float:
        """Largest possible l-inf distance of a start from its image, in the unit of the images."""
        return self.radius

    def check_sizes(self, bounds: Bounds) -> None:
        """Checks that the radius fits the pixel range.

        Args:
            bounds: pixel range of the images.

        Raises:
            ValueError: the radius is larger than the width of the pixel range.
        """
        check_epsilon(self.radius, "radius", bounds)

    def around(
        self, images: tf.Tensor, bounds: Bounds, seed: Any, indices: Any, restart: Any
    ) -> tf.Tensor:
        """Adds the noise of this object to images and clips them to the pixel range.

        Args:
            images: `[batch, H, W, C]`.
            bounds: pixel range, to which the result is clipped.
            seed: an integer within int64, or int32 `[2]`: its low and high 32 bits.
            indices: int `[batch]`, index of each example in its data set.
            restart: int or int `[batch]`, number of the restart of the attack, from 0.

        Returns:
            `[batch, H, W, C]` in the dtype of `images`. The noise of an example depends on the
            seed, its index and its restart alone.
        """
        return random_starts(images, self.radius, bounds, seed, indices, restart)


@register_kind("gaussian_noise")
@dataclass(frozen=True)
class GaussianNoise:
    """Random start with normal noise of mean 0, independent for each pixel and channel.

    Attributes:
        deviation: standard deviation, in the unit of the images.

    Raises:
        TypeError: a deviation that is not a number.
        ValueError: a deviation negative or not finite.

    Example:
        >>> noise = GaussianNoise(0.001)  # as trades_pgd has it
        >>> attack = GradientSignAttack(
        ...     AwayFromPrediction(), 0.01, 40, epsilon=0.3, random_start=True, noise=noise
        ... )
    """

    deviation: float

    def __post_init__(self) -> None:
        check_epsilon(self.deviation, "deviation")

    @property
    def reach(self) -> float:
        """Largest possible l-inf distance of a start from its image: infinite for normal noise."""
        return math.inf

    def check_sizes(self, bounds: Bounds) -> None:
        """Checks that the standard deviation fits the pixel range.

        Args:
            bounds: pixel range of the images.

        Raises:
            ValueError: the deviation is larger than the width of the pixel range.
        """
        check_epsilon(self.deviation, "deviation", bounds)

    def around(
        self, images: tf.Tensor, bounds: Bounds, seed: Any, indices: Any, restart: Any
    ) -> tf.Tensor:
        """Adds the noise of this object to images and clips them to the pixel range.

        Args:
            images: `[batch, H, W, C]`.
            bounds: pixel range, to which the result is clipped.
            seed: an integer within int64, or int32 `[2]`: its low and high 32 bits.
            indices: int `[batch]`, index of each example in its data set.
            restart: int or int `[batch]`, number of the restart of the attack, from 0.

        Returns:
            `[batch, H, W, C]` in the dtype of `images`. The noise of an example depends on the
            seed, its index and its restart alone.
        """
        uniform = unit_noise(seed, indices, restart, tf.shape(images)[1:])
        noisy = images + tf.cast(self.deviation * standard_normal(uniform), images.dtype)
        return tf.ensure_shape(tf.clip_by_value(noisy, *bounds), images.shape)


def standard_normal(uniform: tf.Tensor) -> tf.Tensor:
    """Transforms uniform into standard normal numbers, by the inverse of the distribution function.

    Args:
        uniform: float32 of any shape, uniform in [-1, 1), multiples of 2**-23.

    Returns:
        float32 of the same shape; all numbers are finite.
    """
    # Multiples of 2^-23 in [-1, 1), moved by half of one to lie in (-1, 1). In float32 the inverse
    # is infinite near the ends, and its last bits differ between graphs.
    inside = tf.cast(uniform, tf.float64) + 2.0**-24
    return tf.cast(math.sqrt(2.0) * tf.math.erfinv(inside), tf.float32)


Noise = UniformNoise | GaussianNoise


def random_starts(
    images: Any,
    epsilon: float,
    bounds: Bounds,
    seed: Any,
    indices: Any,
    restart: Any,
    norm: str = "linf",
) -> tf.Tensor:
    """Uniform points of the balls of radius `epsilon` around images, within the bounds.

    A uniform point of an l2 ball in d dimensions is at a distance of `epsilon * u**(1 / d)`, with u
    uniform in [0, 1), in a direction that is uniform, so most points lie near the surface.

    Args:
        images: `[batch, H, W, C]`, centres of the balls.
        epsilon: radius, in the unit of the images.
        bounds: pixel range, into which the points are clipped.
        seed: an integer within int64, or int32 `[2]`: its low and high 32 bits.
        indices: int `[batch]`, index of each example in its data set, or in its batch in training.
        restart: int or int `[batch]`, number of the restart, from 0.
        norm: norm of the balls, `"linf"` or `"l2"`.

    Returns:
        `[batch, H, W, C]` in the dtype of `images`. The noise of an example depends on the seed,
        its index and its restart alone, not on the other examples of the batch.
    """
    images = tf.convert_to_tensor(images)
    shape = example_shape(images)
    if norm == "l2":
        noise = _ball_noise(seed, indices, restart, shape)
    else:
        noise = unit_noise(seed, indices, restart, shape)
    noise = tf.cast(noise, images.dtype)
    starts = tf.clip_by_value(images + tf.cast(epsilon, images.dtype) * noise, *bounds)
    return tf.ensure_shape(starts, images.shape)


def checked_seed(seed: int | None) -> int:
    """Checks the seed of an attack's random starts.

    Args:
        seed: an integer from -2**63 to 2**63 - 1, or None for 0.

    Returns:
        The seed as an int.

    Raises:
        TypeError: not an integer.
        ValueError: an integer beyond int64.

    Example:
        >>> checked_seed(None)
        0
    """
    return 0 if seed is None else check_count(seed, "seed", tf.int64.min, tf.int64.max)


def example_shape(images: tf.Tensor) -> Any:
    """Returns the shape of one image of a batch, as `unit_noise` takes it.

    Args:
        images: `[batch, H, W, C]`.

    Returns:
        `(H, W, C)` as integers if all are known, else an int32 tensor `[3]`.
    """
    known = images.shape[1:].is_fully_defined()
    return tuple(images.shape[1:]) if known else tf.shape(images)[1:]


def unit_directions(seed: Any, indices: Any, restart: Any, shape: Any) -> tf.Tensor:
    """Random directions, uniform on the l2 sphere, which depend on seed, example and restart alone.

    They are normal noise divided by its l2-norm.

    Args:
        seed: any integer, or an int32 tensor `[2]`: the low and the high 32 bits of the integer.
        indices: int `[batch]`, index of each example in its data set.
        restart: int or int `[batch]`, number of the restart, from 0.
        shape: shape `(H, W, C)` of one example, as integers; inside a graph it may be an int
            tensor.

    Returns:
        float32 `[batch, H, W, C]`, each example of l2-norm 1.

    Example:
        >>> directions = unit_directions(seed=0, indices=[3, 7], restart=0, shape=(28, 28, 1))
        >>> tf.norm(tf.reshape(directions, (2, -1)), axis=1).numpy().round(4).tolist()
        [1.0, 1.0]
    """
    return direction(standard_normal(unit_noise(seed, indices, restart, shape)), "l2")


def _ball_noise(seed: Any, indices: Any, restart: Any, shape: Any) -> tf.Tensor:
    """Uniform points of the l2 ball of radius 1, float32 `[batch, *shape]`."""
    # Step 0 of the generator makes the direction.
    keys = noise_keys(seed, indices, restart)
    draws = unit_draws(keys, tf.ones(tf.shape(keys)[:1], tf.int32), 1)
    dimensions = tf.cast(tf.reduce_prod(shape), tf.float64)
    radius = ((tf.cast(draws, tf.float64) + 1) / 2) ** (1 / dimensions)
    radius = tf.cast(radius[:, :, tf.newaxis, tf.newaxis], tf.float32)
    return radius * unit_directions(seed, indices, restart, shape)


def unit_noise(seed: Any, indices: Any, restart: Any, shape: Any) -> tf.Tensor:
    """Uniform noise that depends on the seed, the example and the restart alone.

    It is the same whatever the batch size and the order of examples, eagerly and in a graph, so
    training, a direct call and an evaluation start at the same points. The generator is
    Threefry-2x32 with 20 rounds (Salmon et al. 2011), independent of the version of TensorFlow.

    Args:
        seed: an integer within int64, or int32 `[2]`: its low and high 32 bits.
        indices: int `[batch]`, index of each example in its data set, or in its batch in training.
        restart: int or int `[batch]`, number of the restart, from 0.
        shape: shape of one example, as integers; inside a graph it may be an int tensor.

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
    """Makes the key of a pseudorandom generator for each example, which `unit_draws` takes.

    Args:
        seed: an integer within int64, or int32 `[2]`: its low and high 32 bits.
        indices: int `[batch]`, index of each example in its data set.
        restart: int or int `[batch]`, number of the restart, from 0.

    Returns:
        int32 `[batch, 2]`.
    """
    return _compiled(_stacked_keys, _PAIR, _NUMBERS, _NUMBERS)(*_words(seed, indices, restart))


def unit_draws(keys: tf.Tensor, step: tf.Tensor, count: Any) -> tf.Tensor:
    """Uniform pseudorandom numbers that depend on the key and the step of an example alone.

    Args:
        keys: int32 `[batch, 2]`, one key per example, made by `noise_keys` of seed, index and
            restart.
        step: int32 `[batch]`, number of the step; other steps give other numbers. At step 0 the
            numbers are those of `unit_noise`.
        count: numbers per example.

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
        if not isinstance(seed, (list, tuple, np.ndarray)):
            seed = np.array([checked_seed(seed)], "<i8").view("<i4")
        seed = tf.convert_to_tensor(seed, tf.int32)
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
