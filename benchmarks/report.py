"""What a benchmark found: numbers beside their targets, as JSON and as Markdown."""

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
class Target:
    """What a number should be.

    Attributes:
        limit: the number to keep to.
        at_most: True if smaller is better, False if the limit is a least value.
    """

    limit: float
    at_most: bool

    def met(self, value: float) -> bool:
        """Whether the value keeps to the limit."""
        return value <= self.limit if self.at_most else value >= self.limit

    def __str__(self) -> str:
        return f"at {'most' if self.at_most else 'least'} {self.limit:g}"


def at_most(limit: float) -> Target:
    """A target that smaller numbers meet."""
    return Target(limit, at_most=True)


def at_least(limit: float) -> Target:
    """A target that greater numbers meet."""
    return Target(limit, at_most=False)


@dataclass(frozen=True)
class Finding:
    """One number of a report.

    Attributes:
        what: a phrase that says what the number is.
        value: the number.
        unit: "x" for ratios, "MB", "" for counts and fractions.
        target: what it should be; None for numbers that only explain others.
        quartiles: spread over the repetitions, where there is one.
        cpu_value: the same ratio in CPU time, where there is one.
    """

    what: str
    value: float
    unit: str = ""
    target: Target | None = None
    quartiles: tuple[float, float] | None = None
    cpu_value: float | None = None

    @classmethod
    def of_ratio(cls, what: str, ratio: Ratio, target: Target | None = None) -> Finding:
        """A finding from a ratio of times."""
        return cls(what, ratio.value, "x", target, ratio.quartiles, ratio.cpu_value)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        return None if self.target is None else self.target.met(self.value)

    def as_dict(self) -> dict[str, Any]:
        """Entries for JSON."""
        return {
            "what": self.what,
            "value": self.value,
            "unit": self.unit,
            "quartiles": self.quartiles,
            "cpu_value": self.cpu_value,
            "target": None if self.target is None else str(self.target),
            "met": self.met,
        }


@dataclass(frozen=True)
class Section:
    """The outcome of one benchmark.

    Attributes:
        title: what was measured, one line.
        settings: what the numbers hold for.
        findings: the numbers to read.
        measurements: a row for each contender, all with the same keys.
        notes: sentences that a reader needs to judge the numbers.
    """

    title: str
    settings: Mapping[str, Any]
    findings: Sequence[Finding]
    measurements: Mapping[str, Mapping[str, Any]]
    notes: Sequence[str] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """Entries for JSON."""
        return {
            "title": self.title,
            "settings": dict(self.settings),
            "findings": [finding.as_dict() for finding in self.findings],
            "measurements": {name: dict(row) for name, row in self.measurements.items()},
            "notes": list(self.notes),
        }


def rows(timings: Mapping[str, Timing], **columns: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Measurements of contenders: their times and further columns, each by contender's name."""
    return {
        name: {**timing.summary(), **{key: column[name] for key, column in columns.items()}}
        for name, timing in timings.items()
    }


def origin(size: str, peers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Where numbers come from; to be taken before anything is measured.

    Args:
        size: how much is measured.
        peers: versions of other libraries by name.
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
    """A whole report, for `write` and `markdown`; to be made after all is measured.

    Args:
        origin: as the function of that name returned it.
        network: what was measured.
        sections: the outcome of each benchmark, by name.
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
    """Writes a report as JSON, and as Markdown beside it; each is there whole or not at all.

    Args:
        path: JSON file to write or replace; its directory must exist.
        report: as `document` returns it.

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
    """The report as text: one table of findings, then the measurements behind them."""
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
            spread = found["quartiles"]
            cells = (
                name,
                found["what"],
                f"**{found['value']:.3g}{_spaced(found['unit'])}**",
                "" if spread is None else f"{spread[0]:.3g} to {spread[1]:.3g}",
                "" if found["cpu_value"] is None else f"{found['cpu_value']:.3g}",
                found["target"] or "",
                {True: "yes", False: "**no**", None: ""}[found["met"]],
            )
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _spaced(unit: str) -> str:
    return unit if unit in ("", "x") else f" {unit}"


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
