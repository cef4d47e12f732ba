"""Keras callbacks for any classifier."""

from aad_tf.callbacks.non_finite import StopOnNonFiniteLoss

__all__ = ["StopOnNonFiniteLoss"]
