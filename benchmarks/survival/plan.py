"""When which worker is killed: drawn before the run from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

# Repeated for as many kills as are asked for; most fall behind the first step of a launch.
_KINDS = ("step", "checkpoint", "start", "step", "validation")
_CHIEF = 0


@dataclass(frozen=True)
class Course:
    """The steps of a run, counted through all epochs.

    Attributes:
        epochs: how many.
        steps: of an epoch.
        checkpoint_steps: steps between checkpoints within an epoch.
    """

    epochs: int
    steps: int
    checkpoint_steps: int

    @property
    def total(self) -> int:
        """Steps of the run."""
        return self.epochs * self.steps

    @property
    def epoch_ends(self) -> list[int]:
        """Positions behind the last step of each epoch."""
        return [epoch * self.steps for epoch in range(1, self.epochs + 1)]

    @property
    def saves(self) -> list[int]:
        """Positions within epochs at which a checkpoint is saved."""
        within = range(self.checkpoint_steps, self.steps, self.checkpoint_steps)
        return [end - self.steps + step for end in self.epoch_ends for step in within]

    def position(self, epoch: int, step: int) -> int:
        """Steps of the run that are done behind `step` of an epoch (counted from 1)."""
        return (epoch - 1) * self.steps + step


@dataclass(frozen=True)
class Kill:
    """One kill.

    Attributes:
        kind: `"start"`: some time after the launch, before its first step. `"step"`: behind a
            step, some part of a step's time later. `"checkpoint"`: when some part of a checkpoint
            is written. `"validation"`: behind the last step of an epoch, some part later of the
            time until the epoch is done.
        position: steps done by then; of `"start"` it only says when the kill has its turn.
        part: of that time or checkpoint, in [0, 1).
        worker: who is killed. A checkpoint is written by worker 0, which is killed then.
    """

    kind: str
    position: int
    part: float
    worker: int

    def __str__(self) -> str:
        moment = {
            "start": "while it starts",
            "step": f"behind step {self.position}",
            "checkpoint": f"while the checkpoint behind step {self.position} is written",
            "validation": f"in validation behind step {self.position}",
        }
        return f"worker {self.worker} is to be killed {moment[self.kind]}"


def draw(kills: int, seed: int, course: Course, workers: int) -> list[Kill]:
    """Draws kills in the order in which the run gets to them.

    Args:
        kills: how many.
        seed: the same seed gives the same kills.
        course: of the run.
        workers: how many processes there are.

    Raises:
        ValueError: the run has a single step, or none of its checkpoints lies within an epoch.
    """
    if course.total < 2 or not course.saves:
        raise ValueError(
            f"Nothing is learned from a run of {course.total} steps with a checkpoint every "
            f"{course.checkpoint_steps}: there must be checkpoints within its epochs of "
            f"{course.steps} steps. Pass a smaller --config.checkpoint_steps."
        )
    generator = random.Random(seed)
    positions = {
        "start": range(course.total),
        "step": range(1, course.total),
        "checkpoint": course.saves,
        "validation": course.epoch_ends,
    }
    found = []
    for number in range(kills):
        kind = _KINDS[number % len(_KINDS)]
        position = generator.choice(positions[kind])
        part, worker = generator.random(), generator.randrange(workers)
        found.append(Kill(kind, position, part, _CHIEF if kind == "checkpoint" else worker))
    return sorted(found, key=lambda kill: kill.position)
