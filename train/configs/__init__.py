"""Presets, one file a data set."""
