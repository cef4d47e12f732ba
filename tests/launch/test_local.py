"""The local cluster: real processes that print, crash, hang and are killed."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.launch.running import ROOT, SECONDS, end_of, start, wait_until
from train.launch import local

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

# The launcher, in a separate process: each worker runs the source at its index.
LAUNCHER = """
import json, os, sys
from train.launch import local
options = json.loads(sys.argv[1])
# Python without site-packages starts sooner, and these programs need none.
command = [sys.executable, "-I", "-S", "-u", "-c", options["worker"], *options["sources"]]
cores = [[]] * len(options["sources"])
sys.exit(local.run(command, cores, options["restarts"], options["grace_seconds"]))
"""
WORKER = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
def on_sigterm(action):
    signal.signal(signal.SIGTERM, lambda *_: action())
def save_and_end():
    print("saved", flush=True)
    os._exit(143)
def wait_for(name):
    while not Path(name).exists():
        time.sleep(0.01)
def create(name, text=""):
    Path("." + name).write_text(text)
    os.rename("." + name, name)
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
exec(sys.argv[1 + index])
"""
SAVES = "on_sigterm(save_and_end); create(f'ready{index}'); time.sleep(600)"
IGNORES = "on_sigterm(lambda: create('asked')); create(f'ready{index}', str(os.getpid()))\n"
IGNORES += "while True: time.sleep(600)"


def launch(
    directory: Path, *sources: str, restarts: int = 0, grace_seconds: float = SECONDS
) -> subprocess.Popen[str]:
    """Starts the launcher with a worker for each source."""
    options = {"worker": WORKER, "sources": sources, "restarts": restarts}
    options["grace_seconds"] = grace_seconds
    return start([sys.executable, "-c", LAUNCHER, json.dumps(options)], directory)


def launched(directory: Path, *sources: str, restarts: int = 0) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the launcher, at its end."""
    return end_of(launch(directory, *sources, restarts=restarts))


def test_free_ports_are_different_and_free() -> None:
    ports = local.free_ports(20)
    assert len(set(ports)) == 20
    sockets = [socket.create_server(("127.0.0.1", port)) for port in ports]
    assert not set(local.free_ports(20)) & set(ports)
    for opened in sockets:
        opened.close()


def test_workers_find_each_other_and_keep_their_memory() -> None:
    environments = local.worker_environments([[]] * 3)
    configs = [json.loads(environment["TF_CONFIG"]) for environment in environments]
    addresses = configs[0]["cluster"]["worker"]
    assert [config["task"]["index"] for config in configs] == [0, 1, 2]
    assert {config["task"]["type"] for config in configs} == {"worker"}
    assert all(config["cluster"] == {"worker": addresses} for config in configs)
    assert len(set(addresses)) == 3
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+", address) for address in addresses)
    assert environments[1]["MALLOC_MMAP_MAX_"] == "0"
    assert environments[1]["MALLOC_TRIM_THRESHOLD_"] == "2147483647"
    again = json.loads(local.worker_environments([[]])[0]["TF_CONFIG"])
    assert again["cluster"]["worker"][0] not in addresses


def test_threads_are_limited_only_where_cores_are_pinned() -> None:
    free, pinned = local.worker_environments([[], [4, 5, 6]])
    assert "OMP_NUM_THREADS" not in free and "TF_NUM_INTRAOP_THREADS" not in free
    assert pinned["OMP_NUM_THREADS"] == pinned["TF_NUM_INTRAOP_THREADS"] == "3"


def test_cores_are_split_evenly_and_each_is_used_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 3, 5, 7, 11}, raising=False)
    assert local.split_cores(2) == [[2, 3], [5, 7, 11]]
    assert local.split_cores(5) == [[2], [3], [5], [7], [11]]
    with pytest.raises(ValueError, match="each of the 6 workers, and there are 5"):
        local.split_cores(6)
    monkeypatch.delattr(os, "sched_getaffinity")
    with pytest.raises(ValueError, match="Linux only"):
        local.split_cores(2)


@pytest.mark.skipif(not CORES, reason="needs sched_getaffinity")
def test_workers_run_on_their_cores(capfd: pytest.CaptureFixture[str]) -> None:
    source = "import os; print(sorted(os.sched_getaffinity(0)), os.environ['OMP_NUM_THREADS'])"
    cores = local.split_cores(min(2, len(CORES)))
    assert local.run([sys.executable, "-I", "-S", "-c", source], cores) == 0
    expected = [f"[worker {i}] {own} {len(own)}" for i, own in enumerate(cores)]
    assert sorted(capfd.readouterr().out.splitlines()) == expected


def test_a_command_that_is_not_there_is_an_error() -> None:
    with pytest.raises(OSError, match="no-such-program"):
        local.run(["no-such-program"], [[]])


# Output -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"a\nb\n"], [b"a", b"b"]),
        ([b"a", b"b\nc"], [b"ab", b"c"]),
        ([b"a\r\nb\r", b"\nc\r\n"], [b"a", b"b", b"c"]),
        ([b"\n\na\n"], [b"", b"", b"a"]),
        ([b"no end"], [b"no end"]),
        ([b"end with \r"], [b"end with "]),
        ([], []),
        # A progress bar: one of its first states, then not again so soon, and its last.
        ([b"10%\r", b"20%\r", b"30%\r", b"100%\n"], [b"10%", b"100%"]),
        ([b"\r10%", b"\r20%", b"\r30%"], [b"10%", b"30%"]),
        ([b"10%\r20%\r", b"   \r", b"done\n"], [b"10%", b"done"]),
        ([b"10%\r", b"   \r", b"\n", b"done\n"], [b"10%", b"done"]),
    ],
)
def test_lines_known_answers(pieces: list[bytes], expected: list[bytes]) -> None:
    assert list(local.lines_of(pieces)) == expected


def test_a_progress_bar_is_shown_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "UPDATE_SECONDS", 0.0)
    pieces = [b"1\r", b"2\r", b"3\r4\n", b"5\n"]
    assert list(local.lines_of(pieces)) == [b"1", b"4", b"5"]


@given(st.lists(st.binary(max_size=6)), st.sampled_from([b"\n", b"\r\n"]), st.data())
def test_lines_do_not_depend_on_where_the_stream_is_cut(
    texts: list[bytes], end: bytes, data: st.DataObject
) -> None:
    texts = [text.replace(b"\n", b"").replace(b"\r", b"") for text in texts]
    stream = b"".join(text + end for text in texts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert list(local.lines_of(pieces)) == [text if text.strip() else b"" for text in texts]


def test_all_lines_arrive_whole_and_named(tmp_path: Path) -> None:
    source = """
