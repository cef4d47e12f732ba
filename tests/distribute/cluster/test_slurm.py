"""Slurm's variables for a job step, as srun sets them, give each task its own address."""

from __future__ import annotations

import logging
import os

import pytest

from aad_tf.distribute import ClusterError, find_cluster


def step(nodes: str, tasks: str, num_tasks: int, index: int, **others: str) -> dict[str, str]:
    """The environment of one task of a job step."""
    return {
        "SLURM_JOB_ID": "7",
        "SLURM_PROCID": str(index),
        "SLURM_STEP_NUM_TASKS": str(num_tasks),
        "SLURM_STEP_NODELIST": nodes,
        "SLURM_STEP_TASKS_PER_NODE": tasks,
        **others,
    }


def test_one_task_per_node() -> None:
    cluster = find_cluster(step("node[01-03]", "1(x3)", 3, 2))
    assert cluster.addresses == ("node01:8888", "node02:8888", "node03:8888")
    assert cluster.index == 2


def test_several_tasks_per_node_have_different_ports() -> None:
    environment = step("m5,n[1-2]", "3,2(x2)", 7, 4, AAD_TF_SLURM_PORT="2222")
    cluster = find_cluster(environment)
    assert cluster.addresses == (
        *("m5:2222", "m5:2223", "m5:2224"),
        *("n1:2222", "n1:2223"),
        *("n2:2222", "n2:2223"),
    )
    assert cluster.name(cluster.index) == "worker 4 (n1:2223)"


def test_nodes_stay_in_the_order_in_which_slurm_counts_tasks() -> None:
    nodes = step("n[9-10],a1", "2,1,1", 4, 2, SLURM_NODEID="1", SLURM_LOCALID="0")
    cluster = find_cluster(nodes)
    assert cluster.addresses == ("n9:8888", "n9:8889", "n10:8888", "a1:8888")


def test_tasks_dealt_out_in_turn_are_refused() -> None:
    cyclic = step("n[1-2]", "2(x2)", 4, 1, SLURM_NODEID="1", SLURM_LOCALID="0")
    with pytest.raises(ClusterError, match="task 0 of n2.*--distribution=block"):
        find_cluster(cyclic)


def test_the_process_keeps_its_own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_PROCID", "5")
    monkeypatch.delenv("SLURM_STEP_NODELIST", raising=False)
    before = dict(os.environ)
    find_cluster(step("n[1-2]", "1(x2)", 2, 0, CUDA_VISIBLE_DEVICES="0"))
    assert dict(os.environ) == before


def test_gpus_that_several_tasks_share_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    shared = step("n1", "2", 2, 0, CUDA_VISIBLE_DEVICES="0,1")
    with caplog.at_level(logging.WARNING, "aad_tf"):
        find_cluster({**shared, "SLURM_GPUS_PER_TASK": "2"})
        find_cluster(step("n[1-2]", "1(x2)", 2, 0, CUDA_VISIBLE_DEVICES="0,1"))
        assert caplog.messages == []
        find_cluster(shared)
    assert "The 2 workers on n1 all see the GPUs 0,1" in caplog.text


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"SLURM_JOB_ID": "7"}, "without SLURM_PROCID.*with srun"),
        ({"SLURM_JOB_ID": "7", "SLURM_PROCID": "0"}, "without SLURM_STEP_NUM_TASKS"),
        (step("n[1-2", "1(x2)", 2, 0), "make no cluster.*SLURM_STEP_NODELIST=n\\[1-2"),
        (step("n[1-2]", "1(x2)", 3, 0), "Requested 3 tasks but only 2"),
        (step("n[1-2]", "many", 2, 0), "make no cluster"),
        (step("n[1-2]", "1(x2)", 2, 2), "this is worker 2, but lists 2"),
        ({**step("n1", "1", 1, 0), "SLURM_PROCID": "x"}, "make no cluster.*SLURM_PROCID=x"),
        (step("n1", "1", 1, 0, AAD_TF_SLURM_PORT="x"), "AAD_TF_SLURM_PORT is 'x'"),
        (step("n1", "1", 1, 0, AAD_TF_SLURM_PORT="70000"), "expected host:port"),
    ],
)
def test_what_is_wrong_with_a_step_is_said(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        find_cluster(environment)
