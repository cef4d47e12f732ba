"""Data sets small enough to be kept in memory."""
