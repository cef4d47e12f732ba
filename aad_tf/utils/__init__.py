"""Checks, tensor operations, atomic files, logging and provenance, used by all of `aad_tf`."""
