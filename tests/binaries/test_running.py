"""How binaries end, by what went wrong."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator

import pytest
import tensorflow as tf
from absl.testing import flagsaver

from aad_tf.distribute import AbsentWorkerError, ClusterError
from aad_tf.training.preemption import PreemptedError, TerminatedError
from binaries import running


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
        (ImportError("scikit-image is missing"), 2),
        (tf.errors.DataLossError(None, None, "cut short\n[[node]]"), 2),
        (tf.errors.InvalidArgumentError(None, None, "bad pixels\n[[node]]"), 2),
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


def test_success_is_printed_and_bugs_are_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    running.run(lambda: "done")
    assert capsys.readouterr() == ("done\n", "")
    for error in (ZeroDivisionError, tf.errors.InternalError):
        with pytest.raises(error):
            running.run(lambda error=error: raising(error))


def raising(error: type[Exception]) -> str:
    raise error(None, None, "a bug") if issubclass(error, tf.errors.OpError) else error()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), TerminatedError("asked to end")])
@pytest.mark.parametrize("journal", [None, "x.partial"])
def test_an_interruption_says_what_can_be_done(error, journal, capsys) -> None:
    def action() -> str:
        raise error

    resumed_from = None if journal is None else lambda: journal
    with pytest.raises(SystemExit):
        running.run(action, resumed_from)
    advice = "run the same command again to resume from x.partial."
    assert capsys.readouterr().err.endswith(f"{advice}\n") == (journal is not None)


def test_details_are_shown_if_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with flagsaver.flagsaver(verbosity=1), pytest.raises(SystemExit, match="2"):
        running.run(lambda: raising(ValueError))
    assert "in raising" in capsys.readouterr().err


def test_sigterm_ends_what_is_going_on() -> None:
    with pytest.raises(SystemExit) as ended:
        running.run(lambda: signal.raise_signal(signal.SIGTERM))
    assert ended.value.code == 128 + signal.SIGTERM
