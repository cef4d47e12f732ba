"""What Keras 3 lacks for `fit` under MultiWorkerMirroredStrategy, as a mixin.

Upstream: https://github.com/keras-team/keras/issues/20585. Two methods of Keras's TensorFlow
trainer fail there. `_maybe_symbolic_build` reduces a batch that lies on several workers to one
tensor, and `_make_function` reduces logs, which are scalars, along an axis they do not have. A test
of tests/distribute fails as soon as a Keras is installed in which one of the two faults is mended.
The all-reduce that carries the logs also lets one worker ask all others to stop after the same
step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from aad_tf.distribute.replicas import is_multi_worker

Logs = dict[str, Any]


class MultiWorkerFit:
    """Mixin for a `keras.Model` that is trained by `fit` under MultiWorkerMirroredStrategy.

    The logs that `fit` reports become means over the examples of all replicas, the same on every
    worker, by one all-reduce per step. Under other strategies, and without one, Keras's own code
    runs.

    Attributes:
        stop_requested: True after a step at which any worker asked to stop. A callback reads it
            and ends training.

    Example:
        >>> class Model(MultiWorkerFit, keras.Model): ...
        >>> with tf.distribute.MultiWorkerMirroredStrategy().scope():
        ...     model = Model(inputs, outputs)
        ...     model.compile("sgd", loss="mse")
        >>> model.fit(dataset)
    """

    distribute_strategy: tf.distribute.Strategy
    stop_requested = False
    _stop_flag: tf.Variable | None = None

    def request_stop(self) -> None:
        """Asks all workers to stop after one more step.

        After the next step the attribute `stop_requested` is True on all workers, so that they can
        save and end together. With a single process it is True at once.
        """
        if is_multi_worker(self.distribute_strategy):
            self._flag().assign(1.0)
        else:
            self.stop_requested = True

    def clear_stop_request(self) -> None:
        """Withdraws the request to stop, so that `fit` can run again.

        Every worker calls it; it does not wait for the others.
        """
        self.stop_requested = False
        if self._stop_flag is not None:
            self._stop_flag.assign(0.0)

    def _flag(self) -> tf.Variable:
        """Whether this worker asks to stop; sent along with the logs."""
        if self._stop_flag is None:
            with tf.init_scope(), tf.device("CPU:0"):
                self._stop_flag = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        return self._stop_flag

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        strategy = self.distribute_strategy
        if not is_multi_worker(strategy):
            super()._maybe_symbolic_build(iterator, data_batch)  # type: ignore[misc]
            return
        if data_batch is None:
            data_batch = next(next(iter(iterator))[-1])
        # Only shapes matter, so one replica's part of the batch will do.
        local = keras.tree.map_structure(
            lambda value: strategy.experimental_local_results(value)[0], data_batch
        )
        with strategy.scope():
            self._symbolic_build(data_batch=local)  # type: ignore[attr-defined]

    def _make_function(self, step_function: Callable[[Any], Logs]) -> Callable[[Any], Logs]:
        if not is_multi_worker(self.distribute_strategy):
            return super()._make_function(step_function)  # type: ignore[misc]
        names: list[str] = []
        flag = self._flag()

        def packed_logs(data: Any) -> tf.Tensor:
            logs = step_function(data)
            names[:] = sorted(logs)
            # Logs are means over the examples that a replica has seen; parts may differ in size.
            count = tf.cast(self._loss_tracker.count, tf.float64)  # type: ignore[attr-defined]
            # A user's own train_step need not keep the loss that counts them.
            seen = tf.where(count > 0, count, tf.ones_like(count))
            values = [tf.cast(logs[name], tf.float64) * seen for name in names]
            # Keras takes the mean over axis 0 of all replicas.
            return tf.stack([*values, seen, flag])[tf.newaxis]

        function = super()._make_function(packed_logs)  # type: ignore[misc]

        def unpacked_logs(iterator: Any) -> Logs:
            *values, seen, asked = function(iterator).numpy()
            self.stop_requested = asked > 0
            return dict(zip(names, values / seen, strict=True))

        return unpacked_logs
