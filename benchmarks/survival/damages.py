"""Checkpoints that are damaged between two launches, and what the next launch says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.survival import checkpoints, logs
from benchmarks.survival.launch import Launch


class Damages:
    """Damages the newest checkpoint after some of the kills, each time in another way.

    Args:
        folder: of the checkpoints.
        kills: how many there will be; damages are spread among them.
    """

    def __init__(self, folder: Path, kills: int) -> None:
        self._folder = folder
        ways = list(checkpoints.DAMAGES)
        # Each is due after so many kills, or later, when there are two checkpoints.
        self._due = [(kills * (n + 1) // (len(ways) + 1), way) for n, way in enumerate(ways)]
        self._last: tuple[str, int] | None = None
        self._unnoticed = False

    def apply(self, kills: int) -> dict[str, Any] | None:
        """Damages the newest checkpoint if it is time and there is one before it.

        Args:
            kills: how many there were.

        Returns:
            What was done, or None.
        """
        found = checkpoints.listed(self._folder)
        if not self._due or kills < self._due[0][0] or len(found) < 2 or self._unnoticed:
            return None
        if self._state(found[-1]) == self._last:
            return None  # Damaged already, and no newer one was saved.
        how = self._due.pop(0)[1]
        checkpoints.DAMAGES[how](found[-1])
        self._last, self._unnoticed = self._state(found[-1]), True
        return {"how": how, "checkpoint": found[-1].name, "said": {}}

    def look(self, launch: Launch, records: list[dict[str, Any]]) -> None:
        """Adds to the last damage what workers of a launch say of it, if they do."""
        damages = [record["damage"] for record in records if record["damage"]]
        if not self._unnoticed or not damages:
            return
        for worker in range(len(launch.logs)):
            line = logs.unreadable(launch.text(worker))
            if line is not None:
                damages[-1]["said"][f"worker {worker}"] = line
                self._unnoticed = False

    def _state(self, checkpoint: Path) -> tuple[str, int]:
        path = checkpoints.data_file(checkpoint)
        return str(path), sum(time for _, time in self._times(checkpoint))

    def _times(self, checkpoint: Path) -> list[tuple[str, int]]:
        found = checkpoints.files(checkpoint.parent)
        return [(p, time) for p, (_, time) in found.items() if Path(p).stem == checkpoint.name]
