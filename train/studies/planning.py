"""What of a study is done or left to do, and what would hinder it."""

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aad_tf import data
from aad_tf.attacks import attack_from_record, parse_attack
from aad_tf.attacks.parsing import split_attacks
from aad_tf.configs import ExperimentConfig
from aad_tf.model_directory import (
    CONFIG,
    HISTORY,
    MAY_DIFFER,
    RUN,
    ModelDirectoryError,
    claim,
    differences,
    is_finished,
    read_config,
)
from aad_tf.records.journal import journal_path
from aad_tf.utils.checks import check_choice
from train.studies.study import (
    Evaluation,
    Study,
    Training,
    available,
    load,
    paths_of,
    with_paths,
)

DONE, TO_DO, NOT_NEEDED, WAITING, ELSEWHERE = (
    *("done", "to do", "not needed: all that is evaluated on it is there"),
    *("waits for", "of another shard"),
)
RECORDED = (CONFIG, HISTORY, RUN)
"""Files of a model directory that stand beside results, where analysis reads them."""


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
        dataset: name of the data set that it reads.
    """

    kind: str
    name: str
    state: str
    arguments: tuple[str, ...]
    minutes: float
    dataset: str

    @property
    def command(self) -> str:
        """The command, as typed into a shell."""
        return shlex.join(["python", *self.arguments])


@dataclass(frozen=True)
class _Work:
    """What of a study is asked for, what of it is there, and what falls to this part.

    Attributes:
        trainings: all of the study by name, each behind those that it starts from or attacks.
        starts: names of the networks that a training starts from or attacks, by its name.
        evaluations: those asked for.
        missing: those of them that are not done.
        trained: networks that are trained.
        needed: networks without which something asked for cannot be done.
        shown: networks that are listed.
        mine: networks of this part.
        runs_dir: directory of model directories.
        results_dir: directory of results.
    """

    trainings: Mapping[str, Training]
    starts: Mapping[str, Collection[str]]
    evaluations: Sequence[Evaluation]
    missing: Sequence[Evaluation]
    trained: Collection[str]
    needed: Collection[str]
    shown: Collection[str]
    mine: Collection[str]
    runs_dir: str
    results_dir: str

    @property
    def to_do(self) -> list[Evaluation]:
        """The missing evaluations of this part."""
        return [one for one in self.missing if one.networks[0] in self.mine]


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
        shard: (number, count): which part, from 1, of how many this machine does. Networks that are
            evaluated together, or one of which is trained from another, come to the same part,
            unless there are fewer such groups than parts. An evaluation comes to the part of its
            first network.

    Returns:
        An entry for each training and evaluation that `only` asks for, and for each training that
        these need. A training follows those of the networks it starts from or attacks, an
        evaluation follows the last training that it needs.

    Raises:
        ValueError: `only` has a name that is not in the study; a training needs a network that is
            neither in the study nor in `runs_dir`; or `results_dir` has results that do not belong
            to the study: of another network than the one in `runs_dir`, of another config, with
            other options, such as fewer images, without an attack that is asked for, or unfinished
            ones of a network that is not trained. The message has a line for each.
        ModelDirectoryError: a model directory holds a network of another config.
    """
    work = _survey(study, runs_dir, results_dir, only, shard)
    problems: list[ValueError] = []
    for check in _checks(work):
        try:
            check()
        except ValueError as error:
            problems.append(error)
    if problems:
        raise type(problems[0])("\n".join(map(str, problems)))
    return _cells(work)


def _survey(
    study: Study, runs_dir: str, results_dir: str, only: Sequence[str], shard: tuple[int, int]
) -> _Work:
    starts = {one.name: one.networks() for one in study.trainings}
    for name in only:
        names = [*starts, *(one.name for one in study.evaluations)]
        check_choice(name, names, "cell of the study")
    evaluations = [
        one for one in study.evaluations if not only or {one.name, *one.networks} & {*only}
    ]
    missing = [one for one in evaluations if not one.summary(results_dir).is_file()]
    ordered = _in_order(starts)
    everything = {*starts, *(name for names in starts.values() for name in names)}
    trained = {name for name in everything if is_finished(Path(runs_dir, name))}
    # A network on which nothing is evaluated is trained where it is named itself, or for others.
    evaluated = {name for one in study.evaluations for name in one.networks}
    needed = {name for one in missing for name in one.networks} | ({*only} & {*starts} - evaluated)
    for name in reversed(ordered):
        if name in needed - trained:
            needed |= {*starts[name]}
    trainings = {one.name: one for one in study.trainings}
    return _Work(
        trainings={name: trainings[name] for name in ordered},
        starts=starts,
        evaluations=evaluations,
        missing=missing,
        trained=trained,
        needed=needed,
        shown={name for one in evaluations for name in one.networks} | {*only} | needed,
        mine=_part(study, starts, *shard),
        # As presets write it, so that runs/ is no other directory than runs.
        runs_dir=str(Path(runs_dir)),
        results_dir=results_dir,
    )


