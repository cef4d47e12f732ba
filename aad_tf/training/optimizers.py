"""The optimizer of a config and the schedule of its learning rate."""

from __future__ import annotations

from typing import Any

import keras

from aad_tf.configs import ExperimentConfig

# Decaying what only shifts and scales does not regularize. Names of Keras's variables.
_NOT_DECAYED = ["bias", "gamma", "beta"]


def build_optimizer(config: ExperimentConfig, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """Builds the optimizer of a config.

    Args:
        config: names optimizer, its options, learning rate and schedule.
        steps_per_epoch: updates per epoch; schedules count updates.

    Returns:
        A Keras optimizer. Its `weight_decay`, if asked for, is Keras's decoupled one and leaves out
        biases and normalization.

    Raises:
        ValueError: an optimizer that Keras does not know, options it does not have, or use_ema.

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

    `"constant"` stays at `learning_rate`; `"cosine"` falls from `learning_rate` to 0 at the end
    (Loshchilov and Hutter 2017), after `warmup_epochs` of linear growth; `"exponential"` multiplies
    by `decay_rate` every `decay_epochs`, as InceptionV3 is trained in [AAD Sec. 4.1].

    Args:
        config: names schedule, peak, warm-up and decay.
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
    if config.learning_rate_schedule == "cosine":
        steps = max(config.epochs, 1) * steps_per_epoch
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
