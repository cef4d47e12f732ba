"""AAD training steps against plain and adversarial training steps of the same network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from aad_tf import attacks
from aad_tf.defenses import AADModel, AdversarialModel, StandardModel
from benchmarks.report import Finding, Section, rows
from benchmarks.subject import LEARNING_RATE, Subject
from benchmarks.timing import Timing, interleaved, ratio

EPSILON = 0.15
ROUNDS = 2
# Forward passes of the batch, a backward pass counting two: 22 against 3 give 7.3, and the
# second-order head comes on top.
LARGEST_RATIO = 8.0
PRECISIONS = ("float32", "mixed_bfloat16")

PLAIN, STANDARD, AAD = "plain Keras step", "StandardModel step", "AADModel step"
ADVERSARIAL, CLASSIFICATION_ALONE = "AdversarialModel step", "AADModel step at 8:0:0"
ATTACK, LOSSES = "AADModel's attack alone", "AADModel's losses alone, forward"


def run(subject: Subject) -> Section:
    """Times AAD, adversarial and plain training steps in float32 and in mixed precision.

    Args:
        subject: the network and the images.

    Returns:
        Times and ratios.
    """
    findings: list[Finding] = []
    measurements: dict[str, Any] = {}
    plain = {}
    for precision in PRECISIONS:
        timings = interleaved(_contenders(subject, precision), subject.size.repetitions, warm_up=3)
        findings += _findings(timings, precision)
        measurements |= {f"{name}, {precision}": row for name, row in rows(timings).items()}
        plain[precision] = timings[PLAIN]
    gain = plain["float32"].median / plain["mixed_bfloat16"].median
    findings.append(Finding("plain step in float32 / in mixed_bfloat16", gain, "x"))
    return Section(
        title=f"AAD training step, StepLL in {ROUNDS} rounds, beside a plain step",
        settings={
            "attack": f"step_ll(epsilon={EPSILON}, num_steps={ROUNDS})",
            "batch": subject.size.batch_size,
            "optimizer": f"Adam({LEARNING_RATE:g})",
        },
        findings=findings,
        measurements=measurements,
        notes=[
            "Steps are the compiled train functions that `fit` calls, on one batch in memory. The "
            "plain step is that of a Keras model compiled with cross-entropy and accuracy. "
            "AdversarialModel trains on clean images and the last round, AADModel on clean images "
            f"and {ROUNDS} rounds: by forward passes, of which a backward pass counts two, "
            f"{2 * ROUNDS + 6} against {2 * ROUNDS + 3 * (1 + ROUNDS)} at 8:0:0."
        ],
    )


def _findings(timings: dict[str, Timing], precision: str) -> list[Finding]:
    aad = timings[AAD]
    to_plain, to_standard = ratio(aad, timings[PLAIN]), ratio(aad, timings[STANDARD])
    parts = {"attack": timings[ATTACK].median, "forward losses": timings[LOSSES].median}
    return [
        Finding.of_ratio(f"AAD step / plain step, {precision}", to_plain, at_most=LARGEST_RATIO),
        Finding.of_ratio(f"AAD step / StandardModel step, {precision}", to_standard),
        Finding.of_ratio(
            f"AAD step at 8:0:0 / AdversarialModel step, {precision}",
            ratio(timings[CLASSIFICATION_ALONE], timings[ADVERSARIAL]),
        ),
        *(
            Finding(f"fraction of the AAD step that is the {name}, {precision}", part / aad.median)
            for name, part in parts.items()
        ),
    ]


def _contenders(subject: Subject, precision: str) -> dict[str, Callable[[], Any]]:
    batch = subject.train_batch
    plain = subject.copy_of_network(precision)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    plain.compile(_optimizer(), loss, metrics=["accuracy"], jit_compile=False)
    standard = StandardModel(subject.copy_of_network(precision))
    standard.compile(_optimizer())
    attack = attacks.step_ll(EPSILON, num_steps=ROUNDS)
    aad = AADModel(subject.copy_of_network(precision), attack=attack)
    aad.compile(_optimizer())
    alone = AADModel(subject.copy_of_network(precision), attack=attack, weights=(8, 0, 0))
    alone.compile(_optimizer())
    adversarial = AdversarialModel(subject.copy_of_network(precision), attack=attack)
    adversarial.compile(_optimizer())
    return {
        PLAIN: train_function(plain, batch),
        STANDARD: train_function(standard, batch),
        AAD: train_function(aad, batch),
        ADVERSARIAL: train_function(adversarial, batch),
        CLASSIFICATION_ALONE: train_function(alone, batch),
        **_parts(aad, batch),
    }


def train_function(model: keras.Model, batch: tuple[tf.Tensor, tf.Tensor]) -> Callable[[], float]:
    """The training step that `fit` runs, always on the same batch.

    Args:
        model: a compiled Keras model.
        batch: images and labels.

    Returns:
        A function that runs one step and returns its loss.
    """
    batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
    model.make_train_function()
    step = model.train_function
    return lambda: float(step(batches)["loss"])


def _parts(model: AADModel, batch: tuple[tf.Tensor, tf.Tensor]) -> dict[str, Callable[[], Any]]:
    """What a step consists of, each compiled alone."""
    images, labels = batch
    attack = tf.function(model.adversarial_images, autograph=False)
    adversarial = attack(images, labels)

    @tf.function(autograph=False)
    def losses(images: tf.Tensor, labels: tf.Tensor, adversarial: tf.Tensor) -> tf.Tensor:
        values, _ = model.training_losses(images, labels, adversarial, training=True)
        return values["loss"]

    return {
        ATTACK: lambda: attack(images, labels).numpy(),
        LOSSES: lambda: losses(images, labels, adversarial).numpy(),
    }


def _optimizer() -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(LEARNING_RATE)
