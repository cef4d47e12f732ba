"""Progress tells rate and time left, on one line of a terminal or a line now and then of a file."""

from __future__ import annotations

import io

from aad_tf.evaluation import Progress, ProgressLine


def test_progress_tells_rate_and_time_left():
    progress = Progress(done=150, total=400, reused=50, seconds=10.0)
    assert progress.rate == 10.0
    assert progress.seconds_left == 25.0
    assert str(progress) == "150/400 (38%) attacked images, 10/s, 25 s left"
    assert Progress(1, None, 0, 2.0).seconds_left is None
    assert str(Progress(7200, 14400, 0, 3600.0)).endswith("1 h 0 min left")


def test_a_line_now_and_then_where_the_stream_is_a_file():
    stream = io.StringIO()
    with ProgressLine(stream, seconds=3600) as line:
        for done in range(1, 11):
            line(Progress(done, 10, 0, 1.0))
        line(Progress(10, 10, 0, 1.0))
    first, last = stream.getvalue().splitlines()
    assert first.startswith("1/10 ") and last.startswith("10/10 (100%)")


def test_one_line_renews_itself_on_a_terminal():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with ProgressLine(stream) as line:
        line(Progress(1, 2, 0, 1.0))
        line(Progress(2, 2, 0, 1.0))
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().count("\r") == 2
