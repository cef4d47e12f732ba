"""The time of `study_attention`, beside the network passes it needs and beside separate calls."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aad_tf import data, models
from aad_tf.attacks import GradientSignAttack, step_ll
from aad_tf.attacks.loop import Examples, State
from aad_tf.attention import grad_cam, grad_cam_plus_plus
from aad_tf.attention_study import Options, study_attention
from aad_tf.classifier import Classifier
from benchmarks.report import Finding, Section, rows
from benchmarks.subject import SEED, Subject, info_or_digits
from benchmarks.timing import interleaved, ratio

OURS = "aad_tf.attention_study.study_attention"
PASSES = "the network passes alone"
SEPARATE = "attack.rounds, predict, grad_cam, grad_cam_plus_plus"
_ROUNDS = 3
# Fit the 4x4 grid of the smaller images too.
_CELLS = (5, 10)


def run(subject: Subject) -> Section:
    """Times a study from the files of a data set to records on disk, and the passes it needs.

    These are one forward and one backward pass to the images for each attack iteration, and a last
    forward pass, on batches in memory.

    Args:
        subject: the network and the size of the benchmark.

    Returns:
        Times and ratios.
    """
    info = info_or_digits(data.boxed_info, "tiny_imagenet_boxes")
    # Enough images that opening the files, once per study, does not count for much.
    count, size = 3 * subject.size.images, subject.size.batch_size
    keras.utils.set_random_seed(SEED)
    network = models.build("inception_small", info.image_shape, info.num_classes)
    classifier, attack = Classifier.from_keras(network), step_ll(4 / 255, _ROUNDS)
    opened = functools.partial(data.boxed_batches, info.name, "test", size, stop=count)
    batches = [(batch["image"], batch["label"]) for batch in opened()]
    contenders = {
        OURS: functools.partial(_study, classifier, opened, attack, size),
        PASSES: functools.partial(_passes, classifier, batches, attack),
        SEPARATE: functools.partial(_separate, classifier, batches, attack),
    }
    timings = interleaved(contenders, subject.size.long_repetitions)
    return Section(
        title="A study of attention under attack, from files to records",
        settings={
            "network": f"inception_small, {info.image_shape}, untrained",
            "data": info.source,
            "images": count,
            "batch": size,
            "rounds": _ROUNDS,
            "methods": "Grad-CAM, Grad-CAM++",
        },
        findings=[
            Finding.of_ratio(
                "study_attention / network passes alone",
                ratio(timings[OURS], timings[PASSES]),
                at_most=1.3,
            ),
            Finding.of_ratio(
                "separate calls, nothing measured or written / study_attention",
                ratio(timings[SEPARATE], timings[OURS]),
                at_least=1.0,
            ),
        ],
        measurements=rows(timings),
        notes=[
            "One forward pass per round serves predictions, both maps and the attack's gradient."
        ],
    )


def _study(
    classifier: Classifier, opened: Any, attack: GradientSignAttack, batch_size: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        study_attention(
            classifier,
            lambda start: opened(start=start),
            attack,
            output=Path(directory) / "records.jsonl.gz",
            batch_size=batch_size,
            options=Options(cells=_CELLS),
        )


def _passes(classifier: Classifier, batches: list[Any], attack: GradientSignAttack) -> None:
    iterate = attack.compiled_iteration(classifier)
    for images, labels in batches:
        state = State(images)
        for _ in range(attack.num_steps):
            state, _ = iterate(state, Examples(images, labels))
        classifier.predict_logits(state.images).numpy()


def _separate(classifier: Classifier, batches: list[Any], attack: GradientSignAttack) -> None:
    for images, labels in batches:
        rounds = attack.rounds(classifier, images, labels)
        for current in (images, *tf.unstack(rounds)):
            np.argmax(classifier.predict_logits(current), axis=-1)
            grad_cam(classifier, current, labels).numpy()
            grad_cam_plus_plus(classifier, current, labels).numpy()
