"""The survival check: when it kills, what it reads in logs, and how it damages."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import tensorflow as tf

from benchmarks.survival import checkpoints, logs
from benchmarks.survival.damages import Damages
from benchmarks.survival.logs import Event, Follower, Pace, last_words, names, not_joined, parse
from benchmarks.survival.plan import Course, Kill, draw

COURSE = Course(epochs=2, steps=13, checkpoint_steps=4)
PREFIX = "[worker 0] I1122 05:12:36.366355 140455648156544 run_log.py:89] "
STEP = PREFIX + "epoch 2/3 step 11/13 1.59 steps/s ETA 0:00:09 accuracy 0.5045 loss 47.7"
DONE = PREFIX + "epoch 2/3 done: accuracy 0.5405 loss 45.6953"
RESUMED = PREFIX + "Resuming at epoch 2, step 8."
LOST = (
    "worker 1 (127.0.0.1:27137) was lost: its connection closed, so its process has ended or was "
    "killed. Start all workers again to resume."
)


# Plan ---------------------------------------------------------------------------------------


def test_course_by_hand() -> None:
    assert COURSE.total == 26
    assert COURSE.epoch_ends == [13, 26]
    assert COURSE.saves == [4, 8, 12, 17, 21, 25]
    assert COURSE.position(2, 3) == 16
    # The end of an epoch saves by itself.
    assert Course(1, 8, 4).saves == [4]


@pytest.mark.parametrize("seed", range(5))
def test_kills_lie_within_the_run_in_its_order(seed: int) -> None:
    kills = draw(10, seed, COURSE, workers=3)
    assert kills == draw(10, seed, COURSE, workers=3)
    assert [kill.position for kill in kills] == sorted(kill.position for kill in kills)
    kinds = [kill.kind for kill in kills]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "step": 4,
        "checkpoint": 2,
        "start": 2,
        "validation": 2,
    }
    for kill in kills:
        assert 0 <= kill.part < 1 and 0 <= kill.worker < 3
        if kill.kind == "checkpoint":
            assert kill.position in COURSE.saves and kill.worker == 0
        if kill.kind == "validation":
            assert kill.position in COURSE.epoch_ends
        if kill.kind == "step":
            assert 1 <= kill.position < COURSE.total


def test_seeds_give_other_kills() -> None:
    assert draw(10, 0, COURSE, 2) != draw(10, 1, COURSE, 2)


@pytest.mark.parametrize("course", [Course(2, 13, 13), Course(1, 1, 1)])
def test_a_run_without_checkpoints_is_refused(course: Course) -> None:
    with pytest.raises(ValueError, match="Pass a smaller --config.checkpoint_steps"):
        draw(3, 0, course, 2)


def test_kill_is_shown_readably() -> None:
    assert str(Kill("step", 7, 0.25, 1)) == "worker 1 is to be killed behind step 7"


# Logs ---------------------------------------------------------------------------------------


def test_signs_of_progress() -> None:
    assert parse(STEP, 1.5) == Event("step", 2, 11, (3, 13), 1.5)
    assert parse(DONE) == Event("epoch", 2, 0, (3,), 0.0)
    assert parse(RESUMED) == Event("resumed", 2, 8, (), 0.0)
    assert parse("[worker 0] WARNING: All log messages before") is None
    positions = [event.position(COURSE) for line in (STEP, DONE, RESUMED) if (event := parse(line))]
    assert positions == [24, 26, 21]


def test_a_log_is_followed_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb", buffering=0) as file:
        follower = Follower(path)
        file.write(RESUMED.encode() + b"\n" + STEP[:50].encode())
        follower.read()
        assert [event.kind for event in follower.events] == ["resumed"]
        file.write(STEP[50:].encode() + b"\n")
        follower.close()
    assert [event.kind for event in follower.events] == ["resumed", "step"]
    assert follower.events[-1].step == 11


def steps(*numbers: int, begin: float = 10.0) -> list[Event]:
    return [Event("step", 1, n, (2, 13), begin + i) for i, n in enumerate(numbers)]


def test_pace() -> None:
    events = [*steps(1, 2, 3), Event("epoch", 1, 0, (2,), 15.0)]
    assert logs.pace(events) == Pace(start=10.0, step=1.0, validation=3.0)
    with pytest.raises(ValueError, match="two steps"):
        logs.pace(steps(1))


def test_where_a_launch_began_and_ended() -> None:
    fresh, nothing = steps(1, 2, 3), [parse(RESUMED)]
    assert (logs.resumed_at(fresh, COURSE), logs.reached(fresh, COURSE)) == (0, 3)
    assert (logs.resumed_at(nothing, COURSE), logs.reached(nothing, COURSE)) == (21, None)
    assert (logs.resumed_at([], COURSE), logs.reached([], COURSE)) == (None, None)


def test_last_words() -> None:
    text = f"[worker 0] {STEP}\n[worker 0] error: {LOST}\n[worker 0] later\n"
    assert last_words(text) == f"error: {LOST}"
    logged = f"[worker 0] E1122 05:05:18.729487 140690159105728 worker.py:105] {LOST}"
    assert last_words(logged) == LOST
    assert last_words("[worker 0] nothing of the kind") == ""
    assert names(LOST, 1) and not names(LOST, 0) and not names("worker 10 (h:1) was lost", 1)
    assert not_joined("worker 1 (h:1) did not join within 60 seconds.") and not not_joined(LOST)


def test_what_is_said_of_a_damaged_checkpoint() -> None:
    said = "Checkpoint runs/checkpoints/ckpt-3 cannot be read (cut short); trying the one before."
    assert logs.unreadable(f"{PREFIX}{said}\n{STEP}") == said.replace("runs/checkpoints/", "")
    assert logs.unreadable(STEP) is None


@pytest.mark.parametrize(
    ("line", "writing", "joined", "expected"),
    [
        (None, False, False, "before the workers met"),
        (None, False, True, "building the network"),
        (RESUMED, False, True, "compiling the first step"),
        (STEP, False, True, "step 12 of epoch 2"),
        (STEP, True, True, "writing the checkpoint behind step 12 of epoch 2"),
        (STEP.replace("11/13", "13/13"), False, True, "validation of epoch 2"),
        (STEP.replace("11/13", "13/13"), True, True, "writing the checkpoint behind epoch 2"),
        (RESUMED.replace("step 8", "step 13"), False, True, "validation of epoch 2"),
        (DONE, False, True, "first step of epoch 3"),
        (DONE.replace("2/3", "3/3"), False, True, "export"),
    ],
)
def test_phases(line: str | None, writing: bool, joined: bool, expected: str) -> None:
    events = [event] if line and (event := parse(line)) else []
    assert logs.phase(events, writing, joined, steps=13) == expected


# Checkpoints --------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A directory of two checkpoints of values 1 and 2."""
    value = tf.Variable(tf.zeros([1000]))
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(value=value), tmp_path, max_to_keep=3)
    for number in (1.0, 2.0):
        value.assign(tf.fill([1000], number))
        manager.save()
    return tmp_path


