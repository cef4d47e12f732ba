"""What each process of the tests of this folder does: it leaves a file per case."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from aad_tf.distribute import MultiWorkerFit, create_strategy, find_cluster, leaving_together
from aad_tf.utils.logging import skip_final_garbage_collection
from tests.distribute.cases import CASES, LEFT_OUT
from tests.networks import SHAPE, small_network


class Repaired(MultiWorkerFit, keras.Model):
    """A user's own model with the mixin, and no more."""


class WithoutLogs(MultiWorkerFit, keras.Model):
    """Only the symbolic build is repaired."""

    _make_function = keras.Model._make_function


class WithoutBuild(MultiWorkerFit, keras.Model):
    """Only the logs are repaired."""

    _maybe_symbolic_build = keras.Model._maybe_symbolic_build


def upstream(strategy: tf.distribute.Strategy, kind: type[keras.Model]) -> str:
    """What is wrong with `fit` of a model of Keras's own, repaired in part; "" if nothing is."""
    with strategy.scope():
        network = small_network()
        model = kind(network.inputs, network.outputs)
        model.compile("sgd", "mse")
    images = np.zeros((4, *SHAPE), "float32")
    try:
        model.fit(images, np.zeros((4, 3), "float32"), batch_size=2, verbose=0)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def main(kind: str, directory: Path) -> None:
    skip_final_garbage_collection()
    if kind == "mirrored":
        processor = tf.config.list_physical_devices("CPU")[0]
        devices = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(processor, devices)
    cluster = find_cluster() if kind == "multi_worker" else None
    os.environ.pop("TF_CONFIG", None)
    strategy = create_strategy(kind, cluster)
    index = cluster.index if cluster else 0
    with leaving_together(cluster) if cluster else contextlib.nullcontext():
        for name, case in CASES.items():
            if name not in LEFT_OUT[kind]:
                np.savez(directory / f"{name}.{index}.npz", **case(strategy))
    if cluster is not None:
        environment = directory / f"environment.{index}.txt"
        environment.write_text("TF_CONFIG" if "TF_CONFIG" in os.environ else "")
        for model in (Repaired, WithoutLogs, WithoutBuild):
            text = upstream(strategy, model)
            (directory / f"{model.__name__}.{index}.txt").write_text(text)
