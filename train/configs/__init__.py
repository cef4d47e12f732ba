"""Presets, one file per data set."""
