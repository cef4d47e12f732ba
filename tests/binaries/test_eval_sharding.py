"""Which part `--shard` and `--output` mean, alone and on the workers of a cluster."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from eval.sharding import requested_part

LAUNCHERS = ("TF_CONFIG", "JOB_COMPLETION_INDEX", "AAD_TF_WORKERS", "AAD_TF_HOSTS")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*LAUNCHERS, *(name for name in os.environ if name.startswith("SLURM_"))]:
        monkeypatch.delenv(name, raising=False)


def test_a_part_by_hand_keeps_the_name_of_the_output():
    assert requested_part(None, "runs/x.jsonl.gz") == (None, Path("runs/x.jsonl.gz"))
    assert requested_part("3/50", "runs/x.jsonl.gz") == ((3, 50), Path("runs/x.jsonl.gz"))
    with pytest.raises(ValueError, match="number/count, from 1/50 to 50/50; got 'clusters'"):
        requested_part("clusters", "x.jsonl")


def test_workers_of_tf_config_take_one_part_each(monkeypatch):
    workers = {"worker": [f"host{number}:2222" for number in range(3)]}
    for index in range(3):
        config = {"cluster": workers, "task": {"type": "worker", "index": index}}
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
        output = Path(f"x.{index + 1}-of-3.jsonl.gz")
        assert requested_part("cluster", "x.jsonl.gz") == ((index + 1, 3), output)


def test_pods_of_an_indexed_job_take_one_part_each(monkeypatch):
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "49")
    monkeypatch.setenv("AAD_TF_WORKERS", "50")
    monkeypatch.setenv("AAD_TF_HOSTS", "evaluate-{index}.evaluate:2222")
    assert requested_part("cluster", "x.jsonl") == ((50, 50), Path("x.50-of-50.jsonl"))


def test_without_a_cluster_the_error_says_what_to_do():
    with pytest.raises(ValueError, match="looked for TF_CONFIG.* by hand: --shard=1/50"):
        requested_part("cluster", "x.jsonl")
