"""Studies, lists of networks and of how they are evaluated."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aad_tf import configs
from aad_tf.configs import ExperimentConfig
from aad_tf.records import summary_path
from aad_tf.utils.checks import check_choice
from train import studies

_NAME_THEIR_NETWORKS = ("eval.transfer", "eval.attention_pictures")
# Where presets expect the networks that their training starts from or attacks.
_RUNS = "runs/"


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

    def experiment(self, runs_dir: str = "runs") -> ExperimentConfig:
        """Makes the config that is trained: the preset with the changes in `options`.

        Args:
            runs_dir: directory of model directories, instead of `runs`, where presets expect the
                networks that their training starts from or attacks.

        Returns:
            The config.
        """
        config = _preset(self.config, tuple(self.options.items()))
        paths = paths_of(config)
        moved = [
            f"{runs_dir}/{path.removeprefix(_RUNS)}" if path.startswith(_RUNS) else path
            for path in paths
        ]
        return config if [*paths] == moved else with_paths(config, moved)

    def networks(self) -> tuple[str, ...]:
        """Names of the networks that its training starts from or attacks."""
        found = (path for path in paths_of(self.experiment()) if path.startswith(_RUNS))
        return tuple(dict.fromkeys(path.removeprefix(_RUNS) for path in found))

    def arguments(self, runs_dir: str) -> list[str]:
        """Arguments of `python` that train the network.

        Args:
            runs_dir: directory in which the model directory lies, and those of the networks that
                its training starts from or attacks.

        Returns:
            The arguments.
        """
        flags = {"config": self.config, "model_dir": f"{runs_dir}/{self.name}", **self.options}
        preset, config = self.experiment(), self.experiment(runs_dir)
        if config.initial_weights != preset.initial_weights:
            flags["config.initial_weights"] = config.initial_weights
        if config.defense.sources != preset.defense.sources:
            flags["config.defense.sources"] = repr(config.defense.sources)
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
        trainings: its networks, in the order in which they are trained; but each is trained after
            those that it starts from or attacks.
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


# Checking a config takes a while, and a plan asks for each several times.
@functools.cache
def _preset(name: str, options: tuple[tuple[str, str], ...]) -> ExperimentConfig:
    """A preset, given as file and name, with some of its fields changed."""
    file, _, preset = name.partition(":")
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    values = module.get_config(preset or None)
    for key, text in options:
        if key.startswith("config."):
            field_name = key.removeprefix("config.")
            values[field_name] = type(values[field_name])(text)
    return configs.from_dict(values.to_dict())


def paths_of(config: ExperimentConfig) -> tuple[str, ...]:
    """Model directories of other networks that a config names: `initial_weights`, then sources."""
    return (config.initial_weights, *config.defense.sources)


def with_paths(config: ExperimentConfig, paths: Sequence[str]) -> ExperimentConfig:
    """Replaces the model directories of other networks that a config names.

    Args:
        config: a config.
        paths: as many as `paths_of` returns, in that order.

    Returns:
        The config with them.
    """
    defense = dataclasses.replace(config.defense, sources=tuple(paths[1:]))
    return dataclasses.replace(config, initial_weights=paths[0], defense=defense)