def _in_order(starts: Mapping[str, Collection[str]]) -> list[str]:
    """Names of networks, each behind those that its training needs, else in the study's order."""
    left, ordered = list(starts), []
    while left:
        ready = (name for name in left if not {*starts[name]} & {*left} - {name})
        ordered.append(next(ready, left[0]))
        left.remove(ordered[-1])
    return ordered


def _part(study: Study, starts: Mapping[str, Collection[str]], number: int, count: int) -> set[str]:
    """Names of the networks of a part; groups are dealt out in the study's order."""
    group = {name: name for name in starts}
    related = [one.networks for one in study.evaluations]
    for names in (*related, *((name, *others) for name, others in starts.items())):
        joined = {group[name] for name in names if name in group}
        together = [name for name in group if group[name] in joined]
        group.update(dict.fromkeys(together, together[0]))
    if len({*group.values()}) < count:
        group = {name: name for name in starts}
    dealt = list(dict.fromkeys(group.values()))[number - 1 :: count]
    return {name for name in starts if group[name] in dealt}


def _checks(work: _Work) -> Iterator[Callable[[], None]]:
    """Functions that raise ValueError if something would hinder a cell, or belongs to another."""
    for name in work.trainings:
        if name in work.shown:
            yield functools.partial(_check_run, work, name)
        if name in {*work.needed} - {*work.trained}:
            yield functools.partial(_check_starts, work, name)
    for one in work.evaluations:
        if one not in work.missing:
            yield functools.partial(_check_evaluated_alike, work, one)
    yield functools.partial(_check_networks, work)
    for name in work.trainings:
        yield functools.partial(_check_recorded, work, name)
    # Cells of other shards are checked where they are done.
    for one in work.to_do:
        yield functools.partial(_check_unfinished, work, one)


def _check_run(work: _Work, name: str) -> None:
    """Refuses a model directory of another config."""
    directory, wanted = Path(work.runs_dir, name), work.trainings[name].experiment(work.runs_dir)
    if name in work.trained:
        found = _differences_when_finished(read_config(directory), wanted)
    elif (directory / CONFIG).is_file():
        found = differences(read_config(directory), wanted)
    else:
        found = []
        if directory.is_dir():
            claim(directory, wanted)
    if found:
        raise ModelDirectoryError(
            f"{directory} holds a run of another config, which differs in {'; '.join(found)}. Move "
            f"it away, or give another --runs_dir."
        )


def _differences_when_finished(earlier: ExperimentConfig, wanted: ExperimentConfig) -> list[str]:
    """In what a finished training is another; all runs may have been moved since."""
    return differences(earlier, _with_paths_of(earlier, wanted), but=MAY_DIFFER)


def _with_paths_of(earlier: ExperimentConfig, wanted: ExperimentConfig) -> ExperimentConfig:
    """A config that finds other networks where an earlier one did, if they have the same names."""
    before, now = paths_of(earlier), paths_of(wanted)
    same = [Path(path).name for path in before] == [Path(path).name for path in now]
    return with_paths(wanted, before) if same else wanted


def _check_starts(work: _Work, name: str) -> None:
    lacking = {*work.starts[name]} - {*work.trainings, *work.trained}
    if lacking:
        raise ValueError(
            f"{name} is trained from {', '.join(sorted(lacking))}, which is neither in the study "
            f"nor trained in {work.runs_dir}. Train it there first, or add it to the study."
        )


def _done_on(work: _Work, name: str) -> list[Path]:
    """Results that are there of a network."""
    there = [one for one in work.evaluations if one not in work.missing]
    return [Path(work.results_dir, one.output) for one in there if name in one.networks]


def _check_networks(work: _Work) -> None:
    """Refuses to add to results of other networks than those that are there or to be trained."""
    trainings = {*work.needed} & {*work.mine} - {*work.trained}
    users = [*(one.networks for one in work.to_do), *(work.starts[name] for name in trainings)]
    others = [
        name
        for name in work.trainings
        if any(name in networks for networks in users)
        and _done_on(work, name)
        and not _is_recorded(Path(work.runs_dir, name), Path(work.results_dir, "runs", name))
    ]
    if others:
        first, *further = others
        likewise = f" (likewise {', '.join(further)})" if further else ""
        raise ValueError(
            f"{_done_on(work, first)[0]} holds results of a {first} that is not the one of "
            f"{Path(work.runs_dir, first)}, which further results are to speak of{likewise}. Give "
            f"another --results_dir, or the --runs_dir it came from."
        )


def _check_recorded(work: _Work, name: str) -> None:
    """Refuses results of a network of another config."""
    done, record = _done_on(work, name), Path(work.results_dir, "runs", name)
    if not done or not (record / CONFIG).is_file():
        return
    wanted = work.trainings[name].experiment(work.runs_dir)
    if found := _differences_when_finished(read_config(record), wanted):
        raise ValueError(
            f"{done[0]} holds results of a {name} of another config, which differs in "
            f"{'; '.join(found)}. Move it and {record} away, or give another --results_dir."
        )


def _is_recorded(run: Path, record: Path) -> bool:
    """Whether the training in a model directory is the one that is recorded beside the results."""
    files = (run / RUN, record / RUN)
    return all(path.is_file() for path in files) and files[0].read_bytes() == files[1].read_bytes()


