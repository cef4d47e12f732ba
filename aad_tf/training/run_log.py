"""Keras callbacks that write what happens in a training run.

`EpochHistory` writes history.csv (one row per epoch), `ProgressLog` logs speed and time left, and
`RunRecord` writes run.json: what is run, on which data and hardware, and whether it has finished.
"""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from aad_tf.configs import ExperimentConfig
from aad_tf.data import DatasetInfo
from aad_tf.utils.files import write_atomically, write_json_atomically
from aad_tf.utils.logging import LOGGER
from aad_tf.utils.provenance import provenance

PROGRESS_SECONDS = 30.0


class EpochHistory(keras.callbacks.Callback):
    """Writes losses and metrics to a CSV file, one row per epoch.

    Columns are `epoch`, counted from 1, and the names of Keras's logs. The file is replaced whole
    after each epoch, so that it is never cut short.

    Args:
        path: the CSV file; rows of an earlier start of the run are kept.
        first_epoch: number of epochs that were finished when this start of the run began. Rows of
            later epochs, left by a process that was killed before it saved them, are dropped.
    """

    def __init__(self, path: str | os.PathLike[str], first_epoch: int = 0) -> None:
        super().__init__()
        self._path = Path(path)
        self._rows: list[dict[str, Any]] = []
        if self._path.is_file():
            with self._path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            self._rows = [row for row in rows if int(row["epoch"]) <= first_epoch]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds the row of an epoch and writes the file; Keras calls it.

        Args:
            epoch: number of the epoch, from 0.
            logs: losses and metrics by name, the columns of the row.

        Raises:
            OSError: the file cannot be written.
        """
        self._rows.append({"epoch": epoch + 1, **{k: float(v) for k, v in (logs or {}).items()}})
        text = io.StringIO()
        names = list(dict.fromkeys(name for row in self._rows for name in row))
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        with write_atomically(self._path) as file:
            file.write(text.getvalue().encode())


class ProgressLog(keras.callbacks.Callback):
    """Logs losses, speed and time left, for output that is not a terminal.

    A line looks like

        epoch 2/5 step 120/550 8.13 steps/s ETA 0:01:25 loss 0.1532 accuracy 0.9604

    Speed is the mean over all steps but those of the first call, in which the step is compiled.

    Args:
        epochs: number of epochs of the whole run.
        steps: number of steps per epoch.
        seconds: least time between two lines, in seconds.
        clock: a function that returns the time in seconds.

    Attributes:
        first_step: step of the epoch at which the next `fit` begins, counted from 0. `fit` itself
            counts from 0 again, so the caller sets this when it resumes within an epoch.
    """

    def __init__(
        self,
        epochs: int,
        steps: int,
        seconds: float = PROGRESS_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.first_step = 0
        self._epochs, self._steps, self._seconds, self._clock = epochs, steps, seconds, clock
        self._epoch = 0
        # Time and steps of the whole run at the end of the first call.
        self._began: tuple[float, int] | None = None
        self._last = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes which epoch begins; Keras calls it."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs a line if the last one is `seconds` ago or more; Keras calls it."""
        now = self._clock()
        step = self.first_step + batch + 1
        done = self._epoch * self._steps + step
        if self._began is None:
            self._began, self._last = (now, done), now
        if now - self._last < self._seconds:
            return
        self._last = now
        began, first = self._began
        rate = (done - first) / max(now - began, 1e-9)
        left = self._epochs * self._steps - done
        LOGGER.info(
            "epoch %d/%d step %d/%d %.2f steps/s ETA %s %s",
            self._epoch + 1,
            self._epochs,
            step,
            self._steps,
            rate,
            hours(left / rate) if rate else "unknown",
            _values(logs),
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs losses and metrics of the epoch; Keras calls it."""
        self.first_step = 0
        LOGGER.info("epoch %d/%d done: %s", epoch + 1, self._epochs, _values(logs))


def _values(logs: dict[str, Any] | None) -> str:
    return " ".join(f"{name} {float(value):.4f}" for name, value in (logs or {}).items())


def hours(seconds: float) -> str:
    """Writes a duration as hours:minutes:seconds.

    Args:
        seconds: the duration in seconds, which is rounded down.

    Returns:
        Text such as `"1:02:03"`.
    """
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"


class RunRecord(keras.callbacks.Callback):
    """Writes run.json: what is run, on which data, hardware and versions, and for how long.

    Its keys are `state` ("running" or "finished"), `preset` (name of the config), `dataset` (source
    and fingerprint of the copy of the data), `starts` (for each start of the run, the command,
    versions, git commit, hardware, time in UTC and number of replicas), `seconds` of training over
    all starts, and with early stopping `best_epoch`. Seconds are added after each epoch and when a
    signal stops the run, so a killed process loses only those of the epoch that it was in.

    Args:
        path: the file; an earlier record of the same run is continued.
        config: what is trained.
        dataset: description of the data.
        replicas: number of devices that train together.

    Raises:
        ValueError: the earlier part of the run was trained on another copy of the data.
    """

    def __init__(
        self, path: Path, config: ExperimentConfig, dataset: DatasetInfo, replicas: int = 1
    ) -> None:
        super().__init__()
        self._path = path
        earlier = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        copy = {"source": dataset.source, "fingerprint": dataset.fingerprint}
        if earlier.get("dataset", copy) != copy:
            raise ValueError(
                f"This run began on {earlier['dataset']}, but the data directory now holds {copy}. "
                f"Point to the first copy, or train in another model directory."
            )
        self._record: dict[str, Any] = {
            "state": "running",
            "preset": config.name,
            "dataset": copy,
            "starts": [*earlier.get("starts", []), {**provenance(), "replicas": replicas}],
            "seconds": earlier.get("seconds", 0.0),
        }
        self._began = time.monotonic()
        write_json_atomically(path, self._record)

    @property
    def seconds(self) -> float:
        """Seconds of training so far, those of earlier starts included."""
        return self._record["seconds"]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Adds the time since the last epoch; Keras calls it."""
        self.add_time()

    def add_time(self) -> None:
        """Adds the time since it was last added to the seconds of training, and writes the file."""
        now = time.monotonic()
        self._record["seconds"] += now - self._began
        self._began = now
        write_json_atomically(self._path, self._record)

    def finish(self, best_epoch: int | None = None) -> None:
        """Marks the run as finished.

        Args:
            best_epoch: with early stopping, the epoch whose weights were kept, counted from 1.
        """
        self._record["state"] = "finished"
        if best_epoch is not None:
            self._record["best_epoch"] = best_epoch
        write_json_atomically(self._path, self._record)
