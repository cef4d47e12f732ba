"""Lines of several processes: whole, named, and none lost."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.launch import output


def lines_of(*pieces: bytes) -> list[bytes]:
    shown: list[bytes] = []
    lines = output.Lines(shown.append)
    for piece in pieces:
        lines.feed(piece)
    lines.close()
    return shown


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"a\nb\n"], [b"a", b"b"]),
        ([b"a", b"b\nc"], [b"ab", b"c"]),
        ([b"a\r\nb\r", b"\nc\r\n"], [b"a", b"b", b"c"]),
        ([b"\n\na\n"], [b"", b"", b"a"]),
        ([b"no end"], [b"no end"]),
        ([b"end with \r"], [b"end with "]),
        ([], []),
        # A progress bar: its first state at once, then not again so soon, and its last.
        ([b"10%\r", b"20%\r", b"30%\r", b"100%\n"], [b"10%", b"100%"]),
        ([b"\r10%", b"\r20%", b"\r30%"], [b"10%", b"30%"]),
        ([b"10%\r20%\r", b"   \r", b"done\n"], [b"10%", b"done"]),
        ([b"10%\r", b"   \r", b"\n", b"done\n"], [b"10%", b"done"]),
    ],
)
def test_lines_known_answers(pieces, expected):
    assert lines_of(*pieces) == expected


def test_a_progress_bar_is_shown_again_after_a_while(monkeypatch):
    monkeypatch.setattr(output, "UPDATE_SECONDS", 0.0)
    assert lines_of(b"1\r", b"2\r", b"3\r4\n", b"5\n") == [b"1", b"4", b"5"]


@given(st.lists(st.binary(max_size=6)), st.sampled_from([b"\n", b"\r\n"]), st.data())
def test_lines_do_not_depend_on_where_the_stream_is_cut(texts, end, data):
    texts = [text.replace(b"\n", b"").replace(b"\r", b"") for text in texts]
    stream = b"".join(text + end for text in texts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    expected = [text if text.strip() else b"" for text in texts]
    assert lines_of(*pieces) == expected


def test_threads_write_whole_lines(tmp_path: Path):
    path = tmp_path / "lines"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    printer = output.Printer(descriptor, descriptor)

    def write(name: bytes) -> None:
        for number in range(200):
            stream = ("standard", "errors")[number % 2]
            printer.line(name * 50 + b"%d" % number, stream)

    threads = [threading.Thread(target=write, args=(name,)) for name in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(descriptor)
    lines = path.read_bytes().splitlines()
    for name in (b"a", b"b", b"c"):
        own = [line for line in lines if line.startswith(name)]
        assert own == [name * 50 + b"%d" % number for number in range(200)]
    assert len(lines) == 600


def test_a_reader_that_went_away_is_told_once():
    failures: list[OSError] = []
    reading, writing = os.pipe()
    os.close(reading)
    printer = output.Printer(writing, writing, failures.append)
    printer.line(b"one", "standard")
    printer.line(b"two", "standard")
    os.close(writing)
    assert [type(failure) for failure in failures] == [BrokenPipeError]
