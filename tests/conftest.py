"""What all tests share: quiet TensorFlow, rare garbage collection, absent data sets, the order."""

from __future__ import annotations

import gc
import os

# Read once, when TensorFlow is first imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import durations

# Imports leave nothing to collect, and searching what they bring takes a fourth of their time.
gc.disable()


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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--part",
        choices=("all", "side_by_side", "alone"),
        default="all",
        help="side_by_side: tests that others may run beside; alone: tests of several processes, "
        "which need the machine's cores for themselves; all: both, one after the other.",
    )

    parser.addoption(
        "--measure",
        choices=("all", "more"),
        help="Measure tests and write tests/durations.json, see there; more: only add to it.",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Processes of pytest-xdist take files in the order of durations.dearest_files_first.
    config.option.loadscopereorder = False
    measure = config.getoption("measure")
    if measure:
        config.pluginmanager.register(durations.Measurement(fresh=measure == "all"))


def _may_be_alone(path: Path) -> bool:
    return "pytest.mark.distributed" in path.read_text(encoding="utf-8")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Spares --part=alone the import of all files that have no such test."""
    if config.getoption("part") != "alone" or not collection_path.match("test_*.py"):
        return None
    return None if _may_be_alone(collection_path) else True


# Around all others, since -m quick chooses in the same hook.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Iterator[None]:
    durations.mark_quick(items)
    _keep_part(config, items)
    _skip_long(config, items)
    yield
    if hasattr(config, "workerinput"):
        durations.dearest_files_first(items)


def pytest_collection_finish() -> None:
    """Spares Python's search for reference cycles all imported modules, and makes it rarer."""
    gc.freeze()
    gc.set_threshold(10_000, 10, 3)
    gc.enable()


def _keep_part(config: pytest.Config, items: list[pytest.Item]) -> None:
    part = config.getoption("part")
    alone = [item.get_closest_marker("distributed") is not None for item in items]
    for item, marked in zip(items, alone, strict=True):
        if marked and not _may_be_alone(item.path):
            raise pytest.UsageError(f"{item.path}: write pytest.mark.distributed in the file.")
    if part == "all":
        return
    kept = [here == (part == "alone") for here in alone]
    left_out = [item for item, keep in zip(items, kept, strict=True) if not keep]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item, keep in zip(items, kept, strict=True) if keep]


def _skip_long(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out tests that take a minute or more each, unless they are asked for."""
    if "long" in config.getoption("markexpr"):
        return
    skip = pytest.mark.skip(reason="takes a minute or more; run with -m long")
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(skip)
