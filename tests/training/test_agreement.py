"""Where the specs of workers differ is said in full sentences."""

from __future__ import annotations

import pytest

from aad_tf.configs import ExperimentConfig
from aad_tf.distribute import Cluster
from aad_tf.training.agreement import spec_differences, worker_spec

CLUSTER = Cluster(tuple(f"10.0.0.{i}:2222" for i in range(6)), 0, "a test")


def test_the_same_spec_has_no_differences() -> None:
    spec = worker_spec(ExperimentConfig(), 8.0, 10.0)
    assert spec_differences(CLUSTER, [spec] * 6) == ""
    assert spec["config.batch_size"] == "100"
    assert (spec["pack_megabytes"], spec["lost_after"]) == ("8.0", "10.0")
    assert {"aad_tf", "commit of aad_tf", "tensorflow", "keras"} <= set(spec)


def test_keys_values_and_workers_are_named() -> None:
    specs = [{"keras": "3.15", "seed": "1"}, {"keras": "3.14", "seed": "1"}, {"seed": " "}]
    assert spec_differences(CLUSTER, specs) == (
        "worker 1 (10.0.0.1:2222) has keras 3.14, worker 0 (10.0.0.0:2222) has 3.15. "
        "worker 2 (10.0.0.2:2222) has keras not given, worker 0 (10.0.0.0:2222) has 3.15. "
        "worker 2 (10.0.0.2:2222) has seed ' ', worker 0 (10.0.0.0:2222) has 1."
    )


def test_many_differences_are_cut_short() -> None:
    specs = [{"a": "0"}, *({"a": "x" * 300} for _ in range(5))]
    text = spec_differences(CLUSTER, specs)
    assert text.startswith("worker 1 (10.0.0.1:2222), worker 2 (10.0.0.2:2222), worker 3 ")
    assert "and 2 more have a " + "x" * 200 + "..., worker 0" in text
    keys = "abcdefgh"
    specs = [dict.fromkeys(keys, "0"), dict.fromkeys(keys, "1")]
    assert spec_differences(CLUSTER, specs).endswith("There are 2 more differences.")


def test_buckets_of_no_size_are_refused() -> None:
    with pytest.raises(ValueError, match="pack_megabytes must be positive and finite"):
        worker_spec(ExperimentConfig(), 0.0, 10.0)
