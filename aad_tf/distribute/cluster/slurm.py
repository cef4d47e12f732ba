"""The cluster of a Slurm job step, as TensorFlow's own resolver reads it."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping

from aad_tf.distribute.cluster.spec import Cluster, ClusterError

LOGGER = logging.getLogger(__name__)
DEFAULT_PORT = 8888

_STEP = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE")


def is_present(environment: Mapping[str, str]) -> bool:
    """Whether this process runs under Slurm."""
    return any(name in environment for name in (*_STEP, "SLURM_JOB_ID"))


def find(environment: Mapping[str, str]) -> Cluster:
    """The cluster of the job step: a worker per task, ports upwards from AAD_TF_SLURM_PORT (8888).

    GPUs are left as Slurm gives them out.

    Raises:
        ClusterError: not in a job step, or its variables contradict each other.
    """
    missing = [name for name in _STEP if not environment.get(name)]
    if missing:
        raise ClusterError(
            f"This is a Slurm job without {', '.join(missing)}: start the workers as tasks of a "
            f"job step, with srun, rather than in the batch script itself."
        )
    port = _port(environment)
    try:
        hosts, found = _resolve(environment, port)
        index = int(environment["SLURM_PROCID"])
    except (ValueError, RuntimeError, ZeroDivisionError) as error:
        given = ", ".join(f"{name}={environment[name]}" for name in _STEP)
        raise ClusterError(f"Slurm's variables make no cluster: {error} ({given}).") from error
    # The resolver sorts hosts as text, node10 before node9; Slurm counts tasks in its own order.
    order = {host: index for index, host in enumerate(hosts)}
    addresses = sorted(found, key=lambda address: order[address.rpartition(":")[0]])
    cluster = Cluster(tuple(addresses), index, "the Slurm job step")
    _check_node(cluster, hosts, port, environment)
    _warn_of_shared_gpus(cluster, environment)
    return cluster


def _resolve(environment: Mapping[str, str], port: int) -> tuple[list[str], list[str]]:
    """Hosts in Slurm's order, and the addresses of all tasks."""
    from tensorflow.python.distribute.cluster_resolver import slurm_cluster_resolver as resolver

    num_tasks = int(environment["SLURM_STEP_NUM_TASKS"])
    with _in_process(environment):
        # One imagined GPU per task: the resolver asks nvidia-smi otherwise, and cannot do without
        # GPUs. As it sets none of them (auto_set_gpu), the number means nothing.
        spec = resolver.SlurmClusterResolver(
            port_base=port, gpus_per_node=num_tasks, gpus_per_task=1, auto_set_gpu=False
        ).cluster_spec()
    hosts = resolver.expand_hostlist(environment["SLURM_STEP_NODELIST"])
    return hosts, spec.as_dict()["worker"]


@contextlib.contextmanager
def _in_process(environment: Mapping[str, str]) -> Iterator[None]:
    """The variables of the step as those of this process, where alone the resolver looks."""
    before = {name: os.environ.get(name) for name in _STEP}
    os.environ.update({name: environment[name] for name in _STEP})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _port(environment: Mapping[str, str]) -> int:
    text = environment.get("AAD_TF_SLURM_PORT", str(DEFAULT_PORT)).strip()
    if not (text.isascii() and text.isdigit()):
        raise ClusterError(f"AAD_TF_SLURM_PORT is {text!r}; expected the first port to use.")
    return int(text)


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
