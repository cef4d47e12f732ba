"""What tests/forked.py imports once for all processes: whatever they need, at no cost to them."""

import gc

# A search for reference cycles would find none while modules are imported, and in a forked process
# it would look at each module again, and copy its memory.
gc.disable()

import ml_collections.config_flags  # noqa: E402, F401
import sklearn.datasets  # noqa: E402, F401

import aad_tf.attention_study  # noqa: E402
import aad_tf.evaluation  # noqa: E402
import aad_tf.training  # noqa: E402, F401
import tests.distribute.worker  # noqa: E402, F401

gc.freeze()
gc.set_threshold(10_000, 10, 3)
gc.enable()
