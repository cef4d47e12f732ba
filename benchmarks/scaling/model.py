"""A model of the time of a synchronous training step on many workers.

    t(N) = compute + sum over messages of [2 (N - 1) / N * bytes / bandwidth + 2 (N - 1) * latency]

for N workers with ring all-reduces: in 2 (N - 1) transfers each worker sends a part of `bytes / N`.
Computation and messages do not overlap, and all workers are equally fast. [AAD Sec. 4.1] trains on
50 synchronous workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

GIGABIT = 1e9 / 8
# Other than gradients and moving statistics a step sends the number of examples, the count of
# updates and the logs: some ten numbers of up to eight bytes, in three messages.
_SHORT_MESSAGES = [8.0] * 3


@dataclass(frozen=True)
class Network:
    """The connection between two workers.

    Attributes:
        bandwidth: in bytes per second.
        latency: seconds of each transfer, whatever its size.
    """

    bandwidth: float
    latency: float


def all_reduce_seconds(message_bytes: float, workers: int, network: Network) -> float:
    """Time of a ring all-reduce.

    Args:
        message_bytes: size of the array that each worker contributes, in bytes.
        workers: number of workers.
        network: the connection between them.

    Returns:
        Seconds.

    Example:
        >>> all_reduce_seconds(1e9, 2, Network(bandwidth=1e9, latency=0.5))
        2.0
    """
    transfers = 2 * (workers - 1)
    return transfers * (message_bytes / workers / network.bandwidth + network.latency)


def step_seconds(
    compute: float, messages: Sequence[float], workers: int, network: Network
) -> float:
    """Time of a training step.

    Args:
        compute: seconds of a step of a single worker.
        messages: bytes of each all-reduce of a step.
        workers: number of workers.
        network: the connection between them.

    Returns:
        Seconds.
    """
    return compute + sum(all_reduce_seconds(size, workers, network) for size in messages)


def efficiency(compute: float, messages: Sequence[float], workers: int, network: Network) -> float:
    """Weak-scaling efficiency: time of a step of one worker divided by that of several workers.

    The batch of each worker is the same for any number of workers.

    Args:
        compute: seconds of a step of a single worker.
        messages: bytes of each all-reduce of a step.
        workers: number of workers.
        network: the connection between them.

    Returns:
        A number in (0, 1].
    """
    return compute / step_seconds(compute, messages, workers, network)


def fit_network(
    message_bytes: Sequence[float], seconds: Sequence[float], workers: int = 2
) -> Network:
    """Fits bandwidth and latency to measured all-reduces, by least squares of relative errors.

    Args:
        message_bytes: sizes, at least two different ones.
        seconds: time of each.
        workers: number of workers that took part.

    Returns:
        The connection between workers.

    Raises:
        ValueError: times that do not grow with size.
    """
    sizes, times = np.asarray(message_bytes, np.float64), np.asarray(seconds, np.float64)
    transfers = 2 * (workers - 1)
    columns = np.stack([sizes * transfers / workers, np.full_like(sizes, transfers)], axis=1)
    weighted, ones = columns / times[:, np.newaxis], np.ones_like(times)
    # Scaled to bytes of the longest message and to a hop, so that both unknowns are of a size.
    largest = weighted.max(axis=0)
    slowness, latency = np.linalg.lstsq(weighted / largest, ones, rcond=None)[0] / largest
    # Of two unknowns with positive columns at most one is negative at the best fit.
    if slowness * columns[:, 0].max() <= 1e-9 * times.max():
        raise ValueError("All-reduces took no longer the more they carried: measure again.")
    if latency < 0:
        first = weighted[:, 0]
        slowness, latency = first.sum() / (first @ first), 0.0
    return Network(bandwidth=float(1 / slowness), latency=float(latency))


def messages(gradient_bytes: float, statistics_bytes: float, bucket_bytes: float) -> list[float]:
    """Bytes of each all-reduce of a training step.

    Args:
        gradient_bytes: size of all gradients. They are sent in buckets; a bucket is closed as soon
            as it holds `bucket_bytes` (`train.main --pack_megabytes`).
        statistics_bytes: size of the moving statistics of BatchNormalization; 0 without any.
        bucket_bytes: size of a bucket.

    Returns:
        Bytes of the messages.

    Example:
        >>> messages(20.0, 1.0, 10.0)
        [10.0, 10.0, 1.0, 8.0, 8.0, 8.0]
    """
    buckets = max(1, int(gradient_bytes // bucket_bytes))
    statistics = [statistics_bytes] if statistics_bytes else []
    return [gradient_bytes / buckets] * buckets + statistics + _SHORT_MESSAGES
