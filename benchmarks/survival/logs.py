"""What the output of workers tells: how far the run is, and how a worker ended."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.survival.plan import Course

_STEP = re.compile(r"\] epoch (\d+)/(\d+) step (\d+)/(\d+) ")
_DONE = re.compile(r"\] epoch (\d+)/(\d+) done:")
_RESUMED = re.compile(r"\] Resuming at epoch (\d+), step (\d+)\.")
_UNREADABLE = re.compile(r"Checkpoint \S*?([^/\s]+ cannot be read .*; trying the one before\.)")
_LAST_WORDS = re.compile(r"error: |finished: | Start all workers again to resume\.")
_NOT_JOINED = re.compile(r"did not join within|could not join")


@dataclass(frozen=True)
class Event:
    """A sign of progress.

    Attributes:
        kind: `"resumed"`, `"step"` or `"epoch"` (one is done).
        epoch: counted from 1.
        step: steps of the epoch that are done; 0 for `"epoch"`.
        of: epochs and steps of an epoch, as far as the line says.
        seconds: since the launch when it was seen.
    """

    kind: str
    epoch: int
    step: int
    of: tuple[int, ...]
    seconds: float

    def position(self, course: Course) -> int:
        """Steps of the run that are done."""
        return (
            course.position(self.epoch + 1, 0)
            if self.kind == "epoch"
            else (course.position(self.epoch, self.step))
        )


def parse(line: str, seconds: float = 0.0) -> Event | None:
    """The sign of progress in a line of output, if there is one."""
    if found := _STEP.search(line):
        epoch, epochs, step, steps = map(int, found.groups())
        return Event("step", epoch, step, (epochs, steps), seconds)
    if found := _DONE.search(line):
        epoch, epochs = map(int, found.groups())
        return Event("epoch", epoch, 0, (epochs,), seconds)
    if found := _RESUMED.search(line):
        epoch, step = map(int, found.groups())
        return Event("resumed", epoch, step, (), seconds)
    return None


class Follower:
    """Reads what is appended to a log.

    Attributes:
        events: signs of progress so far.

    Args:
        path: the log; must exist.
    """

    def __init__(self, path: Path) -> None:
        self.events: list[Event] = []
        self._file = path.open("rb")
        self._rest = b""
        self._began = time.monotonic()

    def read(self) -> None:
        """Takes in the lines that have come."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        seconds = time.monotonic() - self._began
        found = (parse(line.decode("utf-8", "replace"), seconds) for line in lines)
        self.events += [event for event in found if event is not None]

    def close(self) -> None:
        """Reads to the end and closes the log."""
        self.read()
        self._file.close()


@dataclass(frozen=True)
class Pace:
    """How long parts of an uninterrupted run take, in seconds.

    Attributes:
        start: from the launch to the end of the first step.
        step: the median one.
        validation: from the last step of an epoch until the epoch is done.
    """

    start: float
    step: float
    validation: float


def pace(events: Sequence[Event]) -> Pace:
    """The pace of a run that was never interrupted.

    Raises:
        ValueError: too few steps were logged.
    """
    pairs = list(zip(events, events[1:], strict=False))
    steps = [b.seconds - a.seconds for a, b in pairs if (a.kind, b.kind) == ("step", "step")]
    ends = [b.seconds - a.seconds for a, b in pairs if b.kind == "epoch"]
    if not steps or not ends:
        raise ValueError("The run must have an epoch of two steps at least.")
    return Pace(events[0].seconds, statistics.median(steps), statistics.median(ends))


def resumed_at(events: Sequence[Event], course: Course) -> int | None:
    """Steps that a launch found done; None if it did not get so far as to tell."""
    if not events:
        return None
    return events[0].position(course) - (events[0].kind == "step")


def reached(events: Sequence[Event], course: Course) -> int | None:
    """Steps that were done at the end of a launch; None if it made none."""
    positions = [event.position(course) for event in events if event.kind != "resumed"]
    return max(positions, default=None)


def last_words(text: str) -> str:
    """The last line in which a worker says how it ended, without what stands before it."""
    found = [line for line in text.splitlines() if _LAST_WORDS.search(line)]
    return re.sub(r"^\[.*?\] (?:[EWI]\d{4} .*?\] )?", "", found[-1]) if found else ""


def not_joined(message: str) -> bool:
    """Whether a worker ended because another never came."""
    return _NOT_JOINED.search(message) is not None


def names(message: str, worker: int) -> bool:
    """Whether a message names a worker as `worker 1 (host:port)`."""
    return re.search(rf"\bworker {worker} \(\S+\)", message) is not None


def unreadable(text: str) -> str | None:
    """What a log says of a checkpoint that cannot be read, without its folder; None if nothing."""
    found = _UNREADABLE.search(text)
    return f"Checkpoint {found.group(1)}" if found else None


def phase(events: Sequence[Event], writing: bool, joined: bool, steps: int) -> str:
    """What a launch was doing when it was cut short, in words.

    Args:
        events: of the launch.
        writing: whether a checkpoint was being written.
        joined: whether the workers had met.
        steps: of an epoch.
    """
    if not joined:
        return "before the workers met"
    last = events[-1] if events else None
    if last is None:
        return "building the network"
    if last.kind == "epoch":
        over = last.epoch == last.of[0]
        return "export" if over else f"first step of epoch {last.epoch + 1}"
    if last.step == steps:
        return ("writing the checkpoint behind" if writing else "validation of") + (
            f" epoch {last.epoch}"
        )
    if last.kind == "resumed":
        return "compiling the first step"
    if writing:
        return f"writing the checkpoint behind step {last.step + 1} of epoch {last.epoch}"
    return f"step {last.step + 1} of epoch {last.epoch}"
