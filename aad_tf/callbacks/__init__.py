"""Keras callbacks: attention and robustness while a network trains.

All but `GradientShares` work with any Keras classifier in `Model.fit`, defended or not.
"""

from aad_tf.callbacks.gradient_shares import GradientShares
from aad_tf.callbacks.measures import AttentionIoU, RobustAccuracy
from aad_tf.callbacks.non_finite import StopOnNonFiniteLoss
from aad_tf.callbacks.snapshots import AttentionSnapshots

__all__ = [
    "AttentionIoU",
    "AttentionSnapshots",
    "GradientShares",
    "RobustAccuracy",
    "StopOnNonFiniteLoss",
]
