"""The time of Grad-CAM, beside tf-keras-vis."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from aad_tf.attention import grad_cam
from benchmarks import peers
from benchmarks.report import Finding, Section, rows
from benchmarks.subject import Subject
from benchmarks.timing import interleaved, ratio

OURS, PEER = "aad_tf", "tf-keras-vis"
IMAGES = 100


def run(subject: Subject) -> Section:
    """Times Grad-CAM maps of one batch of images, each for its true class.

    Args:
        subject: the network and the images.

    Returns:
        Times and ratios.
    """
    images, labels = (tf.constant(part[:IMAGES]) for part in subject.test_images)
    count = len(labels)
    explain: dict[str, Callable[..., Any]] = {
        OURS: functools.partial(grad_cam, subject.classifier),
        PEER: peers.grad_cam(subject.network, subject.classifier.attention_layer),
    }
    maps = {name: np.asarray(function(images, labels)) for name, function in explain.items()}
    timings = interleaved(
        {name: _finished(function, images, labels) for name, function in explain.items()},
        subject.size.repetitions,
    )
    throughput = {name: count / timing.median for name, timing in timings.items()}
    difference = float(np.abs(maps[OURS] - maps[PEER]).max())
    return Section(
        title="Grad-CAM maps of one batch, on the grid of the attention layer",
        settings={"images": count, "layer": subject.classifier.attention_layer},
        findings=[
            Finding.of_ratio(
                "throughput of aad_tf / tf-keras-vis",
                ratio(timings[PEER], timings[OURS]),
                at_least=3.0,
            ),
            Finding("largest difference between their maps", difference, at_most=1e-5),
        ],
        measurements=rows(timings, images_per_second=throughput),
        notes=[
            "tf-keras-vis is spared resizing and normalising its maps, which aad_tf leaves out."
        ],
    )


def _finished(
    function: Callable[..., Any], images: tf.Tensor, labels: tf.Tensor
) -> Callable[[], np.ndarray]:
    return lambda: np.asarray(function(images, labels))
