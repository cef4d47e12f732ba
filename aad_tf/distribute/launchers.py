"""Reads the workers of a run from environment variables: TF_CONFIG, Kubernetes or Slurm."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from typing import Any

from tensorflow.python.distribute.cluster_resolver import slurm_cluster_resolver

from aad_tf.distribute.cluster import Cluster, ClusterError

LOGGER = logging.getLogger(__name__)
SLURM_PORT = 8888

_EXAMPLE = (
    '{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, '
    '"task": {"type": "worker", "index": 0}}'
)
_KUBERNETES = ("JOB_COMPLETION_INDEX", "AAD_TF_WORKERS", "AAD_TF_HOSTS")
_SLURM = (
    "SLURM_PROCID",
    "SLURM_STEP_NUM_TASKS",
    "SLURM_STEP_NODELIST",
    "SLURM_STEP_TASKS_PER_NODE",
)


def find_cluster(environment: Mapping[str, str] = os.environ) -> Cluster:
    """Finds the cluster in which this process was started from its environment variables.

    The first of these that is there counts:
        TF_CONFIG, set by hand, by `train.local_cluster` or by Kubeflow's training operator;
        a Kubernetes indexed Job: JOB_COMPLETION_INDEX, which Kubernetes sets, AAD_TF_WORKERS, the
            number of workers, and AAD_TF_HOSTS, their address with `{index}` for the number of the
            worker, e.g. `train-{index}.train:2222`;
        a Slurm job step: one worker per task; ports count up on each host from AAD_TF_SLURM_PORT,
            by default 8888.

    Args:
        environment: environment variables by name.

    Returns:
        The addresses of all workers, and which of them this process is.

    Raises:
        ClusterError: none of the three is there, or the first one that is there is malformed.

    Example:
        >>> find_cluster({"TF_CONFIG": '{"cluster": {"worker": ["10.0.0.1:2222"]}, '
        ...                            '"task": {"type": "worker", "index": 0}}'}).size
        1
    """
    if environment.get("TF_CONFIG", "").strip():
        return _from_tf_config(environment["TF_CONFIG"])
    if any(name in environment for name in _KUBERNETES):
        return _from_kubernetes(environment)
    if any(name in environment for name in (*_SLURM, "SLURM_JOB_ID")):
        return _from_slurm(environment)
    raise ClusterError(
        "No cluster was found: looked for TF_CONFIG, a Kubernetes indexed Job "
        f"({', '.join(_KUBERNETES)}) and a Slurm job step (SLURM_PROCID, SLURM_STEP_NODELIST). On "
        "one machine start all workers with python -m train.local_cluster --workers=2 -- ...; on "
        f"many, set on each TF_CONFIG='{_EXAMPLE}' with its own index, or start with srun."
    )


def _from_tf_config(text: str) -> Cluster:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _malformed(f"it is not JSON ({error})") from error
    jobs = _field(config, "cluster", dict, "TF_CONFIG")
    jobs = {name: addresses for name, addresses in jobs.items() if addresses}
    others = sorted(set(jobs) - {"chief", "worker"})
    if others:
        raise ClusterError(
            f"TF_CONFIG lists the job(s) {', '.join(others)}. Synchronous training has workers "
            f"only: list them as 'worker', worker 0 perhaps as 'chief', and nothing else."
        )
    for name, addresses in jobs.items():
        if not isinstance(addresses, list) or not all(isinstance(a, str) for a in addresses):
            raise _malformed(f"the job {name!r} is not a list of addresses")
    chiefs, workers = jobs.get("chief", []), jobs.get("worker", [])
    if len(chiefs) > 1:
        raise ClusterError(
            f"TF_CONFIG lists {len(chiefs)} chiefs; one is worker 0, the others are workers."
        )
    addresses = tuple(chiefs + workers)
    return Cluster(addresses, _task_index(config, len(chiefs)), "TF_CONFIG")


def _task_index(config: dict[str, Any], num_chiefs: int) -> int:
    """Which worker the task of TF_CONFIG is, the chief counted as worker 0."""
    task = _field(config, "task", dict, "TF_CONFIG")
    kind = _field(task, "type", str, "the task of TF_CONFIG")
    index = task.get("index")
    if isinstance(index, str) and index.isascii() and index.isdigit():
        index = int(index)
    if not isinstance(index, int) or isinstance(index, bool):
        raise _malformed(f"the task's index is {index!r}, not a whole number")
    if kind == "worker":
        return index if index < 0 else index + num_chiefs
    if kind == "chief" and num_chiefs and index == 0:
        return 0
    if kind == "chief":
        raise _malformed(f"the task is chief {index}, which the cluster does not list")
    raise ClusterError(
        f"TF_CONFIG makes this process a task of type {kind!r}. Synchronous training has workers "
        f"only ('worker' or 'chief'); evaluate with eval.robustness after training."
    )


def _field(config: Any, name: str, kind: type, where: str) -> Any:
    if not isinstance(config, dict) or not isinstance(config.get(name), kind):
        raise _malformed(f"{where} needs {name!r}")
    return config[name]


def _malformed(problem: str) -> ClusterError:
    return ClusterError(f"TF_CONFIG is malformed: {problem}. Expected, for example, {_EXAMPLE}.")


def _from_kubernetes(environment: Mapping[str, str]) -> Cluster:
    missing = [name for name in _KUBERNETES if not environment.get(name, "").strip()]
    if missing:
        raise ClusterError(
            f"{', '.join(n for n in _KUBERNETES if n not in missing) or 'An empty variable'} "
            f"announces a Kubernetes indexed Job, but {', '.join(missing)} is missing. "
            "JOB_COMPLETION_INDEX comes from a Job with completionMode: Indexed; set "
            "AAD_TF_WORKERS to its number of completions and AAD_TF_HOSTS to the workers' address "
            "with {index} for the number, e.g. train-{index}.train:2222."
        )
    index, count = (_number(environment, name) for name in _KUBERNETES[:2])
    pattern = environment["AAD_TF_HOSTS"].strip()
    if "{index}" not in pattern:
        raise ClusterError(
            f"AAD_TF_HOSTS is {pattern!r}; it must hold {{index}}, which is replaced by each "
            "worker's number, e.g. train-{index}.train:2222."
        )
    addresses = tuple(pattern.replace("{index}", str(worker)) for worker in range(count))
    return Cluster(addresses, index, "the Kubernetes Job (AAD_TF_WORKERS, AAD_TF_HOSTS)")


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment[name].strip()
    if not (text.isascii() and text.isdigit()):
        raise ClusterError(f"{name} is {text!r}; expected a whole number.")
    return int(text)


def _from_slurm(environment: Mapping[str, str]) -> Cluster:
    """The cluster of a job step: a worker per task, ports upwards from AAD_TF_SLURM_PORT (8888).

    GPUs are left as Slurm gives them out.
    """
    missing = [name for name in _SLURM if not environment.get(name)]
    if missing:
        raise ClusterError(
            f"This is a Slurm job without {', '.join(missing)}: start the workers as tasks of a "
            f"job step, with srun, rather than in the batch script itself."
        )
    environment = {"AAD_TF_SLURM_PORT": str(SLURM_PORT), **environment}
    port, index, count = (_number(environment, name) for name in ("AAD_TF_SLURM_PORT", *_SLURM[:2]))
    try:
        hosts = slurm_cluster_resolver.expand_hostlist(environment["SLURM_STEP_NODELIST"])
        tasks = slurm_cluster_resolver.expand_tasks_per_node(
            environment["SLURM_STEP_TASKS_PER_NODE"]
        )
        if (len(hosts), count) != (len(tasks), sum(tasks)):
            raise ValueError(
                f"{count} tasks on {len(hosts)} nodes, of which {len(tasks)} have {sum(tasks)}"
            )
    except ValueError as error:
        given = ", ".join(f"{name}={environment[name]}" for name in _SLURM)
        raise ClusterError(f"Slurm's variables make no cluster: {error} ({given}).") from error
    addresses = [
        f"{host}:{port + task}"
        for host, on_host in zip(hosts, tasks, strict=True)
        for task in range(on_host)
    ]
    cluster = Cluster(tuple(addresses), index, "the Slurm job step")
    _check_node(cluster, hosts, port, environment)
    _warn_of_shared_gpus(cluster, environment)
    return cluster


def _check_node(
    cluster: Cluster, hosts: list[str], port: int, environment: Mapping[str, str]
) -> None:
    """Raises ClusterError if this task does not run where its address says."""
    node, task = environment.get("SLURM_NODEID", ""), environment.get("SLURM_LOCALID", "")
    if not (node.isdigit() and task.isdigit() and int(node) < len(hosts)):
        return
    actual = f"{hosts[int(node)]}:{port + int(task)}"
    if actual != cluster.addresses[cluster.index]:
        raise ClusterError(
            f"{cluster.name(cluster.index)} runs as task {task} of {hosts[int(node)]}: Slurm has "
            f"not filled one node after the other. Use srun --distribution=block."
        )


def _warn_of_shared_gpus(cluster: Cluster, environment: Mapping[str, str]) -> None:
    host = cluster.addresses[cluster.index].rpartition(":")[0]
    tasks = sum(address.rpartition(":")[0] == host for address in cluster.addresses)
    devices = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if tasks > 1 and len(devices) > 1 and "SLURM_GPUS_PER_TASK" not in environment:
        LOGGER.warning(
            "The %d workers on %s all see the GPUs %s. Give each its own with srun "
            "--gpus-per-task, or start one worker per node with all GPUs.",
            tasks,
            host,
            ",".join(devices),
        )
