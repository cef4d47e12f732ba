"""What happens to one worker and concerns all: a signal, files that the others do not see."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aad_tf import data
from aad_tf.configs import ExperimentConfig
from aad_tf.defenses import DefenseModel, StandardModel
from aad_tf.distribute import all_workers_equal, broadcast_from_chief, distributed, is_chief
from aad_tf.training import finish_epoch
from aad_tf.training.checkpoints import ResumableCheckpoint
from aad_tf.training.preemption import PreemptedError, StopOnSignal
from aad_tf.training.run import TrainingRun
from tests.distribute.cases.common import Arrays, Logs, dataset, in_first_of_several
from tests.networks import small_network

STEPS = 4


class Terminated(keras.callbacks.Callback):
    """Gets SIGTERM at its second batch of validation; counts those that follow."""

    def __init__(self, gets_it: bool) -> None:
        super().__init__()
        self._gets_it = gets_it
        self.validated = 0

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.validated += 1
        if batch == 1 and self._gets_it:
            signal.raise_signal(signal.SIGTERM)


def model_of(strategy: tf.distribute.Strategy, seed: int) -> DefenseModel:
    with strategy.scope():
        model = StandardModel(small_network(seed=seed))
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9))
    return model


@contextlib.contextmanager
def shared_directory(strategy: tf.distribute.Strategy) -> Iterator[Path]:
    """One directory for all workers, gone when all have left the context."""
    token = broadcast_from_chief(strategy, {"token": secrets.randbits(52)})["token"]
    path = Path(tempfile.gettempdir(), f"aad_tf_{int(token)}")
    yield path
    all_workers_equal(strategy, [0])
    if is_chief(strategy):
        shutil.rmtree(path)


def cut_in_validation(strategy: tf.distribute.Strategy) -> Arrays:
    """An epoch that was cut in validation and finished by another process, beside a whole one."""
    batches = distributed(strategy, lambda fed: dataset(fed).repeat(), endless=True)
    finite = distributed(strategy, lambda fed: dataset(fed))
    settings = {"steps_per_epoch": STEPS, "validation_data": finite, "verbose": 0}
    with shared_directory(strategy) as directory:
        whole, cut, finished = Logs(), Terminated(not in_first_of_several(strategy)), Logs()
        model_of(strategy, 1).fit(batches, callbacks=[whole], **settings)
        model = model_of(strategy, 1)
        checkpoint = ResumableCheckpoint(model, directory, 100, STEPS)
        stop = StopOnSignal(checkpoint)
        preempted = False
        try:
            with stop.listening():
                model.fit(batches, callbacks=[cut, checkpoint, stop], **settings)
        except PreemptedError:
            preempted = True
        again = Logs()
        with stop.listening():
            model.fit(batches, callbacks=[again, stop], steps_per_epoch=2, verbose=0)
        model = model_of(strategy, 2)
        checkpoint = ResumableCheckpoint(model, directory, 100, STEPS)
        position = checkpoint.restore()
        finish_epoch(model, position[0], finite, [finished, checkpoint])
    names = sorted(whole.epochs[0])
    return {
        "preempted": np.array(preempted),
        "validated": np.array(cut.validated),
        "again": np.array(again.steps),
        "position": np.array(position),
        "names": np.array(names),
        "whole": np.array([whole.epochs[0][name] for name in names]),
        "finished": np.array([finished.epochs[0][name] for name in names]),
    }


def disagreement(strategy: tf.distribute.Strategy) -> Arrays:
    """What each worker says when it alone sees a checkpoint, or another copy of the data."""
    first = in_first_of_several(strategy)
    said = []
    with tempfile.TemporaryDirectory() as own:
        model = model_of(strategy, 1)
        checkpoint = ResumableCheckpoint(model, own, 1, STEPS)
        checkpoint.on_train_batch_end(0)  # The chief alone writes, into its own directory.
        found = data.info("digits")
        copy = f"{int(found.fingerprint, 16) ^ (0 if first else 2):016x}"
        facts = dataclasses.replace(found, fingerprint=copy)
        run = TrainingRun(ExperimentConfig(), Path(own), facts, None, strategy)
        for look in (checkpoint.restore, run.is_finished):
            try:
                said.append(str(look()))
            except ValueError as error:
                said.append(f"{type(error).__name__}: {error}")
    return {"said": np.array(said), "copy": np.array(copy)}
