"""How much slower training steps are with a second worker, and by a model with up to fifty.

`python -m benchmarks.scaling`: a single worker, two that train together and two that train
separately take turns, each process pinned to a core. A model of the connection between workers is
fitted to the times of all-reduces of several sizes, and predicts steps of more workers.
"""
