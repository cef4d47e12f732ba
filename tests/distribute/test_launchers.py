"""Each launcher's variables give the workers' addresses, or an error that says what to do."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from aad_tf.distribute import Cluster, ClusterError, find_cluster

TWO = ["10.0.0.1:2222", "10.0.0.2:2222"]


def tf_config(cluster: Any, kind: Any = "worker", index: Any = 0) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


def test_tf_config_with_workers() -> None:
    cluster = find_cluster(tf_config({"worker": TWO}, index=1))
    assert cluster == Cluster(tuple(TWO), 1, "TF_CONFIG")
    assert (cluster.size, cluster.is_chief) == (2, False)
    assert cluster.name(1) == "worker 1 (10.0.0.2:2222)"


@pytest.mark.parametrize(
    ("kind", "index", "expected"), [("chief", 0, 0), ("worker", 0, 1), ("worker", "1", 2)]
)
def test_the_chief_of_tf_config_is_worker_0(kind: str, index: Any, expected: int) -> None:
    jobs = {"worker": TWO, "chief": ["chief:1"], "ps": []}
    cluster = find_cluster(tf_config(jobs, kind, index))
    assert cluster.addresses == ("chief:1", *TWO)
    assert cluster.index == expected


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"TF_CONFIG": "{"}, "is malformed: it is not JSON"),
        ({"TF_CONFIG": "[" * 100_000}, "is malformed: it is not JSON"),
        ({"TF_CONFIG": "[]"}, "is malformed: TF_CONFIG needs 'cluster'"),
        ({"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}}'}, "TF_CONFIG needs 'task'"),
        (tf_config({"worker": TWO}, None), "the task of TF_CONFIG needs 'type'"),
        (tf_config({"worker": TWO}, index=None), "index is None, not a whole number"),
        (tf_config({"worker": TWO}, index=True), "index is True, not a whole number"),
        (tf_config({"worker": TWO}, index=2), r"worker 2, but lists 2 .* in \[0, 2\)"),
        (tf_config({"worker": TWO, "chief": ["a:1"]}, index=-1), "this is worker -1"),
        (tf_config({"worker": TWO}, "chief"), "chief 0, which the cluster does not list"),
        (tf_config({"worker": TWO}, "evaluator"), "task of type 'evaluator'"),
        (tf_config({"worker": TWO, "ps": ["a:1"]}), r"job\(s\) ps"),
        (tf_config({"worker": TWO, "evaluator": ["a:1"]}), r"job\(s\) evaluator"),
        (tf_config({"chief": TWO}), "lists 2 chiefs"),
        (tf_config({"worker": {"1": "a:1"}}, index=1), "'worker' is not a list of addresses"),
        (tf_config({"worker": []}), "lists no workers"),
        (tf_config({"worker": ["a:1", "b:1", "a:1"]}), "lists a:1 more than once"),
        (tf_config({"worker": ["10.0.0.1"]}), "expected host:port"),
        (tf_config({"worker": ["10.0.0.1:0"]}), r"expected host:port with a port in \[1, 65535\]"),
        (tf_config({"worker": ["10.0.0.1:70000"]}), "expected host:port"),
        (tf_config({"worker": ["http://a:80"]}), "expected host:port"),
        (tf_config({"worker": ["fe80::1:2222"]}), r"in brackets, as in \[fe80::1\]:2222"),
        ({}, "(?s)No cluster was found.*TF_CONFIG.*Kubernetes.*Slurm.*train.local_cluster"),
        ({"TF_CONFIG": " "}, "No cluster was found"),
    ],
)
def test_what_is_wrong_with_tf_config_is_said(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        find_cluster(environment)


def test_ipv6_addresses_stand_in_brackets() -> None:
    assert find_cluster(tf_config({"worker": ["[fe80::1]:2222"]})).size == 1


KUBERNETES = {
    "JOB_COMPLETION_INDEX": "2",
    "AAD_TF_WORKERS": "3",
    "AAD_TF_HOSTS": "train-{index}.train:2222",
}


def test_kubernetes_indexed_job() -> None:
    cluster = find_cluster(KUBERNETES)
    assert cluster.addresses == ("train-0.train:2222", "train-1.train:2222", "train-2.train:2222")
    assert cluster.index == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"AAD_TF_WORKERS": ""}, "AAD_TF_WORKERS is missing"),
        ({"JOB_COMPLETION_INDEX": ""}, "JOB_COMPLETION_INDEX is missing.*completionMode: Indexed"),
        ({"AAD_TF_WORKERS": "three"}, "AAD_TF_WORKERS is 'three'; expected a whole number"),
        ({"AAD_TF_WORKERS": "0"}, "lists no workers"),
        ({"JOB_COMPLETION_INDEX": "3"}, "this is worker 3, but lists 3"),
        ({"AAD_TF_HOSTS": "train:2222"}, r"must hold \{index\}"),
        ({"AAD_TF_HOSTS": "train-{index}"}, "expected host:port"),
    ],
)
def test_what_is_wrong_with_an_indexed_job_is_said(change: dict[str, str], message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        find_cluster({**KUBERNETES, **change})


def test_tf_config_comes_before_kubernetes_and_kubernetes_before_slurm() -> None:
    slurm = {"SLURM_JOB_ID": "7"}
    both = {**KUBERNETES, **slurm, **tf_config({"worker": TWO})}
    assert find_cluster(both).source == "TF_CONFIG"
    assert find_cluster({**KUBERNETES, **slurm}).source.startswith("the Kubernetes Job")


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
        (step("n[1-2]", "1(x2)", 3, 0), "3 tasks on 2 nodes, of which 2 have 2"),
        (step("n[1-2]", "many", 2, 0), "make no cluster"),
        (step("n[1-2]", "1(x2)", 2, 2), "this is worker 2, but lists 2"),
        (
            {**step("n1", "1", 1, 0), "SLURM_PROCID": "x"},
            "SLURM_PROCID is 'x'; expected",
        ),
        (step("n1", "1", 1, 0, AAD_TF_SLURM_PORT="x"), "AAD_TF_SLURM_PORT is 'x'"),
        (step("n1", "1", 1, 0, AAD_TF_SLURM_PORT="70000"), "expected host:port"),
    ],
)
def test_what_is_wrong_with_a_step_is_said(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        find_cluster(environment)
