"""Attention maps (Grad-CAM, Grad-CAM++, LIME) and areas, tests of maps, and the gates of CBAM.

An attention map says how much each place of an image contributes to the score of a class; an
attention area is the binary mask of the places where a map is high.
"""

from aad_tf.attention.areas import (
    MatchingArea,
    MeanThreshold,
    TopCells,
    attention_area,
    mask_out,
)
from aad_tf.attention.faithfulness import (
    PixelCurves,
    RandomizedLayer,
    center_map,
    deletion,
    insertion,
    max_sensitivity,
    random_maps,
    randomization_check,
)
from aad_tf.attention.gates import (
    GateAgreement,
    Gates,
    HeldCBAM,
    NetworkGates,
    gate_agreement,
    hold_gates,
)
from aad_tf.attention.grad_cam import (
    attention_maps,
    class_gradients,
    grad_cam,
    grad_cam_map,
    signed_grad_cam_map,
    softmax_grad_cam_map,
)
from aad_tf.attention.grad_cam_plus_plus import grad_cam_plus_plus, grad_cam_plus_plus_map
from aad_tf.attention.lime import LimeExplanation, lime
from aad_tf.attention.superpixels import superpixels

__all__ = [
    "GateAgreement",
    "Gates",
    "HeldCBAM",
    "NetworkGates",
    "gate_agreement",
    "hold_gates",
    "PixelCurves",
    "RandomizedLayer",
    "center_map",
    "deletion",
    "insertion",
    "max_sensitivity",
    "random_maps",
    "randomization_check",
    "LimeExplanation",
    "MatchingArea",
    "MeanThreshold",
    "TopCells",
    "attention_area",
    "attention_maps",
    "class_gradients",
    "grad_cam",
    "grad_cam_map",
    "grad_cam_plus_plus",
    "grad_cam_plus_plus_map",
    "lime",
    "mask_out",
    "signed_grad_cam_map",
    "softmax_grad_cam_map",
    "superpixels",
]
