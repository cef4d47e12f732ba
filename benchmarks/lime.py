"""The time of LIME, beside the `lime` package."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aad_tf import models
from aad_tf.attention import lime, superpixels
from aad_tf.attention.lime import sample_switches
from aad_tf.classifier import Classifier
from benchmarks import peers
from benchmarks.report import Finding, Section, rows
from benchmarks.subject import SEED, Subject
from benchmarks.timing import Timing, interleaved, ratio

OURS, NETWORK = "aad_tf", "network passes alone"
PREDICT, COMPILED, LARGE = "lime, Keras predict", "lime, compiled", "lime, compiled, batches of 100"
SIZE, CLASS, BATCH = 64, 1, 50
METHODS = ("slic", "quickshift")


def run(subject: Subject) -> Section:
    """Times the explanation of one photograph by both libraries, on the same superpixels.

    Args:
        subject: the size of the benchmark.

    Returns:
        Times and ratios.
    """
    samples, image = subject.size.lime_samples, _photograph()
    keras.utils.set_random_seed(SEED)
    network = models.build("lenet", image.shape, 10)
    classifier = Classifier.from_keras(network)
    labels = {method: superpixels(image[np.newaxis], method)[0] for method in METHODS}
    timings: dict[str, dict[str, Timing]] = {}
    for method in METHODS:
        contenders = _contenders(network, classifier, image, labels[method], samples)
        timings[method] = interleaved(contenders, subject.size.long_repetitions)
    counts = {method: int(labels[method].max()) + 1 for method in METHODS}
    return Section(
        title="LIME of one photograph",
        settings={
            "network": "lenet",
            "image": f"{SIZE}x{SIZE}x3",
            "samples": samples,
            **{f"{method} superpixels": counts[method] for method in METHODS},
        },
        findings=_findings(timings, _difference(classifier, image, labels["slic"], samples)),
        measurements={
            f"{name}, {method}": row
            for method in METHODS
            for name, row in rows(timings[method]).items()
        },
        notes=[
            "Both sides are given the superpixels, so finding them is not timed. The lime package "
            "predicts batches of 10 (its default) where nothing else is said, through Keras "
            "predict as its tutorials do, or through a compiled function; it is spared its "
            "progress bar and all classes but one.",
            "aad_tf predicts samples that were drawn twice once: with few superpixels, as "
            "quickshift finds in small images, there are few different ones.",
        ],
    )


def _findings(timings: dict[str, dict[str, Timing]], difference: float) -> list[Finding]:
    def of_ratio(method: str, name: str, **target: float) -> Finding:
        compared = ratio(timings[method][name], timings[method][OURS])
        return Finding.of_ratio(f"speed of aad_tf / {name} ({method})", compared, **target)

    network = ratio(timings["slic"][OURS], timings["slic"][NETWORK])
    return [
        of_ratio("slic", PREDICT, at_least=10.0),
        Finding("largest difference of weights / largest", difference, at_most=1e-3),
        of_ratio("slic", COMPILED),
        of_ratio("slic", LARGE),
        *(of_ratio("quickshift", name) for name in (PREDICT, COMPILED, LARGE)),
        Finding.of_ratio("time of aad_tf / network passes alone (slic)", network),
    ]


def _contenders(
    network: keras.Model,
    classifier: Classifier,
    image: np.ndarray,
    labels: np.ndarray,
    samples: int,
) -> dict[str, Callable[[], Any]]:
    predict = functools.partial(_predict, network)
    compiled = functools.partial(_probabilities, classifier)
    packages = {
        PREDICT: peers.lime(predict, samples, 10),
        COMPILED: peers.lime(compiled, samples, 10),
        LARGE: peers.lime(compiled, samples, 100),
    }
    explain = functools.partial(
        lime, classifier, image[np.newaxis], [CLASS], num_samples=samples, batch_size=BATCH
    )
    batches = np.array_split(np.repeat(image[np.newaxis], samples, axis=0), -(-samples // BATCH))
    return {
        OURS: functools.partial(explain, segmentation=labels),
        **{name: functools.partial(run, image, CLASS, labels) for name, run in packages.items()},
        NETWORK: lambda: [compiled(batch) for batch in batches],
    }


def _difference(
    classifier: Classifier, image: np.ndarray, labels: np.ndarray, samples: int
) -> float:
    """How far the weights lie apart when both sides hide the same superpixels."""
    switches = sample_switches(int(labels.max()) + 1, samples, SEED)
    predict = functools.partial(_probabilities, classifier)
    theirs = peers.lime(predict, samples, 100)(image, CLASS, labels, switches)
    ours = lime(
        classifier,
        image[np.newaxis],
        [CLASS],
        num_samples=samples,
        seed=[SEED],
        segmentation=labels,
    )
    return float(np.abs(ours.weights[0] - theirs).max() / np.abs(theirs).max())


def _predict(network: keras.Model, images: np.ndarray) -> np.ndarray:
    return tf.nn.softmax(network.predict(images, verbose=0)).numpy()


def _probabilities(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    return tf.nn.softmax(classifier.predict_logits(tf.constant(images))).numpy()


def _photograph() -> np.ndarray:
    """A face, float32 `[SIZE, SIZE, 3]`, from the images that scikit-image ships."""
    from skimage import data, transform

    face = data.astronaut()[:256, 100:356] / 255.0
    return transform.resize(face, (SIZE, SIZE), anti_aliasing=True).astype(np.float32)
