"""What every evaluation writes, and the one reader of it."""
