"""A report on scaling as files: JSON, from which Markdown and a figure are made."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aad_tf.plots import save_png
from aad_tf.results import PathLike, write_atomically, write_json_atomically
from benchmarks import report
from benchmarks.scaling.plot import draw
from benchmarks.scaling.sections import sections


def write(output: PathLike, figure: PathLike, found: Mapping[str, Any]) -> list[Path]:
    """Writes what was measured so far; each file is there whole or not at all.

    Args:
        output: JSON file; the Markdown one goes beside it.
        figure: PNG file, drawn when nothing is missing.
        found: as `benchmarks.scaling.running.run` returns it.

    Returns:
        Paths of what was written.
    """
    output, figure = Path(output), Path(figure)
    raw = found["raw"]
    # First of all, whatever can be made of it.
    write_json_atomically(output, found)
    parts = {name: section.as_dict() for name, section in sections(raw).items()}
    write_json_atomically(output, {**found, "benchmarks": parts})
    written = [output]
    if raw["cases"] and raw["messages"] and raw["paper"]:
        written.append(save_png(draw(raw), figure))
    beside = output.with_suffix(".md")
    picture = Path(os.path.relpath(figure, output.parent)) if len(written) > 1 else None
    with write_atomically(beside) as file:
        file.write(markdown({**found, "benchmarks": parts}, picture).encode())
    return [*written, beside]


def read(output: PathLike) -> dict[str, Any]:
    """A report that was written before."""
    return json.loads(Path(output).read_text(encoding="utf-8"))


def markdown(found: Mapping[str, Any], picture: Path | None) -> str:
    """The report as text, with the figure if there is one."""
    settings = ", ".join(f"{key} {value}" for key, value in found["settings"].items())
    lines = ["# Scaling from one worker to many", ""]
    if picture is not None:
        lines += [f"![All-reduces, two workers, many workers]({picture.as_posix()})", ""]
    for name, words in found["raw"]["failures"].items():
        lines += [f"**{name} failed and is missing:** {words.splitlines()[0]}", ""]
    for name, words in found["raw"]["left_out"].items():
        lines += [f"**{name} is left out:** {words}.", ""]
    lines += [f"Settings of all parts: {settings}."]
    return report.markdown(found).replace("# Benchmarks\n", "\n".join(lines) + "\n", 1)
