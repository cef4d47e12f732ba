"""How often compiled functions are traced when batch sizes change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aad_tf import attacks
from aad_tf.attention import grad_cam
from aad_tf.classifier import Classifier
from aad_tf.defenses import AADModel, AdversarialModel, DefenseModel, StandardModel
from aad_tf.evaluation import evaluate_robustness
from benchmarks.report import Finding, Section
from benchmarks.subject import Subject

BATCH_SIZES = (100, 37, 1)


def run(subject: Subject) -> Section:
    """Counts traces of every compiled function over batches of 100, 37 and 1."""
    images, labels = subject.test_images
    repeats = -(-max(BATCH_SIZES) // len(labels))
    batches = [
        (np.tile(images, (repeats, 1, 1, 1))[:size], np.tile(labels, repeats)[:size])
        for size in BATCH_SIZES
    ]
    counts = {**_of_training(subject, batches), **_of_inference(subject, batches)}
    return Section(
        title="Traces of each compiled function over changing batch sizes",
        settings={"batches": ", ".join(map(str, BATCH_SIZES))},
        findings=[Finding("most traces of one compiled function", max(counts.values()), at_most=1)],
        measurements={name: {"traces": count} for name, count in counts.items()},
    )


def _of_training(subject: Subject, batches: list[tuple[Any, Any]]) -> dict[str, int]:
    step_ll = attacks.step_ll(0.15, num_steps=2)
    models = {
        "StandardModel": StandardModel(subject.copy_of_network()),
        "AdversarialModel": AdversarialModel(subject.copy_of_network(), attack=step_ll),
        "AADModel": AADModel(subject.copy_of_network(), attack=step_ll),
    }
    counts: dict[str, int] = {}
    for name, model in models.items():
        traces = _count_traces(model)
        model.compile(keras.optimizers.Adam())
        stream = _stream(subject, batches)
        model.fit(stream, epochs=2, shuffle=False, verbose=0)
        model.evaluate(stream, verbose=0)
        counts[f"{name}.fit"] = traces["train_step"]
        counts[f"{name}.evaluate"] = traces["test_step"]
    return counts


def _count_traces(model: DefenseModel) -> Counter[str]:
    """Counts runs of the Python code of the steps: compiled, it runs once per trace."""
    traces: Counter[str] = Counter()

    def counted(name: str) -> Any:
        step = getattr(model, name)

        def run_step(data: Any) -> Any:
            traces[name] += 1
            return step(data)

        return run_step

    for name in ("train_step", "test_step"):
        setattr(model, name, counted(name))
    return traces


def _stream(subject: Subject, batches: list[tuple[Any, Any]]) -> tf.data.Dataset:
    def examples() -> Iterator[tuple[Any, Any]]:
        yield from batches

    spec = (subject.classifier.image_spec, tf.TensorSpec((None,), tf.int32))
    stream = tf.data.Dataset.from_generator(examples, output_signature=spec)
    return stream.apply(tf.data.experimental.assert_cardinality(len(batches)))


def _of_inference(subject: Subject, batches: list[tuple[Any, Any]]) -> dict[str, int]:
    """Traces of what a classifier compiles, with different budgets and numbers of steps."""
    classifier = Classifier.from_keras(subject.copy_of_network())
    for images, labels in batches:
        for steps in (1, 2, 6):
            attacks.pgd(0.1 * steps, 0.05, steps)(classifier, images, labels)
        attacks.step_ll(0.1, 2).rounds(classifier, images, labels)
        grad_cam(classifier, images, labels)
        evaluate_robustness(
            classifier, (images, labels), attacks.ifgsm(0.1), batch_size=len(labels)
        )
        # The attacks of AutoAttack, with few steps.
        cascade = attacks.AttackCascade(
            (
                attacks.apgd(0.02, 5),
                attacks.apgd(0.02, 5, "targeted_dlr"),
                attacks.fab(0.02, 5),
                attacks.square(0.02, 50),
            ),
            ("apgd-ce", "apgd-t", "fab-t", "square"),
        )
        evaluate_robustness(classifier, (images, labels), cascade, batch_size=len(labels))
    return {
        _readable(key): function.experimental_get_tracing_count()
        for key, function in classifier.compiled.items()
    }


def _readable(key: Any) -> str:
    parts = key if isinstance(key, tuple) else (key,)
    return "Classifier: " + ", ".join(getattr(part, "name", str(part)) for part in parts)
