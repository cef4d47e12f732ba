"""The same run twice, in peace and with kills, and what came of it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aad_tf import configs, model_directory
from aad_tf.provenance import portable, provenance
from aad_tf.results import PathLike, write_atomically, write_json_atomically
from benchmarks.survival import logs, report, verdict
from benchmarks.survival.damages import Damages
from benchmarks.survival.killing import Bounds, Killing
from benchmarks.survival.launch import Launch, SurvivalError
from benchmarks.survival.logs import Pace
from benchmarks.survival.plan import Course, draw
from train.launch.stopping import StopRequests

_PEACE = "uninterrupted"
_KILLED = "killed"
_MEASURED = "measured.json"
# Of the seconds of the whole uninterrupted run: no launch does more than that one.
_SLOWEST = 4.0
_LEAST_LIMIT = 300.0


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        command: what each worker runs, without the model directory.
        work_dir: where everything goes; empty, or of an earlier call.
        shares: cores of each worker.
        kills: how many.
        seed: of the kills.
        bounds: how long survivors may take.
        limit: seconds the uninterrupted run may take.
        reuse: take the uninterrupted run of an earlier call if it is finished.
    """

    command: Sequence[str]
    work_dir: Path
    shares: Sequence[Sequence[int]]
    kills: int
    seed: int
    bounds: Bounds
    limit: float
    reuse: bool


class Survival:
    """Makes both runs.

    Args:
        plan: what is to be done.
        stops: open requests to stop.
        say: shows progress.

    Raises:
        ValueError: the directory holds something else.
    """

    def __init__(self, plan: Plan, stops: StopRequests, say: Callable[[str], None]) -> None:
        plan.work_dir.mkdir(parents=True, exist_ok=True)
        present = {path.name for path in plan.work_dir.iterdir()}
        if present and _PEACE not in present:
            raise ValueError(
                f"{plan.work_dir} holds something else. Give an empty or a new --work_dir."
            )
        self._plan, self._stops, self._say = plan, stops, say

    def directory(self, run: str) -> Path:
        """The model directory of a run."""
        return self._plan.work_dir / run / "model"

    def _begin(self, run: str) -> None:
        shutil.rmtree(self._plan.work_dir / run, ignore_errors=True)
        self.directory(run).parent.mkdir()

    def _launch(self, run: str, number: int, limit: float) -> Launch:
        command = [*self._plan.command, f"--model_dir={self.directory(run)}"]
        folder = self._plan.work_dir / run / f"launch_{number:02d}"
        return Launch(command, self._plan.shares, folder, self._stops, limit)

    def uninterrupted(self) -> dict[str, Any]:
        """Trains in peace: course, pace and seconds."""
        file = self._plan.work_dir / _PEACE / _MEASURED
        if self._plan.reuse and file.is_file():
            measured = json.loads(file.read_text(encoding="utf-8"))
            if measured["command"] != list(self._plan.command):
                raise ValueError(
                    f"The uninterrupted run in {file.parent} was made by another command: "
                    f"{' '.join(measured['command'])}. Leave out --reuse_uninterrupted."
                )
            return measured
        self._begin(_PEACE)
        self._say("the uninterrupted run")
        with self._launch(_PEACE, 0, self._plan.limit) as launch:
            _to_the_end(launch)
        events = launch.chief.events
        every = model_directory.read_config(self.directory(_PEACE)).checkpoint_steps
        epochs, steps = next(event.of for event in events if event.kind == "step")
        measured = {
            "command": list(self._plan.command),
            "course": dataclasses.asdict(Course(epochs, steps, every)),
            "pace": dataclasses.asdict(logs.pace(events)),
            "seconds": launch.seconds,
        }
        write_json_atomically(file, measured)
        return measured

    def killed(self, measured: dict[str, Any]) -> dict[str, Any]:
        """Trains with kills: each of them, and the seconds of all launches."""
        course, pace = Course(**measured["course"]), Pace(**measured["pace"])
        kills = draw(self._plan.kills, self._plan.seed, course, len(self._plan.shares))
        limit = max(_LEAST_LIMIT, _SLOWEST * measured["seconds"])
        folder = self.directory(_KILLED) / model_directory.CHECKPOINTS
        damages = Damages(folder, len(kills))
        records: list[dict[str, Any]] = []
        seconds = 0.0
        self._begin(_KILLED)
        for number, kill in enumerate(kills):
            with self._launch(_KILLED, number, limit) as launch:
                self._say(f"launch {number + 1}: {kill}")
                killing = Killing(launch, kill, course, pace, folder)
                if not killing.wait():
                    break
                record = killing.execute(self._plan.bounds)
            seconds += launch.seconds
            damages.look(launch, records)
            records.append({"number": number + 1, **record, "damage": damages.apply(number + 1)})
            self._say(_summary(records[-1]))
        self._say("the last launch")
        with self._launch(_KILLED, self._plan.kills, limit) as launch:
            _to_the_end(launch)
        damages.look(launch, records)
        last = logs.resumed_at(launch.chief.events, course)
        resume(records, last if last is not None else course.total)
        return {"kills": records, "seconds": seconds + launch.seconds}


