"""Trains one preset and exports it.

python -m train.main --config=train/configs/mnist.py:aad_step_ll --model_dir=DIR

On many machines each runs the same command with --strategy=multi_worker; see train/launch.
"""

from __future__ import annotations

from absl import app, flags
from ml_collections import config_flags

from aad_tf import configs
from aad_tf.distribute import LOST_AFTER, PACK_MEGABYTES, STRATEGIES
from aad_tf.training import train_with
from aad_tf.training.run_log import PROGRESS_SECONDS
from aad_tf.training.worker import JOIN_TIMEOUT
from aad_tf.utils.logging import show_progress
from train import running

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "Config file and preset, e.g. train/configs/mnist.py:aad_step_ll.",
    lock_config=True,
)
_MODEL_DIR = flags.DEFINE_string(
    "model_dir", None, "Where everything about the run is kept.", required=True
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "TFDS data directory; default TFDS_DATA_DIR.")
_PROGRESS = flags.DEFINE_float(
    "progress_seconds",
    PROGRESS_SECONDS,
    "Least time between two lines of progress, in seconds; 0: a line per step.",
    0.0,
)
_STRATEGY = flags.DEFINE_enum(
    "strategy", "none", STRATEGIES, "One device, all of this machine, or many workers."
)
_JOIN = flags.DEFINE_float(
    "join_timeout", JOIN_TIMEOUT, "Seconds to wait for other workers to start.", 1.0
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
        raise running.unreadable_config(error) from error
    return configs.from_dict(values)


def _train() -> None:
    train_with(
        _STRATEGY.value,
        _config(),
        str(_MODEL_DIR.value),
        data_dir=_DATA_DIR.value,
        progress_seconds=_PROGRESS.value,
        join_timeout=_JOIN.value,
        lost_after=_LOST.value,
        pack_megabytes=_PACK.value,
    )


def main(argv: list[str]) -> None:
    """Trains; a mistake of the user's ends in one line and exit code 2."""
    del argv
    show_progress()
    running.run(_train)
    print(f"finished: {_MODEL_DIR.value}")


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main, flags_parser=running.parse)
