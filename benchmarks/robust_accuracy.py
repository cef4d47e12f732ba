"""How long AutoAttack takes to bring robust accuracy down to what other libraries' attacks find."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from aad_tf import attacks
from aad_tf.attacks import AttackCascade
from aad_tf.evaluation import evaluate_robustness
from benchmarks import peers
from benchmarks.report import Finding, Section
from benchmarks.subject import Subject

EPSILON = 0.1
"""So small that some images hold: at larger ones a single step misleads a plain LeNet."""
Row = dict[str, Any]


def run(subject: Subject) -> Section:
    """Runs attacks of other libraries, and as many stages of AutoAttack here as are needed.

    Args:
        subject: the network and the images, of which one batch is attacked.

    Returns:
        Robust accuracies and times.
    """
    steps = subject.size.attack_steps
    pgd = peers.PGD(EPSILON, EPSILON / 10, steps)
    theirs = {
        f"{name}, PGD-{steps}": attack
        for name, attack in peers.attacks(subject.network, pgd).items()
    }
    theirs["ART, AutoAttack"] = peers.art_auto_attack(subject.network, EPSILON)
    others = {name: _theirs(attack, subject) for name, attack in theirs.items()}
    ours = [_ours(cascade, subject) for cascade in growing(attacks.auto_attack(EPSILON))]
    findings = []
    for name, other in others.items():
        # The last is all of AutoAttack, whether it is as strong or not.
        one = next(
            (one for one in ours if one["robust_accuracy"] <= other["robust_accuracy"]), ours[-1]
        )
        strength = other["robust_accuracy"] - one["robust_accuracy"]
        findings += [
            Finding(
                f"{name} / the first stages here that are as strong",
                other["seconds"] / one["seconds"],
                "x",
                cpu_value=other["cpu_seconds"] / one["cpu_seconds"],
                at_least=1.0,
            ),
            Finding(f"{name} - those stages, robust accuracy", strength, at_least=0.0),
        ]
    return Section(
        title="Time to a given robust accuracy, on the same network and images",
        settings={
            "norm": "linf",
            "epsilon": f"{EPSILON:g} in [0, 1] ({255 * EPSILON:g}/255)",
            "images": len(subject.test_batches[0][1]),
            "labels": "true",
        },
        findings=findings,
        measurements={**others, **{one.pop("name"): one for one in ours}},
        notes=["Each attack ran once, with its compilation; ART's AutoAttack as it is by default."],
    )


def growing(cascade: AttackCascade) -> list[AttackCascade]:
    """The first stage of a cascade, the first two, and so on up to all of them."""
    return [
        AttackCascade(
            cascade.stages[:count],
            cascade.stage_names[:count],
            name=f"aad_tf, {' + '.join(cascade.stage_names[:count])}",
        )
        for count in range(1, len(cascade.stages) + 1)
    ]


def _theirs(attack: peers.AttackFunction, subject: Subject) -> Row:
    images, labels = subject.test_batches[0]
    start, cpu = time.perf_counter(), time.process_time()
    moved = attack(images, labels)
    times = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
    holds = subject.hits(moved, labels) & subject.hits(images, labels)
    distance = float(np.abs(np.asarray(moved) - np.asarray(images)).max())
    return {"robust_accuracy": float(holds.mean()), "largest_distance": distance, **times}


def _ours(cascade: AttackCascade, subject: Subject) -> Row:
    images, labels = subject.test_batches[0]
    start, cpu = time.perf_counter(), time.process_time()
    report = evaluate_robustness(
        subject.classifier,
        (images, labels),
        cascade,
        batch_size=len(labels),
        diagnostics=False,
        verbose=0,
    )
    return {
        "name": cascade.name,
        "robust_accuracy": report.robust_accuracy(cascade.name),
        "largest_distance": max(record["linf"] for record in report.records()),
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
    }
