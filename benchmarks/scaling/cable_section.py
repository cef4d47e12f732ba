"""The section of a report on two workers with a cable between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.report import Finding, Section
from benchmarks.scaling import notes, reading
from benchmarks.scaling.measuring import APART, EXCHANGE, PAIR
from benchmarks.scaling.model import Network
from benchmarks.timing import ratio


def cable_section(cable: Mapping[str, Any], case: Mapping[str, Any], measured: Network) -> Section:
    """Steps and exchanges over cables of several rates, beside the model.

    Args:
        cable: as `benchmarks.scaling.cable.measure_cable` returns it.
        case: what was trained, as measured over loopback.
        measured: the network fitted to all-reduces over loopback.
    """
    findings, measurements = [], {}
    apart = reading.timing(cable, APART)
    for name, rate in cable["rates"].items():
        gigabits = cable["gigabits"].get(name)
        step, exchange = (
            float(np.median(reading.timing(rate, mode).seconds)) for mode in (PAIR, EXCHANGE)
        )
        predicted_step, predicted_exchange = reading.predicted_over_cable(
            cable, case, reading.cable_network(measured, gigabits)
        )
        findings += [
            Finding.of_ratio(
                f"{name}: efficiency, two workers apart / two workers",
                ratio(apart, reading.timing(rate, PAIR)),
            ),
            Finding(f"{name}: predicted / measured, step", predicted_step / step),
            Finding(f"{name}: predicted / measured, exchange", predicted_exchange / exchange),
        ]
        measurements[name] = {
            "carried_megabytes_a_second": cable["carried_bytes_a_second"][name] / 1e6,
            "measured_seconds": step,
            "predicted_seconds": predicted_step,
            "measured_exchange_seconds": exchange,
            "predicted_exchange_seconds": predicted_exchange,
            "predicted_efficiency": apart.median / predicted_step,
        }
    return Section(
        title="The model against cables of known rates",
        settings={"case": cable["case"], "workers": "2, each on a host of its own"},
        findings=findings,
        measurements=measurements,
        notes=[notes.CABLE],
    )
