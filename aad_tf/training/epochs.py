"""`fit` from any position of a run, be it in the middle of an epoch or before its validation."""

from __future__ import annotations

import sys
from typing import Any

import keras

from aad_tf.defenses import DefenseModel
from aad_tf.run_log import ProgressLog
from aad_tf.training.setting import Run


def fit(
    model: DefenseModel,
    run: Run,
    position: tuple[int, int],
    callbacks: list[keras.callbacks.Callback],
) -> None:
    """Fits from a position; an epoch begun earlier is finished by a shorter call of its own.

    Args:
        model: compiled.
        run: what it is trained on.
        position: epoch and step, as `ResumableCheckpoint.restore` returns them.
        callbacks: Keras callbacks; the chief adds lines of progress.
    """
    epoch, step = position
    epochs, steps = run.config.epochs, run.steps
    validation = run.validation_data()
    progress = ProgressLog(epochs, steps, run.progress_seconds)
    callbacks = [*callbacks, *([progress] if run.chief else [])]
    if step == steps:
        finish_epoch(model, epoch, validation, callbacks, run.validation_steps)
        epoch, step = epoch + 1, 0
    while epoch < epochs and not model.stop_training:
        last_epoch = epoch + 1 if step else epochs
        progress.first_step = step
        model.fit(
            run.training_data(epoch, step),
            initial_epoch=epoch,
            epochs=last_epoch,
            steps_per_epoch=steps - step,
            validation_data=validation,
            validation_steps=run.validation_steps,
            shuffle=False,
            callbacks=callbacks,
            verbose="auto" if run.chief and sys.stdout.isatty() else 0,
        )
        epoch, step = last_epoch, 0


def finish_epoch(
    model: DefenseModel,
    epoch: int,
    validation: Any,
    callbacks: list[keras.callbacks.Callback],
    validation_steps: int | None = None,
) -> None:
    """Does what is left of an epoch behind its last step, as `fit` would: validation, callbacks.

    Args:
        model: compiled and restored; a `ResumableCheckpoint` among the callbacks puts back the
            running metrics of the epoch.
        epoch: which one, counted from 0.
        validation: batches that can be evaluated; None for none.
        callbacks: those of `fit`.
        validation_steps: batches to evaluate; None for all.

    Example:
        >>> epoch, step = checkpoint.restore()
        >>> if step == steps_per_epoch:
        ...     finish_epoch(model, epoch, validation, [checkpoint])
    """
    listed = keras.callbacks.CallbackList(
        callbacks, add_history=True, model=model, epochs=epoch + 1, steps=0, verbose=0
    )
    model.stop_training = False
    listed.on_train_begin()
    listed.on_epoch_begin(epoch)
    with model.distribute_strategy.scope():
        logs = {name: float(value) for name, value in sorted(model.get_metrics_result().items())}
    if validation is not None:
        found = model.evaluate(
            validation, steps=validation_steps, verbose=0, callbacks=listed, return_dict=True
        )
        logs |= {f"val_{name}": value for name, value in found.items()}
    listed.on_epoch_end(epoch, logs)
    listed.on_train_end(logs)
