"""Losses of AAD, [AAD Eqs. 7-9], and the divergence of TRADES; a loss is one value per example.

`AADLosses` says how the three losses of AAD are computed, of which choices; `PRESETS` holds named
ones. `DISTANCES`, `MAPS` and `CLASSIFICATIONS` are the functions that it chooses from, by name.
"""

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
