"""Studies, lists of networks and evaluations, and what of a study is done or left to do."""

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
from aad_tf.attacks import attack_from_record, parse_attack
from aad_tf.configs import ExperimentConfig
from aad_tf.model_directory import RUN, claim, is_finished
from aad_tf.records import summary_path
from aad_tf.utils.checks import check_choice
from train import studies

DONE, TO_DO, NOT_NEEDED, WAITING, ELSEWHERE = (
    *("done", "to do", "not needed: all that is evaluated on it is there"),
    *("waits for", "of another shard"),
)


_NAME_THEIR_NETWORKS = ("eval.transfer", "eval.attention_pictures")


@dataclass(frozen=True)
class Training:
    """A network of a study, and how it is trained.

    Attributes:
        name: name of its model directory. Networks of the same name in two studies are the same.
        config: file and preset, as `train.main --config` takes them.
        options: values of further flags of `train.main` by name, without dashes, such as
            `{"config.seed": "1"}`; only fields of the config that are numbers or text.
        minutes: about how long training takes on one CPU core, in minutes; 0 if not known.
    """

    name: str
    config: str
    options: Mapping[str, str] = field(default_factory=dict)
    minutes: float = 0.0

    def experiment(self) -> ExperimentConfig:
        """The config that is trained: the preset with the changes in `options`."""
        file, _, preset = self.config.partition(":")
        module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
        values = module.get_config(preset or None)
        for key, text in self.options.items():
            if key.startswith("config."):
                field_name = key.removeprefix("config.")
                values[field_name] = type(values[field_name])(text)
        return configs.from_dict(values.to_dict())

    def arguments(self, runs_dir: str) -> list[str]:
        """Arguments of `python` that train the network.

        Args:
            runs_dir: directory in which the model directory lies.

        Returns:
            The arguments.
        """
        flags = {"config": self.config, "model_dir": f"{runs_dir}/{self.name}", **self.options}
        return ["-m", "train.main", *_flags(flags)]


@dataclass(frozen=True)
class Evaluation:
    """An evaluation of one or several networks of a study, which writes records or a picture.

    Attributes:
        output: file of records, relative to the directory of results, such as
            `robustness/mnist_clean.jsonl.gz`, or a picture, such as `figures/aad_fig_8.png`.
        networks: names of the networks it needs. All binaries but `eval.transfer` and
            `eval.attention_pictures`, whose options name theirs, evaluate the first one.
        options: values of the binary's flags by name, without dashes; `{runs_dir}` in them is
            replaced by the directory of model directories.
        binary: `eval.robustness`, `eval.attention`, `eval.gates`, `eval.transfer` or
            `eval.attention_pictures`.
        minutes: about how long it takes on one CPU core, in minutes; 0 if not known.
    """

    output: str
    networks: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    binary: str = "eval.robustness"
    minutes: float = 0.0

    @property
    def name(self) -> str:
        """Its name for `--only` of `train.study`: the output file's name without endings."""
        return Path(self.output).name.split(".")[0]

    def summary(self, results_dir: str) -> Path:
        """The JSON file that the evaluation writes last, which tells what was evaluated and how.

        Args:
            results_dir: directory of results.

        Returns:
            The summary of records, or the description beside a picture.
        """
        output = Path(results_dir, self.output)
        return output.with_suffix(".json") if output.suffix == ".png" else summary_path(output)

    def arguments(self, runs_dir: str, results_dir: str) -> list[str]:
        """Arguments of `python` that run the evaluation.

        Args:
            runs_dir: directory in which model directories lie.
            results_dir: directory of results.

        Returns:
            The arguments.
        """
        found = {key: value.replace("{runs_dir}", runs_dir) for key, value in self.options.items()}
        if self.binary not in _NAME_THEIR_NETWORKS:
            found = {"model_dir": f"{runs_dir}/{self.networks[0]}", **found}
        return ["-m", self.binary, *_flags({**found, "output": f"{results_dir}/{self.output}"})]


