"""Two workers on hosts of their own, with a cable of a known rate between them."""

from __future__ import annotations

from typing import Any

from benchmarks.hosts import two_hosts
from benchmarks.scaling.cases import Size
from benchmarks.scaling.crew import ask, crew
from benchmarks.scaling.measuring import (
    APART,
    BOOKKEEPING,
    EXCHANGE,
    PAIR,
    Say,
    Turns,
    brief,
    description,
    worker_cores,
)

NO_LIMIT = "no limit"


def measure_cable(size: Size, seed: int, say: Say) -> dict[str, Any]:
    """Lets two workers apart, and two together over cables of several rates, take turns.

    Args:
        size: how much.
        seed: of weights and images.
        say: called with lines of progress.

    Returns:
        `case`; `rounds` of the modes that use no cable; `rates`, for each the `rounds` of the modes
        that do, as `measure_case` returns them; and what a plain connection carried at each.

    Raises:
        WorkerFailedError: a worker failed or hung.
        NoHostsError: this machine cannot make hosts.
    """
    case, cores, patience = size.cases[size.cable_case], worker_cores(), size.answer_seconds
    rates = {NO_LIMIT: None, **{f"{rate:g} Gbit/s": rate for rate in size.cable_gigabits}}
    plain: dict[str, list[Any]] = {APART: [], BOOKKEEPING: []}
    wired: dict[str, dict[str, list[Any]]] = {rate: {PAIR: [], EXCHANGE: []} for rate in rates}
    with (
        two_hosts() as cable,
        crew(cores, False, patience) as singles,
        crew(cores, True, patience, cable.hosts) as pair,
    ):
        say("  starting four processes and compiling")
        everybody = [*singles, *pair]
        ask(everybody, "prepare", **description(case, seed))
        for model in ("train", "exchange"):
            ask(everybody, "fit", model=model, steps=2, batch_size=case.batch_size)
        turns = Turns(case, singles, pair)
        steps = turns.calibrate(size)
        carried = {}
        for name, rate in rates.items():
            cable.limit(rate)
            carried[name] = cable.carried(size.cable_bytes)
            say(f"  {name}: a plain connection carries {carried[name] / 1e6:.4g} MB/s")
        for repetition in range(size.repetitions):
            for mode, found in plain.items():
                found.append(turns.modes[mode](repetition, steps))
            say(f"  round {repetition + 1} of {size.repetitions}: {brief(plain)}")
            for name, rate in rates.items():
                cable.limit(rate)
                for mode, found in wired[name].items():
                    found.append(turns.modes[mode](repetition, steps))
                say(f"    {name}: {brief(wired[name])}")
    return {
        "case": size.cable_case,
        "gigabits": {name: rate for name, rate in rates.items() if rate is not None},
        "carried_bytes_a_second": carried,
        "rounds": plain,
        "rates": {name: {"rounds": rounds} for name, rounds in wired.items()},
    }
