"""The report as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def markdown(report: Mapping[str, Any]) -> str:
    """The report of `benchmarks.survival` in Markdown."""
    lines = ["# A run that survives kills", "", *_origin(report), "", *_words(report), ""]
    lines += ["| what | found | target | met |", "|---|---|---|---|"]
    for found in report["findings"]:
        unit = f" {found['unit']}" if found["unit"] else ""
        met = {True: "yes", False: "**no**", None: ""}[found["met"]]
        cells = (found["what"], f"{found['value']:.4g}{unit}", found["target"] or "", met)
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "## Kills", "", *_kills(report["kills"]), ""]
    lines += [*_messages(report["kills"]), *_damages(report["kills"])]
    return "\n".join(lines) + "\n"


def _origin(report: Mapping[str, Any]) -> list[str]:
    origin = report["provenance"]
    versions = ", ".join(f"{name} {version}" for name, version in origin["versions"].items())
    changed = " with changes" if origin["git_dirty"] else ""
    return [
        f"Written by `{origin['command']}` on {origin['utc']}, commit {origin['git_commit']}"
        f"{changed}.",
        f"Machine: {origin['cpu']}, {origin['cpu_cores']} cores, {len(origin['gpus'])} GPUs.",
        f"Versions: {versions}.",
    ]


def _words(report: Mapping[str, Any]) -> list[str]:
    config, course, same = report["config"], report["course"], report["comparison"]
    seconds = report["seconds"]
    total = course["epochs"] * course["steps"]
    found = (
        "the same weights, bit for bit,"
        if not same["arrays_unlike"]
        else f"weights that differ by up to {same['largest_difference']:.2g}"
    )
    return [
        f"A run of {config['model']} on {config['dataset']} ({total} steps of "
        f"{config['batch_size']} images in {course['epochs']} epochs, a checkpoint every "
        f"{course['checkpoint_steps']} steps) with {report['workers']} worker processes was made "
        f"twice: in peace ({seconds['uninterrupted']:.0f} s), and with {len(report['kills'])} "
        f"kills (SIGKILL to one worker, at moments drawn from seed {report['seed']}; "
        f"{seconds['killed']:.0f} s with all starts). After each kill the others had to end by "
        f"themselves, and all were started again. Both runs ended with {found} in "
        f"{same['arrays']} arrays of {same['values']:,} values. Of the {same['history_values']} "
        f"values of history.csv, {same['history_values_unlike']} differ, by up to "
        f"{same['largest_history_difference']:.1g} of the value (a checkpoint within an epoch adds "
        f"up the running means of all workers, which rounds them once more).",
    ]


def _kills(kills: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "| kill | worker | seconds after the launch | killed in | others ended after | with code "
        "| steps done | went on from | repeated |",
        "|---" * 9 + "|",
    ]
    for kill in kills:
        others = kill["survivors"]
        cells = (
            kill["number"],
            kill["worker"],
            f"{kill['seconds_after_launch']:.1f}",
            kill["phase"],
            ", ".join(_ended(other) for other in others),
            ", ".join(str(other["code"]) for other in others),
            "" if kill["steps_done"] is None else kill["steps_done"],
            kill["resumed_at"],
            f"{kill['steps_repeated']}{' (damaged)' if kill['damage'] else ''}",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def _ended(survivor: Mapping[str, Any]) -> str:
    return "never" if survivor["code"] is None else f"{survivor['seconds']:.1f} s"


def _messages(kills: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["What the others said last:", ""]
    for kill in kills:
        for survivor in kill["survivors"]:
            lines.append(f"- {kill['number']}, worker {survivor['worker']}: {survivor['message']}")
    return lines


def _damages(kills: Sequence[Mapping[str, Any]]) -> list[str]:
    damaged = [kill for kill in kills if kill["damage"]]
    if not damaged:
        return []
    lines = ["", "## Damaged checkpoints", ""]
    for kill in damaged:
        damage = kill["damage"]
        lines.append(f"- After kill {kill['number']}, {damage['checkpoint']}: {damage['how']}.")
        lines += [f"  - {worker}: {line}" for worker, line in damage["said"].items()]
    return lines
