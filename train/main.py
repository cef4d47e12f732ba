"""Trains a network, with or without a defence, and exports it.

    python -m train.main --config=train/configs/mnist.py:aad_step_ll --model_dir=runs/mnist_aad

The same command resumes an interrupted run. Every choice of a preset can be overridden, as in
--config.epochs=1 or --config.defense.attack="step_ll(epsilon=0.1)". On many machines each runs the
same command with --strategy=multi_worker; see train/launch.
"""

from __future__ import annotations

from binaries import quiet  # noqa: F401

# isort: split

import dataclasses

from absl import app, flags
from ml_collections import config_flags

from aad_tf import configs
from aad_tf.distribute import LOST_AFTER, PACK_MEGABYTES, STRATEGIES
from aad_tf.training import train_with
from aad_tf.training.run_log import PROGRESS_SECONDS
from aad_tf.training.worker import JOIN_TIMEOUT
from aad_tf.utils.logging import LOGGER
from binaries import command_line, running
from train.configs.presets import listing

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    f"Config file and preset, FILE or FILE:PRESET; without a preset the file's default. There are "
    f"{listing()}. --config.KEY=VALUE overrides what the preset says; keys are "
    f"{', '.join(field.name for field in dataclasses.fields(configs.ExperimentConfig))}; see "
    f"aad_tf/configs/experiment.py.",
    lock_config=True,
)
_MODEL_DIR = flags.DEFINE_string(
    "model_dir", None, "Directory in which everything about the run is kept.", required=True
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Directory of TensorFlow Datasets; default: the environment variable TFDS_DATA_DIR.",
)
_PROGRESS = flags.DEFINE_float(
    "progress_seconds",
    PROGRESS_SECONDS,
    "Least time between two lines of progress, in seconds; 0 prints a line per step.",
    0.0,
)
_STRATEGY = flags.DEFINE_enum(
    "strategy",
    "none",
    STRATEGIES,
    "What trains: one device (none), all GPUs of this machine (mirrored), or many workers.",
)
_JOIN = flags.DEFINE_float(
    "join_timeout", JOIN_TIMEOUT, "Seconds that workers wait for each other to start.", 1.0
)
_LOST = flags.DEFINE_float(
    "lost_after",
    LOST_AFTER,
    "Seconds without a heartbeat after which a worker is lost.",
    lower_bound=1.0,
)
_PACK = flags.DEFINE_float(
    "pack_megabytes",
    PACK_MEGABYTES,
    "Workers exchange gradients in buckets of about this size, in 2**20 bytes.",
    lower_bound=0.001,
)


def _config() -> configs.ExperimentConfig:
    try:
        values = _CONFIG.value.to_dict()
    except OSError as error:
        # Without overrides a file is only missed here.
        raise command_line.unreadable_config(error) from error
    return configs.from_dict(values)


def _train() -> str:
    config = _config()
    file = config_flags.get_config_filename(flags.FLAGS["config"])
    if ":" not in file and config.name != configs.ExperimentConfig.name:
        LOGGER.info(
            "--config names no preset, so this is %r, the default of %s.", config.name, file
        )
    train_with(
        _STRATEGY.value,
        config,
        str(_MODEL_DIR.value),
        data_dir=_DATA_DIR.value,
        progress_seconds=_PROGRESS.value,
        join_timeout=_JOIN.value,
        lost_after=_LOST.value,
        pack_megabytes=_PACK.value,
    )
    return f"finished: {_MODEL_DIR.value}"


def main(argv: list[str]) -> None:
    """Trains what the flags say; a mistake of the user's ends with one line and exit code 2."""
    del argv
    running.run(_train, resumed_from=lambda: _MODEL_DIR.value)


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main, flags_parser=command_line.parse)
