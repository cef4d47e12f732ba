"""The optimizer of a config and the schedule of its learning rate."""

from __future__ import annotations

from typing import Any

import keras

from aad_tf.configs import ExperimentConfig

# Decaying what only shifts and scales does not regularize. Names of Keras's variables.
_NOT_DECAYED = ["bias", "gamma", "beta"]


@keras.saving.register_keras_serializable("aad_tf")
class Triangular(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that grows linearly to a peak and then falls linearly to 0.

    Update n, counted from 1, has the rate `peak n / rise` up to n = `rise`, and then
    `peak (steps - n) / (steps - rise)`, so that the last update has 0.

    Args:
        peak: the highest rate.
        rise: number of updates in which it grows, 0 or more.
        steps: number of updates in all, more than `rise`.

    Example:
        >>> float(Triangular(0.2, rise=40, steps=100)(19))
        0.1
    """

    def __init__(self, peak: float, rise: int, steps: int) -> None:
        super().__init__()
        self._peak, self._rise, self._steps = peak, rise, steps

    def __call__(self, step: Any) -> Any:
        """The learning rate of the next update.

        Args:
            step: number of updates done, from 0, an integer or scalar tensor.

        Returns:
            float32 scalar, at least 0.
        """
        update = keras.ops.cast(step, "float32") + 1.0
        growing = update / max(self._rise, 1)
        falling = (self._steps - update) / (self._steps - self._rise)
        of_peak = keras.ops.where(update <= self._rise, growing, falling)
        return self._peak * keras.ops.maximum(of_peak, 0.0)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, for saving."""
        return {"peak": self._peak, "rise": self._rise, "steps": self._steps}


def build_optimizer(config: ExperimentConfig, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """Builds the optimizer of a config.

    Args:
        config: names the optimizer, its options, learning rate and schedule.
        steps_per_epoch: updates per epoch, by which a schedule turns epochs into updates.

    Returns:
        A Keras optimizer. Its `weight_decay`, if there is one, is Keras's decoupled weight decay,
        and leaves out biases and the parameters of normalization layers.

    Raises:
        ValueError: an optimizer that Keras does not know, options it does not have, or `use_ema`,
            which cannot be resumed exactly.

    Example:
        >>> build_optimizer(ExperimentConfig(learning_rate_schedule="cosine"), 100)
    """
    options = {**config.optimizer_options, "learning_rate": learning_rate(config, steps_per_epoch)}
    try:
        kind = keras.optimizers.get(config.optimizer).__class__
        optimizer = kind(**options)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"Cannot build optimizer {config.optimizer!r} with optimizer_options "
            f"{config.optimizer_options}: {error}"
        ) from error
    if optimizer.use_ema:
        raise ValueError(
            "optimizer_options use_ema cannot be resumed exactly: Keras ends every fit by putting "
            "the averages in place of the weights. Leave it out."
        )
    if optimizer.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=_NOT_DECAYED)
    return optimizer


def learning_rate(config: ExperimentConfig, steps_per_epoch: int) -> Any:
    """The learning rate of a config, as a number or a Keras schedule over updates.

    By `config.learning_rate_schedule`: `"constant"` stays at `learning_rate`. `"cosine"` grows
    linearly to it for `warmup_epochs`, then falls to 0 at the end along a cosine (Loshchilov and
    Hutter 2017). `"triangular"` grows in the same way, then falls to 0 linearly, as in single-step
    adversarial training (Wong et al. 2020). `"exponential"` multiplies it by `decay_rate` every
    `decay_epochs`, as for InceptionV3 in [AAD Sec. 4.1].

    Args:
        config: names the schedule, the highest rate, warm-up and decay.
        steps_per_epoch: updates per epoch.

    Returns:
        A float, or a `keras.optimizers.schedules.LearningRateSchedule`.

    Example:
        >>> schedule = learning_rate(ExperimentConfig(learning_rate_schedule="cosine"), 100)
        >>> float(schedule(250))  # Half of 5 epochs: half of 0.001.
        0.0005
    """
    schedules = keras.optimizers.schedules
    peak, warmup = config.learning_rate, config.warmup_epochs * steps_per_epoch
    steps = max(config.epochs, 1) * steps_per_epoch
    if config.learning_rate_schedule == "triangular":
        return Triangular(peak, warmup, steps)
    if config.learning_rate_schedule == "cosine":
        if not warmup:
            return schedules.CosineDecay(peak, steps)
        return schedules.CosineDecay(
            peak / warmup, steps - warmup, warmup_target=peak, warmup_steps=warmup
        )
    if config.learning_rate_schedule == "exponential":
        return schedules.ExponentialDecay(
            peak, config.decay_epochs * steps_per_epoch, config.decay_rate, staircase=True
        )
    return peak
