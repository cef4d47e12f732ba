"""Starts training on many machines, and with several worker processes on one machine."""
