"""All benchmarks by name, and one run of some of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import (
    attack,
    attention_study,
    evaluation,
    grad_cam,
    lime,
    memory,
    peers,
    report,
    robust_accuracy,
    traces,
    training_step,
)
from benchmarks.report import Section
from benchmarks.subject import SIZES, Subject, prepare

BENCHMARKS: dict[str, Callable[[Subject], Section]] = {
    "training_step": training_step.run,
    "attack": attack.run,
    "evaluation": evaluation.run,
    "grad_cam": grad_cam.run,
    "attention_study": attention_study.run,
    "lime": lime.run,
    "robust_accuracy": robust_accuracy.run,
    "traces": traces.run,
    "memory": memory.run,
}


def run(
    names: Sequence[str], size: str, progress: Callable[[str], None] = lambda message: None
) -> dict[str, Any]:
    """Runs benchmarks on one network, one after the other.

    Args:
        names: some of `BENCHMARKS`.
        size: one of `benchmarks.subject.SIZES`.
        progress: a function that is called with a line of text before each part.

    Returns:
        A report for `benchmarks.report.write`.

    Raises:
        PeersMissingError: a library to compare with is not installed.
    """
    origin = report.origin(size, peers.versions())
    subject = prepare(SIZES[size])
    progress(f"network: {subject.source}")
    sections = {}
    for name in names:
        progress(f"{name} ...")
        sections[name] = BENCHMARKS[name](subject)
    return report.document(origin, subject.source, sections)
