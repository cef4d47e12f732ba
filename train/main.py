"""Trains one preset and exports it.

python -m train.main --config=train/configs/mnist.py:aad_step_ll --model_dir=DIR
"""

from __future__ import annotations

import sys

from absl import app, flags, logging
from ml_collections import config_flags

from aad_tf import configs
from aad_tf.logs import show_progress
from aad_tf.training import train

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


def main(argv: list[str]) -> None:
    """Parses flags and trains; a mistake of the user's ends in one line and exit code 2."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}.")
    show_progress()
    try:
        config = configs.from_dict(_CONFIG.value.to_dict())
        train(config, str(_MODEL_DIR.value), data_dir=_DATA_DIR.value)
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        logging.debug("Details", exc_info=True)
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted: run the same command again to resume.", file=sys.stderr)
        sys.exit(130)
    print(f"finished: {_MODEL_DIR.value}")


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main)
