"""Networks by name: `build("lenet", (28, 28, 1), 10)` returns a Keras model of logits."""

from __future__ import annotations

from aad_tf.models.cbam import CBAM, ChannelGate, SpatialGate
from aad_tf.models.cifarnet import cifarnet
from aad_tf.models.inception_small import inception_small
from aad_tf.models.inception_v3 import inception_v3
from aad_tf.models.layers import LocalResponseNormalization
from aad_tf.models.lenet import lenet
from aad_tf.models.registry import available, build, register
from aad_tf.models.resnet import cbam_resnet50, resnet50
from aad_tf.models.slim import load_slim_weights
from aad_tf.models.vgg import vgg16

__all__ = [
    "CBAM",
    "ChannelGate",
    "LocalResponseNormalization",
    "SpatialGate",
    "available",
    "build",
    "cbam_resnet50",
    "cifarnet",
    "inception_small",
    "inception_v3",
    "lenet",
    "load_slim_weights",
    "register",
    "resnet50",
    "vgg16",
]
