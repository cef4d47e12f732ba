"""Progress tells rate and time left: a bar in a terminal or notebook, else a line now and then."""

from __future__ import annotations

import io
import sys
import time
import types

import numpy as np
import pytest

from aad_tf.evaluation import Progress
from aad_tf.records import progress as progress_module
from aad_tf.records.progress import check_verbose, shown_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def states(last: int = 10, reused: int = 2):
    return [Progress(done, last, reused, done / 4) for done in range(reused, last + 1)]


def shown(monkeypatch, stream, verbose, progress=None) -> str:
    """What is written to a standard error of that kind for `states()`."""
    monkeypatch.setattr(sys, "stderr", stream)
    with shown_progress(verbose, progress) as report:
        for state in states():
            if report is not None:
                report(state)
    return stream.getvalue()


def test_progress_tells_rate_and_time_left():
    progress = Progress(done=150, total=400, reused=50, seconds=10.0)
    assert progress.rate == 10.0
    assert progress.seconds_left == 25.0
    assert str(progress) == "38% 150/400 [00:10<00:25, 10.00 attacked images/s]"
    assert Progress(1, None, 0, 2.0).seconds_left is None
    assert str(Progress(7200, 14400, 0, 3600.0)).endswith(
        "[1:00:00<1:00:00,  2.00 attacked images/s]"
    )


@pytest.mark.parametrize("pause", [3600, 0])
def test_a_line_now_and_then_where_the_stream_is_a_file(monkeypatch, pause):
    monkeypatch.setattr(progress_module, "_PAUSE", pause)
    lines = shown(monkeypatch, io.StringIO(), verbose=1).splitlines()
    assert lines == [str(state) for state in (states()[-1:] if pause else states())]


def test_a_bar_that_renews_itself_on_a_terminal(monkeypatch):
    text = shown(monkeypatch, Terminal(), verbose=1)
    assert text.count("\n") == 1 and text.count("\r") >= 2
    assert " 20%|" in text.split("\r")[1] and "| 2/10 [" in text.split("\r")[1]
    assert "100%" in text.split("\r")[-1] and "| 10/10 [" in text.split("\r")[-1]


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_what_is_being_done_shows_while_nothing_is_finished(monkeypatch, stream):
    monkeypatch.setattr(progress_module, "_PAUSE", 0)
    monkeypatch.setattr(sys, "stderr", stream())
    with shown_progress(1) as report:
        for left in (57, 56):
            # A bar renews itself ten times a second.
            time.sleep(0.15)
            report(Progress(3, 10, 0, 1.0, detail=f"square: {left} images left"))
    text = sys.stderr.getvalue()
    assert all(f"square: {left} images left" in text for left in (57, 56))


@pytest.mark.parametrize("verbose", ["auto", 0, 1])
def test_where_it_is_shown(monkeypatch, verbose):
    # In a terminal; in a file only if asked for.
    assert bool(shown(monkeypatch, Terminal(), verbose)) == (verbose != 0)
    assert bool(shown(monkeypatch, io.StringIO(), verbose)) == (verbose == 1)
    # Who reports by himself is not disturbed, but may ask for both.
    seen: list[Progress] = []
    assert bool(shown(monkeypatch, Terminal(), verbose, seen.append)) == (verbose == 1)
    assert seen == states()
    # Standard error of a notebook is no terminal.
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    assert bool(shown(monkeypatch, io.StringIO(), verbose)) == (verbose != 0)


@pytest.mark.parametrize("verbose", ["yes", 2, None, np.nan])
def test_other_values_are_refused(verbose):
    with pytest.raises(ValueError, match='verbose must be "auto", 0 or 1, got'):
        check_verbose(verbose)
