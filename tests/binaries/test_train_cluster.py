"""train.main on several workers as a user runs it: real processes, real kills, real signals."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from train.launch.local import worker_environments

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 240
pytestmark = pytest.mark.distributed
FLAGS = [
    "--config=train/configs/digits.py:clean",
    "--config.epochs=6",
    "--config.batch_size=50",
    "--config.checkpoint_steps=20",
    "--config.validation_examples=31",
]
Worker = subprocess.Popen[str]


def weights_of(directory: Path) -> list[np.ndarray]:
    from aad_tf.model_directory import load_classifier

    return load_classifier(directory)[0].model.get_weights()


def assert_same_weights(found: Path, expected: Path) -> None:
    for one, other in zip(weights_of(found), weights_of(expected), strict=True):
        np.testing.assert_array_equal(one, other)


def default_signals() -> None:
    """Ctrl-C reaches children also where the tests run in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(command: Sequence[str], environment: dict[str, str] | None = None) -> Worker:
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=default_signals,
    )


def launch(directory: Path, *flags: str) -> Worker:
    launcher = [sys.executable, "-m", "train.local_cluster", "--workers=2", *flags, "--"]
    return start([*launcher, *FLAGS, f"--model_dir={directory}"])


def output_of(process: Worker) -> str:
    return process.communicate(timeout=SECONDS)[0]


def wait_for_checkpoint(directory: Path, process: Worker) -> None:
    deadline = time.monotonic() + SECONDS
    while not list(directory.glob("checkpoints/*.index")):
        assert process.poll() is None, output_of(process)
        assert time.monotonic() < deadline
        time.sleep(0.05)


