"""What a study is, and what of it is done, to do, or waits for something else."""

from __future__ import annotations

import importlib
import json
import pkgutil
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aad_tf import configs
from aad_tf.configs import ExperimentConfig
from aad_tf.model_directory import RUN, claim, is_finished
from aad_tf.records import summary_path
from aad_tf.utils.checks import check_choice
from train import studies

DONE, TO_DO, NOT_NEEDED, WAITING, ELSEWHERE = (
    *("done", "to do", "not needed: all that is evaluated on it is there"),
    *("waits for", "of another shard"),
)


@dataclass(frozen=True)
class Training:
    """A network of a study.

    Attributes:
        name: of its directory under the directory of runs; what has the same name in two studies
            is the same network.
        config: file and preset, as `train.main --config` takes them.
        options: further flags of `train.main` without the dashes, such as `{"config.seed": "1"}`;
            of the config's fields those that are a number or text.
        minutes: about how long it takes on one CPU core.
    """

    name: str
    config: str
    options: Mapping[str, str] = field(default_factory=dict)
    minutes: float = 0.0

    def experiment(self) -> ExperimentConfig:
        """The config that is trained: the preset's with what `options` change."""
        file, _, preset = self.config.partition(":")
        module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
        values = module.get_config(preset or None)
        for key, text in self.options.items():
            if key.startswith("config."):
                field_name = key.removeprefix("config.")
                values[field_name] = type(values[field_name])(text)
        return configs.from_dict(values.to_dict())

    def arguments(self, runs_dir: str) -> list[str]:
        """What `python` is given to train it."""
        flags = {"config": self.config, "model_dir": f"{runs_dir}/{self.name}", **self.options}
        return ["-m", "train.main", *_flags(flags)]


@dataclass(frozen=True)
class Evaluation:
    """Records of one or several networks of a study.

    Attributes:
        output: file of records under the directory of results, such as
            `robustness/mnist_clean.jsonl.gz`.
        networks: names of the `Training`s whose networks it needs.
        options: flags of the binary without the dashes; `{runs_dir}` stands for that directory.
        binary: `eval.robustness`, `eval.attention`, `eval.gates` or `eval.transfer`.
        minutes: about how long it takes on one CPU core.
    """

    output: str
    networks: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    binary: str = "eval.robustness"
    minutes: float = 0.0

    @property
    def name(self) -> str:
        """What `--only` calls it: the output without its endings."""
        return Path(self.output).name.split(".")[0]

    def arguments(self, runs_dir: str, results_dir: str) -> list[str]:
        """What `python` is given to run it."""
        found = {key: value.replace("{runs_dir}", runs_dir) for key, value in self.options.items()}
        if self.binary != "eval.transfer":
            found = {"model_dir": f"{runs_dir}/{self.networks[0]}", **found}
        return ["-m", self.binary, *_flags({**found, "output": f"{results_dir}/{self.output}"})]


@dataclass(frozen=True)
class Study:
    """Networks and evaluations behind a table or figure.

    Attributes:
        reference: what it reproduces, and what the reader should know of its budget.
        trainings: in the order they are trained.
        evaluations: in the order they are run, each once its networks are trained.

    Raises:
        ValueError: two cells of one name, or an evaluation of a network that is not trained.
    """

    reference: str
    trainings: tuple[Training, ...]
    evaluations: tuple[Evaluation, ...]

    def __post_init__(self) -> None:
        networks = [training.name for training in self.trainings]
        outputs = [evaluation.name for evaluation in self.evaluations]
        for names in (networks, outputs):
            if twice := {name for name in names if names.count(name) > 1}:
                raise ValueError(f"There twice in the study: {', '.join(sorted(twice))}.")
        for evaluation in self.evaluations:
            for name in evaluation.networks:
                check_choice(name, networks, f"network of {evaluation.name}")


