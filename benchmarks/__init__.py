"""Speed and memory, side by side with other libraries in one run: `python -m benchmarks`.

Whatever is compared runs in one process, its repetitions interleaved (A B C A B C ...), so that
a slow minute of the machine strikes all alike. Ratios are what counts; seconds are printed too.
"""

from binaries import quiet  # noqa: F401
