"""Evaluation binaries."""

from binaries import quiet  # noqa: F401
