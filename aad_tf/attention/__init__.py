"""Attention maps and areas: what a network looked at."""

from aad_tf.attention.areas import (
    MatchingArea,
    MeanThreshold,
    TopCells,
    attention_area,
    mask_out,
)
from aad_tf.attention.grad_cam import grad_cam, grad_cam_map, softmax_grad_cam_map

__all__ = [
    "MatchingArea",
    "MeanThreshold",
    "TopCells",
    "attention_area",
    "grad_cam",
    "grad_cam_map",
    "mask_out",
    "softmax_grad_cam_map",
]
