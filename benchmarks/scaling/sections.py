"""The sections of a report on scaling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.report import Finding, Section, at_least
from benchmarks.scaling import model, notes, reading
from benchmarks.scaling.cable_section import cable_section
from benchmarks.scaling.measuring import ALONE, APART, BOOKKEEPING, EXCHANGE, PAIR, WORKERS
from benchmarks.scaling.model import Network
from benchmarks.timing import Timing, quartiles, ratio

TARGET = at_least(0.9)
MANY = (2, 4, 8, 16, 32, 50)
ACCELERATION = 100
_MEGABYTE = 1e6


def sections(raw: Mapping[str, Any]) -> dict[str, Section]:
    """All sections that the measurements suffice for, by name."""
    cases, rows, cable, paper = (raw[part] for part in ("cases", "messages", "cable", "paper"))
    found: dict[str, Section] = {}
    if cases:
        found["weak_scaling"] = _weak_scaling(cases)
        found["all_reduce"] = _all_reduce(cases)
    if rows:
        network = reading.loopback(rows)
        found["messages"] = _messages(rows, network)
        if cases:
            found["model"] = _model(cases, network)
        if cable and cable["case"] in cases:
            found["cable"] = cable_section(cable, cases[cable["case"]], network)
        if cases and paper:
            found["many_workers"] = _many_workers(paper, cases, network)
    return found


def all_reduces(cases: Mapping[str, Any], least: bool = False) -> int:
    """All-reduces of a step of training, the most of any case or the least."""
    return (min if least else max)(case["collectives"]["training"] for case in cases.values())


def _efficiencies(name: str, times: Mapping[str, Timing]) -> list[Finding]:
    pairs = (
        ("efficiency, one worker / two workers", ALONE, PAIR, TARGET),
        ("efficiency, two workers apart / two workers", APART, PAIR, None),
        ("one worker / two workers apart", ALONE, APART, None),
    )
    return [
        Finding.of_ratio(f"{name}: {what}", ratio(times[first], times[second]), target)
        for what, first, second, target in pairs
    ]


def _weak_scaling(cases: Mapping[str, Any]) -> Section:
    findings, measurements = [], {}
    for name, case in cases.items():
        times = {mode: reading.timing(case, mode) for mode in (ALONE, PAIR, APART)}
        findings += _efficiencies(name, times)
        for mode, timed in times.items():
            seconds = reading.steps(case, mode)
            measurements[f"{name}, {mode}"] = {
                "median_seconds": float(np.median(seconds)),
                "quartiles_seconds": quartiles(seconds),
                "cpu_median_seconds": float(np.median(timed.cpu_seconds)),
                "steps": len(seconds),
                "batch_a_worker": case["batch_size"],
            }
    return Section(
        title="A training step of one worker and of two, the batch of each worker the same",
        settings={"processes": "pinned to a core each", "TensorFlow threads": "1 intra, 1 inter"},
        findings=findings,
        measurements=measurements,
        notes=[notes.WEAK_SCALING],
    )


def _shares(name: str, case: Mapping[str, Any]) -> list[Finding]:
    ways = ("exchange alone / step", "(step - step apart) / step")
    return [
        Finding(
            f"{name}: share of all-reduce, {way}",
            float(np.median(shares)),
            quartiles=quartiles(shares),
        )
        for way, shares in zip(ways, reading.exchange_shares(case), strict=True)
    ]


def _all_reduce(cases: Mapping[str, Any]) -> Section:
    findings, measurements = [], {}
    for name, case in cases.items():
        findings += _shares(name, case)
        for mode in (EXCHANGE, BOOKKEEPING):
            seconds = reading.steps(case, mode)
            measurements[f"{name}, {mode}"] = {
                "median_seconds": float(np.median(seconds)),
                "quartiles_seconds": quartiles(seconds),
                "all_reduces": case["collectives"]["exchange"] if mode == EXCHANGE else 0,
                "gradient_megabytes": case["gradient_bytes"] / _MEGABYTE,
                "statistics_megabytes": case["statistics_bytes"] / _MEGABYTE,
            }
    return Section(
        title="Share of a two-worker step that goes into all-reduce",
        settings={"workers": WORKERS},
        findings=findings,
        measurements=measurements,
        notes=[notes.ALL_REDUCE],
    )


def _messages(rows: Sequence[Mapping[str, Any]], network: Network) -> Section:
    measurements = {}
    for row in rows:
        fitted = model.all_reduce_seconds(row["bytes"], WORKERS, network)
        median = float(np.median(row["seconds"]))
        measurements[f"{row['bytes']:,} bytes"] = {
            "median_seconds": median,
            "quartiles_seconds": quartiles(row["seconds"]),
            "fitted_seconds": fitted,
            "fitted_over_measured": fitted / median,
            "repetitions": len(row["seconds"]),
        }
    return Section(
        title="All-reduces between two workers over loopback, and the line fitted to them",
        settings={"workers": WORKERS, "communication": "TensorFlow's ring over gRPC"},
        findings=[
            Finding("bandwidth", network.bandwidth / _MEGABYTE, "MB/s"),
            Finding("latency of a hop", network.latency * 1e6, "microseconds"),
        ],
        measurements=measurements,
        notes=[notes.MESSAGES],
    )


def _model(cases: Mapping[str, Any], network: Network) -> Section:
    findings, measurements = [], {}
    for name, case in cases.items():
        medians = {m: float(np.median(reading.timing(case, m).seconds)) for m in case["rounds"]}
        by_alone = reading.predicted(case, medians[ALONE], network)
        by_apart = reading.predicted(case, medians[APART], network)
        exchange = reading.predicted_exchange(case, network)
        ratios = {
            "compute of one worker": by_alone / medians[PAIR],
            "compute of two apart": by_apart / medians[PAIR],
            "exchange alone": exchange / medians[EXCHANGE],
        }
        what = f"{name}: predicted / measured"
        findings += [Finding(f"{what}, {way}", value) for way, value in ratios.items()]
        measurements[name] = {
            "measured_seconds": medians[PAIR],
            "predicted_seconds": by_alone,
            "predicted_from_apart_seconds": by_apart,
            "measured_exchange_seconds": medians[EXCHANGE],
            "predicted_exchange_seconds": exchange,
        }
    return Section(
        title="The model of a step against two workers measured",
        settings={
            "model": "compute + sum over all-reduces of 2 (N - 1) (bytes / N / bandwidth + latency)"
        },
        findings=findings,
        measurements=measurements,
        notes=[notes.MODEL],
    )


def _many_workers(paper: Mapping[str, Any], cases: Mapping[str, Any], network: Network) -> Section:
    compute = reading.paper_compute(paper)
    packs = reading.messages(paper, all_reduces(cases))
    fast = f"{ACCELERATION} times a core"
    ways = [("a core", compute, packs), (fast, compute / ACCELERATION, packs)]
    counted = str(len(packs))
    # Gradients of the smallest network fit into one pack, if a larger one was measured, too.
    one_pack = reading.messages(paper, all_reduces(cases, least=True))
    if len(one_pack) < len(packs):
        ways.append((f"{fast}, one pack", compute / ACCELERATION, one_pack))
        counted += f", with gradients in one pack {len(one_pack)}"
    measurements, findings = {}, []
    for name, each in reading.networks(network).items():
        for what, seconds, sent in ways:
            row = {
                f"{workers}_workers": model.efficiency(seconds, sent, workers, each)
                for workers in MANY
            }
            measurements[f"{name}, {what}"] = row
            findings.append(
                Finding(f"efficiency of {MANY[-1]} workers, {name}, {what}", list(row.values())[-1])
            )
    batches = ", ".join(
        f"{np.median(row['seconds']):.3g} s at batch {row['batch_size']}" for row in paper["steps"]
    )
    return Section(
        title=f"The model extended to {MANY[-1]} workers: efficiency in the paper's setting",
        settings={
            "case": paper["title"],
            "batch a worker": paper["batch_size"],
            "gradients": f"{paper['gradient_bytes'] / _MEGABYTE:.1f} MB",
            "all-reduces of a step": counted,
            "step of one core": f"{compute:.3g} s (extrapolated)",
        },
        findings=findings,
        measurements=measurements,
        notes=[notes.many_workers(batches, paper["batch_size"], ACCELERATION)],
    )
