"""What a worker process does before it becomes the worker; run as a script, it imports nothing own.

python -I -S child.py PARENT_PID CORES COMMAND...

It asks the kernel to be killed when its parent dies (Linux), goes to its cores if any are named
("0,1"), and replaces itself by the command. All this is done here rather than between fork and
exec in the parent, where other threads make it unsafe.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Has the kernel kill this process when `parent` ends, however that happens (Linux)."""
    if sys.platform != "linux":
        return
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # It was dead before the kernel was asked.
        sys.exit(1)


def main(parent: str, cores: str, *command: str) -> None:
    """Becomes the command; code 127 if there is no such program, as a shell has it."""
    die_with(int(parent))
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"error: cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127)


if __name__ == "__main__":
    main(*sys.argv[1:])
