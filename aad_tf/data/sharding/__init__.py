"""Epochs cut into batches and per-replica slices, and streams that begin anywhere in them."""
