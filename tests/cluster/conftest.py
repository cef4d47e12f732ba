from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.processes import Team


@pytest.fixture
def team() -> Iterator[Team]:
    """Starts workers, and ends them with the test."""
    team = Team()
    yield team
    team.end()
