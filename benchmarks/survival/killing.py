"""A launch that is cut short: waits for the moment of a kill, kills, and watches the others end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.survival import checkpoints, logs
from benchmarks.survival.launch import Launch, SurvivalError
from benchmarks.survival.logs import Pace
from benchmarks.survival.plan import Course, Kill
from train.launch.processes import LOST_WORKER

# Beyond lost_after: TensorFlow gets 15 seconds to notice a loss by itself.
_MARGIN = 30.0


@dataclass(frozen=True)
class Bounds:
    """How long survivors may take to end, in seconds.

    Attributes:
        lost_after: silence after which a worker counts as lost.
        join_timeout: how long workers wait for one another before training.
    """

    lost_after: float
    join_timeout: float

    def seconds(self, joined: bool) -> float:
        """The bound once workers have met, or before."""
        return (self.lost_after if joined else self.join_timeout) + _MARGIN


class Killing:
    """One kill in one launch.

    Args:
        launch: running workers.
        kill: who is to be killed when.
        course: of the run.
        pace: of the uninterrupted run.
        directory: of checkpoints.
    """

    def __init__(
        self, launch: Launch, kill: Kill, course: Course, pace: Pace, directory: Path
    ) -> None:
        self._launch, self._kill = launch, kill
        self._course, self._pace = course, pace
        self._directory = directory
        self._since = time.time_ns()

    def wait(self) -> bool:
        """Waits for the moment; False if the run came to its end before."""
        kill = self._kill
        if kill.kind == "start":
            self._pause(kill.part * self._pace.start)
        elif kill.kind == "checkpoint":
            self._until_written()
        else:
            behind = self._pace.step if kill.kind == "step" else self._pace.validation
            self._until(kill.position)
            self._pause(kill.part * behind)
        return not self._over()

    def _over(self) -> bool:
        codes = self._launch.codes
        if any(codes):
            raise SurvivalError(
                f"Workers ended with codes {codes} before one was killed; see "
                f"{self._launch.logs[0].parent}."
            )
        return self._launch.ended

    def _pause(self, seconds: float) -> None:
        self._launch.wait(lambda: self._launch.ended, seconds)

    def _until(self, position: int) -> None:
        def there() -> bool:
            events = self._launch.chief.events
            return bool(events) and events[-1].position(self._course) >= position

        self._launch.wait(lambda: self._launch.ended or there())

    def _until_written(self) -> None:
        """Waits for the save at the position, and for a part of its bytes."""
        self._until(self._kill.position - 1)
        before = checkpoints.files(self._directory)
        enough = max(1.0, self._kill.part * checkpoints.size(self._directory))

        def there() -> bool:
            return checkpoints.written(before, checkpoints.files(self._directory)) >= enough

        self._launch.wait(lambda: self._launch.ended or there())

    def execute(self, bounds: Bounds) -> dict[str, Any]:
        """Kills, waits for the others to end, and says what happened."""
        launch, victim = self._launch, self._kill.worker
        at = launch.seconds
        moment = launch.kill(victim)
        writing = checkpoints.is_writing(checkpoints.files(self._directory), self._since)
        patience = max(bounds.seconds(True), bounds.seconds(False))
        launch.wait(lambda: None not in launch.codes, patience)
        codes = launch.codes
        launch.close()
        survivors = [
            self._survivor(worker, code, moment)
            for worker, code in enumerate(codes)
            if worker != victim
        ]
        joined = not any(logs.not_joined(survivor["message"]) for survivor in survivors)
        for survivor in survivors:
            survivor["in_time"] = survivor["code"] is not None and survivor[
                "seconds"
            ] <= bounds.seconds(joined)
            survivor["as_expected"] = survivor["code"] == LOST_WORKER
        events = launch.chief.events
        return {
            "kind": self._kill.kind,
            "worker": victim,
            "planned": {"position": self._kill.position, "part": round(self._kill.part, 3)},
            "seconds_after_launch": round(at, 2),
            "phase": logs.phase(events, writing and victim == 0, joined, self._course.steps),
            "found_done": logs.resumed_at(events, self._course),
            "steps_done": logs.reached(events, self._course),
            "survivors": survivors,
        }

    def _survivor(self, worker: int, code: int | None, moment: float) -> dict[str, Any]:
        message = logs.last_words(self._launch.text(worker))
        return {
            "worker": worker,
            "code": code,
            "seconds": round(self._launch.processes[worker].ended_at - moment, 2),
            "message": message,
            "names_the_lost": logs.names(message, self._kill.worker),
        }