def is_to_be_recorded(name: str, runs_dir: str, results_dir: str) -> bool:
    """Whether the files of a finished training are to be copied beside the results.

    Args:
        name: name of its model directory.
        runs_dir: directory in which the model directory lies.
        results_dir: directory of results.

    Returns:
        True if one of `RECORDED` is not there, or if they are those of another training of this
        name and no study has results of that one.
    """
    run, record = Path(runs_dir, name), Path(results_dir, "runs", name)
    if not all((record / file).is_file() for file in RECORDED):
        return True
    return not _is_recorded(run, record) and not any(
        one.summary(results_dir).is_file()
        for study in map(load, available())
        for one in study.evaluations
        if name in one.networks
    )


def _check_unfinished(work: _Work, one: Evaluation) -> None:
    """Refuses what an evaluation left that could not go on from it."""
    output = Path(work.results_dir, one.output)
    journal = journal_path(output)
    untrained = ", ".join(sorted({*one.networks} - {*work.trained}))
    if journal.exists() and untrained:
        raise ValueError(
            f"{journal} holds the first results of a {untrained} that is not in {work.runs_dir}. "
            f"Delete it, or give the --runs_dir it came from."
        )
    # A picture is described after it is drawn, and drawn again if that was interrupted.
    if output.exists() and not journal.exists() and output.suffix != ".png":
        raise ValueError(
            f"{output} exists, but not its summary. Delete it to start over, or give another "
            f"--results_dir."
        )


def _check_evaluated_alike(work: _Work, one: Evaluation) -> None:
    """Refuses results of other images, another rule, other attacks, or pictures of other networks.

    There may be further attacks, and those that the study leaves to the preset of the training may
    have been said in full. Shards that were merged were evaluated by commands that the summary
    does not hold.
    """
    summary = one.summary(work.results_dir)
    contents = json.loads(summary.read_text(encoding="utf-8"))
    asked = {key: text for key, text in one.options.items() if "{runs_dir}" not in text}
    if one.binary == "eval.robustness" and contents.get("attacks"):
        run = [attack_from_record(entry["threat_model"]) for entry in contents["attacks"]]
        texts: Sequence[str] = work.trainings[one.networks[0]].experiment().evaluation_attacks
        if "attacks" in asked:
            texts = split_attacks(asked.pop("attacks"))
        if lacking := [text for text in texts if parse_attack(text) not in run]:
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
    for key in dict.fromkeys(("limit", "split", "success", *asked)):
        was, wanted = (found.get(key, "").replace(" ", "") for found in (recorded, asked))
        if was != wanted:
            raise ValueError(
                f"{summary} was evaluated with --{key}={was or 'its default'}, this study takes "
                f"{wanted or 'the default'}. Move it away, or give another --results_dir."
            )


def _cells(work: _Work) -> list[Cell]:
    cells, behind, left = [], {*work.trained}, list(work.evaluations)
    for name, training in work.trainings.items():
        if name not in work.shown:
            continue
        state = _training_state(work, name, behind)
        arguments = tuple(training.arguments(work.runs_dir))
        dataset = training.experiment().dataset
        cells.append(Cell("train", name, state, arguments, training.minutes, dataset))
        if state in (TO_DO, DONE, NOT_NEEDED):
            behind.add(name)
        ready = [one for one in left if {*one.networks} <= behind]
        left = [one for one in left if one not in ready]
        cells += [_evaluation_cell(work, one, behind) for one in ready]
    return cells + [_evaluation_cell(work, one, behind) for one in left]


def _training_state(work: _Work, name: str, behind: Collection[str]) -> str:
    if name in work.trained:
        return DONE
    if name not in work.needed:
        return NOT_NEEDED
    if name not in work.mine:
        return ELSEWHERE
    waiting = [start for start in work.starts[name] if start not in behind]
    return f"{WAITING} {', '.join(waiting)}" if waiting else TO_DO


def _evaluation_cell(work: _Work, one: Evaluation, behind: Collection[str]) -> Cell:
    waiting = sorted({*one.networks} - {*behind})
    state = DONE
    if one in work.missing:
        state = f"{WAITING} {', '.join(waiting)}" if waiting else ELSEWHERE
        state = TO_DO if one in work.to_do and not waiting else state
    arguments = tuple(one.arguments(work.runs_dir, work.results_dir))
    dataset = one.options.get("dataset") or work.trainings[one.networks[0]].experiment().dataset
    return Cell("evaluate", one.name, state, arguments, one.minutes, dataset)


def absent_data(cells: Sequence[Cell]) -> list[str]:
    """Finds the data sets that cells need and that are missing, before any cell is begun.

    Args:
        cells: what `plan` returned.

    Returns:
        A text for each data set that a cell to do needs and that is missing or incomplete, with
        what to do.
    """
    found = []
    for name in dict.fromkeys(cell.dataset for cell in cells if cell.state == TO_DO):
        try:
            data.info(name)
        except ValueError as error:
            found.append(str(error))
    return found


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
