"""The version of the package; it imports nothing, so that every module can ask for it."""

__version__ = "0.1.0"
