"""What raw measurements come to: times, efficiencies, shares, predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.scaling import model
from benchmarks.scaling.measuring import ALONE, APART, BOOKKEEPING, EXCHANGE, PAIR, WORKERS
from benchmarks.scaling.model import GIGABIT, Network
from benchmarks.timing import Timing

LOOPBACK = "loopback, as measured"
# A switched network adds about this to each hop.
WIRE_SECONDS = 25e-6
GIGABITS = (1, 10, 25, 100)
# Other than gradients and moving statistics a step sends the number of examples, the count of
# updates, and the logs: some ten numbers of up to eight bytes.
_SHORT_MESSAGE = 8


def timing(case: Mapping[str, Any], mode: str) -> Timing:
    """Median step of each round, in a mode of `benchmarks.scaling.measuring`."""
    rounds = case["rounds"][mode]
    return Timing(
        tuple(float(np.median(turn["seconds"])) for turn in rounds),
        tuple(float(np.median(turn["cpu_seconds"])) for turn in rounds),
    )


def steps(case: Mapping[str, Any], mode: str) -> np.ndarray:
    """Seconds of all steps of all rounds."""
    return np.concatenate([turn["seconds"] for turn in case["rounds"][mode]])


def exchange_shares(case: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Part of a two-worker step that is exchange, a value a round.

    Returns:
        The exchange alone, less what `fit` takes without it, over the step; and what the step takes
        longer than that of two workers apart, over the step.
    """
    seconds = {mode: np.asarray(timing(case, mode).seconds) for mode in case["rounds"]}
    alone = (seconds[EXCHANGE] - seconds[BOOKKEEPING]) / seconds[PAIR]
    return alone, (seconds[PAIR] - seconds[APART]) / seconds[PAIR]


def messages(entry: Mapping[str, Any], count: int) -> list[float]:
    """Bytes of each all-reduce of a step.

    Args:
        entry: a case or the paper's setting.
        count: all-reduces of a step.
    """
    long = [entry["gradient_bytes"], entry["statistics_bytes"]]
    long = [size for size in long if size]
    return [*long, *[_SHORT_MESSAGE] * (count - len(long))]


def loopback(rows: Sequence[Mapping[str, Any]]) -> Network:
    """The network fitted to measured all-reduces of two workers."""
    return model.fit_network(
        [row["bytes"] for row in rows], [np.median(row["seconds"]) for row in rows], WORKERS
    )


def networks(measured: Network) -> dict[str, Network]:
    """The networks that the model is extended to; only the first was measured."""
    return {
        LOOPBACK: measured,
        **{
            f"{rate} Gbit/s": Network(rate * GIGABIT, measured.latency + WIRE_SECONDS)
            for rate in GIGABITS
        },
    }


def predicted(case: Mapping[str, Any], compute: float, network: Network) -> float:
    """Seconds of a two-worker step by the model."""
    sent = messages(case, case["collectives"]["training"])
    return model.step_seconds(compute, sent, WORKERS, network)


def predicted_exchange(case: Mapping[str, Any], network: Network) -> float:
    """Seconds of the exchange alone by the model."""
    return predicted(case, float(np.median(timing(case, BOOKKEEPING).seconds)), network)


def cable_network(measured: Network, gigabits: float | None) -> Network:
    """Two workers of one core with a cable between them.

    Each byte is packed by the core, as over loopback, and then carried by the cable.

    Args:
        measured: over loopback.
        gigabits: rate of the cable; None for one that takes no time.

    Example:
        >>> round(cable_network(Network(125e6, 1e-3), 1.0).bandwidth / 1e6, 3)
        62.5
    """
    if gigabits is None:
        return measured
    slowness = 1 / measured.bandwidth + 1 / (gigabits * GIGABIT)
    return Network(1 / slowness, measured.latency)


def predicted_over_cable(
    cable: Mapping[str, Any], case: Mapping[str, Any], network: Network
) -> tuple[float, float]:
    """Seconds by the model of a step of two workers, and of the exchange alone.

    Args:
        cable: measurements of the modes that use no cable are taken from here.
        case: what is sent.
        network: between the workers.
    """
    apart, bookkeeping = (
        float(np.median(timing(cable, mode).seconds)) for mode in (APART, BOOKKEEPING)
    )
    return predicted(case, apart, network), predicted(case, bookkeeping, network)


def median_alone(case: Mapping[str, Any]) -> float:
    """Seconds of a step of one worker."""
    return float(np.median(timing(case, ALONE).seconds))


def paper_compute(paper: Mapping[str, Any]) -> float:
    """Seconds of the paper's step on one core, extrapolated from smaller batches."""
    rows = paper["steps"]
    constant, slope = model.fit_compute(
        [row["batch_size"] for row in rows], [np.median(row["seconds"]) for row in rows]
    )
    return constant + slope * paper["batch_size"]
