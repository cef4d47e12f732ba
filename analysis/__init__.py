"""Tables, plots and findings made from committed records; nothing here trains or attacks."""

from binaries import quiet  # noqa: F401
