"""Results of benchmarks: numbers with their targets, as JSON and as Markdown."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aad_tf.utils.files import PathLike, write_atomically, write_json_atomically
from aad_tf.utils.provenance import provenance
from benchmarks.timing import Ratio, Timing


@dataclass(frozen=True)
class Finding:
    """One number of a report, with its target if it has one.

    Attributes:
        what: a phrase that says what the number is.
        value: the number.
        unit: "x" for ratios, "MB", "" for counts and fractions.
        quartiles: spread over the repetitions, where there is one.
        cpu_value: the same ratio in CPU time, where there is one.
        at_most: the target if the number should not be larger; or None.
        at_least: the target if the number should not be smaller; or None. Only one of both is set.
    """

    what: str
    value: float
    unit: str = ""
    quartiles: tuple[float, float] | None = None
    cpu_value: float | None = None
    at_most: float | None = None
    at_least: float | None = None

    @classmethod
    def of_ratio(cls, what: str, ratio: Ratio, **target: float) -> Finding:
        """Makes a finding of a ratio of times.

        Args:
            what: a phrase that says what the ratio is.
            ratio: the ratio.
            **target: `at_most` or `at_least`, or none of both.
        """
        return cls(what, ratio.value, "x", ratio.quartiles, ratio.cpu_value, **target)

    def as_dict(self) -> dict[str, Any]:
        """The finding for JSON, with `target` as text and whether it is `met`; None without one."""
        target, met = None, None
        if self.at_most is not None:
            target, met = f"at most {self.at_most:g}", self.value <= self.at_most
        elif self.at_least is not None:
            target, met = f"at least {self.at_least:g}", self.value >= self.at_least
        return {
            "what": self.what,
            "value": self.value,
            "unit": self.unit,
            "quartiles": self.quartiles,
            "cpu_value": self.cpu_value,
            "target": target,
            "met": met,
        }


@dataclass(frozen=True)
class Section:
    """The outcome of one benchmark.

    Attributes:
        title: what was measured, in one line.
        settings: settings of the measurement by name.
        findings: the main numbers, with targets.
        measurements: times and other numbers by contender; all contenders have the same keys.
        notes: sentences that a reader needs to understand the numbers.
    """

    title: str
    settings: Mapping[str, Any]
    findings: Sequence[Finding]
    measurements: Mapping[str, Mapping[str, Any]]
    notes: Sequence[str] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """The section for JSON."""
        findings = [finding.as_dict() for finding in self.findings]
        return {**vars(self), "findings": findings, "notes": list(self.notes)}


def rows(timings: Mapping[str, Timing], **columns: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Makes the measurements of a section.

    Args:
        timings: times by contender.
        **columns: further measurements, each by contender.

    Returns:
        By contender, medians and quartiles of times and the further measurements.
    """
    return {
        name: {**timing.summary(), **{key: column[name] for key, column in columns.items()}}
        for name, timing in timings.items()
    }


def origin(size: str, peers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Describes the machine and versions behind a report; called before anything is measured.

    Args:
        size: name of the size of the benchmarks.
        peers: versions of other libraries by name.

    Returns:
        Size, versions, hardware, and load of the machine.
    """
    return {
        "size": size,
        "peers": dict(peers or {}),
        "load_average": _load_average(),
        "provenance": provenance(),
    }


def document(
    origin: Mapping[str, Any], network: str, sections: Mapping[str, Section]
) -> dict[str, Any]:
    """Puts a report together, after everything is measured.

    Args:
        origin: what the function `origin` returned.
        network: the network that was measured, in words.
        sections: the outcome of each benchmark, by name.

    Returns:
        The report, for `write` and `markdown`.
    """
    return {
        **origin,
        "network": network,
        "benchmarks": {name: section.as_dict() for name, section in sections.items()},
        "load_average_after": _load_average(),
    }


def _load_average() -> float:
    """Programs that ran or waited to run in the last minute: says how quiet the machine was."""
    return round(os.getloadavg()[0], 2)


def write(path: PathLike, report: Mapping[str, Any]) -> Path:
    """Writes a report as a JSON file and a Markdown file, each complete or not at all.

    Args:
        path: JSON file to write or replace; its directory must exist.
        report: what `document` returned.

    Returns:
        Path of the Markdown file.
    """
    path = Path(path)
    write_json_atomically(path, report)
    beside = path.with_suffix(".md")
    with write_atomically(beside) as file:
        file.write(markdown(report).encode())
    return beside


def markdown(report: Mapping[str, Any]) -> str:
    """A report as Markdown: one table of findings, then the measurements behind them."""
    sections = report["benchmarks"]
    lines = ["# Benchmarks", "", *_origin_lines(report), "", *_findings_table(sections)]
    for name, section in sections.items():
        settings = ", ".join(f"{key} {value}" for key, value in section["settings"].items())
        lines += ["", f"## {name}", "", section["title"] + ".", f"Settings: {settings}.", ""]
        lines += _measurements_table(section["measurements"])
        lines += ["", *section["notes"]] if section["notes"] else []
    return "\n".join(lines) + "\n"


def _origin_lines(report: Mapping[str, Any]) -> list[str]:
    origin = report["provenance"]
    versions = {**origin["versions"], **report["peers"]}
    return [
        f"Written by `{origin['command']}` on {origin['utc']}, commit {origin['git_commit']}"
        f"{' with changes' if origin['git_dirty'] else ''}. Size: {report['size']}.",
        f"Machine: {origin['cpu']}, {origin['cpu_cores']} cores, {len(origin['gpus'])} GPUs, "
        f"load average {report['load_average']} at the start and "
        f"{report['load_average_after']} at the end.",
        f"Versions: {', '.join(f'{name} {version}' for name, version in versions.items())}.",
        f"Network: {report['network']}.",
        "",
        "Ratios are medians of ratios within one repetition, with their quartiles; beside them "
        "the same in CPU time, which other programs on the machine disturb less.",
    ]


def _findings_table(sections: Mapping[str, Any]) -> list[str]:
    lines = [
        "| benchmark | what | measured | quartiles | in CPU time | target | met |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, section in sections.items():
        for found in section["findings"]:
            spread, unit = found["quartiles"], found["unit"]
            cells = (
                name,
                found["what"],
                f"**{found['value']:.3g}{unit if unit in ('', 'x') else f' {unit}'}**",
                "" if spread is None else f"{spread[0]:.3g} to {spread[1]:.3g}",
                "" if found["cpu_value"] is None else f"{found['cpu_value']:.3g}",
                found["target"] or "",
                {True: "yes", False: "**no**", None: ""}[found["met"]],
            )
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _measurements_table(measurements: Mapping[str, Mapping[str, Any]]) -> list[str]:
    columns = list(next(iter(measurements.values())))
    titles = [column.replace("_", " ") for column in columns]
    lines = [f"| contender | {' | '.join(titles)} |", "|---" * (len(columns) + 1) + "|"]
    for name, row in measurements.items():
        lines.append(f"| {name} | {' | '.join(_cell(row[column]) for column in columns)} |")
    return lines


def _cell(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(_cell(entry) for entry in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
