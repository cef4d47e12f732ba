"""A run that nothing interrupted, to compare others with, and what a kill would have left of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from aad_tf.training import train
from tests.training.short_runs import CONFIG, STEPS, CopyAt

KILLED_AT = (1, 3, STEPS, STEPS + 1, STEPS + 3)


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "uninterrupted"
    train(CONFIG, directory, callbacks=(CopyAt(directory, KILLED_AT),))
    return directory


@pytest.fixture
def killed_at(uninterrupted: Path, tmp_path: Path) -> Callable[[int], Path]:
    """The function that gives a directory as a kill at the end of a step leaves it."""

    def killed(steps: int) -> Path:
        return shutil.copytree(CopyAt.path(uninterrupted, steps), tmp_path / "killed")

    return killed