@dataclass(frozen=True)
class Cell:
    """One training or evaluation and how it stands.

    Attributes:
        kind: "train" or "evaluate".
        name: of the training or evaluation.
        state: one of the states above; that of a waiting one names what it waits for.
        arguments: what `python` is given to do it.
        minutes: about how long it takes on one CPU core, from the beginning.
    """

    kind: str
    name: str
    state: str
    arguments: tuple[str, ...]
    minutes: float

    @property
    def command(self) -> str:
        """As a reader would type it."""
        return shlex.join(["python", *self.arguments])


def plan(
    study: Study,
    runs_dir: str,
    results_dir: str,
    only: Sequence[str] = (),
    shard: tuple[int, int] = (1, 1),
) -> list[Cell]:
    """All cells of a study in the order in which they are done.

    Args:
        study: what is asked for.
        runs_dir: directory of the model directories.
        results_dir: directory of results.
        only: names of evaluations, or of networks with all that is evaluated on them; empty for
            all.
        shard: (number from 1, count): the part of this machine. Networks are dealt out in turn,
            and each evaluation goes with its first network.

    Returns:
        An entry for each cell that `only` asks for. Each evaluation stands behind the trainings it
        needs, so that one finished network after the other is evaluated.

    Raises:
        ValueError: `only` names what the study has not; results of a network are there that is
            not the one in `runs_dir`, so that records of two networks would stand side by side; or
            results are there that were evaluated otherwise, as of fewer images.
        ModelDirectoryError: a directory of runs holds a network of another config.
    """
    names = [one.name for one in study.trainings] + [one.name for one in study.evaluations]
    for name in only:
        check_choice(name, names, "cell of the study")
    evaluations = [
        one for one in study.evaluations if not only or {one.name, *one.networks} & set(only)
    ]
    number, count = shard
    mine = {one.name for one in study.trainings[number - 1 :: count]}
    missing = [
        one for one in evaluations if not summary_path(Path(results_dir, one.output)).is_file()
    ]
    for there in evaluations:
        if there not in missing:
            _check_evaluated_alike(there, summary_path(Path(results_dir, there.output)))
    needed = {name for one in missing for name in one.networks}
    shown = {name for one in evaluations for name in one.networks} | set(only)
    begun = [
        one for one in study.trainings if one.name in shown and Path(runs_dir, one.name).is_dir()
    ]
    for one in begun:
        claim(Path(runs_dir, one.name), one.experiment())
    trained = {one.name for one in begun if is_finished(Path(runs_dir, one.name))}
    # Cells of other shards are checked where they are done.
    mine_needed = {name for one in missing if one.networks[0] in mine for name in one.networks}
    for name in sorted(mine_needed):
        done = [one for one in evaluations if name in one.networks and one not in missing]
        if done and not _is_recorded(Path(runs_dir, name), Path(results_dir, "runs", name)):
            raise ValueError(
                f"{Path(results_dir, done[0].output)} holds results of a {name} that is not the "
                f"one of {Path(runs_dir, name)}, which further results are to speak of. Give "
                f"another --results_dir, or the --runs_dir it came from."
            )
    cells, behind, left = [], set(trained), list(evaluations)
    for training in study.trainings:
        if training.name not in shown:
            continue
        state = _training_state(training, trained, needed, mine, bool(evaluations))
        arguments = tuple(training.arguments(runs_dir))
        cells.append(Cell("train", training.name, state, arguments, training.minutes))
        if state in (TO_DO, DONE, NOT_NEEDED):
            behind.add(training.name)
        ready = [one for one in left if {*one.networks} & shown <= behind]
        left = [one for one in left if one not in ready]
        cells += [_evaluation_cell(one, missing, mine, runs_dir, results_dir) for one in ready]
    return cells + [
        Cell(
            "evaluate",
            one.name,
            DONE
            if one not in missing
            else f"{WAITING} {', '.join(sorted({*one.networks} - behind))}",
            tuple(one.arguments(runs_dir, results_dir)),
            one.minutes,
        )
        for one in left
    ]


