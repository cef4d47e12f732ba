"""A run that nothing interrupted, to compare others with."""

from __future__ import annotations

from pathlib import Path

import pytest

from aad_tf.training import train
from tests.training.short_runs import CONFIG


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("uninterrupted")
    train(CONFIG, directory)
    return directory
