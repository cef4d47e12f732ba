"""Keras callbacks that measure attention and robustness during training.

All work with any Keras classifier in `Model.fit`, except for `GradientShares`, which needs an
`aad_tf.AADModel`.
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
