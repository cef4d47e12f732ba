"""Interleaved timing and paired ratios."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


@dataclass(frozen=True)
class Timing:
    """Times of the repetitions of one contender, in the order in which they ran.

    Attributes:
        seconds: wall-clock time of each repetition.
        cpu_seconds: CPU time of each repetition, summed over the threads of this process. Other
            programs on the machine lengthen the wall-clock time but hardly this one.
    """

    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median wall-clock time in seconds."""
        return float(np.median(self.seconds))

    def summary(self) -> dict[str, Any]:
        """Median and quartiles in seconds, median CPU time and number of repetitions, for JSON."""
        return {
            "median_seconds": self.median,
            "quartiles_seconds": quartiles(self.seconds),
            "cpu_median_seconds": float(np.median(self.cpu_seconds)),
            "repetitions": len(self.seconds),
        }


class Ratio(NamedTuple):
    """Ratio of the times of two contenders.

    Attributes:
        value: median of the ratios of wall-clock times; each ratio is of the same repetition.
        quartiles: first and third quartile of these ratios.
        cpu_value: median of the ratios of CPU times.
    """

    value: float
    quartiles: tuple[float, float]
    cpu_value: float


def interleaved(
    contenders: Mapping[str, Callable[[], Any]], repetitions: int, warm_up: int = 1
) -> dict[str, Timing]:
    """Times contenders in turns: every repetition runs each of them once.

    Args:
        contenders: functions to time, by name; a call must not return before its work is done.
        repetitions: number of timed repetitions, at least 1.
        warm_up: number of repetitions before, which are not timed.

    Returns:
        The times of each contender.

    Example:
        >>> timings = interleaved({"sum": lambda: sum(range(9)), "pass": lambda: None}, 5)
        >>> ratio(timings["sum"], timings["pass"]).value > 0
        True
    """
    for _ in range(warm_up):
        for contender in contenders.values():
            contender()
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    gc.collect()
    gc.disable()
    try:
        for _ in range(repetitions):
            for name, contender in contenders.items():
                measured[name].append(_measure(contender))
    finally:
        gc.enable()
    return {
        name: Timing(*(tuple(column) for column in zip(*rows, strict=True)))
        for name, rows in measured.items()
    }


def ratio(numerator: Timing, denominator: Timing) -> Ratio:
    """Ratio of the times of two contenders of one call of `interleaved`."""
    wall = np.divide(numerator.seconds, denominator.seconds)
    cpu = np.divide(numerator.cpu_seconds, denominator.cpu_seconds)
    return Ratio(float(np.median(wall)), quartiles(wall), float(np.median(cpu)))


def quartiles(values: Any) -> tuple[float, float]:
    """First and third quartile of numbers."""
    first, third = np.percentile(values, [25, 75])
    return float(first), float(third)


def fastest(timings: Mapping[str, Timing], names: Any) -> str:
    """The name, among `names`, of the contender with the smallest median time."""
    return min(names, key=lambda name: timings[name].median)


def _measure(contender: Callable[[], Any]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    contender()
    return time.perf_counter() - wall, time.process_time() - cpu
