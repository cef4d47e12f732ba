"""Lines of progress: speed and time left by hand, with a clock that stands still between calls."""

from __future__ import annotations

import dataclasses
import logging

import keras
import numpy as np
import pytest

from aad_tf.training.run_log import ProgressLog


@dataclasses.dataclass
class Clock:
    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "aad_tf"]


@pytest.mark.parametrize("per_call", [1, 10])
def test_speed_counts_steps_and_not_calls(per_call: int, caplog: pytest.LogCaptureFixture) -> None:
    """100 steps per second after a first call of 30 s, two epochs of 100 steps."""
    caplog.set_level(logging.INFO, "aad_tf")
    clock = Clock()
    log = ProgressLog(epochs=2, steps=100, seconds=0.5, clock=clock)
    log.on_epoch_begin(0)
    clock.seconds = 30.0
    log.on_train_batch_end(per_call - 1)
    for last in range(2 * per_call - 1, 70, per_call):
        clock.seconds += per_call / 100
        log.on_train_batch_end(last, {"loss": 0.25})
    # 0.5 s and 50 steps after the first call.
    (line,) = lines(caplog)
    step = 50 + per_call
    assert line.startswith(f"epoch 1/2 step {step}/100 100.00 steps/s ETA 0:00:01 loss 0.2500")


def test_time_left_counts_the_epochs_to_come(caplog: pytest.LogCaptureFixture) -> None:
    """Resumed at step 40 of epoch 2 of 4; 2 steps per second; 100 - 60 + 200 steps are left."""
    caplog.set_level(logging.INFO, "aad_tf")
    clock = Clock()
    log = ProgressLog(epochs=4, steps=100, seconds=10.0, clock=clock)
    log.first_step = 40
    log.on_epoch_begin(1)
    for batch in range(21):
        log.on_train_batch_end(batch)
        clock.seconds += 0.5
    (line,) = lines(caplog)
    assert line.strip() == "epoch 2/4 step 61/100 2.00 steps/s ETA 0:01:59"
    log.on_epoch_end(1, {"accuracy": 0.5})
    assert lines(caplog)[-1] == "epoch 2/4 done: accuracy 0.5000"
    # From step 41 of epoch 2 to step 1 of epoch 3: 60 steps in 40 s, and 199 are left.
    log.on_epoch_begin(2)
    clock.seconds = 40.0
    log.on_train_batch_end(0)
    assert lines(caplog)[-1].startswith("epoch 3/4 step 1/100 1.50 steps/s ETA 0:02:12")


def test_keras_gives_the_last_batch_of_an_execution(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aad_tf")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", steps_per_execution=3)
    clock = Clock()

    class Second(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            clock.seconds += 1.0

    log = ProgressLog(epochs=1, steps=6, seconds=0.0, clock=clock)
    data = np.zeros((12, 1))
    model.fit(data, data, batch_size=2, verbose=0, callbacks=[Second(), log])
    first, second, _ = lines(caplog)
    assert "step 3/6 0.00 steps/s ETA unknown" in first
    assert "step 6/6 3.00 steps/s ETA 0:00:00" in second
