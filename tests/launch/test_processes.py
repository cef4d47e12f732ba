"""Groups of real processes that print, crash, hang and are killed."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.launch.running import (
    end_of,
    is_running,
    run_driver,
    start_driver,
    wait_until,
)
from train.launch.output import Printer
from train.launch.processes import Outcome, Program, run_together
from train.launch.stopping import StopRequests

SAVES = "on_sigterm(save_and_end); Path('ready').touch(); time.sleep(600)"
IGNORES = "on_sigterm(lambda: None); Path('ready').touch()\nwhile True: time.sleep(600)"
pytestmark = pytest.mark.distributed
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def test_all_lines_arrive_whole_and_named(tmp_path: Path) -> None:
    source = """
for number in range(100):
    stream = (sys.stdout, sys.stderr)[number % 2]
    stream.write("line")
    stream.flush()
    stream.write(f" {number}" + chr(10))
sys.stdout.write("no end")
"""
    code, out, errors = run_driver(tmp_path, source, source)
    assert code == 0
    for index in (0, 1):
        prefix = f"[worker {index}] "
        own = [line for line in out.splitlines() if line.startswith(prefix)]
        assert own == [f"{prefix}line {n}" for n in range(0, 100, 2)] + [prefix + "no end"]
        own = [line for line in errors.splitlines() if line.startswith(prefix)]
        assert own == [f"{prefix}line {n}" for n in range(1, 100, 2)]
    assert len(out.splitlines()) == 102
    assert len(errors.splitlines()) == 100


def test_when_one_fails_the_others_save_and_end(tmp_path: Path) -> None:
    code, out, errors = run_driver(tmp_path, SAVES, "wait_for('ready'); print('last'); sys.exit(3)")
    assert code == 1
    assert "[launcher] worker 1 ended with code 3; 1 still running" in errors
    assert sorted(out.splitlines()) == ["[worker 0] saved", "[worker 1] last"]


def test_who_ignores_sigterm_is_killed_after_the_grace_period(tmp_path: Path) -> None:
    fails = "wait_for('ready'); sys.exit(3)"
    process = start_driver(tmp_path, IGNORES, fails, grace_seconds=0.5)
    wait_until((tmp_path / "ready").exists)
    began = time.monotonic()
    assert end_of(process)[0] == 1
    assert 0.5 <= time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("sources", "expected", "exit_code"),
    [
        (["os.kill(os.getpid(), 9)", SAVES], "worker 0 was killed by signal 9 (SIGKILL)", 1),
        (
            ["sys.exit(75)", "sys.exit(75)"],
            "ended with code 75 (it lost another worker: see its message)",
            1,
        ),
        # Who lost a worker may say so before the lost one is seen to have ended.
        (
            ["Path('gone').touch(); sys.exit(75)", "wait_for('gone'); time.sleep(.2); sys.exit(4)"],
            "worker 1 ended with code 4",
            1,
        ),
        (["Path('gone').touch(); sys.exit(75)", SAVES], "worker 0 ended with code 75", 1),
        (["sys.exit(2)", SAVES], "worker 0 ended with code 2", 2),
        (["sys.exit(75)", "time.sleep(.1); sys.exit(2)"], "worker 1 ended with code 2", 2),
    ],
)
def test_the_one_that_failed_first_is_named(
    tmp_path: Path, sources: list[str], expected: str, exit_code: int
) -> None:
    code, _, errors = run_driver(tmp_path, *sources)
    assert (code, expected in errors) == (exit_code, True), errors


def test_who_is_done_waits_for_the_others(tmp_path: Path) -> None:
    code, out, errors = run_driver(tmp_path, "pass", "time.sleep(0.3); print('done')")
    assert (code, out, errors) == (0, "[worker 1] done\n", "")


FAILS_TWICE = """
tries = len(list(Path('.').glob('try*')))
Path(f'try{tries}').touch()
if tries < 2: os.kill(os.getpid(), 9)
"""


def test_all_start_again_after_a_failure(tmp_path: Path) -> None:
    code, _, errors = run_driver(tmp_path, "time.sleep(0.1)", FAILS_TWICE, restarts=3)
    assert code == 0
    assert re.findall(r"restart \d of \d", errors) == ["restart 1 of 3", "restart 2 of 3"]


def test_restarts_end(tmp_path: Path) -> None:
    code, _, errors = run_driver(tmp_path, FAILS_TWICE, restarts=1)
    assert code == 1
    assert errors.count("was killed by signal 9") == 2


@pytest.mark.parametrize(("ends", "exit_code"), [(2, 2), (130, 1), (143, 1)])
def test_no_restart_after_a_mistake_or_on_request(
    tmp_path: Path, ends: int, exit_code: int
) -> None:
    code, _, errors = run_driver(tmp_path, f"sys.exit({ends})", restarts=3)
    assert code == exit_code
    assert "restart" not in errors


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_request_to_stop_is_handed_on(tmp_path: Path, number: int, exit_code: int) -> None:
    process = start_driver(tmp_path, SAVES, SAVES.replace("ready", "ready too"), restarts=3)
    wait_until(lambda: (tmp_path / "ready").exists() and (tmp_path / "ready too").exists())
    process.send_signal(number)
    code, out, errors = end_of(process)
    assert code == exit_code
    assert sorted(out.splitlines()) == ["[worker 0] saved", "[worker 1] saved"]
    assert "2 still running" in errors and "restart" not in errors


def test_a_second_ctrl_c_kills_at_once(tmp_path: Path) -> None:
    says = IGNORES.replace("lambda: None", "lambda: Path('asked').touch()")
    process = start_driver(tmp_path, says)
    wait_until((tmp_path / "ready").exists)
    process.send_signal(signal.SIGINT)
    wait_until((tmp_path / "asked").exists)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert end_of(process)[0] == 130
    assert time.monotonic() - began < 20


def write_pid(name: str) -> str:
    """Source that writes the process's number, whole or not at all."""
    return f"Path('.{name}').write_text(str(os.getpid())); os.rename('.{name}', '{name}')\n"


@linux
def test_workers_die_with_a_launcher_that_is_killed(tmp_path: Path) -> None:
    sources = [write_pid(name) + IGNORES for name in ("a", "b")]
    process = start_driver(tmp_path, *sources)
    paths = [tmp_path / "a", tmp_path / "b"]
    wait_until(lambda: all(path.exists() for path in paths))
    pids = [int(path.read_text()) for path in paths]
    assert all(map(is_running, pids))
    process.kill()
    wait_until(lambda: not any(map(is_running, pids)))
    end_of(process)


@linux
def test_what_a_worker_started_goes_with_it(tmp_path: Path) -> None:
    source = """
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
Path("pid").write_text(str(child.pid))
sys.exit(1)
"""
    assert run_driver(tmp_path, source)[0] == 1
    wait_until(lambda: not is_running(int((tmp_path / "pid").read_text())))


def test_output_that_nobody_reads_stops_all(tmp_path: Path) -> None:
    process = start_driver(
        tmp_path, "on_sigterm(save_and_end)\nwhile True: print('x'); time.sleep(.05)"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "[worker 0] x\n"
    process.stdout.close()
    process.stdout = None
    code, _, errors = end_of(process)
    assert code == 128 + signal.SIGPIPE
    assert "cannot be written" in errors


def test_a_command_that_is_not_there_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    missing = Program("worker 0", ["no-such-program"], os.environ)
    with StopRequests() as stops:
        outcome = run_together([missing], stops, Printer())
    assert outcome == Outcome(codes=(127,), failed=0, stopped_by=None)
    assert "[worker 0] error: cannot run no-such-program: No such file" in capfd.readouterr().err
