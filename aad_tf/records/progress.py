"""How far an evaluation is, and a line that says so."""

from __future__ import annotations

import sys
import time
from typing import NamedTuple, TextIO


class Progress(NamedTuple):
    """How far an evaluation is.

    Attributes:
        done: finished pairs of example and attack, reused ones included.
        total: pairs to finish, or None if the size of the data set is not known.
        reused: pairs taken over from an interrupted run.
        seconds: since the start of this run.
        unit: what is counted.
    """

    done: int
    total: int | None
    reused: int
    seconds: float
    unit: str = "attacked images"

    @property
    def rate(self) -> float:
        """Pairs per second in this run."""
        return (self.done - self.reused) / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds to the end, or None if it is not known."""
        if self.total is None or self.rate == 0:
            return None
        return (self.total - self.done) / self.rate

    def __str__(self) -> str:
        text = f"{self.done}"
        if self.total:
            text += f"/{self.total} ({self.done / self.total:.0%})"
        text += f" {self.unit}, {self.rate:.4g}/s"
        if self.seconds_left is not None:
            text += f", {_duration(self.seconds_left)} left"
        return text


class ProgressLine:
    """Writes progress to a stream: one line that renews itself, or a line now and then.

    Args:
        stream: where to write; on a terminal the line is overwritten.
        seconds: least time between two lines where the stream is not a terminal.

    Example:
        >>> with ProgressLine() as line:
        ...     evaluate_robustness(classifier, dataset, attacks, progress=line)
    """

    def __init__(self, stream: TextIO | None = None, seconds: float = 10.0) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._rewrites = self._stream.isatty()
        self._pause = 0.2 if self._rewrites else seconds
        self._written = float("-inf")
        self._last_done = -1
        self._open = False

    def __call__(self, progress: Progress) -> None:
        """Writes a line unless the last one is too recent; the end is always written."""
        now = time.monotonic()
        too_early = now - self._written < self._pause and progress.done != progress.total
        if too_early or progress.done == self._last_done:
            return
        self._written, self._last_done = now, progress.done
        self._open = self._rewrites
        begin, end = ("\r\x1b[K", "") if self._rewrites else ("", "\n")
        self._stream.write(f"{begin}{progress}{end}")
        self._stream.flush()

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._open:
            self._stream.write("\n")
            self._stream.flush()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
