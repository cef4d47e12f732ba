"""Where attacks begin that do not begin at a uniform point of their budget."""

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
    """Uniform noise in [-radius, radius] on each pixel, whatever the budget of the attack.

    Attributes:
        radius: in the unit of the images.

    Raises:
        ValueError: negative or not finite.

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
        """Raises ValueError if the radius is larger than the width of the pixel range."""
        check_epsilon(self.radius, "radius", bounds)

    def around(
        self, images: tf.Tensor, bounds: Bounds, seed: Any, indices: Any, restart: Any
    ) -> tf.Tensor:
        """Noisy images within the bounds; arguments as for `loop.random_starts`."""
        return random_starts(images, self.radius, bounds, seed, indices, restart)


@register_kind("gaussian_noise")
@dataclass(frozen=True)
class GaussianNoise:
    """Independent normal noise of mean 0 on each pixel.

    Attributes:
        deviation: standard deviation, in the unit of the images.

    Raises:
        ValueError: negative or not finite.

    Example:
        >>> noise = GaussianNoise(0.001)
    """

    deviation: float

    def __post_init__(self) -> None:
        check_epsilon(self.deviation, "deviation")

    @property
    def reach(self) -> float:
        """As for `UniformNoise`: normal noise has no largest value."""
        return math.inf

    def check_sizes(self, bounds: Bounds) -> None:
        """Raises ValueError if the deviation is larger than the width of the pixel range."""
        check_epsilon(self.deviation, "deviation", bounds)

    def around(
        self, images: tf.Tensor, bounds: Bounds, seed: Any, indices: Any, restart: Any
    ) -> tf.Tensor:
        """Noisy images within the bounds; arguments as for `loop.random_starts`."""
        uniform = unit_noise(seed, indices, restart, tf.shape(images)[1:])
        noisy = images + tf.cast(self.deviation * standard_normal(uniform), images.dtype)
        return tf.ensure_shape(tf.clip_by_value(noisy, *bounds), images.shape)


def standard_normal(uniform: tf.Tensor) -> tf.Tensor:
    """Standard normal numbers, float32 and finite, from those that `loop.unit_noise` draws."""
    # Multiples of 2^-23 in [-1, 1), moved by half of one to lie in (-1, 1). In float32 the inverse
    # is infinite near the ends, and its last bits differ between graphs.
    inside = tf.cast(uniform, tf.float64) + 2.0**-24
    return tf.cast(math.sqrt(2.0) * tf.math.erfinv(inside), tf.float32)


Noise = UniformNoise | GaussianNoise
