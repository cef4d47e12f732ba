"""Worker processes that carry out orders, each pinned to a core: alone, or as a cluster."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aad_tf import configs
from aad_tf.data import DatasetInfo, ReplicaRange
from aad_tf.defenses.statistics import moving_statistics
from aad_tf.distribute import create_strategy, distributed, find_cluster
from aad_tf.training import build_model
from train.launch.local import worker_environments

_FLOAT_BYTES = 4


class WorkerFailedError(RuntimeError):
    """A worker process failed, ended, or gave no answer in time."""


class Workers:
    """Worker processes, which end when the context is left.

    Args:
        cores: number of the CPU core of each worker.
        together: whether they form a cluster; else each is alone.
        answer_seconds: how long an answer may take, in seconds.
    """

    def __init__(self, cores: Sequence[int], together: bool, answer_seconds: float) -> None:
        self._answer_seconds = answer_seconds
        self._processes: list[Any] = []
        self._connections: list[Connection] = []
        context = multiprocessing.get_context("spawn")
        for core, environment in zip(
            cores, worker_environments([[core] for core in cores]), strict=True
        ):
            connection, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, together), daemon=True)
            with _inherited(environment, core):
                process.start()
            theirs.close()  # So that each side notices when the other is gone.
            self._processes.append(process)
            self._connections.append(connection)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self._processes:
            process.kill()
            process.join()

    @property
    def process_ids(self) -> list[int]:
        """Process ids of the workers."""
        return [process.pid for process in self._processes]

    def ask(self, order: str, only: int | None = None, **arguments: Any) -> list[Any]:
        """Gives all workers the same order at once and waits for their answers.

        Args:
            order: name of a method of `Trainer`.
            only: index of a single worker to ask; None for all.
            **arguments: arguments of the method.

        Returns:
            What the method returned in each worker that was asked.

        Raises:
            WorkerFailedError: one of them failed, ended, or gave no answer in time.
        """
        asked = self._connections if only is None else [self._connections[only]]
        answers: dict[Any, Any] = {}
        deadline = time.monotonic() + self._answer_seconds
        try:
            for connection in asked:
                connection.send((order, arguments))
            while len(answers) < len(asked):
                pending = [connection for connection in asked if connection not in answers]
                ready: list[Any] = wait(pending, max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise WorkerFailedError(f"no answer in {self._answer_seconds:g} s to {order}")
                for connection in ready:
                    answers[connection], failure = connection.recv()
                    if failure:
                        raise WorkerFailedError(f"a worker failed:\n{failure}")
        except (EOFError, OSError) as error:
            raise WorkerFailedError(f"a worker ended during {order}") from error
        return [answers[connection] for connection in asked]


@contextlib.contextmanager
def _inherited(environment: Mapping[str, str], core: int) -> Iterator[None]:
    """Sets what processes that are started meanwhile inherit: variables and the core."""
    before, cores = dict(os.environ), os.sched_getaffinity(0)
    os.environ.update(environment)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        os.environ.clear()
        os.environ.update(before)


def _serve(connection: Connection, together: bool) -> None:
    """What a worker process does: it takes orders until the other side is gone."""
    trainer = None
    if not together:
        del os.environ["TF_CONFIG"]
    with contextlib.suppress(EOFError):
        while True:
            order, arguments = connection.recv()
            try:
                trainer = trainer or Trainer(together)
                connection.send((getattr(trainer, order)(**arguments), None))
            except Exception:  # Whatever it is, the other side raises it.
                connection.send((None, traceback.format_exc()))
    # Leaving a cluster in good order would wait for the others.
    os._exit(0)


class StepClock(keras.callbacks.Callback):
    """Keras callback that notes when each step ended.

    Attributes:
        ends: time of each step's end, in seconds, on a clock that all processes share.
        cpu: CPU time of this process at each step's end, in seconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []
        self.cpu: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Waits for the step by reading its loss, then notes the time; Keras calls it.

        Raises:
            FloatingPointError: the loss is NaN or infinite.
        """
        if not math.isfinite(float(logs["loss"])):
            raise FloatingPointError(f"The loss became {logs['loss']}.")
        self.ends.append(time.monotonic())
        self.cpu.append(time.process_time())


class Trainer:
    """The state of a worker process; each method is an order that it can be given."""

    def __init__(self, together: bool) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        cluster = find_cluster() if together else None
        self._strategy = create_strategy("multi_worker" if together else "none", cluster)
        self._all_reduces: dict[tuple[int, int], Callable[[], Any]] = {}

    def prepare(
        self, config: dict[str, Any], image_shape: tuple[int, int, int], num_classes: int
    ) -> dict[str, int]:
        """Builds the network within its defence.

        Args:
            config: the experiment's config as a dict.
            image_shape: (height, width, channels).
            num_classes: number of classes.

        Returns:
            `gradient_bytes` and `statistics_bytes`, sizes of gradients and of moving statistics.
        """
        self._shape, self._classes = image_shape, num_classes
        # How many examples there are only matters to the learning rate.
        data = DatasetInfo("noise", image_shape, num_classes, (), {"train": 1000}, "noise", "0")
        with self._strategy.scope():
            self._model = build_model(configs.from_dict(config), data, 1000)
        return {
            "gradient_bytes": _bytes(self._model.trainable_variables),
            "statistics_bytes": _bytes(moving_statistics(self._model.network)),
        }

    def fit(self, steps: int, batch_size: int) -> tuple[list[float], list[float]]:
        """Trains on random images.

        Args:
            steps: number of steps.
            batch_size: examples per step on this worker.

        Returns:
            For each step when it ended, and the CPU time of the process at its end, in seconds.
        """
        clock = StepClock()

        def images(fed: ReplicaRange) -> tf.data.Dataset:
            values = tf.random.stateless_uniform((batch_size, *self._shape), (0, fed.first))
            labels = tf.random.stateless_uniform(
                (batch_size,), (1, fed.first), 0, self._classes, tf.int32
            )
            return tf.data.Dataset.from_tensor_slices((values, labels)).repeat().batch(batch_size)

        self._model.fit(
            distributed(self._strategy, images, endless=True),
            steps_per_epoch=steps,
            shuffle=False,
            verbose=0,
            callbacks=[clock],
        )
        return clock.ends, clock.cpu

    def all_reduce(self, size: int, chain: int, times: int) -> list[float]:
        """Times all-reduces.

        Args:
            size: bytes of each all-reduce.
            chain: number of all-reduces in one call of a compiled function.
            times: number of calls.

        Returns:
            Mean seconds of an all-reduce in each call.
        """
        run = self._all_reduces.get((size, chain))
        if run is None:
            run = _chain_of_all_reduces(self._strategy, size, chain)
            self._all_reduces[size, chain] = run
            run()  # Compiles.
        starts = []
        for _ in range(times):
            starts.append(time.monotonic())
            run()
        return (np.diff([*starts, time.monotonic()]) / chain).tolist()


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


def step_times(
    marks: Sequence[tuple[Sequence[float], Sequence[float]]],
) -> tuple[list[float], list[float]]:
    """Times of the steps during which all workers were training.

    Args:
        marks: for each worker, when each step ended, and the CPU time at its end, in seconds.

    Returns:
        Seconds of steps and CPU seconds of steps, those of the first worker first.

    Example:
        >>> step_times([([0.0, 1.0, 3.0], [0.0, 0.5, 1.0])])
        ([1.0, 2.0], [0.5, 0.5])
    """
    start, end = max(ends[0] for ends, _ in marks), min(ends[-1] for ends, _ in marks)
    seconds: list[float] = []
    cpu_seconds: list[float] = []
    for ends, cpu in marks:
        # At least one, whatever the workers' speeds.
        inside = (np.asarray(ends[:-1]) >= start) & (np.asarray(ends[1:]) <= end)
        chosen = inside if inside.any() else np.arange(len(inside)) == 0
        seconds += np.diff(ends)[chosen].tolist()
        cpu_seconds += np.diff(cpu)[chosen].tolist()
    return seconds, cpu_seconds
