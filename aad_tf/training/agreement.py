"""Checks that all workers of a run have the same config and versions, and tells which differ."""

from __future__ import annotations

import hashlib
import json
from importlib import metadata
from typing import Any

import tensorflow as tf

from aad_tf import configs
from aad_tf._version import __version__
from aad_tf.configs import ExperimentConfig
from aad_tf.distribute import Cluster, ClusterError, all_workers_equal, texts_of_workers
from aad_tf.distribute.connecting import bucket_bytes
from aad_tf.utils.provenance import source_commit

# What decides on data, gradients and how they travel.
_COMPARED = ("tensorflow", "keras", "numpy", "tensorflow-datasets")
_LONGEST_VALUE = 200
_MOST_DIFFERENCES = 6

WorkerSpec = dict[str, str]


class DisagreementError(ClusterError):
    """The workers of a run differ in config or versions; all raise this with the same message."""


def worker_spec(config: ExperimentConfig, pack_megabytes: float, lost_after: float) -> WorkerSpec:
    """Collects what must be equal on every worker: versions, settings, each entry of the config.

    Args:
        config: what is trained.
        pack_megabytes: size of gradient buckets, in 2**20 bytes.
        lost_after: heartbeat timeout, in seconds.

    Returns:
        Values as text, by name; entries of the config are named like `config.batch_size`.

    Raises:
        ValueError: `pack_megabytes` is not positive and finite.

    Example:
        >>> worker_spec(ExperimentConfig(), 8.0, 10.0)["config.batch_size"]
        '100'
    """
    return {
        "aad_tf": __version__,
        "commit of aad_tf": str(source_commit()),
        **{name: metadata.version(name) for name in _COMPARED},
        "pack_megabytes": str(bucket_bytes(pack_megabytes) / 2**20),
        "lost_after": str(float(lost_after)),
        **_flat(configs.to_dict(config), "config."),
    }


def check_same_on_all_workers(
    strategy: tf.distribute.Strategy, cluster: Cluster, spec: WorkerSpec
) -> None:
    """Checks that all workers have equal specs; every worker calls this, and waits for the others.

    A spec is what must be equal on every worker: versions, settings, and entries of the config.

    Args:
        strategy: the strategy of training.
        cluster: the workers, and which of them this process is.
        spec: values as text, by name, made by `worker_spec` on this worker.

    Raises:
        DisagreementError: specs differ; the message names the entries and the workers.
    """
    text = json.dumps(spec)
    digest = hashlib.sha256(text.encode()).digest()
    if all_workers_equal(strategy, [int.from_bytes(digest[:8], "big", signed=True)]):
        return
    specs = [json.loads(other) for other in texts_of_workers(strategy, text)]
    raise DisagreementError(
        f"The workers of this run do not agree. {spec_differences(cluster, specs)}"
    )


def spec_differences(cluster: Cluster, specs: list[WorkerSpec]) -> str:
    """Describes how the workers' specs differ from that of worker 0.

    A spec is what must be equal on every worker: versions, settings, and entries of the config.

    Args:
        cluster: the workers.
        specs: for each worker, in their order, its spec: values as text, by name.

    Returns:
        One sentence for each of the first 6 differences, and one that says how many more there are;
        empty if there are none. Values are cut after 200 characters.

    Example:
        >>> spec_differences(cluster, [{"keras": "3.15.1"}, {"keras": "3.14.0"}])
        'worker 1 (10.0.0.2:2222) has keras 3.14.0, worker 0 (10.0.0.1:2222) has 3.15.1.'
    """
    sentences = []
    for key in dict.fromkeys(key for spec in specs for key in spec):
        others: dict[str | None, list[int]] = {}
        for index, spec in enumerate(specs):
            if spec.get(key) != specs[0].get(key):
                others.setdefault(spec.get(key), []).append(index)
        sentences += [
            f"{cluster.names(indices, limit=3)} {'has' if len(indices) == 1 else 'have'} {key} "
            f"{_shown(value)}, {cluster.name(0)} has {_shown(specs[0].get(key))}."
            for value, indices in others.items()
        ]
    rest = len(sentences) - _MOST_DIFFERENCES
    more = [f"There are {rest} more differences."] if rest > 0 else []
    return " ".join(sentences[:_MOST_DIFFERENCES] + more)


def _shown(value: str | None) -> str:
    if value is None:
        return "not given"
    if not value.strip():
        return repr(value)
    return value if len(value) <= _LONGEST_VALUE else value[:_LONGEST_VALUE] + "..."


def _flat(values: dict[str, Any], prefix: str) -> WorkerSpec:
    flat: WorkerSpec = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = repr(value)
    return flat
