"""What all tests share: quiet TensorFlow, and data sets that may be absent."""

from __future__ import annotations

import os

# Read once, when TensorFlow is first imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def require_dataset() -> Callable[[str], Path]:
    """Returns a function that gives the data directory, or skips the test if a set is absent."""

    def require(name: str) -> Path:
        directory = os.environ.get("TFDS_DATA_DIR")
        if not directory:
            pytest.skip("TFDS_DATA_DIR is unset: set it to a TFDS data directory to run this")
        if not any((Path(directory) / name).glob("*/dataset_info.json")):
            pytest.skip(f"TFDS_DATA_DIR does not hold {name}: prepare it with `tfds build {name}`")
        return Path(directory)

    return require


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out whole benchmarks, which take a minute each, unless they are asked for."""
    if "whole_benchmark" in config.getoption("markexpr"):
        return
    skip = pytest.mark.skip(reason="a whole benchmark; run with -m whole_benchmark")
    for item in items:
        if item.get_closest_marker("whole_benchmark"):
            item.add_marker(skip)
