"""Which tests are quick, by measured time: the marker `quick`, and the file that decides on it.

`tests/durations.json` holds the tests that are not quick, with their seconds; `make test-durations`
measures all tests and writes it. A test that is not in it, a new one for instance, is quick.
"""

from __future__ import annotations

import collections
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).with_name("durations.json")
# A test takes its own time, and a fixture that it shares with other tests has to be made once.
QUICK_SECONDS = 0.1
QUICK_FIXTURE_SECONDS = 2.0
# Of those that the file does not list.
_UNLISTED_SECONDS = 0.02
NEVER_QUICK = ("slow", "distributed", "long")
_SHARED = pytest.StashKey[dict[str, float]]()
_PROPERTY = "shared_fixture_seconds"


def read() -> dict[str, float]:
    """Seconds of the tests that are not quick."""
    return json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}


def mark_quick(items: list[pytest.Item]) -> None:
    """Gives the marker `quick` to tests that are."""
    listed = read()
    for item in items:
        if item.nodeid not in listed and not any(map(item.get_closest_marker, NEVER_QUICK)):
            item.add_marker(pytest.mark.quick)


def dearest_files_first(items: list[pytest.Item]) -> None:
    """Sorts tests by what their file takes, so that processes side by side end together.

    A file that begins last is waited for by all other processes.
    """
    listed = read()
    files: dict[Path, float] = collections.defaultdict(float)
    for item in items:
        files[item.path] += listed.get(item.nodeid, _UNLISTED_SECONDS)
    items.sort(key=lambda item: -files[item.path])


class Measurement:
    """Pytest plugin that measures the tests of a session and writes the file at its end.

    The time of a fixture of a class, module, package or session counts for each test that asks
    for it, since any of them may be the first.

    Args:
        fresh: forget what the file says. Otherwise tests only join it: what was fast because a
            test before it had compiled something may be slow without that one.
    """

    def __init__(self, fresh: bool) -> None:
        self._fresh = fresh
        self._own: dict[str, float] = collections.defaultdict(float)
        self._fixtures: dict[str, float] = {}
        self._uses: dict[str, list[str]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Iterator[None]:
        """Times shared fixtures where they are made: in this process or one of pytest-xdist."""
        began = time.perf_counter()
        try:
            return (yield)
        finally:
            if fixturedef.scope != "function":
                seconds = request.session.stash.setdefault(_SHARED, {})
                key = f"{fixturedef.baseid}::{fixturedef.argname}"
                seconds[key] = max(seconds.get(key, 0.0), time.perf_counter() - began)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: Any) -> Iterator[None]:
        """Sends along which shared fixtures a test uses and what they took, made now or before."""
        if call.when == "setup":
            used = {
                key: seconds
                for key, seconds in item.session.stash.get(_SHARED, {}).items()
                if item.nodeid.startswith(key.partition("::")[0])
                and key.rpartition("::")[2] in item.fixturenames
            }
            item.user_properties.append((_PROPERTY, used))
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Adds up a test's phases; pytest-xdist calls this in the process that writes."""
        used = dict(report.user_properties).get(_PROPERTY, {})
        seconds = report.duration
        if report.when == "setup":
            new = [key for key in used if key not in self._fixtures]
            self._fixtures.update(used)
            self._uses[report.nodeid] = list(used)
            seconds -= sum(used[key] for key in new)
        self._own[report.nodeid] += max(seconds, 0.0)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Writes the file; not in the processes of pytest-xdist, which see a part each."""
        if hasattr(session.config, "workerinput"):
            return
        found = {} if self._fresh else read()
        for test, own in self._own.items():
            shared = max((self._fixtures[key] for key in self._uses.get(test, ())), default=0.0)
            if own >= QUICK_SECONDS or shared >= QUICK_FIXTURE_SECONDS:
                found[test] = round(max(own, shared, found.get(test, 0.0)), 1)
        lines = [f"{json.dumps(test)}: {found[test]}" for test in sorted(found)]
        FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        print(f"\n{FILE}: {len(found)} tests are not quick, {len(self._own)} were measured")
