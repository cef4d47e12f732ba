"""Whether memory stays flat over many steps of training, attacks and evaluation."""

from __future__ import annotations

import functools
import gc
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import psutil
import tensorflow as tf

from aad_tf import attacks
from aad_tf.attention_study import Options, study_attention
from aad_tf.classifier import Classifier
from aad_tf.defenses import AADModel
from aad_tf.evaluation import evaluate_robustness
from benchmarks.report import Finding, Section
from benchmarks.subject import SEED, Subject

# Tiny as the network is, a leaked batch of 100 images of 28x28 is 0.3 MB: one in thirty steps
# would show.
LARGEST_GROWTH = 10.0
SAMPLES = 10
# Part of the samples that belong to warming up: allocators grow to their working size first.
WARM_UP = 2

Tick = Callable[[], None]


def run(subject: Subject) -> Section:
    """Measures how memory grows over many steps of training, attacks and evaluation.

    Args:
        subject: the network, the images and the number of steps.

    Returns:
        Growth after warm-up, in MB.
    """
    steps = subject.size.memory_steps
    work: dict[str, Callable[[Subject, int, Tick], None]] = {
        "AADModel.fit": _train,
        "PGD, one attack per step": _attack,
        "evaluate_robustness": _evaluate,
        "evaluate_robustness, AutoAttack": _evaluate_by_cascade,
        "study_attention": _study,
    }
    sampled = {
        name: resident_megabytes(functools.partial(function, subject, steps), steps)
        for name, function in work.items()
    }
    return Section(
        title=f"Resident memory over {steps} steps, sampled {SAMPLES} times",
        settings={"steps": steps, "batch": subject.size.batch_size, "warm-up samples": WARM_UP},
        findings=[
            Finding(
                f"growth after warm-up, {name}",
                megabytes[-1] - megabytes[WARM_UP - 1],
                "MB",
                at_most=LARGEST_GROWTH,
            )
            for name, megabytes in sampled.items()
        ],
        measurements={
            name: {"megabytes": [round(value, 1) for value in megabytes]}
            for name, megabytes in sampled.items()
        },
    )


def resident_megabytes(work: Callable[[Tick], None], steps: int) -> list[float]:
    """Samples the resident memory of this process at even distances while it works.

    Args:
        work: a function that does the work; it must call its argument after each step.
        steps: number of steps in which memory is sampled; later steps are ignored.

    Returns:
        `SAMPLES` numbers, in megabytes.
    """
    process, numbers = psutil.Process(), itertools.count(1)
    found: list[float] = []

    def tick() -> None:
        if next(numbers) % (steps // SAMPLES) == 0 and len(found) < SAMPLES:
            gc.collect()
            found.append(process.memory_info().rss / 2**20)

    work(tick)
    return found


def _tiny_network(subject: Subject) -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(subject.network.input_shape[1:]),
            layers.Conv2D(4, 5, strides=4, activation="relu"),
            layers.Flatten(),
            layers.Dense(subject.network.output_shape[-1]),
        ]
    )


def _train(subject: Subject, steps: int, tick: Tick) -> None:
    model = AADModel(_tiny_network(subject), attack=attacks.step_ll(0.15, num_steps=2))
    model.compile(keras.optimizers.Adam())
    batches = tf.data.Dataset.from_tensors(subject.train_batch).repeat(steps)
    callback = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: tick())
    model.fit(batches, shuffle=False, verbose=0, callbacks=[callback])


def _attack(subject: Subject, steps: int, tick: Tick) -> None:
    classifier = Classifier.from_keras(_tiny_network(subject))
    attack = attacks.pgd(0.3, 0.1, 4, restarts=2)
    for step in range(steps):
        attack(classifier, *subject.train_batch, seed=step).numpy()
        tick()


def _study(subject: Subject, steps: int, tick: Tick) -> None:
    """One study of so many batches, its records on disk."""
    classifier = Classifier.from_keras(_tiny_network(subject))
    images, labels = subject.train_batch
    batch = {
        "image": images,
        "label": labels,
        "boxes": tf.tile([[[0.0, 0.0, 0.5, 1.0]]], [len(labels), 1, 1]),
    }
    with tempfile.TemporaryDirectory() as directory:
        study_attention(
            classifier,
            tf.data.Dataset.from_tensors(batch).repeat(steps),
            attacks.step_ll(0.01),
            output=Path(directory) / "records.jsonl.gz",
            batch_size=len(labels),
            options=Options(cells=(2, 8)),
            progress=lambda progress: tick(),
        )


def _evaluate(subject: Subject, steps: int, tick: Tick) -> None:
    # So weak that nearly every image takes all the steps, several of which may be one call.
    _evaluate_by(attacks.pgd(0.001, 0.0005, 4), steps, subject, tick)


def _evaluate_by_cascade(subject: Subject, steps: int, tick: Tick) -> None:
    # Most images go through all four attacks; Square alone takes 79 calls per batch.
    _evaluate_by(attacks.auto_attack(0.001), -(-steps // 79), subject, tick)


def _evaluate_by(attack: attacks.Attack, repeats: int, subject: Subject, tick: Tick) -> None:
    """One evaluation of the training batch over and over, its records on disk."""
    classifier = Classifier.from_keras(_tiny_network(subject))
    images, _ = subject.train_batch
    # The network's own predictions as labels, so that every image is attacked.
    labels = np.argmax(classifier.predict_logits(images), axis=-1).astype(np.int32)
    batches = tf.data.Dataset.from_tensors((images, labels)).repeat(repeats)
    with tempfile.TemporaryDirectory() as directory:
        evaluate_robustness(
            classifier,
            batches,
            attack,
            batch_size=subject.size.batch_size,
            output=Path(directory) / "records.jsonl.gz",
            progress=lambda progress: tick(),
            seed=SEED,
        )
