"""How programs end."""

from __future__ import annotations

import atexit
import gc


def end_quickly() -> None:
    """Spares a program's end Python's last search for cycles; for binaries.

    The graphs of a network are a great many objects, and looking through them took more than a
    second for LeNet, and ten where processes shared a core: time that a worker which was told to
    end may not have. The system takes all memory back anyway.
    """
    atexit.register(gc.freeze)
