"""One run through everything that is measured; what fails is noted and the rest goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from typing import Any

from aad_tf.provenance import provenance
from benchmarks.hosts import NoHostsError, reason_against
from benchmarks.scaling import measuring
from benchmarks.scaling.cable import measure_cable
from benchmarks.scaling.cases import SIZES
from benchmarks.scaling.crew import WorkerFailedError

MESSAGES, CABLE, PAPER = "messages", "cable", "paper"


def parts(size: str) -> list[str]:
    """Names of all that is measured, in order."""
    return [*SIZES[size].cases, MESSAGES, CABLE, PAPER]


def run(
    size: str,
    seed: int,
    say: measuring.Say,
    save: Callable[[dict[str, Any]], Any],
    only: Collection[str] = (),
) -> dict[str, Any]:
    """Measures everything.

    Args:
        size: one of `benchmarks.scaling.cases.SIZES`.
        seed: of weights and images.
        say: called with lines of progress.
        save: called with the report so far after each part.
        only: some of `parts`; empty for all.

    Returns:
        A report for `benchmarks.scaling.files.write`; its `raw` holds all measurements, and under
        `failures` what each part that failed said, and under `left_out` why this machine cannot
        run a part.

    Raises:
        ValueError: the machine cannot run two workers on cores of their own, or not a part that
            was asked for by name.
    """
    measuring.worker_cores()
    without_cable = reason_against()
    if CABLE in only and without_cable is not None:
        raise ValueError(f"Part {CABLE!r} {without_cable}.")
    chosen = SIZES[size]
    found = _frame(size, seed)
    raw = found["raw"]
    start = time.monotonic()
    if not only and without_cable is not None:
        raw["left_out"][CABLE] = without_cable
    for name in only or [part for part in parts(size) if part not in raw["left_out"]]:
        say(f"{name} ... ({time.monotonic() - start:.0f} s so far)")
        try:
            if name == MESSAGES:
                raw[MESSAGES] = measuring.measure_messages(chosen, say)
            elif name == CABLE:
                raw[CABLE] = measure_cable(chosen, seed, say)
            elif name == PAPER:
                raw[PAPER] = measuring.measure_paper(chosen, seed, say)
            else:
                raw["cases"][name] = measuring.measure_case(chosen.cases[name], chosen, seed, say)
        except (WorkerFailedError, NoHostsError) as error:
            raw["failures"][name] = str(error)
            say(f"{name} failed: {error}")
        found["load_average_after"] = _load_average()
        found["settings"]["seconds in all"] = round(time.monotonic() - start)
        save(found)
    return found


def _frame(size: str, seed: int) -> dict[str, Any]:
    """A report without measurements."""
    cores = measuring.worker_cores()
    return {
        "size": size,
        "seed": seed,
        "network": "those of the cases, from fresh weights, on random images",
        "settings": {
            "seed": seed,
            "cores": " and ".join(map(str, cores)),
            "threads of each process": "1 intra-op, 1 inter-op",
            "rounds": SIZES[size].repetitions,
        },
        "benchmarks": {},
        "peers": {},
        "load_average": _load_average(),
        "load_average_after": _load_average(),
        "provenance": provenance(),
        "raw": {"cases": {}, MESSAGES: [], CABLE: {}, PAPER: {}, "failures": {}, "left_out": {}},
    }


def _load_average() -> float:
    """Programs that ran or waited to run in the last minute, these workers included."""
    return round(os.getloadavg()[0], 2)
