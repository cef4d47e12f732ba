"""An evaluation in parts, as machines that know nothing of each other run it."""

from __future__ import annotations

from pathlib import Path

from aad_tf.attacks import ifgsm, pgd, step_ll
from aad_tf.evaluation import evaluate_robustness, shard_output, shard_range

ATTACKS = [
    ifgsm(0.03),
    pgd(0.04, step_size=0.02, num_steps=2, restarts=3),
    step_ll(0.02),
]


def evaluate_part(classifier, arrays, number, count, output, attacks=ATTACKS, **options):
    """One shard as any machine runs it, of batches of four."""
    first, stop = shard_range(len(arrays[1]), 4, number, count)
    part = tuple(array[first:stop] for array in arrays)
    place = {"first_index": first, "shard": (number, count), "batch_size": 4, **options}
    return evaluate_robustness(classifier, part, attacks, output=output, **place)


def all_parts(classifier, arrays, count: int, output: Path, **options) -> list[Path]:
    paths = [shard_output(output, (number, count)) for number in range(1, count + 1)]
    for number, path in enumerate(paths, start=1):
        evaluate_part(classifier, arrays, number, count, path, **options)
    return paths
