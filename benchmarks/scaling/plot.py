"""The figure of a report on scaling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.scaling import model, reading
from benchmarks.scaling.measuring import ALONE, APART, EXCHANGE, PAIR, WORKERS
from benchmarks.scaling.model import Network
from benchmarks.scaling.sections import ACCELERATION, MANY, TARGET, all_reduces
from benchmarks.timing import quartiles, ratio

# Okabe and Ito, told apart by the color-blind; dashes tell them apart in gray.
_COLORS = ("#000000", "#D55E00", "#E69F00", "#009E73", "#0072B2")
_MARKERS = "Dsv^<>"
_DASHES = ("-", ":", "-.", "--", (0, (6, 2)))


def draw(raw: Mapping[str, Any]) -> Figure:
    """Draws messages, two workers, and many workers in the paper's setting.

    Args:
        raw: complete measurements.

    Returns:
        A figure of its own; no state is shared with pyplot.
    """
    cases, network = raw["cases"], reading.loopback(raw["messages"])
    figure = Figure(figsize=(11, 8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2)
    _messages(panels[0, 0], raw, network)
    _two_workers(panels[0, 1], cases, network)
    if raw["cable"] and raw["cable"]["case"] in cases:
        _cable(panels[0, 1], raw["cable"], cases, network)
    _label_efficiencies(panels[0, 1])
    compute = reading.paper_compute(raw["paper"])
    sent = reading.messages(raw["paper"], all_reduces(cases))
    for panel, factor in zip(panels[1], (1, ACCELERATION), strict=True):
        _many_workers(panel, compute / factor, sent, network)
    heading = f"batch {raw['paper']['batch_size']} a worker, {compute:.3g} s a step (extrapolated)"
    panels[1, 0].set_title(f"Modelled: one core a worker,\n{heading}", fontsize=10)
    panels[1, 1].set_title(
        f"Modelled: workers assumed {ACCELERATION} times as fast,\n{compute / ACCELERATION:.3g} s "
        "a step",
        fontsize=10,
    )
    figure.suptitle(f"Synchronous training on many workers; below: {raw['paper']['title']}")
    return figure


def _messages(panel: Axes, raw: Mapping[str, Any], network: Network) -> None:
    rows = raw["messages"]
    sizes = np.array([row["bytes"] for row in rows])
    medians = np.array([np.median(row["seconds"]) for row in rows])
    spread = np.abs(np.array([quartiles(row["seconds"]) for row in rows]).T - medians)
    panel.errorbar(sizes, medians, spread, fmt="o", color=_COLORS[-1], label="all-reduce, measured")
    line = np.geomspace(sizes.min(), sizes.max(), 100)
    label = f"fitted: {network.bandwidth / 1e6:.3g} MB/s, {1e6 * network.latency:.3g} µs a hop"
    fitted = [model.all_reduce_seconds(size, WORKERS, network) for size in line]
    panel.plot(line, fitted, color=_COLORS[0], label=label)
    for (name, case), marker in zip(raw["cases"].items(), _MARKERS, strict=False):
        sent = case["gradient_bytes"] + case["statistics_bytes"]
        seconds = np.median(reading.timing(case, EXCHANGE).seconds)
        panel.plot(
            sent,
            seconds,
            marker,
            color=_COLORS[1],
            mfc="none",
            label=f"exchange of a step, {name}",
        )
    panel.set(xscale="log", yscale="log", xlabel="bytes", ylabel="seconds")
    panel.set_title("Measured: two workers over loopback", fontsize=10)
    panel.legend(fontsize=7)
    panel.grid(color="0.9")


def _two_workers(panel: Axes, cases: Mapping[str, Any], network: Network) -> None:
    for height, case in enumerate(cases.values()):
        pair = reading.timing(case, PAIR)
        for shift, mode, color in ((-0.15, ALONE, _COLORS[4]), (0.0, APART, _COLORS[3])):
            found = ratio(reading.timing(case, mode), pair)
            panel.errorbar(
                found.value,
                height + shift,
                xerr=np.abs(np.reshape(found.quartiles, (2, 1)) - found.value),
                fmt="o",
                color=color,
                capsize=2,
                label=f"measured against {mode}" if height == 0 else None,
            )
        alone = reading.median_alone(case)
        panel.plot(
            alone / reading.predicted(case, alone, network),
            height + 0.15,
            "D",
            color=_COLORS[1],
            mfc="none",
            label="by the model" if height == 0 else None,
        )
    panel.set_yticks(range(len(cases)), list(cases), fontsize=8)
    panel.set_ylim(len(cases) - 0.3, -0.6)


def _cable(
    panel: Axes, cable: Mapping[str, Any], cases: Mapping[str, Any], network: Network
) -> None:
    """Rows below those of loopback, one a rate."""
    case, apart = cases[cable["case"]], reading.timing(cable, APART)
    names = [label.get_text() for label in panel.get_yticklabels()]
    for height, (name, rate) in enumerate(cable["rates"].items(), len(names)):
        found = ratio(apart, reading.timing(rate, PAIR))
        spread = np.abs(np.reshape(found.quartiles, (2, 1)) - found.value)
        panel.errorbar(found.value, height, xerr=spread, fmt="o", color=_COLORS[3], capsize=2)
        wired = reading.cable_network(network, cable["gigabits"].get(name))
        step, _ = reading.predicted_over_cable(cable, case, wired)
        panel.plot(apart.median / step, height + 0.15, "D", color=_COLORS[1], mfc="none")
        names.append(f"{cable['case']},\ncable, {name}")
    panel.set_yticks(range(len(names)), names, fontsize=8)
    panel.set_ylim(len(names) - 0.3, -0.6)


def _label_efficiencies(panel: Axes) -> None:
    panel.axvline(TARGET.limit, color="0.6", linestyle="--", linewidth=1)
    panel.set_xlim(0, max(1.1, panel.get_xlim()[1]))
    panel.set_xlabel("weak scaling efficiency of two workers")
    panel.set_title("Measured: steps of two workers on one machine", fontsize=10)
    panel.legend(fontsize=7, loc="upper left")
    panel.grid(axis="x", color="0.9")


def _many_workers(panel: Axes, compute: float, sent: list[float], network: Network) -> None:
    workers = range(1, MANY[-1] + 1)
    for (name, each), color, dash in zip(
        reading.networks(network).items(), _COLORS, _DASHES, strict=True
    ):
        values = [model.efficiency(compute, sent, count, each) for count in workers]
        panel.plot(workers, values, color=color, linestyle=dash, label=name)
    panel.set(xlabel="workers", ylabel="weak scaling efficiency", ylim=(0, 1.05))
    panel.set_xlim(1, MANY[-1])
    panel.grid(color="0.9")
    panel.legend(fontsize=7)
