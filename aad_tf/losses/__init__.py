"""Losses of the AAD framework, [AAD Eqs. 7-9]; every function returns one value per example."""

from aad_tf.losses.aad import ATTENTION_NOISE, PRESETS, AADLosses, check_weights
from aad_tf.losses.attention import (
    DISTANCES,
    MAPS,
    absolute_mean,
    l1_norm,
    l2_norm,
    preservation,
    rectification,
    squared_mean,
    squared_sum,
    unit_sum,
)
from aad_tf.losses.classification import (
    CLASSIFICATIONS,
    cross_entropy,
    kl_divergence,
    soft_margin,
)

__all__ = [
    "ATTENTION_NOISE",
    "CLASSIFICATIONS",
    "DISTANCES",
    "MAPS",
    "PRESETS",
    "AADLosses",
    "absolute_mean",
    "check_weights",
    "cross_entropy",
    "kl_divergence",
    "l1_norm",
    "l2_norm",
    "preservation",
    "rectification",
    "soft_margin",
    "squared_mean",
    "squared_sum",
    "unit_sum",
]
