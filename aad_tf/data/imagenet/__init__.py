"""ImageNet 2012, streamed from a copy prepared by TensorFlow Datasets, with its boxes."""

from __future__ import annotations

from aad_tf.data.imagenet.source import BoxCoverage, coverage

__all__ = ["BoxCoverage", "coverage"]
