"""What a second worker costs, measured, and what up to fifty would, modelled.

`python -m benchmarks.scaling`: one worker, two that train together and two that train apart take
turns, each process pinned to a core. A network is fitted to all-reduces of several sizes, and
the time of a step extended to more workers.
"""
