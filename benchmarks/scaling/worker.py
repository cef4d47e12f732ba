"""A process that trains when told to: alone, or as a worker of a cluster.

Started by `benchmarks.scaling.crew`. Orders are lines of JSON on standard input, answers lines of
JSON on standard output; whatever else is printed goes to standard error.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from aad_tf import configs
from aad_tf.cluster import find_cluster
from aad_tf.data import DatasetInfo, ReplicaShare
from aad_tf.defenses import DefenseModel
from aad_tf.defenses.base import moving_statistics
from aad_tf.distribute import create_strategy, distributed
from aad_tf.training import build_model
from benchmarks.scaling.exchange import Exchange, collectives_of_a_step

_FLOAT_BYTES = 4


class StepClock(keras.callbacks.Callback):
    """Notes when each step ended, on a clock that all processes of a machine share."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []
        self.cpu: list[float] = []
        self.loss = math.nan

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.loss = float(logs["loss"])
        self.ends.append(time.monotonic())
        self.cpu.append(time.process_time())


class Worker:
    """What a process holds between two orders; each method is an order of that name."""

    def __init__(self) -> None:
        one_thread = tf.config.threading
        one_thread.set_intra_op_parallelism_threads(1)
        one_thread.set_inter_op_parallelism_threads(1)
        together = "TF_CONFIG" in os.environ
        cluster = find_cluster() if together else None
        self.strategy = create_strategy("multi_worker" if together else "none", cluster)
        self._models: dict[str, DefenseModel] = {}
        self._shape = (0, 0, 0)
        self._classes = self._seed = 0
        self._reduce: dict[tuple[int, int], Callable[[], Any]] = {}

    def prepare(
        self, config: dict[str, Any], image_shape: list[int], num_classes: int, seed: int
    ) -> dict[str, Any]:
        """Builds the network, its defence, and the model that only exchanges."""
        height, width, channels = image_shape
        self._shape = (height, width, channels)
        self._classes, self._seed = num_classes, seed
        # How many steps an epoch has only matters to the learning rate.
        data = DatasetInfo("noise", self._shape, num_classes, (), {"train": 1000}, "noise", "0")
        with self.strategy.scope():
            training = build_model(configs.from_dict({**config, "seed": seed}), data, 1000)
            exchange = Exchange(training.classifier)
            exchange.compile(keras.optimizers.SGD(0.0))
        self._models = {"train": training, "exchange": exchange}
        return {
            "parameters": training.network.count_params(),
            "gradient_bytes": _bytes(training.trainable_variables),
            "statistics_bytes": _bytes(moving_statistics(training.network)),
            "tensors": len(training.trainable_variables),
        }

    def fit(self, model: str, steps: int, batch_size: int) -> dict[str, Any]:
        """Trains so many steps."""
        clock = StepClock()
        self._models[model].fit(
            distributed(self.strategy, lambda share: self._images(share, batch_size), endless=True),
            steps_per_epoch=steps,
            shuffle=False,
            verbose=0,
            callbacks=[clock],
        )
        if not math.isfinite(clock.loss):
            raise FloatingPointError(f"The loss became {clock.loss}.")
        return {"ends": clock.ends, "cpu": clock.cpu}

    def collectives(self) -> dict[str, Any]:
        """Counts all-reduces in the compiled steps, in the order they were compiled."""
        return {"counts": collectives_of_a_step()}

    def reduce(self, size: int, chain: int, times: int) -> dict[str, Any]:
        """Times all-reduces of so many bytes, `chain` of them one after the other in a call."""
        key = (size, chain)
        if key not in self._reduce:
            self._reduce[key] = _chain_of_all_reduces(self.strategy, size, chain)
            self._reduce[key]()
        seconds = []
        for _ in range(times):
            start = time.monotonic()
            self._reduce[key]()
            seconds.append((time.monotonic() - start) / chain)
        return {"seconds": seconds}

    def _images(self, share: ReplicaShare, batch_size: int) -> tf.data.Dataset:
        """One batch over and over: reading images is not what is measured."""
        seed = (self._seed, share.first)
        images = tf.random.stateless_uniform((batch_size, *self._shape), seed)
        labels = tf.random.stateless_uniform((batch_size,), seed, 0, self._classes, tf.int32)
        return tf.data.Dataset.from_tensor_slices((images, labels)).repeat().batch(batch_size)


def _bytes(variables: Any) -> int:
    return sum(math.prod(v.shape) * tf.as_dtype(v.dtype).size for v in variables)


def _chain_of_all_reduces(
    strategy: tf.distribute.Strategy, size: int, chain: int
) -> Callable[[], Any]:
    def in_replica(value: tf.Tensor) -> tf.Tensor:
        # An argument lies on no device, which a collective needs to know.
        value = tf.identity(value)
        for _ in range(chain):
            value = tf.distribute.get_replica_context().all_reduce("SUM", value)
        return value[0]

    run = tf.function(lambda value: strategy.run(in_replica, args=(value,)), autograph=False)
    zeros = tf.zeros([max(1, size // _FLOAT_BYTES)])
    return lambda: strategy.experimental_local_results(run(zeros))[0].numpy()


def main() -> None:
    """Takes orders until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        order = json.loads(line)
        answer = getattr(worker, order.pop("order"))(**order)
        print(json.dumps(answer), file=answers, flush=True)
    # Leaving a cluster in good order would wait for the others.
    os._exit(0)


if __name__ == "__main__":
    main()