@dataclass(frozen=True)
class Study:
    """Networks and evaluations behind a table or figure.

    Attributes:
        reference: what the study reproduces, and with what budget, in words.
        trainings: its networks, in the order in which they are trained.
        evaluations: its evaluations; each is run as soon as its networks are trained.

    Raises:
        ValueError: two networks or two evaluations of one name, or an evaluation of a network that
            is not in the study.
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
    """One training or evaluation of a study, and its state.

    Attributes:
        kind: "train" or "evaluate".
        name: name of the training or evaluation.
        state: "done"; "to do"; "not needed: ...", of a network whose evaluations are all done;
            "waits for ...", with the names of networks that are not trained; or "of another
            shard".
        arguments: arguments of `python` that do it.
        minutes: about how long it takes on one CPU core, from the beginning, in minutes.
    """

    kind: str
    name: str
    state: str
    arguments: tuple[str, ...]
    minutes: float

    @property
    def command(self) -> str:
        """The command, as typed into a shell."""
        return shlex.join(["python", *self.arguments])


def plan(
    study: Study,
    runs_dir: str,
    results_dir: str,
    only: Sequence[str] = (),
    shard: tuple[int, int] = (1, 1),
) -> list[Cell]:
    """Lists the trainings and evaluations of a study in the order in which they are to be done.

    Args:
        study: the study.
        runs_dir: directory in which model directories lie.
        results_dir: directory of results.
        only: names of evaluations, or of networks, which stand for all evaluations of them; empty
            for all.
        shard: (number, count): which part, from 1, of how many this machine does. Part n does
            every count-th network from the n-th on, and the evaluations whose first network is one
            of them.

    Returns:
        An entry for each training and evaluation that `only` asks for. Each evaluation follows the
        last training that it needs.

    Raises:
        ValueError: `only` has a name that is not in the study; `results_dir` has results of a
            network that is not the one in `runs_dir`; or it has results that were evaluated with
            other options, such as fewer images, or without an attack of the network's preset.
        ModelDirectoryError: a model directory holds a network of another config.
    """
    names = [one.name for one in study.trainings] + [one.name for one in study.evaluations]
    for name in only:
        check_choice(name, names, "cell of the study")
    evaluations = [
        one for one in study.evaluations if not only or {one.name, *one.networks} & set(only)
    ]
    number, count = shard
    mine = {one.name for one in study.trainings[number - 1 :: count]}
    missing = [one for one in evaluations if not one.summary(results_dir).is_file()]
    trainings = {one.name: one for one in study.trainings}
    for there in evaluations:
        if there not in missing:
            of = trainings[there.networks[0]] if there.networks else None
            _check_evaluated_alike(there, there.summary(results_dir), of)
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


def _check_evaluated_alike(one: Evaluation, summary: Path, training: Training | None) -> None:
    """Refuses results of other images, another rule, other attacks, or pictures of other networks.

    Attacks that the study leaves to the preset of the training may have been said in full, and
    there may be further ones. Shards that were merged were evaluated by commands that the summary
    does not hold.
    """
    contents = json.loads(summary.read_text(encoding="utf-8"))
    if one.binary == "eval.robustness" and "attacks" not in one.options and training is not None:
        entries = contents.get("attacks", ())
        run = [attack_from_record(entry["threat_model"]) for entry in entries]
        texts = training.experiment().evaluation_attacks
        lacking = [text for text in texts if parse_attack(text) not in run]
        if run and lacking:
            raise ValueError(
                f"{summary} was evaluated under {', '.join(str(attack.name) for attack in run)}, "
                f"this study also takes {', '.join(lacking)}. Move it away, or give another "
                f"--results_dir."
            )
    if one.binary == "eval.attention_pictures" and "networks" in contents:
        titles = [pair.partition("=")[0] for pair in one.options.get("model_dirs", "").split(",")]
        drawn = list(contents["networks"])
        if "model_dirs" in one.options and titles != drawn:
            raise ValueError(
                f"{summary} shows the networks {', '.join(drawn)}, this study draws "
                f"{', '.join(titles)}. Move it away, or give another --results_dir."
            )
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
    """Describes what of a study is done and what is left.

    Args:
        cells: what `plan` returned.

    Returns:
        Text: a line for each training and evaluation with its state and, if it is to be done, its
        command; and in the last line about how long all takes.
    """
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
    """Finds a study by its name.

    Args:
        name: one of `available()`.

    Returns:
        The study.

    Raises:
        ValueError: no study has this name; the message lists near ones.
    """
    check_choice(name, available(), "study")
    return _module(name).STUDY


def _module(name: str) -> Any:
    return importlib.import_module(f"{studies.__name__}.{name}")


def _flags(values: Mapping[str, str]) -> list[str]:
    return [f"--{key}={value}" for key, value in values.items()]
