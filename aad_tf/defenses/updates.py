"""What stands between a gradient and the optimizer when several replicas train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from aad_tf.distribute import clip_global_gradients, propagate_nonfinite, uses_gradient_clipping


def prepared_gradients(
    optimizer: keras.optimizers.Optimizer, gradients: Sequence[tf.Tensor | None]
) -> list[tf.Tensor | None]:
    """Gradients of one replica, as the optimizer must get them to update as one device would.

    Args:
        optimizer: applies them next, and adds up those of all replicas.
        gradients: of this replica; None where a variable has none.

    Returns:
        As many gradients; the same ones with one replica.
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return propagate_nonfinite(gradients)
    return clip_global_gradients(optimizer, gradients)


def check_for_replicas(model: Any) -> None:
    """Refuses settings of a compiled model that several replicas cannot be trained with.

    Raises:
        ValueError: says which, and what to do.
    """
    if model.steps_per_execution > 1:
        raise ValueError(
            f"Keras 3 cannot run steps_per_execution={model.steps_per_execution} on several "
            f"replicas. Use 1."
        )
    if model.jit_compile and not tf.config.list_logical_devices("GPU"):
        raise ValueError(
            "XLA cannot add up gradients of several replicas on CPUs. Leave out jit_compile."
        )
    inner = getattr(model.optimizer, "inner_optimizer", None)
    if inner is not None and uses_gradient_clipping(inner):
        raise ValueError(
            "Gradients cannot be clipped in float16 on several replicas, where each scales its "
            "loss. Use mixed_bfloat16, or no clipping."
        )
