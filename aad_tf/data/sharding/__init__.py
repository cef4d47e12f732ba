"""Divides epochs into batches and batches among replicas, for data sets that start at any batch."""