def children_of(process: Worker) -> list[int]:
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(number) for number in path.read_text().split()]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cluster") / "uninterrupted"
    process = launch(directory)
    output = output_of(process)
    assert process.returncode == 0, output
    return directory


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers in Linux's /proc")
def test_a_killed_worker_is_named_and_the_run_ends_as_if_nothing_had_been(
    uninterrupted: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    process = launch(directory, "--restarts=2")
    wait_for_checkpoint(directory, process)
    os.kill(children_of(process)[1], signal.SIGKILL)
    output = output_of(process)
    assert process.returncode == 0, output
    assert re.search(r"\[worker 0\] error: worker 1 \(127.0.0.1:\d+\) was lost", output), output
    assert "Resuming at epoch" in output
    assert_same_weights(directory, uninterrupted)


def test_sigterm_saves_and_a_damaged_checkpoint_is_passed_over(
    uninterrupted: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    process = launch(directory)
    wait_for_checkpoint(directory, process)
    process.send_signal(signal.SIGTERM)
    output = output_of(process)
    assert process.returncode == 128 + signal.SIGTERM, output
    assert output.count("training is saved") == 2, output
    newest = max(directory.glob("checkpoints/*.data-*"), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:1000])
    process = launch(directory)
    output = output_of(process)
    assert process.returncode == 0, output
    assert output.count("trying the one before") == 2, output
    assert_same_weights(directory, uninterrupted)


@pytest.fixture
def pair() -> Iterator[list[Worker]]:
    """Workers of one cluster, started by hand; none is left behind."""
    workers: list[Worker] = []
    yield workers
    for worker in workers:
        worker.kill()
        worker.wait()


def start_pair(pair: list[Worker], own_flags: Sequence[Sequence[str]]) -> list[str]:
    """Starts a worker for each list of flags; returns their addresses."""
    environments = worker_environments([[], []])
    command = [sys.executable, "-m", "train.main", "--strategy=multi_worker", *FLAGS]
    for environment, flags in zip(environments, own_flags, strict=False):
        pair.append(start([*command, *flags], environment))
    return re.findall(r"127\.0\.0\.1:\d+", environments[0]["TF_CONFIG"])


def test_workers_of_different_configs_refuse_to_train(pair: list[Worker], tmp_path: Path) -> None:
    directory = f"--model_dir={tmp_path / 'run'}"
    start_pair(pair, [[directory], [directory, "--config.learning_rate=0.5"]])
    for worker in pair:
        output = output_of(worker)
        assert worker.returncode == 2, output
        assert "config.learning_rate" in output and "worker 1" in output
        assert "0.5" in output and "0.001" in output
    assert not (tmp_path / "run").exists()


def test_an_absent_worker_is_named(pair: list[Worker], tmp_path: Path) -> None:
    where = start_pair(pair, [[f"--model_dir={tmp_path / 'run'}", "--join_timeout=2"]])
    output = output_of(pair[0])
    assert pair[0].returncode == 75, output
    assert f"worker 1 ({where[1]}) did not join within 2 seconds" in output


def test_a_directory_that_is_not_shared_is_told(pair: list[Worker], tmp_path: Path) -> None:
    flags = [[f"--model_dir={tmp_path / name}", "--join_timeout=8"] for name in ("one", "other")]
    start_pair(pair, flags)
    outputs = [output_of(worker) for worker in pair]
    assert [worker.returncode for worker in pair] == [75, 2], outputs
    assert "does not see what worker 0" in outputs[1]
    assert "Every worker needs the same --model_dir" in outputs[1]
    assert "worker 1" in outputs[0]


def test_a_worker_that_hangs_is_named_within_the_stated_time(
    pair: list[Worker], tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    flags = [f"--model_dir={directory}", "--lost_after=3", "--config.epochs=1000"]
    where = start_pair(pair, [flags, flags])
    wait_for_checkpoint(directory, pair[0])
    pair[1].send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    output = output_of(pair[0])
    # 3 seconds of silence, 15 for TensorFlow to fail by itself, and a margin for a busy machine.
    assert time.monotonic() - stopped < 3 + 15 + 30
    assert pair[0].returncode == 75, output
    assert f"worker 1 ({where[1]}) was lost: nothing was heard of it for 3 seconds" in output


def test_a_worker_that_dies_while_they_connect_is_named(tmp_path: Path) -> None:
    """TensorFlow would wait for it, and hold Python's lock meanwhile."""
    environments = worker_environments([[], []])
    connect = (
        "import sys; from aad_tf.cluster import find_cluster; "
        "from aad_tf.distribute import create_strategy; "
        "create_strategy('multi_worker', find_cluster(), 3.0)"
    )
    alone = start([sys.executable, "-c", connect], environments[0])
    began = time.monotonic()
    output = output_of(alone)
    assert time.monotonic() - began < 3 + 5 + 60
    assert alone.returncode == 1, output
    address = re.findall(r"127\.0\.0\.1:\d+", environments[0]["TF_CONFIG"])[1]
    assert f"worker 1 ({address}) was lost while the workers connected" in output


def test_a_port_that_is_taken_is_told(pair: list[Worker], tmp_path: Path) -> None:
    environment = worker_environments([[], []])[0]
    address = re.findall(r"127\.0\.0\.1:(\d+)", environment["TF_CONFIG"])[0]
    command = [sys.executable, "-m", "train.main", "--strategy=multi_worker", *FLAGS]
    with socket.create_server(("127.0.0.1", int(address))):
        pair.append(start([*command, f"--model_dir={tmp_path / 'run'}"], environment))
        output = output_of(pair[0])
    assert pair[0].returncode == 2, output
    assert f"Port {address} of worker 0" in output and "another port" in output


def test_sigterm_ends_a_worker_that_waits_for_the_others(
    pair: list[Worker], tmp_path: Path
) -> None:
    environment = worker_environments([[], []])[0]
    command = [sys.executable, "-m", "train.main", "--strategy=multi_worker", *FLAGS]
    pair.append(start([*command, f"--model_dir={tmp_path / 'run'}"], environment))
    control = ("127.0.0.1", int(environment["AAD_TF_CONTROL_PORT"]))
    deadline = time.monotonic() + SECONDS
    waiting = False
    while not waiting:
        assert pair[0].poll() is None and time.monotonic() < deadline
        with socket.socket() as caller:
            waiting = caller.connect_ex(control) == 0
        time.sleep(0.1)
    pair[0].send_signal(signal.SIGTERM)
    output = output_of(pair[0])
    assert pair[0].returncode == 128 + signal.SIGTERM, output
    assert "told to end" in output


def test_flags_that_are_wrong_end_like_every_mistake() -> None:
    process = start([sys.executable, "-m", "train.main", "--strategy=many", *FLAGS])
    output = output_of(process)
    assert process.returncode == 2, output
    assert output.splitlines()[-1].startswith("error: ") and "--strategy" in output
