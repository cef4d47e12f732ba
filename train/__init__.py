"""Training binaries."""