def restored(path: Path) -> float:
    value = tf.Variable(tf.zeros([1000]))
    tf.train.Checkpoint(value=value).restore(os.fspath(path)).assert_consumed()
    return float(value[0])


@pytest.mark.parametrize("how", list(checkpoints.DAMAGES))
def test_a_damaged_checkpoint_cannot_be_read(saved: Path, how: str) -> None:
    first, second = checkpoints.listed(saved)
    assert restored(second) == 2.0
    checkpoints.DAMAGES[how](second)
    with pytest.raises((tf.errors.OpError, LookupError)):
        restored(second)
    assert restored(first) == 1.0


def test_damages_are_spread_and_hit_no_checkpoint_twice(saved: Path) -> None:
    damages = Damages(saved, kills=6)
    assert damages.apply(1) is None
    done = damages.apply(2)
    assert done == {"how": "data cut to half", "checkpoint": "ckpt-2", "said": {}}
    # Nobody has read it yet, so that the next would tell nothing of its own.
    assert damages.apply(5) is None


def test_a_checkpoint_is_being_written_until_the_pointer_names_it(saved: Path) -> None:
    files = checkpoints.files(saved)
    assert not checkpoints.is_writing(files, since=0)
    part = saved / "ckpt-3_temp" / "part-00000-of-00001"
    part.parent.mkdir()
    part.write_bytes(b"x" * 70)
    newest = max(time for _, time in files.values())
    os.utime(part, ns=(newest + 10, newest + 10))
    now = checkpoints.files(saved)
    assert checkpoints.written(files, now) == 70
    assert checkpoints.is_writing(now, since=0)
    assert not checkpoints.is_writing(now, since=newest + 10)
    assert checkpoints.files(saved / "missing") == {}
