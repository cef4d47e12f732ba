"""How training scales from one worker to many: `python -m benchmarks.scaling`.

One worker, two that exchange gradients and two that do not take turns, each process on a core of
its own; a model of the time of a step is fitted to all-reduces of several sizes, checked against
the two workers, over loopback and over cables of known rates, and extended to more of them.
"""
