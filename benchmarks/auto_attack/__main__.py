"""Compares AutoAttack with the original code and with adv-lib, image by image, and their times.

python -m benchmarks.auto_attack --runs_dir=runs --python=PYTHON --original=DIR

PYTHON is an interpreter that has torch and adv-lib installed; DIR holds the package `autoattack` of
https://github.com/fra31/auto-attack. The networks are the presets that `train.main` trained into
directories such as runs/mnist_clean. Results are saved after each of the three implementations; the
same command after an interruption continues with the next one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import app, flags

from aad_tf.utils.checks import check_choice
from aad_tf.utils.files import check_writable, write_json_atomically
from benchmarks import report
from benchmarks.auto_attack import cases
from binaries import command_line, running

_RUNS = flags.DEFINE_string("runs_dir", "runs", "Where train.main put its model directories.")
_PYTHON = flags.DEFINE_string("python", "python3", "An interpreter with torch and adv-lib.")
_ORIGINAL = flags.DEFINE_string("original", None, "Directory of the package autoattack.")
_IMAGES = flags.DEFINE_integer("num_images", 1000, "Test images of each network.", lower_bound=1)
_ONLY = flags.DEFINE_list("only", [], f"Some of: {', '.join(cases.CASES)}. Default: all.")
_OUTPUT = flags.DEFINE_string(
    "output",
    "results/benchmarks/auto_attack.json",
    "JSON report with the stage that broke each image; a Markdown one goes beside it.",
)


def main(argv: list[str]) -> None:
    """Runs the comparison that the flags ask for; a mistake of the user's ends with exit code 2."""
    del argv
    running.run(_compare, resumed_from=_partial)


def _compare() -> str:
    names = _ONLY.value or list(cases.CASES)
    for name in names:
        check_choice(name, cases.CASES, "case")
    if not _ORIGINAL.value or not Path(_ORIGINAL.value, "autoattack").is_dir():
        raise ValueError(
            f"--original must name a directory that holds the package autoattack, got "
            f"{_ORIGINAL.value!r}."
        )
    check_writable(_OUTPUT.value)
    origin = report.origin(f"{_IMAGES.value} images")
    found = _found_before()
    for name in names:
        weights = cases.weights_of(cases.CASES[name], _RUNS.value)
        before = found.get(name, {})
        if before.get("weights") != weights:
            before = {}
        if _is_whole(before):
            continue
        about = {
            "weights": weights,
            "measured": before.get("measured") or _when_and_where(origin["provenance"]),
        }

        def keep(
            contenders: Mapping[str, Any], name: str = name, about: dict[str, Any] = about
        ) -> None:
            found[name] = {**contenders, **about}
            write_json_atomically(_partial(), found)

        running.say(f"{name} ...")
        cases.compare(
            cases.CASES[name],
            _RUNS.value,
            _IMAGES.value,
            _PYTHON.value,
            str(Path(_ORIGINAL.value).resolve()),
            running.say,
            {one: before[one] for one in cases.CONTENDERS if one in before},
            keep,
        )
    unfinished = {name: one for name, one in found.items() if not _is_whole(one)}
    found = {name: found[name] for name in cases.CASES if name in found and name not in unfinished}
    sections = {name: cases.section(cases.CASES[name], one) for name, one in found.items()}
    document = report.document(origin, "the presets named below", sections)
    written = report.write(_OUTPUT.value, {**document, "found": found})
    if unfinished:
        write_json_atomically(_partial(), unfinished)
    else:
        _partial().unlink(missing_ok=True)
    return f"{report.markdown(document)}\nwritten: {_OUTPUT.value} and {written}"


def _is_whole(found: Mapping[str, Any]) -> bool:
    """Whether all contenders of a comparison have run."""
    return all(name in found for name in cases.CONTENDERS)


def _when_and_where(provenance: dict[str, Any]) -> dict[str, Any]:
    """Of one comparison: a report may hold some of other days and machines."""
    return {key: provenance[key] for key in ("utc", "git_commit", "cpu", "cpu_cores")}


def _partial() -> Path:
    return Path(f"{_OUTPUT.value}.partial")


def _found_before() -> dict[str, Any]:
    """Comparisons of as many images that the report holds, and what an interrupted run added."""
    found: dict[str, Any] = {}
    for path, key in ((Path(_OUTPUT.value), "found"), (_partial(), None)):
        if path.is_file():
            contents = json.loads(path.read_text(encoding="utf-8"))
            found |= contents[key] if key else contents
            if key:
                earlier = _when_and_where(contents["provenance"])
                found = {name: {"measured": earlier, **one} for name, one in found.items()}
    sizes = {len(one[cases.OURS]["broken_by"]) for one in found.values()}
    if sizes - {_IMAGES.value}:
        raise ValueError(
            f"{_OUTPUT.value} holds comparisons of {sizes} images, not {_IMAGES.value}: give the "
            f"same --num_images, another --output, or remove it."
        )
    return found


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse)