for number in range(100):
    stream = (sys.stdout, sys.stderr)[number % 2]
    stream.write("line")
    stream.flush()
    stream.write(f" {number}" + chr(10))
sys.stdout.write("no end")
"""
    code, out, errors = launched(tmp_path, source, source)
    assert code == 0
    for index in (0, 1):
        prefix = f"[worker {index}] "
        own = [line for line in out.splitlines() if line.startswith(prefix)]
        assert own == [f"{prefix}line {n}" for n in range(0, 100, 2)] + [prefix + "no end"]
        own = [line for line in errors.splitlines() if line.startswith(prefix)]
        assert own == [f"{prefix}line {n}" for n in range(1, 100, 2)]
    assert (len(out.splitlines()), len(errors.splitlines())) == (102, 100)


def test_output_that_nobody_reads_stops_all(tmp_path: Path) -> None:
    process = launch(tmp_path, "on_sigterm(save_and_end)\nwhile True: print('x'); time.sleep(.05)")
    assert process.stdout is not None
    assert process.stdout.readline() == "[worker 0] x\n"
    process.stdout.close()
    process.stdout = None
    code, _, errors = end_of(process)
    assert code == 128 + signal.SIGPIPE
    assert errors.count("cannot be written") == 1


# Failures and restarts ----------------------------------------------------------------------


def test_when_one_fails_the_others_save_and_end(tmp_path: Path) -> None:
    code, out, errors = launched(tmp_path, SAVES, "wait_for('ready0'); print('last'); sys.exit(3)")
    assert code == 1
    assert "[launcher] worker 1 ended with code 3; 1 still running" in errors
    assert sorted(out.splitlines()) == ["[worker 0] saved", "[worker 1] last"]


def test_who_ignores_sigterm_is_killed_after_the_grace_period(tmp_path: Path) -> None:
    process = launch(tmp_path, IGNORES, "wait_for('ready0'); sys.exit(3)", grace_seconds=0.5)
    wait_until((tmp_path / "ready0").exists)
    began = time.monotonic()
    assert end_of(process)[0] == 1
    assert 0.5 <= time.monotonic() - began < 20


LOSES = "create('gone'); sys.exit(75)"


@pytest.mark.parametrize(
    ("sources", "expected", "exit_code"),
    [
        (["os.kill(os.getpid(), 9)", SAVES], "worker 0 was killed by signal 9", 1),
        (["sys.exit(75)"] * 2, "ended with code 75 (it lost another worker: see its message)", 1),
        # Who lost a worker may say so before the lost one is seen to have ended.
        ([LOSES, "wait_for('gone'); time.sleep(.2); sys.exit(4)"], "worker 1 ended with code 4", 1),
        ([LOSES, SAVES], "worker 0 ended with code 75", 1),
        (["sys.exit(2)", SAVES], "worker 0 ended with code 2", 2),
        ([LOSES, "wait_for('gone'); sys.exit(2)"], "worker 1 ended with code 2", 2),
        (["sys.exit(0)", "time.sleep(.2)"], "", 0),
    ],
)
def test_the_one_that_failed_first_is_named(
    tmp_path: Path, sources: list[str], expected: str, exit_code: int
) -> None:
    code, _, errors = launched(tmp_path, *sources)
    assert (code, expected in errors) == (exit_code, True), errors


FAILS_TWICE = """
tries = len(list(Path('.').glob('try*')))
Path(f'try{tries}').touch()
if tries < 2: os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(
    ("sources", "restarts", "exit_code", "restarted"),
    [
        (["time.sleep(0.1)", FAILS_TWICE], 3, 0, ["1 of 3", "2 of 3"]),
        ([FAILS_TWICE], 1, 1, ["1 of 1"]),
        # Neither after a mistake of the user's nor where somebody asked for the end.
        (["sys.exit(2)"], 3, 2, []),
        # The one with the mistake takes longer to end than the one that lost it.
        (["sys.exit(75)", "on_sigterm(lambda: 0); time.sleep(2.5); sys.exit(2)"], 1, 2, []),
        (["sys.exit(130)"], 3, 1, []),
        (["sys.exit(143)"], 3, 1, []),
    ],
)
def test_all_start_again_after_a_failure(
    tmp_path: Path, sources: list[str], restarts: int, exit_code: int, restarted: list[str]
) -> None:
    code, _, errors = launched(tmp_path, *sources, restarts=restarts)
    assert code == exit_code
    assert re.findall(r"restart (\d of \d)", errors) == restarted


