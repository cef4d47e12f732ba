"""Measurements, raw: who took how long over which step."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from aad_tf import configs
from benchmarks.scaling.cases import Case, Size
from benchmarks.scaling.crew import WorkerProcess, ask, crew

Say = Callable[[str], None]
ALONE, PAIR, APART = "one worker", "two workers", "two workers apart"
EXCHANGE, BOOKKEEPING = "exchange alone", "exchange left out"
WORKERS = 2
_CALIBRATION_STEPS = 3
_PAPER_ROUNDS = 2
# Several short all-reduces in a call, so that calling does not count for much.
_CHAIN, _CHAIN_OF_LONG, _LONG = 10, 2, 2**20


def worker_cores() -> list[int]:
    """The first cores this process may use, one for each of two workers.

    Raises:
        ValueError: there is one only, or the system cannot pin processes.
    """
    if not hasattr(os, "sched_getaffinity"):
        raise ValueError("Scaling is measured with a process a core, which needs Linux.")
    cores = sorted(os.sched_getaffinity(0))[:WORKERS]
    if len(cores) < WORKERS:
        raise ValueError(f"Scaling is measured with {WORKERS} workers; there is one core only.")
    return cores


def measure_case(case: Case, size: Size, seed: int, say: Say) -> dict[str, Any]:
    """Lets one worker, two together and two apart take turns at training.

    Args:
        case: what to train.
        size: how much.
        seed: of weights and images.
        say: called with lines of progress.

    Returns:
        `title`, `batch_size`, `steps` a turn, what travels, and for each mode its `rounds`: per
        round the seconds and CPU seconds of every step.

    Raises:
        WorkerFailedError: a worker failed or hung.
    """
    cores = worker_cores()
    patience = size.answer_seconds
    with crew(cores, False, patience) as singles, crew(cores, True, patience) as pair:
        everybody = [*singles, *pair]
        say("  starting four processes and compiling")
        described = ask(everybody, "prepare", **description(case, seed))
        for model in ("train", "exchange"):
            ask(everybody, "fit", model=model, steps=2, batch_size=case.batch_size)
        counts = [answer["counts"] for answer in ask(pair[:1], "collectives")][0]
        turns = Turns(case, singles, pair)
        steps = turns.calibrate(size)
        rounds: dict[str, list[Any]] = {name: [] for name in turns.modes}
        for repetition in range(size.repetitions):
            for name, mode in turns.modes.items():
                rounds[name].append(mode(repetition, steps))
            say(f"  round {repetition + 1} of {size.repetitions}: {brief(rounds)}")
    return {
        "title": case.title,
        "batch_size": case.batch_size,
        "image_shape": list(case.image_shape),
        "config": configs.to_dict(case.config),
        "steps_a_turn": steps,
        "collectives": {"training": counts[0], "exchange": counts[1]},
        **described[0],
        "rounds": rounds,
    }


def description(case: Case, seed: int) -> dict[str, Any]:
    return {
        "config": configs.to_dict(case.config),
        "image_shape": case.image_shape,
        "num_classes": case.num_classes,
        "seed": seed,
    }


class Turns:
    """Who works in which mode; alone, each core has every other round."""

    def __init__(self, case: Case, singles: list[WorkerProcess], pair: list[WorkerProcess]) -> None:
        self._batch, self._singles, self._pair = case.batch_size, singles, pair
        self.modes: dict[str, Callable[[int, int], dict[str, Any]]] = {
            ALONE: lambda round, steps: self._turn(self._one(round), "train", steps),
            PAIR: lambda round, steps: self._turn(self._pair, "train", steps),
            APART: lambda round, steps: self._turn(self._singles, "train", steps),
            EXCHANGE: lambda round, steps: self._turn(self._pair, "exchange", steps),
            BOOKKEEPING: lambda round, steps: self._turn(self._one(round), "exchange", steps),
        }

    def calibrate(self, size: Size) -> int:
        """How many steps fill a turn."""
        turn = self.modes[ALONE](0, _CALIBRATION_STEPS)
        fitting = size.turn_seconds / float(np.median(turn["seconds"]))
        return max(size.least_steps, int(fitting))

    def _one(self, repetition: int) -> list[WorkerProcess]:
        return [self._singles[repetition % len(self._singles)]]

    def _turn(self, workers: list[WorkerProcess], model: str, steps: int) -> dict[str, Any]:
        # The first step of a call also opens the data, so it only starts the clock.
        answers = ask(workers, "fit", model=model, steps=steps + 1, batch_size=self._batch)
        return step_times([(answer["ends"], answer["cpu"]) for answer in answers])


def step_times(marks: Sequence[tuple[Sequence[float], Sequence[float]]]) -> dict[str, Any]:
    """Times of steps during which all workers were at work.

    Args:
        marks: for each worker, when each step ended, and its CPU time by then.

    Returns:
        `seconds` and `cpu_seconds`, those of one worker behind those of the other.
    """
    start, end = max(ends[0] for ends, _ in marks), min(ends[-1] for ends, _ in marks)
    seconds: list[float] = []
    cpu_seconds: list[float] = []
    for ends, cpu in marks:
        # At least one, whatever the workers' speeds.
        shared = (np.asarray(ends[:-1]) >= start) & (np.asarray(ends[1:]) <= end)
        chosen = shared if shared.any() else np.arange(len(shared)) == 0
        seconds += np.diff(ends)[chosen].tolist()
        cpu_seconds += np.diff(cpu)[chosen].tolist()
    return {"seconds": seconds, "cpu_seconds": cpu_seconds}


def brief(rounds: dict[str, list[Any]]) -> str:
    medians = {name: np.median(turns[-1]["seconds"]) for name, turns in rounds.items()}
    return ", ".join(f"{name} {1000 * median:.3g} ms" for name, median in medians.items())


def measure_messages(size: Size, say: Say) -> list[dict[str, Any]]:
    """Times all-reduces of several sizes between two workers, one size after the other in turns.

    Returns:
        A row a size: `bytes`, and `seconds` of each all-reduce, the mean of both workers.

    Raises:
        WorkerFailedError: a worker failed or hung.
    """
    found: dict[int, list[float]] = {count: [] for count in size.message_bytes}
    with crew(worker_cores(), True, size.answer_seconds) as pair:
        for number in range(size.message_rounds):
            for count, seconds in found.items():
                chain = _CHAIN if count < _LONG else _CHAIN_OF_LONG
                answers = ask(pair, "reduce", size=count, chain=chain, times=3)
                seconds += np.mean([answer["seconds"] for answer in answers], axis=0).tolist()
            say(f"  round {number + 1} of {size.message_rounds}")
    return [{"bytes": count, "seconds": seconds} for count, seconds in found.items()]


def measure_paper(size: Size, seed: int, say: Say) -> dict[str, Any]:
    """Times steps of the paper's setting on one core at the batch sizes that it can afford.

    Returns:
        `title`, `batch_size` of the paper, `gradient_bytes` and more, and `steps`: a row a batch
        size with `seconds` of each step.

    Raises:
        WorkerFailedError: the worker failed or hung.
    """
    case = size.paper
    found: dict[int, list[float]] = {batch: [] for batch in size.paper_batches}
    with crew(worker_cores()[:1], False, size.answer_seconds) as workers:
        say("  starting a process and compiling")
        described = ask(workers, "prepare", **description(case, seed))[0]
        ask(workers, "fit", model="train", steps=1, batch_size=size.paper_batches[0])
        for _ in range(_PAPER_ROUNDS):
            for batch, seconds in found.items():
                answer = ask(workers, "fit", model="train", steps=2, batch_size=batch)[0]
                seconds += step_times([(answer["ends"], answer["cpu"])])["seconds"]
                say(f"  batch {batch}: {seconds[-1]:.3g} s a step")
    return {
        "title": case.title,
        "batch_size": case.batch_size,
        "image_shape": list(case.image_shape),
        "config": configs.to_dict(case.config),
        **described,
        "steps": [{"batch_size": batch, "seconds": times} for batch, times in found.items()],
    }
