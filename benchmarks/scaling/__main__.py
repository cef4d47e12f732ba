"""Measures how much a second worker slows steps down, and writes a report as JSON and Markdown.

python -m benchmarks.scaling --output=results/benchmarks/two_workers.json
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from absl import app, flags

from aad_tf import configs
from aad_tf.configs import DefenseConfig, ExperimentConfig
from aad_tf.utils.files import check_writable
from benchmarks import report
from benchmarks.report import Finding, Section
from benchmarks.scaling import model
from benchmarks.scaling.model import GIGABIT, Network
from benchmarks.scaling.workers import WorkerFailedError, Workers, step_times
from benchmarks.timing import Timing, quartiles, ratio
from binaries import command_line, running
from train.configs import imagenet2012, tiny_imagenet_boxes
from train.launch.local import split_cores

ALONE, PAIR, APART = "one worker", "two workers", "two workers apart"
MANY = (2, 4, 8, 16, 32, 50)
GIGABITS = (1, 10, 25, 100)
SPEEDS = (1, 100)
"""How many times as fast as this core a modelled worker is; 100 for an accelerator."""
WIRE_SECONDS = 25e-6
"""A switched network adds about this to each transfer."""
BUCKET_MEGABYTES = (8, 128)
_MEGABYTE = 1e6
_MEBIBYTE = 2**20
# Images are noise, so nothing can be learned and a training run's rate may end in infinities.
_LEARNING_RATE = 1e-4
# Several short all-reduces in a call, so that calling does not count for much.
_CHAIN, _CHAIN_OF_LONG = 10, 2


class Case(NamedTuple):
    """A network and its defence, trained on random images.

    Attributes:
        config: network, defence and optimizer.
        image_shape: (height, width, channels).
        num_classes: number of classes.
        batch_size: examples per step on each worker.
    """

    config: ExperimentConfig
    image_shape: tuple[int, int, int]
    num_classes: int
    batch_size: int


class Size(NamedTuple):
    """How much is measured.

    Attributes:
        cases: networks that one and two workers train, by name.
        repetitions: number of turns of each mode and of each message size.
        turn_seconds: about how long a turn takes, in seconds.
        message_bytes: sizes of the all-reduces that are timed.
        answer_seconds: how long a worker may take to answer, in seconds.
    """

    cases: Mapping[str, Case]
    repetitions: int
    turn_seconds: float
    message_bytes: tuple[int, ...]
    answer_seconds: float


_STEP_LL = DefenseConfig("aad", "step_ll(epsilon=4/255, num_steps=2)")
_INCEPTION_SMALL = dataclasses.replace(tiny_imagenet_boxes.CLEAN, defense=_STEP_LL)
_LENET = Case(ExperimentConfig(defense=_STEP_LL), (28, 28, 1), 10, 8)
SIZES = {
    # Shows that everything runs; its numbers mean nothing.
    "small": Size({"lenet_aad": _LENET}, 2, 0.1, (4, 2**14, _MEBIBYTE), 120.0),
    "full": Size(
        cases={
            "inception_v3_aad": Case(imagenet2012.SMALL, (107, 107, 3), 40, 8),
            "inception_small_aad": Case(_INCEPTION_SMALL, (64, 64, 3), 40, 32),
        },
        repetitions=3,
        turn_seconds=5.0,
        message_bytes=(4, 2**12, 2**16, 2**18, _MEBIBYTE, 4 * _MEBIBYTE, 8 * _MEBIBYTE),
        answer_seconds=600.0,
    ),
}

_SIZE = flags.DEFINE_enum("size", "full", list(SIZES), "How much; small only shows that it runs.")
_OUTPUT = flags.DEFINE_string(
    "output",
    "results/benchmarks/two_workers.json",
    "JSON report; a Markdown one goes beside it. Not scaling.json: that holds more.",
)


def measure_case(case: Case, size: Size, cores: list[int]) -> dict[str, Any]:
    """Times training steps of a single worker, two that train together and two that train apart.

    Args:
        case: what to train.
        size: how much is measured.
        cores: numbers of two CPU cores, one for each worker.

    Returns:
        `gradient_bytes` and `statistics_bytes`, what workers exchange per step; and `timings`, by
        mode the median time of a step in each turn.

    Raises:
        WorkerFailedError: a worker failed.
    """
    config = dataclasses.replace(case.config, learning_rate=_LEARNING_RATE)
    prepared = {
        "config": configs.to_dict(config),
        "image_shape": case.image_shape,
        "num_classes": case.num_classes,
    }
    with (
        Workers(cores, False, size.answer_seconds) as singles,
        Workers(cores, True, size.answer_seconds) as pair,
    ):
        sent, *_ = [workers.ask("prepare", **prepared)[0] for workers in (singles, pair)]

        def turn(workers: Workers, steps: int, only: int | None = None) -> tuple[float, float]:
            # The first step of a call also opens the data, so it only starts the clock.
            marks = workers.ask("fit", only, steps=steps + 1, batch_size=case.batch_size)
            seconds, cpu_seconds = step_times(marks)
            return float(np.median(seconds)), float(np.median(cpu_seconds))

        for workers in (singles, pair):  # Compiles.
            turn(workers, 1)
        steps = max(3, int(size.turn_seconds / turn(singles, 2, only=0)[0]))
        found: dict[str, list[tuple[float, float]]] = {ALONE: [], PAIR: [], APART: []}
        for repetition in range(size.repetitions):
            found[ALONE].append(turn(singles, steps, only=repetition % len(cores)))
            found[PAIR].append(turn(pair, steps))
            found[APART].append(turn(singles, steps))
    timings = {mode: Timing(*zip(*turns, strict=True)) for mode, turns in found.items()}
    return {**sent, "timings": timings}


def measure_messages(size: Size, cores: list[int]) -> dict[int, list[float]]:
    """Times all-reduces of several sizes between two workers; sizes take turns.

    Args:
        size: how much is measured.
        cores: numbers of two CPU cores, one for each worker.

    Returns:
        Seconds of each all-reduce, by its size in bytes.

    Raises:
        WorkerFailedError: a worker failed.
    """
    found: dict[int, list[float]] = {count: [] for count in size.message_bytes}
    with Workers(cores, True, size.answer_seconds) as pair:
        for _ in range(size.repetitions):
            for count, seconds in found.items():
                chain = _CHAIN if count < _MEBIBYTE else _CHAIN_OF_LONG
                answers = pair.ask("all_reduce", size=count, chain=chain, times=5)
                seconds += np.mean(answers, axis=0).tolist()
    return found


def weak_scaling(cases: Mapping[str, Mapping[str, Any]], size: Size, network: Network) -> Section:
    """Makes the section on steps of two workers beside those of one, and beside the model.

    Args:
        cases: what `measure_case` returned, by name.
        size: how much was measured.
        network: bandwidth and latency between workers, fitted to all-reduces.

    Returns:
        The section.
    """
    findings, measurements = [], {}
    for name, case in cases.items():
        times = case["timings"]
        sent = _messages_of(case, BUCKET_MEGABYTES[0])
        modelled = model.step_seconds(times[APART].median, sent, 2, network)
        findings += [
            Finding.of_ratio(
                f"{name}: {first} / {second}", ratio(times[first], times[second]), **goal
            )
            for first, second, goal in (
                (ALONE, PAIR, {"at_least": 0.9}),
                (APART, PAIR, {}),
                (ALONE, APART, {}),
            )
        ]
        findings.append(Finding(f"{name}: step modelled / measured", modelled / times[PAIR].median))
        for mode, timing in times.items():
            batch = size.cases[name].batch_size
            measurements[f"{name}, {mode}"] = {**timing.summary(), "batch_per_worker": batch}
    return Section(
        title="A training step of one worker and of two, the batch of each worker the same",
        settings={"processes": "pinned to a core each, one thread"},
        findings=findings,
        measurements=measurements,
        notes=[
            "Measured through `fit` on one batch of random images in memory: reading images and "
            "augmenting them is left out. The modes take turns; ratios are those of the median "
            "steps of a turn. Two workers apart, the same steps with no exchange, show what "
            "sharing the machine's memory and cache takes; workers on several machines do "
            "not share them. The model adds the exchange to the step of two workers apart; nothing "
            "is fitted to the steps of two workers."
        ],
    )


def messages(rows: Mapping[int, list[float]], network: Network) -> Section:
    """Makes the section on all-reduces of several sizes, and the bandwidth and latency fitted.

    Args:
        rows: seconds of all-reduces by their size in bytes.
        network: the fitted bandwidth and latency.

    Returns:
        The section.
    """
    measurements = {}
    for size, seconds in rows.items():
        measurements[f"{size:,} bytes"] = {
            "median_seconds": float(np.median(seconds)),
            "quartiles_seconds": quartiles(seconds),
            "fitted_seconds": model.all_reduce_seconds(size, 2, network),
        }
    return Section(
        title="All-reduces between two workers over loopback, and the line fitted to them",
        settings={"workers": 2, "communication": "TensorFlow's ring over gRPC"},
        findings=[
            Finding("bandwidth", network.bandwidth / _MEGABYTE, "MB/s"),
            Finding("latency of a transfer", network.latency * 1e6, "microseconds"),
        ],
        measurements=measurements,
        notes=[
            "Bandwidth and latency are fitted to the medians with the least relative errors. Both "
            "workers copy and pack on the core that they compute on, so this is what a core can "
            "send and receive rather than what a cable can."
        ],
    )


def many_workers(cases: Mapping[str, Mapping[str, Any]], measured: Network) -> Section:
    """Makes the section on many workers by the model: time of a step of one / of many workers.

    Args:
        cases: what `measure_case` returned, by name.
        measured: bandwidth and latency between workers, fitted to all-reduces.

    Returns:
        The section.
    """
    networks = {"loopback": measured} | {
        f"{rate} Gbit/s": Network(rate * GIGABIT, measured.latency + WIRE_SECONDS)
        for rate in GIGABITS
    }
    measurements = {}
    for name, case in cases.items():
        for where, network in networks.items():
            for speed, bucket in itertools.product(SPEEDS, BUCKET_MEGABYTES):
                compute = case["timings"][ALONE].median / speed
                sent = _messages_of(case, bucket)
                measurements[f"{name}, {where}, {speed}x a core, buckets of {bucket} MB"] = {
                    f"{workers}_workers": model.efficiency(compute, sent, workers, network)
                    for workers in MANY
                }
    return Section(
        title=f"The model extended to {MANY[-1]} workers: efficiency",
        settings={"batch per worker": "as measured", "buckets": "of gradients, in 2**20 bytes"},
        findings=[],
        measurements=measurements,
        notes=[
            "Modelled; no more than two workers were run. Measured are the step of one core and "
            f"the loopback network. Assumed are: a worker {SPEEDS[-1]} times as fast as this core, "
            "for an accelerator; networks whose full rate a worker can use, which one core did "
            f"not, with {1e6 * WIRE_SECONDS:g} microseconds per transfer on top of the latency of "
            "loopback; workers that are equally fast and never wait for data; and that nothing "
            "overlaps."
        ],
    )


def _messages_of(case: Mapping[str, Any], bucket_megabytes: int) -> list[float]:
    sizes = case["gradient_bytes"], case["statistics_bytes"]
    return model.messages(*sizes, bucket_megabytes * _MEBIBYTE)


def main(argv: list[str]) -> None:
    """Measures and writes the report; exits with 2 after a mistake, 1 if a worker failed."""
    del argv
    running.run(_measure)


def _measure() -> str:
    size = SIZES[_SIZE.value]
    check_writable(_OUTPUT.value)
    cores = [part[0] for part in split_cores(2)]
    origin = report.origin(_SIZE.value)
    try:
        rows = measure_messages(size, cores)
        network = model.fit_network(list(rows), [float(np.median(row)) for row in rows.values()])
        cases = {name: measure_case(case, size, cores) for name, case in size.cases.items()}
    except WorkerFailedError as error:
        sys.exit(f"error: {error}")
    sections = {
        "weak_scaling": weak_scaling(cases, size, network),
        "messages": messages(rows, network),
        "many_workers": many_workers(cases, network),
    }
    found = report.document(origin, "named in the rows, from fresh weights", sections)
    beside = report.write(_OUTPUT.value, found)
    return f"{report.markdown(found)}\nwritten: {_OUTPUT.value} and {beside}"


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse)
