"""What tests/forked.py imports once for all processes: whatever they need, at no cost to them."""

import gc

import ml_collections.config_flags  # noqa: F401
import sklearn.datasets  # noqa: F401

import aad_tf.attention_study
import aad_tf.evaluation
import aad_tf.training  # noqa: F401
import tests.distribute.worker  # noqa: F401

# A collection in a forked process would look at each module again, and copy its memory.
gc.collect()
gc.freeze()
