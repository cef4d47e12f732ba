"""Studies, one file each: the networks that a table needs, and how they are evaluated."""
