"""Set-up of a program's logging, and of its exit."""

from __future__ import annotations

import atexit
import gc
import logging

import tensorflow as tf
from absl import logging as absl_logging

LOGGER = logging.getLogger("aad_tf")
"""The logger of the whole package."""


def show_progress() -> None:
    """Shows messages of `aad_tf` from level INFO on, and those of TensorFlow from WARNING on.

    Programs call it once at their start; the library does not.
    """
    absl_logging.set_verbosity(absl_logging.WARNING)
    tf.get_logger().setLevel(logging.WARNING)
    LOGGER.setLevel(logging.INFO)


def skip_final_garbage_collection() -> None:
    """Makes Python skip its last search for reference cycles when the program ends.

    Programs call it once; the library does not. The graphs of a network consist of many objects, so
    that the search takes more than a second for LeNet, and ten seconds if several processes share a
    core. A worker that was asked to end may not have that time. The operating system frees the
    memory of the process anyway.
    """
    atexit.register(gc.freeze)
