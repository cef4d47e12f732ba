"""Shows that a training run survives kills: `python -m benchmarks.survival`.

The same run is made twice with several worker processes: once in peace, and once while one worker
after the other is killed (SIGKILL) and all are started again. Both must end with the same weights.
"""
