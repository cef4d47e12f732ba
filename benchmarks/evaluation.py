"""The time of `evaluate_robustness`, beside other libraries' attack followed by classification."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from aad_tf.evaluation import evaluate_robustness
from benchmarks import attack, peers
from benchmarks.report import Finding, Section, rows
from benchmarks.subject import Subject
from benchmarks.timing import fastest, interleaved, ratio

OURS = "aad_tf.evaluation.evaluate_robustness"


def run(subject: Subject) -> Section:
    """Times how long this library and others take to measure robust accuracy under PGD.

    Args:
        subject: the network and the images.

    Returns:
        Times, ratios and robust accuracies.
    """
    pgd = attack.settings(subject)
    ways: dict[str, Callable[[], float]] = {OURS: functools.partial(_our_accuracy, subject, pgd)}
    for name, function in peers.attacks(subject.network, pgd).items():
        ways[name] = functools.partial(_peer_accuracy, subject, function)
    found = {name: way() for name, way in ways.items()}
    timings = interleaved(ways, subject.size.long_repetitions, warm_up=0)
    best = fastest(timings, [name for name in ways if name != OURS])
    return Section(
        title="From network and images to a robust accuracy, on a plain network",
        settings=attack.described(subject),
        findings=[
            Finding.of_ratio(
                f"fastest peer ({best}) / evaluate_robustness",
                ratio(timings[best], timings[OURS]),
                at_least=2.0,
            ),
            attack.accuracy_spread(found),
        ],
        measurements=rows(timings, robust_accuracy=found),
        notes=[
            "Images leave the batch once they are misclassified and others take their place, so "
            "the gain is the greater the weaker the network is; on one that is robust to the "
            "attack there is none. It counts an image as misclassified if any iterate is; of the "
            "others' attacks the last image is classified.",
        ],
    )


def _our_accuracy(subject: Subject, pgd: peers.PGD) -> float:
    ours = attack.our_attack(pgd)
    report = evaluate_robustness(
        subject.classifier, subject.test_images, ours, batch_size=subject.size.batch_size
    )
    return report.robust_accuracy(ours.name)


def _peer_accuracy(subject: Subject, function: peers.AttackFunction) -> float:
    hits = [subject.hits(function(*batch), batch[1]) for batch in subject.test_batches]
    return float(np.concatenate(hits).mean())