def run(plan: Plan, output: PathLike, stops: StopRequests, say: Callable[[str], None]) -> bool:
    """Makes both runs and writes the report.

    Args:
        plan: what is to be done.
        output: JSON file to write; a Markdown one goes beside it.
        stops: open requests to stop.
        say: shows progress.

    Returns:
        Whether all targets are met.

    Raises:
        ValueError: the directory holds something else, or the run is too short.
        SurvivalError: a launch failed by itself or took too long.
        StoppedError: somebody asked to stop.
    """
    origin = provenance()
    survival = Survival(plan, stops, say)
    measured = survival.uninterrupted()
    killed = survival.killed(measured)
    same = verdict.compare(survival.directory(_PEACE), survival.directory(_KILLED))
    course = Course(**measured["course"])
    findings = verdict.findings(killed["kills"], same, course, plan.kills)
    config = model_directory.read_config(survival.directory(_PEACE))
    found = {
        "provenance": origin,
        "config": configs.to_dict(config),
        "workers": len(plan.shares),
        "seed": plan.seed,
        "course": measured["course"],
        "pace": measured["pace"],
        "seconds": {"uninterrupted": measured["seconds"], "killed": killed["seconds"]},
        "findings": [finding.as_dict() for finding in findings],
        "comparison": same,
        "kills": portable(killed["kills"]),
    }
    write_json_atomically(output, found)
    text = report.markdown(found)
    with write_atomically(Path(output).with_suffix(".md")) as file:
        file.write(text.encode())
    say(text)
    return all(finding.met is not False for finding in findings)


def _to_the_end(launch: Launch) -> None:
    launch.wait(lambda: None not in launch.codes or any(launch.codes))
    codes = launch.codes
    launch.close()
    if any(code != 0 for code in codes):
        raise SurvivalError(f"Workers ended with codes {codes}; see {launch.logs[0].parent}.")


def resume(records: list[dict[str, Any]], last: int) -> None:
    """Adds to each kill where the run went on from, and the steps that were made once more.

    Args:
        records: of all kills, in order.
        last: steps that the last launch found done.

    Example:
        >>> records = [{"found_done": 0, "steps_done": 7}, {"found_done": 5, "steps_done": None}]
        >>> resume(records, 5)
        >>> [(record["resumed_at"], record["steps_repeated"]) for record in records]
        [(5, 2), (5, 0)]
    """
    found = last
    for record in reversed(records):
        record["resumed_at"] = found
        done = record["steps_done"]
        record["steps_repeated"] = max(0, done - found) if done is not None else 0
        # A launch that was killed early does not tell what it found.
        found = record["found_done"] if record["found_done"] is not None else found


def _summary(record: dict[str, Any]) -> str:
    ends = ", ".join(
        f"worker {survivor['worker']} ended with {survivor['code']} after "
        f"{survivor['seconds']:.1f} s"
        for survivor in record["survivors"]
    )
    return f"  killed worker {record['worker']} in: {record['phase']}; {ends}"
