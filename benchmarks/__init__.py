"""Speed and memory, compared with other libraries in one run: `python -m benchmarks`.

All contenders run in one process, with interleaved repetitions (A B C A B C ...), so that a slow
minute of the machine affects all of them. Results are ratios; seconds are printed, too.
"""

from binaries import quiet  # noqa: F401
