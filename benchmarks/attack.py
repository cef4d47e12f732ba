"""A whole PGD attack against those of Foolbox, CleverHans and ART."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from aad_tf import attacks
from benchmarks import peers
from benchmarks.report import Finding, Section, rows
from benchmarks.subject import Subject, fractions_unlike
from benchmarks.timing import Timing, fastest, interleaved, ratio

OURS = "aad_tf"
UNROLLED = "CleverHans, all in one tf.function"
EPSILON = 0.3
STEP_SIZE = 0.01
# Pixels whose gradient is at rounding level may go either way, which can move an image over the
# decision boundary.
ACCURACY_TOLERANCE = 0.005


def settings(subject: Subject) -> peers.PGD:
    """The settings of PGD in the benchmarks of attacks and of evaluation."""
    return peers.PGD(EPSILON, STEP_SIZE, subject.size.attack_steps)


def our_attack(pgd: peers.PGD) -> attacks.GradientSignAttack:
    """The PGD attack of this library with given settings."""
    return attacks.pgd(pgd.epsilon, pgd.step_size, pgd.num_steps, random_start=False)


def described(subject: Subject) -> dict[str, Any]:
    """The settings of PGD by name, for a report."""
    return {
        "attack": f"PGD-{subject.size.attack_steps}",
        "epsilon": EPSILON,
        "step": STEP_SIZE,
        "start": "clean image",
        "images": subject.size.images,
        "batch": subject.size.batch_size,
    }


def run(subject: Subject) -> Section:
    """Times PGD attacks of all libraries on the same network and images.

    Args:
        subject: the network and the images.

    Returns:
        Times, ratios and robust accuracies.
    """
    pgd = settings(subject)
    others = peers.attacks(subject.network, pgd)
    functions: dict[str, peers.AttackFunction] = {
        OURS: functools.partial(our_attack(pgd), subject.classifier),
        **others,
        UNROLLED: peers.cleverhans_unrolled(subject.network, pgd),
    }
    attack_all = {
        name: functools.partial(_on_all, function, subject) for name, function in functions.items()
    }
    adversarial = {name: contender() for name, contender in attack_all.items()}
    timings = interleaved(attack_all, subject.size.long_repetitions, warm_up=0)
    accuracies = _robust_accuracies(adversarial, subject)
    return Section(
        title="A whole attack on every image, on the same network and images",
        settings=described(subject),
        findings=_findings(timings, fastest(timings, others), accuracies),
        measurements=rows(
            timings,
            robust_accuracy=accuracies,
            pixels_unlike_ours=fractions_unlike(adversarial[OURS], adversarial),
        ),
        notes=[
            "Each library is used as it documents; compiling and tracing is not timed. The target "
            f"holds for the fastest of them. {UNROLLED} is a bound of what could be reached, at "
            "the price of tracing every step.",
        ],
    )


def _findings(timings: dict[str, Timing], best: str, accuracies: dict[str, float]) -> list[Finding]:
    ours = timings[OURS]
    peer = ratio(timings[best], ours)
    return [
        Finding.of_ratio(f"fastest peer ({best}) / aad_tf", peer, at_least=1.0),
        accuracy_spread(accuracies),
        Finding.of_ratio(f"{UNROLLED} / aad_tf", ratio(timings[UNROLLED], ours)),
    ]


def accuracy_spread(accuracies: dict[str, float]) -> Finding:
    """The difference between the highest and lowest robust accuracy that contenders find.

    Args:
        accuracies: robust accuracies in [0, 1] by contender.

    Returns:
        The finding, with a target that allows for rounding.
    """
    spread = max(accuracies.values()) - min(accuracies.values())
    return Finding("largest difference in robust accuracy", spread, at_most=ACCURACY_TOLERANCE)


def _on_all(function: peers.AttackFunction, subject: Subject) -> np.ndarray:
    return np.concatenate([function(*batch) for batch in subject.test_batches])


def _robust_accuracies(adversarial: dict[str, np.ndarray], subject: Subject) -> dict[str, float]:
    _, labels = subject.test_images
    return {
        name: float(subject.hits(images, labels).mean()) for name, images in adversarial.items()
    }
