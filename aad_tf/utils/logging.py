"""What programs print while they work, and what they skip at their end."""

from __future__ import annotations

import atexit
import gc
import logging

import tensorflow as tf
from absl import logging as absl_logging

LOGGER = logging.getLogger("aad_tf")
"""The logger of the whole package."""


def show_progress() -> None:
    """Shows this package's messages and hides TensorFlow's below warnings; for binaries."""
    absl_logging.set_verbosity(absl_logging.WARNING)
    tf.get_logger().setLevel(logging.WARNING)
    LOGGER.setLevel(logging.INFO)


def skip_final_garbage_collection() -> None:
    """Makes Python skip its search for reference cycles when the program ends; for binaries.

    The graphs of a network are a great many objects, and searching them took more than a second
    for LeNet, and ten seconds where several processes used one core: time that a worker which was
    asked to end may not have. The system frees all memory of a process that ends anyway.
    """
    atexit.register(gc.freeze)
