"""Noise for random starts of attacks that do not start at a uniform point of their budget."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from aad_tf.attacks.loop import random_starts, unit_noise
from aad_tf.attacks.serialization import register_kind
from aad_tf.types import Bounds
from aad_tf.utils.checks import check_epsilon


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
        >>> noise = UniformNoise(0.6)
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
            seed: any integer, or int32 `[2]`: its low and high 32 bits.
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
        >>> noise = GaussianNoise(0.001)
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
            seed: any integer, or int32 `[2]`: its low and high 32 bits.
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
