"""What binaries print while they work: this package's progress, not TensorFlow's housekeeping."""

from __future__ import annotations

import logging

import tensorflow as tf
from absl import logging as absl_logging

LOGGER = logging.getLogger("aad_tf")


def show_progress() -> None:
    """Shows this package's messages and hides TensorFlow's below warnings; for binaries."""
    absl_logging.set_verbosity(absl_logging.WARNING)
    tf.get_logger().setLevel(logging.WARNING)
    LOGGER.setLevel(logging.INFO)
