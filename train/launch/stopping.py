"""Requests to stop: Ctrl-C, SIGTERM, a closed terminal, or output that nobody reads any more."""

from __future__ import annotations

import signal
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequests:
    """Catches the signals that ask to stop while it is open as a context; main thread only.

    A signal that was ignored before (as SIGINT is for a shell's background jobs, SIGHUP under
    nohup) stays ignored.

    Attributes:
        first: the signal that asked to stop first, None while none has.
        at_once: whether Ctrl-C asked again.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self.at_once = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopRequests:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def request(self, number: int) -> None:
        """Asks to stop as if this signal had come; any thread may."""
        if self.first is None:
            self.first = number
        elif number == signal.SIGINT:
            self.at_once = True

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.request(number)


def signal_name(number: int) -> str:
    """The signal's name, or its number if it has none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
