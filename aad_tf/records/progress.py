"""Progress of an evaluation, and its display on standard error."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import tqdm.auto

# Least seconds between two lines where what is shown cannot be overwritten.
_PAUSE = 10.0


class Progress(NamedTuple):
    """How far an evaluation is.

    Attributes:
        done: number of finished items, reused ones included. An item of a robustness evaluation is
            an example under one attack, of other evaluations an example.
        total: number of all items, or None if the size of the data set is not known.
        reused: number of items taken over from an interrupted run.
        seconds: time since the start of this run.
        unit: what an item is called.
        detail: what is being done now, in words.
    """

    done: int
    total: int | None
    reused: int
    seconds: float
    unit: str = "attacked images"
    detail: str = ""

    @property
    def rate(self) -> float:
        """Items, images or images under an attack, finished per second in this run; 0 at first."""
        return (self.done - self.reused) / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds to the end; None if the total is unknown or nothing is finished yet."""
        if self.total is None or self.rate == 0:
            return None
        return (self.total - self.done) / self.rate

    def __str__(self) -> str:
        meter = tqdm.auto.tqdm.format_meter
        unit = f" {self.unit}"
        counted = meter(
            self.done, self.total, self.seconds, ncols=0, unit=unit, initial=self.reused
        ).strip()
        return f"{counted} {self.detail}".strip()


def check_verbose(verbose: Any) -> None:
    """Raises ValueError unless `verbose` is `"auto"`, 0 or 1."""
    if verbose not in ("auto", 0, 1):
        raise ValueError(f'verbose must be "auto", 0 or 1, got {verbose!r}.')


@contextlib.contextmanager
def shown_progress(
    verbose: int | str, progress: Callable[[Progress], None] | None = None
) -> Iterator[Callable[[Progress], None] | None]:
    """Shows progress on standard error: a bar in a terminal or notebook, else lines 10 s apart.

    Args:
        verbose: 1 shows it, 0 does not; `"auto"` shows it in a terminal or notebook only, and not
            if there is a `progress`.
        progress: a function that is called as well, with every `Progress`.

    Yields:
        A function to be called with every `Progress`; None if there is nothing to call.

    Example:
        >>> with shown_progress(verbose=1) as progress:
        ...     progress(Progress(done=3, total=10, reused=0, seconds=1.5))
    """
    renews = sys.stderr.isatty() or "ipykernel" in sys.modules
    if verbose == "auto":
        verbose = renews and progress is None
    if not verbose:
        yield progress
        return
    with contextlib.ExitStack() as stack:
        show = _bar(stack) if renews else _lines()

        def both(state: Progress) -> None:
            show(state)
            if progress is not None:
                progress(state)

        yield both


def _bar(stack: contextlib.ExitStack) -> Callable[[Progress], None]:
    """A bar that renews itself, closed with the stack."""
    bar: Any = None
    detailed = 0.0

    def show(state: Progress) -> None:
        nonlocal bar, detailed
        if bar is None:
            unit = f" {state.unit}"
            bar = tqdm.auto.tqdm(total=state.total, initial=state.reused, unit=unit)
            stack.callback(bar.close)
        bar.set_postfix_str(state.detail, refresh=False)
        if not bar.update(state.done - bar.n) and time.monotonic() - detailed > bar.mininterval:
            bar.refresh()
            detailed = time.monotonic()

    return show


def _lines() -> Callable[[Progress], None]:
    """A line now and then; the end is always written."""
    written, last = time.monotonic(), (-1, "")

    def show(state: Progress) -> None:
        nonlocal written, last
        now = time.monotonic()
        shown = (state.done, state.detail)
        if shown == last or (now - written < _PAUSE and state.done != state.total):
            return
        written, last = now, shown
        print(state, file=sys.stderr, flush=True)

    return show
