"""aad_tf: where a Keras image classifier looks, how attacks change that, how to make it hold."""

__version__ = "0.1.0"
