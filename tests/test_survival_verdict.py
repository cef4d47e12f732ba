"""The survival check: what it makes of kills and of the ends of two runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.survival import checkpoints, report, verdict
from benchmarks.survival.plan import Course
from benchmarks.survival.run import resume

COURSE = Course(epochs=2, steps=13, checkpoint_steps=4)
LOST = (
    "worker 1 (127.0.0.1:27137) was lost: its connection closed, so its process has ended or was "
    "killed. Start all workers again to resume."
)


def a_kill(number: int, done: int | None, found: int | None, **others: Any) -> dict[str, Any]:
    survivor = {"worker": 0, "code": 75, "seconds": 0.5, "message": f"error: {LOST}"}
    survivor |= {"names_the_lost": True, "in_time": True, "as_expected": True}
    return {
        "number": number,
        "kind": "step",
        "worker": 1,
        "seconds_after_launch": 20.0,
        "phase": "step 4 of epoch 1",
        "steps_done": done,
        "found_done": found,
        "survivors": [survivor],
        "damage": None,
        **others,
    }


def test_repeated_steps() -> None:
    kills = [a_kill(1, 7, 0), a_kill(2, None, None), a_kill(3, 10, 4), a_kill(4, 12, 8)]
    resume(kills, 12)
    assert [kill["resumed_at"] for kill in kills] == [4, 4, 8, 12]
    assert [kill["steps_repeated"] for kill in kills] == [3, 0, 2, 0]


def test_weights_are_compared_value_by_value() -> None:
    ones, twos = [np.ones((2, 3)), np.zeros(4)], [np.ones((2, 3)), np.array([0, 0, 0.25, 0])]
    assert verdict.compare_weights(ones, ones) == {
        "arrays": 2,
        "values": 10,
        "arrays_unlike": 0,
        "largest_difference": 0.0,
    }
    unlike = verdict.compare_weights(ones, twos)
    assert (unlike["arrays_unlike"], unlike["largest_difference"]) == (1, 0.25)
    # A NaN is like nothing, and says so.
    assert verdict.compare_weights([np.array([np.nan])], [np.zeros(1)])["arrays_unlike"] == 1


def test_histories_are_compared_value_by_value() -> None:
    one, other = "epoch,loss\n1,2.0\n2,0.0\n", "epoch,loss\n1,2.5\n2,0.0\n"
    assert verdict.compare_histories(one, other) == {
        "history_values": 4,
        "history_values_unlike": 1,
        "largest_history_difference": 0.25,
    }
    with pytest.raises(ValueError, match="same epochs"):
        verdict.compare_histories(one, "epoch,loss\n1,2.0\n")


SAME = {
    "arrays": 2,
    "values": 10,
    "arrays_unlike": 0,
    "largest_difference": 0.0,
    "history_values": 4,
    "history_values_unlike": 0,
    "largest_history_difference": 0.0,
}


def missed(kills: list[dict[str, Any]], **same: Any) -> set[str]:
    compared = {**SAME, **same}
    found = verdict.findings(kills, compared, COURSE, asked=2)
    return {finding.what for finding in found if finding.met is False}


def two_kills() -> list[dict[str, Any]]:
    damages = [
        {"how": how, "checkpoint": "ckpt-2", "said": {"worker 0": "Checkpoint ..."}}
        for how in checkpoints.DAMAGES
    ]
    kills = [a_kill(1, 12, 0, damage=damages[0]), a_kill(2, 14, 8, damage=damages[1])]
    resume(kills, 13)
    return kills


def test_findings() -> None:
    assert missed(two_kills()) == set()
    assert missed(two_kills()[:1]) == {"kills", "damaged checkpoints"}
    assert missed(
        two_kills(), arrays_unlike=1, largest_difference=1e-7, largest_history_difference=1e-3
    ) == {
        "arrays of weights unlike",
        "largest difference of weights",
        "largest relative difference of histories",
    }
    kills = two_kills()
    kills[0]["survivors"][0] |= {"names_the_lost": False, "in_time": False, "as_expected": False}
    kills[1]["damage"]["said"] = {}
    kills.append({**a_kill(3, 9, 4), "steps_repeated": 5})
    assert missed(kills) == {
        "survivors that named the lost worker",
        "survivors that ended in time",
        "survivors with the exit code due",
        "damaged checkpoints that were noticed",
        "most steps repeated after a kill",
    }


def test_report() -> None:
    kills = two_kills()
    compared = SAME
    found = {
        "provenance": {
            "command": "python -m benchmarks.survival",
            "utc": "2026-01-01T00:00:00+00:00",
            "git_commit": "abc",
            "git_dirty": False,
            "cpu": "a CPU",
            "cpu_cores": 2,
            "gpus": [],
            "versions": {"python": "3.11"},
        },
        "config": {"model": "lenet", "dataset": "digits", "batch_size": 100},
        "workers": 2,
        "seed": 0,
        "course": {"epochs": 2, "steps": 13, "checkpoint_steps": 4},
        "seconds": {"uninterrupted": 60.0, "killed": 300.0},
        "findings": [f.as_dict() for f in verdict.findings(kills, compared, COURSE, asked=3)],
        "comparison": compared,
        "kills": kills,
    }
    text = report.markdown(found)
    assert "the same weights, bit for bit, in 2 arrays of 10 values. Of the 4" in text
    assert "| kills | 2 | at least 3 | **no** |" in text
    assert "| 2 | 1 | 20.0 | step 4 of epoch 1 | 0.5 s | 75 | 14 | 13 | 1 (damaged) |" in text
    assert f"- 1, worker 0: error: {LOST}" in text
    assert "- After kill 2, ckpt-2: index overwritten." in text
    found["comparison"] = {**compared, "arrays_unlike": 1, "largest_difference": 0.125}
    assert "weights that differ by up to 0.12" in report.markdown(found)
