"""The Slurm batch script, with programs instead of Slurm's that start real worker processes."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launch.running import ROOT, end_of, start, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs setsid")
SCRIPT = ROOT / "train" / "launch" / "slurm.sh"
# As srun: a process group per task, and the highest exit code of all.
SRUN = """#!/usr/bin/env bash
printf '%s\\n' "$@" > srun
highest=0
while [[ $1 == --* ]]; do shift; done
for ((i = 0; i < SLURM_JOB_NUM_NODES; i++)); do
    SLURM_PROCID=$i setsid "$@" &
    tasks+=($!)
done
echo "${tasks[*]}" > tasks
for task in "${tasks[@]}"; do
    wait "$task"
    code=$?
    ((code > highest)) && highest=$code
done
exit "$highest"
"""
# As scancel where Slurm signals a task's first process only, and never the batch script.
SCANCEL = """#!/usr/bin/env bash
echo "$@" > scancel
for task in $(< tasks); do kill -TERM "$task"; done
"""
SCONTROL = """#!/usr/bin/env bash
echo "$@" >> scontrol
"""
WORKER = """#!/usr/bin/env bash
printf '%s\\n' "$@" > "worker$SLURM_PROCID"
codes=($CODES)
code=${codes[SLURM_PROCID]}
if [[ $code == wait ]]; then
    trap 'echo saved; exit 143' TERM
    touch "ready$SLURM_PROCID"
    while true; do sleep 0.05; done
fi
exit "$code"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to submit from, with the programs that the script calls."""
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "main.py").touch()
    (tmp_path / "bin").mkdir()
    programs = {"srun": SRUN, "scancel": SCANCEL, "scontrol": SCONTROL, "worker": WORKER}
    for name, text in programs.items():
        path = tmp_path / "bin" / name
        path.write_text(text)
        path.chmod(0o755)
    return tmp_path


def submit(
    folder: Path, *arguments: str, codes: str = "0 0", **environment: str
) -> subprocess.Popen[str]:
    """Runs the script as the first node of a job of two would."""
    settings = {
        "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
        "PYTHON": "bin/worker",
        "SLURM_JOB_ID": "17",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "16",
        "CODES": codes,
    }
    return start(["bash", str(SCRIPT), *arguments], folder, **{**settings, **environment})


def recorded(folder: Path, name: str) -> list[str]:
    path = folder / name
    return path.read_text().splitlines() if path.exists() else []


def test_one_worker_per_node_gets_the_flags(folder: Path) -> None:
    settings = {"CONFIG": "c.py:p", "MODEL_DIR": "shared/run", "DATA_DIR": "shared/data"}
    code, _, errors = end_of(submit(folder, "--config.name=a b", **settings))
    assert code == 0, errors
    options = recorded(folder, "srun")
    assert options[: options.index("bash")] == [
        "--ntasks=2",
        "--ntasks-per-node=1",
        "--cpus-per-task=16",
        "--kill-on-bad-exit=0",
        "--wait=600",
        "--label",
    ]
    for index in (0, 1):
        assert recorded(folder, f"worker{index}") == [
            "-m",
            "train.main",
            "--strategy=multi_worker",
            "--config=c.py:p",
            "--model_dir=shared/run",
            "--data_dir=shared/data",
            "--config.name=a b",
        ]
    assert recorded(folder, "scontrol") == []


@pytest.mark.parametrize(
    ("codes", "starts_before", "exit_code", "requeued"),
    [
        ("2 2", 0, 2, False),
        ("75 2", 0, 2, False),
        ("2 137", 0, 2, False),
        ("143 2", 0, 2, False),
        ("143 143", 0, 143, True),
        ("143 143", 99, 143, True),
        ("75 1", 0, 75, True),
        ("137 75", 0, 137, True),
        ("137 75", 20, 137, False),
        ("0 1", 0, 1, True),
    ],
)
def test_the_exit_codes_decide_about_another_start(
    folder: Path, codes: str, starts_before: int, exit_code: int, requeued: bool
) -> None:
    process = submit(folder, codes=codes, SLURM_RESTART_COUNT=str(starts_before))
    code, _, errors = end_of(process)
    assert code == exit_code, errors
    assert recorded(folder, "scontrol") == (["requeue 17"] if requeued else [])


def test_who_cancels_lets_workers_save_and_is_not_overruled(folder: Path) -> None:
    process = submit(folder, codes="wait wait")
    wait_until(lambda: (folder / "ready0").exists() and (folder / "ready1").exists())
    wait_until((folder / "tasks").exists)
    process.send_signal(signal.SIGTERM)
    code, out, errors = end_of(process)
    assert code == 143, errors
    assert recorded(folder, "scancel") == ["--signal=TERM 17"]
    assert out.splitlines() == ["saved", "saved"]
    assert recorded(folder, "scontrol") == []


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SLURM_JOB_ID": ""}, "sbatch train/launch/slurm.sh"),
        ({"PYTHON": "bin/none"}, "there is no bin/none"),
    ],
)
def test_mistakes_are_named(folder: Path, environment: dict[str, str], expected: str) -> None:
    code, _, errors = end_of(submit(folder, **environment))
    assert code == 2
    assert expected in errors
    assert recorded(folder, "srun") == recorded(folder, "scontrol") == []


def test_the_script_asks_slurm_for_what_it_relies_on() -> None:
    options = re.findall(r"^#SBATCH (\S+)$", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)
    assert {"--requeue", "--open-mode=append", "--signal=TERM@120"} <= set(options)
    assert "--ntasks-per-node=1" in options
    names = [option.partition("=")[0] for option in options]
    assert {"--nodes", "--time", "--cpus-per-task", "--output"} <= set(names)