def _check_evaluated_alike(one: Evaluation, summary: Path) -> None:
    """Refuses results of other images, another rule, or attacks other than those asked for.

    Attacks that the study leaves to the preset may have been said in full. Shards that were merged
    were evaluated by commands that the summary does not hold.
    """
    contents = json.loads(summary.read_text(encoding="utf-8"))
    command = shlex.split(contents.get("provenance", {}).get("command", ""))
    if one.binary not in command:
        return
    # Both --limit=9 and --limit 9 are flags.
    words = " ".join(command).replace(" --", "\n--").split("\n")[1:]
    recorded = dict(word.lstrip("-").replace("=", " ", 1).partition(" ")[::2] for word in words)
    asked = {key: text for key, text in one.options.items() if "{runs_dir}" not in text}
    for key in dict.fromkeys(("limit", "split", "success", *asked)):
        was, wanted = (found.get(key, "").replace(" ", "") for found in (recorded, asked))
        if was != wanted:
            raise ValueError(
                f"{summary} was evaluated with --{key}={was or 'its default'}, this study takes "
                f"{wanted or 'the default'}. Move it away, or give another --results_dir."
            )


def _is_recorded(run: Path, record: Path) -> bool:
    """Whether the training in a model directory is the one that is recorded beside the results."""
    files = (run / RUN, record / RUN)
    return all(path.is_file() for path in files) and files[0].read_bytes() == files[1].read_bytes()


def _training_state(
    training: Training, trained: set[str], needed: set[str], mine: set[str], evaluated: bool
) -> str:
    if training.name in trained:
        return DONE
    if evaluated and training.name not in needed:
        return NOT_NEEDED
    return TO_DO if training.name in mine else ELSEWHERE


def _evaluation_cell(
    one: Evaluation, missing: Sequence[Evaluation], mine: set[str], runs_dir: str, results_dir: str
) -> Cell:
    state = DONE
    if one in missing:
        state = TO_DO if one.networks[0] in mine else ELSEWHERE
    arguments = tuple(one.arguments(runs_dir, results_dir))
    return Cell("evaluate", one.name, state, arguments, one.minutes)


def listing(cells: list[Cell]) -> str:
    """What is done and what is left, one line for each cell, and about how long it takes."""
    lines = []
    for cell in cells:
        line = f"  {cell.kind:8} {cell.name}: {cell.state}"
        if cell.state == TO_DO:
            line += f"{_about(cell.minutes)}\n           {cell.command}"
        lines.append(line)
    todo = [cell for cell in cells if cell.state == TO_DO]
    known = [cell for cell in todo if cell.minutes]
    total = sum(cell.minutes for cell in known)
    ended = sum(cell.state == DONE for cell in cells)
    lines.append(
        f"{ended} done, {len(todo)} to do"
        + (f", {len(known)} of them{_about(total)} of one CPU core" if known else "")
    )
    return "\n".join(lines)


def _about(minutes: float) -> str:
    if not minutes:
        return ""
    return (
        f", about {minutes:.0f} minutes" if minutes < 120 else f", about {minutes / 60:.1f} hours"
    )


def available() -> tuple[str, ...]:
    """Names of the studies in alphabetical order."""
    files = sorted(file.name for file in pkgutil.iter_modules(studies.__path__))
    return tuple(name for name in files if hasattr(_module(name), "STUDY"))


def load(name: str) -> Study:
    """A study by its name.

    Raises:
        ValueError: there is none of that name; the message lists near ones.
    """
    check_choice(name, available(), "study")
    return _module(name).STUDY


def _module(name: str) -> Any:
    return importlib.import_module(f"{studies.__name__}.{name}")


def _flags(values: Mapping[str, str]) -> list[str]:
    return [f"--{key}={value}" for key, value in values.items()]
