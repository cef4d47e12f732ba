"""Output of several processes as whole lines, each with the name of the process before it."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable

UPDATE_SECONDS = 1.0
"""A progress bar that rewrites its line is shown at most this often."""


class Printer:
    """Writes whole lines to two file descriptors, one line at a time, at once.

    Args:
        standard: file descriptor that lines of standard output go to.
        errors: file descriptor that lines of standard error go to.
        on_failure: called once with the error when a descriptor takes no more, for example since
            the program that read it has ended; later lines for it are dropped.
    """

    def __init__(
        self,
        standard: int = 1,
        errors: int = 2,
        on_failure: Callable[[OSError], None] | None = None,
    ) -> None:
        self._descriptors = {"standard": standard, "errors": errors}
        self._on_failure = on_failure
        self._failed: set[str] = set()
        self._lock = threading.Lock()

    def line(self, text: bytes, stream: str = "errors") -> None:
        """Writes one line; `stream` is "standard" or "errors"."""
        data = memoryview(text + b"\n")
        failure = None
        with self._lock:
            try:
                while data and stream not in self._failed:
                    data = data[os.write(self._descriptors[stream], data) :]
            except OSError as error:
                self._failed.add(stream)
                failure = error
        if failure is not None and self._on_failure is not None:
            self._on_failure(failure)


class Lines:
    r"""Cuts a stream of bytes into lines.

    A line ends with "\n" or "\r\n". What ends with "\r" alone is an update of a line that will be
    written over: it is handed on at most once every `UPDATE_SECONDS`, and its last state always.

    Args:
        show: is given each line without its end.
    """

    def __init__(self, show: Callable[[bytes], None]) -> None:
        self._show = show
        self._rest = b""
        self._update = b""
        self._shown_at = float("-inf")
        self._was_shown = False

    def feed(self, data: bytes) -> None:
        """Takes the next bytes, cut anywhere."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._finish(line)
        # A "\r" at the very end may yet turn out to be the first half of "\r\n".
        *updates, self._rest = re.split(rb"\r(?!\Z)", self._rest)
        self._update = last_visible([self._update, *updates])
        if self._update and time.monotonic() - self._shown_at >= UPDATE_SECONDS:
            self._show(self._update)
            self._update, self._shown_at, self._was_shown = b"", time.monotonic(), True

    def close(self) -> None:
        """Hands on what the stream ended with, though no end of line came."""
        if self._rest or self._update:
            self._finish(self._rest)

    def _finish(self, line: bytes) -> None:
        """Shows a line as a terminal would leave it: its last update that is not blank."""
        visible = last_visible([self._update, *line.split(b"\r")])
        if visible or not self._was_shown:
            self._show(visible)
        self._update, self._was_shown = b"", False


def last_visible(texts: list[bytes]) -> bytes:
    """The last of the texts that is not blank, or nothing."""
    return next((text for text in reversed(texts) if text.strip()), b"")


def forward(source: int, show: Callable[[bytes], None]) -> None:
    """Hands on all lines of a file descriptor until it ends; for a thread of its own."""
    lines = Lines(show)
    while data := os.read(source, 65536):
        lines.feed(data)
    lines.close()
