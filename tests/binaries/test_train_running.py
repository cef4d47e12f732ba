"""How training binaries end, by what went wrong."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator

import pytest

from aad_tf.distribute import AbsentWorkerError, ClusterError
from aad_tf.training.preemption import PreemptedError, TerminatedError
from train import running


@pytest.fixture(autouse=True)
def kept_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("a mistake"), 2),
        (ClusterError("other versions"), 2),
        (FileNotFoundError(errno.ENOENT, "no such file"), 2),
        (PermissionError(errno.EACCES, "not allowed"), 2),
        (OSError(errno.ENOSPC, "the disk is full"), 2),
        (OSError(errno.EIO, "a hiccup"), 1),
        (ConnectionResetError(errno.ECONNRESET, "a hiccup"), 1),
        (AbsentWorkerError("worker 1 did not come"), 75),
        (PreemptedError("saved"), 143),
        (TerminatedError("asked to end"), 143),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__,
)
def test_exit_codes(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    def action() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        running.run(action)
    assert ended.value.code == code
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "Traceback" not in printed


def test_success_and_bugs_are_passed_on() -> None:
    running.run(lambda: "done")
    with pytest.raises(ZeroDivisionError):
        running.run(lambda: 1 / 0)


def test_sigterm_ends_what_is_going_on() -> None:
    with pytest.raises(SystemExit) as ended:
        running.run(lambda: signal.raise_signal(signal.SIGTERM))
    assert ended.value.code == 128 + signal.SIGTERM