def test_an_output_that_is_full_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    options = {"worker": WORKER, "restarts": 0, "grace_seconds": SECONDS}
    options["sources"] = ["print('\\n'.join(map(str, range(40_000))))"]
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, json.dumps(options)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=writing,
    )
    os.close(writing)
    # Far more is written meanwhile than a pipe holds.
    time.sleep(1.0)
    with open(reading, encoding="utf-8") as output:
        lines = output.read().splitlines()
    assert launcher.wait(SECONDS) == 0
    assert lines == [f"[worker 0] {number}" for number in range(40_000)]


# Requests to stop ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_request_to_stop_is_handed_on(tmp_path: Path, number: int, exit_code: int) -> None:
    process = launch(tmp_path, SAVES, SAVES, restarts=3)
    wait_until(lambda: (tmp_path / "ready0").exists() and (tmp_path / "ready1").exists())
    process.send_signal(number)
    code, out, errors = end_of(process)
    assert code == exit_code
    assert sorted(out.splitlines()) == ["[worker 0] saved", "[worker 1] saved"]
    assert "2 still running" in errors and "restart" not in errors


def test_a_second_ctrl_c_kills_at_once(tmp_path: Path) -> None:
    process = launch(tmp_path, IGNORES)
    wait_until((tmp_path / "ready0").exists)
    process.send_signal(signal.SIGINT)
    wait_until((tmp_path / "asked").exists)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert end_of(process)[0] == 130
    assert time.monotonic() - began < 20


def is_running(pid: int) -> bool:
    """Whether a process is there and not a zombie that nobody has reaped (Linux)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@linux
def test_workers_die_with_a_launcher_that_is_killed(tmp_path: Path) -> None:
    process = launch(tmp_path, IGNORES, IGNORES)
    paths = [tmp_path / "ready0", tmp_path / "ready1"]
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
create("pid", str(child.pid))
sys.exit(1)
"""
    assert launched(tmp_path, source)[0] == 1
    wait_until(lambda: not is_running(int((tmp_path / "pid").read_text())))
