"""What a reader needs to judge the numbers of each section."""

from __future__ import annotations

from benchmarks.scaling.reading import WIRE_SECONDS

WEAK_SCALING = (
    "Measured through `fit` on one batch of random images in memory: reading images and "
    "augmenting them is left out. The modes take turns; ratios are those of the median "
    "steps of a round, and the first step of each turn is left out. One worker alone has "
    "the memory and the cache of the machine to itself, which two workers share whether "
    "they exchange anything or not: two workers apart, the same steps with no exchange, "
    "show how much that takes. On machines of their own workers do not share them."
)

ALL_REDUCE = (
    "Both shares are measured. The first is that of a step which makes the all-reduces of "
    "training (number of examples, gradients, moving statistics, count of updates, logs), "
    "packed alike, and computes nothing; what such a step takes in one process, where "
    "nothing is exchanged, is subtracted. The second is what exchange adds to a step, the "
    "waiting of one worker for the other included."
)

MESSAGES = (
    "Times are measured, bandwidth and latency fitted to their medians with the least "
    "relative errors. Both workers copy and pack on the core that they compute on, so this "
    "is what a core can send and receive rather than what a cable can."
)

CABLE = (
    "Each worker runs in a network namespace of its own, on the same machine and a core of its "
    "own; between them is a virtual cable whose rate is limited in each direction (Linux tbf). "
    "Modes and rates take turns. In the prediction a byte takes the time that it took over "
    "loopback and then that of the cable, both as they are: nothing is fitted to these steps. "
    "Headers of packets, some 4 % of what a cable carries, are left out; what a plain connection "
    "carries at each rate stands beside."
)

MODEL = (
    "Compute is the measured step of one worker alone, or of two apart; sizes are those of "
    "gradients and moving statistics; bandwidth and latency are those fitted above to "
    "other messages. Nothing is fitted to the steps of two workers."
)


def many_workers(batches: str, batch_size: int, acceleration: int) -> str:
    """What is measured, modelled and assumed of many workers."""
    return (
        "Modelled; no more than two workers were run. Measured are the steps of one core at "
        f"smaller batches ({batches}), from which a line gives the step at batch {batch_size}, and "
        f"the loopback network. Assumed are: a worker {acceleration} times as fast as this core, "
        "for an accelerator; networks whose full rate a worker can use, which one core did not, "
        f"with {1e6 * WIRE_SECONDS:g} microseconds a hop on top of the latency of loopback; "
        "workers that are equally fast and never wait for data; and that nothing overlaps. One "
        "pack is what `train.main --pack_megabytes=128` sends gradients in, modelled with the same "
        "bandwidth."
    )
