"""The records of a results directory: runs under attack, and attention studies by network.

results/runs/<dataset>_<preset>/                  config.json, run.json, history.csv of training
results/robustness/<dataset>_<preset>.jsonl.gz    records under attack, with .summary.json; those of
                                                  `COMPANIONS` end with _auto_attack, _last_iterate
                                                  and other seeds of both with _seed_<number> before
results/attention/<data set>_<network>_<split>_<attack>.jsonl.gz    of attention studies, each
                                                  with .summary.json; <attack> is one of `ROLES`
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from aad_tf.attacks import AttentionAugmented, attack_from_record
from aad_tf.records import read_records, read_summary, summary_path
from aad_tf.records.columns import (
    AttentionRecords,
    check_same_network,
    read_attention_records,
    read_attention_summary,
    split_of,
)
from aad_tf.utils.files import PathLike
from analysis.training_configs import differing

T = TypeVar("T")

# What must agree for a recorded attack to be the attack of a column, beside its sizes.
_SAME_ATTACK = ("norm", "projected", "steps", "random_start", "restarts", "objective")
# Further evaluations of the network of a run.
COMPANIONS = ("auto_attack", "last_iterate")


@dataclass(frozen=True)
class ResultRun:
    """One trained network and its robustness evaluation; what was not recorded is empty.

    Attributes:
        dataset: e.g. `mnist`.
        preset: e.g. `aad_step_ll`.
        summary: the evaluation's summary.
        config: the training's config.
        training: the training's run.json.
        records: file of the evaluation's records, or None.
        companions: further evaluations of the same network: `auto_attack`, under AutoAttack, and
            `last_iterate`, judged by final images.
    """

    dataset: str
    preset: str
    summary: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    records: Path | None = None
    companions: Mapping[str, ResultRun] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`<dataset>_<preset>`."""
        return f"{self.dataset}_{self.preset}"

    @property
    def success_rule(self) -> str:
        """`any_iterate` or `last_iterate`, how success was judged; empty if nothing was run."""
        rules = {entry["threat_model"].get("success", "") for entry in self.attacks}
        return ", ".join(sorted(rules))

    @property
    def attacks(self) -> list[dict[str, Any]]:
        """The summary's entries of white-box attacks; transfer attacks are left out."""
        return [
            entry
            for entry in self.summary.get("attacks", [])
            if entry["threat_model"].get("access", "white_box") == "white_box"
        ]

    @property
    def transfer_attacks(self) -> list[dict[str, Any]]:
        """The summary's entries of attacks on another network, which `attacks` leaves out."""
        white_box = self.attacks
        return [entry for entry in self.summary.get("attacks", []) if entry not in white_box]

    @property
    def warnings(self) -> list[str]:
        """The warnings of the evaluation, sentences."""
        return list(self.summary.get("warnings", []))

    @property
    def losses(self) -> str:
        """AAD's losses, e.g. `balanced, rectification l2`; empty for other defences."""
        defense = self.config.get("defense", {})
        if defense.get("kind") != "aad":
            return ""
        parts = (f"{name} {part}" for name, part in defense.get("loss_parts", {}).items())
        return ", ".join((defense["losses"], *parts))

    @property
    def part(self) -> str:
        """The part of the data evaluated, e.g. `first 500 of test`; empty for the test set."""
        data = _description(self.summary, "dataset")
        split, limit = data.get("split", "test"), data.get("limit")
        if limit and "taken" in data:
            return f"{limit:,} images from all over {data.get('name')}"
        if limit:
            return f"first {limit:,} of {split}"
        return "" if split == "test" else split

    @property
    def names_split(self) -> bool:
        """Whether the evaluation noted a split, as it does for data sets known by name."""
        return "split" in _description(self.summary, "dataset")

    def entry(self, threat_model: Mapping[str, Any]) -> dict[str, Any] | None:
        """Finds the summary's entry of an attack.

        Args:
            threat_model: what the attack's method `threat_model` returns; its name does not matter.

        Returns:
            The entry, or None if the attack was not run.
        """
        matching = (e for e in self.attacks if same_attack(e["threat_model"], threat_model))
        return next(matching, None)

    @functools.cached_property
    def robust(self) -> dict[str, dict[int, bool]]:
        """Whether each example is correct when clean and under attack, by attack and by index.

        Raises:
            FileNotFoundError: the records were not kept.
        """
        if self.records is None:
            raise FileNotFoundError(f"No records of {self.name}.")
        outcomes: dict[str, dict[int, bool]] = {}
        for record in read_records(self.records):
            outcomes.setdefault(record["attack"], {})[record["index"]] = not record["success"]
        return outcomes


def same_attack(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two threat models are of the same attack; name and rule of success may differ.

    Sizes are compared as fractions of the pixel range: 0.3 within (-1, 1) is 0.15 within (0, 1).

    Args:
        first: the threat model of an attack, from a record or the attack's method.
        second: another one.

    Returns:
        Whether they are.
    """
    objectives = [model.get("parameters", {}).get("objective") for model in (first, second)]
    if None not in objectives and objectives[0] != objectives[1]:
        return False
    sizes = zip(_sizes(first), _sizes(second), strict=True)
    return all(first.get(key) == second.get(key) for key in _SAME_ATTACK) and all(
        one == other if None in (one, other) else math.isclose(one, other, abs_tol=1e-9)
        for one, other in sizes
    )


def pixel_width(threat_model: Mapping[str, Any]) -> float:
    """Width of the pixel range in whose unit a threat model gives sizes; 1 if it gives no range."""
    lower, upper = threat_model.get("bounds", (0.0, 1.0))
    return upper - lower


def _sizes(threat_model: Mapping[str, Any]) -> list[Any]:
    width = pixel_width(threat_model)
    sizes = (threat_model.get("epsilon"), threat_model.get("step_size"))
    return [None if size is None else size / width for size in sizes]


def read_run(results_dir: PathLike, dataset: str, preset: str) -> ResultRun | None:
    """Reads the records of one preset in a directory of results.

    Args:
        results_dir: the directory of results, which holds `runs` and `robustness`.
        dataset: e.g. `mnist`.
        preset: e.g. `aad_step_ll`.

    Returns:
        The run, or None if its network was not evaluated.

    Raises:
        ValueError: a file that is no record of this project, or a shard; the message names it.
    """
    return _read_named(results_dir, dataset, preset, f"{dataset}_{preset}")


def read_seeds(results_dir: PathLike, dataset: str, preset: str) -> dict[int, ResultRun]:
    """Reads the records of all trainings of one preset, which differ in their seed alone.

    Args:
        results_dir: the directory of results, which holds `runs` and `robustness`.
        dataset: e.g. `mnist`.
        preset: e.g. `aad_step_ll`; files of further seeds are called
            `<dataset>_<preset>_seed_<number>`.

    Returns:
        Runs by seed, ascending; empty if the preset was not run. Without a recorded config the seed
        is the one in the file's name, or 0.

    Raises:
        ValueError: a file that is no record of this project, or a shard; a seed that comes twice or
            is not the one in the file's name; or runs that were trained or evaluated differently.
    """
    name = f"{dataset}_{preset}"
    named = re.compile(rf"{re.escape(name)}_seed_(\d+)\.summary\.json")
    directory = Path(results_dir) / "robustness"
    seeds = {name: 0}
    for path in directory.glob(f"{name}_seed_*.summary.json"):
        if match := named.fullmatch(path.name):
            seeds[path.name.removesuffix(".summary.json")] = int(match.group(1))
    runs: dict[int, ResultRun] = {}
    for stem, number in seeds.items():
        run = _read_named(results_dir, dataset, preset, stem)
        if run is None:
            continue
        seed = int(run.config.get("seed", number))
        if stem != name and seed != number:
            raise ValueError(f"{stem} was trained with seed {seed}, its name says {number}.")
        if seed in runs:
            raise ValueError(f"There are two runs of {name} with seed {seed}; remove one of them.")
        runs[seed] = run
    for seed, run in list(runs.items())[1:]:
        _check_same_but_seed(name, seed, run, *next(iter(runs.items())))
    return dict(sorted(runs.items()))


def _check_same_but_seed(
    name: str, seed: int, run: ResultRun, first_seed: int, first: ResultRun
) -> None:
    different = differing(first.config, run.config, but=("seed",))
    evaluated = ("part", "success_rule")
    different += [key for key in evaluated if getattr(run, key) != getattr(first, key)]
    if different:
        raise ValueError(
            f"Seeds {first_seed} and {seed} of {name} differ in {', '.join(different)} too: train "
            f"and evaluate them alike, or record one of them under the name of another preset."
        )


def _read_named(results_dir: PathLike, dataset: str, preset: str, name: str) -> ResultRun | None:
    directory, training = Path(results_dir) / "robustness", Path(results_dir) / "runs" / name
    summary = directory / f"{name}.summary.json"
    if not summary.is_file():
        return None
    run = _run(summary, training, dataset, preset)
    if run.dataset != dataset:
        raise ValueError(f"{summary} was evaluated on {run.dataset}, its name says {dataset}.")
    beside = {kind: directory / f"{name}_{kind}.summary.json" for kind in COMPANIONS}
    companions = {
        kind: _run(path, training, dataset, preset)
        for kind, path in beside.items()
        if path.is_file()
    }
    for kind, companion in companions.items():
        _check_same_weights(beside[kind], run, companion)
    return dataclasses.replace(run, companions=companions)


def _check_same_weights(path: Path, run: ResultRun, companion: ResultRun) -> None:
    weights = [one.summary.get("evaluated", {}).get("weights") for one in (run, companion)]
    if weights[0] != weights[1]:
        raise ValueError(
            f"{path} is of a network with other weights ({weights[1]}) than {run.name}.summary.json"
            f" beside it ({weights[0]}): evaluate both on the same model directory."
        )


def read_own_run(records: PathLike, model_dir: PathLike | None = None) -> ResultRun:
    """Reads the records of one network outside of a directory of results.

    Args:
        records: the file of records that `eval.robustness` wrote, or its summary.
        model_dir: the model directory that `train.main` wrote, which says how long training took;
            None takes what the evaluation recorded about the training.

    Returns:
        The run; its preset is the name in its config, or the name of the exported model.

    Raises:
        FileNotFoundError: there is no summary: the evaluation has not finished.
        ValueError: no such records, those of a shard, or a model directory that was trained
            otherwise than the network evaluated.
    """
    path = Path(records)
    summary = path if path.name.endswith(".summary.json") else summary_path(path)
    if not summary.is_file():
        raise FileNotFoundError(
            f"There is no {summary}, which eval.robustness writes when it has finished: run it "
            f"with --output={records}."
        )
    directory = Path(model_dir) if model_dir is not None else summary.parent / ".no_model_dir"
    if model_dir is not None and not (directory / "config.json").is_file():
        raise FileNotFoundError(f"{directory} holds no config.json: it is no model directory.")
    model = _description(read_whole(summary), "model")
    name = model.get("config", {}).get("name") or model.get("saved_model") or ""
    return _run(summary, directory, "", name)


def _run(summary: Path, training: Path, dataset: str, preset: str) -> ResultRun:
    """The run of a summary whose training is recorded in a directory, which need not exist."""
    contents = read_whole(summary)
    records = summary.with_name(summary.name.replace(".summary.json", ".jsonl.gz"))
    return ResultRun(
        dataset=_description(contents, "dataset").get("name", dataset),
        preset=preset,
        summary=contents,
        config=_config(training / "config.json", contents),
        training=read_object(training / "run.json"),
        records=records if records.is_file() else None,
    )


def read_whole(path: PathLike) -> dict[str, Any]:
    """Reads the summary of a robustness evaluation of a whole data set, not of a shard.

    Args:
        path: the file of records, or its summary.

    Returns:
        The summary.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no such summary, or that of a shard.
    """
    summary = read_summary(path)
    if summary.get("evaluated", {}).get("shard") is not None:
        raise ValueError(f"{path} is a shard of an evaluation; merge its shards first.")
    return summary


def _config(path: Path, summary: Mapping[str, Any]) -> dict[str, Any]:
    """The training's config: what the evaluation saw, if it saw one, and its committed copy."""
    copy = read_object(path)
    evaluated = _description(summary, "model").get("config", {})
    if keys := differing(copy, evaluated):
        raise ValueError(
            f"{path} is of another training than the one evaluated; it differs in: "
            f"{', '.join(keys)}. Copy it from the model directory that was evaluated."
        )
    return copy or dict(evaluated)


def _description(summary: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """What the evaluation noted of its "model" or "dataset"."""
    return summary.get("evaluated", {}).get("description", {}).get(key, {})


def read_object(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Args:
        path: the file.

    Returns:
        The object; empty if there is no such file.

    Raises:
        ValueError: the file holds something else.
    """
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(value).__name__}.")
    return value


class Role(NamedTuple):
    """The kind of attack of an attention study, which the last part of its file's name stands for.

    Attributes:
        text: the attack in words.
        objective: name of the objective that it descends, without the attention term of A3.
        sign: sign of A3's weight sigma; 0 for an attack without A3.
    """

    text: str
    objective: str
    sign: int = 0


_STEP_LL, _KEPT, _FGSM = "towards_least_likely", "towards_first_least_likely", "away_from_label"
ROLES = {
    "step_ll": Role("StepLL, for Tables 1 to 4 and 9", _STEP_LL),
    "step_ll_kept_target": Role(
        "StepLL towards the original image's least likely class in every round", _KEPT
    ),
    "step_ll_kept_target_a3_plus": Role("the same with A3, sigma above 0", _KEPT, 1),
    "step_ll_kept_target_a3_minus": Role("the same with A3, sigma below 0", _KEPT, -1),
    "step_ll_a3_plus": Role("StepLL with A3, sigma above 0", _STEP_LL, 1),
    "step_ll_a3_minus": Role("StepLL with A3, sigma below 0", _STEP_LL, -1),
    "ifgsm": Role("FGSM in rounds", _FGSM),
    "ifgsm_a3_plus": Role("FGSM in rounds with A3, sigma above 0", _FGSM, 1),
    "ifgsm_a3_minus": Role("FGSM in rounds with A3, sigma below 0", _FGSM, -1),
    "lime": Role("StepLL with LIME's maps", _STEP_LL),
    "faithfulness": Role("StepLL, and whether maps say what the network uses", _STEP_LL),
}
_SUFFIX = ".jsonl.gz"


@dataclass(frozen=True, eq=False)
class Network:
    """The attention records of one network on one data set.

    Attributes:
        dataset: name of the data.
        network: name of the network.
        files: files of records, one per split, by role, a key of `ROLES` such as `step_ll`.
    """

    dataset: str
    network: str
    files: Mapping[str, Sequence[Path]]
    _read: dict[str, AttentionRecords] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """`<data set>_<network>`."""
        return f"{self.dataset}_{self.network}"

    def load(self, role: str) -> AttentionRecords | None:
        """Reads the records of all splits of a role together; later calls return the same object.

        Args:
            role: a key of `ROLES`, such as `step_ll`.

        Returns:
            The records, or None if there are none of this role.

        Raises:
            ValueError: damaged files, or files that do not belong together.
        """
        if role in self.files and role not in self._read:
            self._read[role] = read_attention_records(*self.files[role])
        return self._read.get(role)

    def load_all(self, roles: Iterable[str]) -> dict[str, AttentionRecords]:
        """Reads the records of several roles; roles without records are left out."""
        loaded = {role: self.load(role) for role in roles}
        return {role: run for role, run in loaded.items() if run is not None}


def find_networks(results_dir: PathLike) -> list[Network]:
    """Finds the attention records in a directory of results.

    Args:
        results_dir: the directory of results, which holds the directory `attention`; it need not
            exist.

    Returns:
        One entry per network and data set, the one with most files first.

    Raises:
        FileNotFoundError: records without a summary.
        ValueError: a file whose name does not fit its summary, a summary that is none, or files of
            one name that hold records of different networks or data.

    Example:
        >>> [found.name for found in find_networks("results")]
        ['tiny_imagenet_boxes_clean', ...]
    """
    found: dict[tuple[str, str], dict[str, list[Path]]] = {}
    seen: dict[tuple[str, str], tuple[Path, Mapping[str, Any]]] = {}
    for path in sorted((Path(results_dir) / "attention").glob(f"*{_SUFFIX}")):
        summary = read_attention_summary(path)
        dataset, network, role = _parts(path, summary)
        first, first_summary = seen.setdefault((dataset, network), (path, summary))
        check_same_network(first_summary, summary, str(first), str(path))
        found.setdefault((dataset, network), {}).setdefault(role, []).append(path)
    networks = [Network(*key, files) for key, files in found.items()]
    return sorted(networks, key=lambda n: (-sum(map(len, n.files.values())), n.name))


def _parts(path: Path, summary: Mapping[str, Any]) -> tuple[str, str, str]:
    """Data set, network and role in a file's name; refuses records of another attack."""
    if summary.get("shard") is not None:
        raise ValueError(f"{path} is shard {summary['shard']} of a study; merge its shards first.")
    data = summary["fingerprint"]["dataset"] or {}
    dataset, split = data.get("name", ""), split_of(summary)
    stem = path.name.removesuffix(_SUFFIX)
    network, _, role = stem.removeprefix(f"{dataset}_").partition(f"_{split}_")
    if not stem.startswith(f"{dataset}_") or not network or role not in ROLES:
        raise ValueError(
            f"{path} should be called {dataset or '<data set>'}_<network>_{split}_<attack>{_SUFFIX}"
            f", where <attack> is one of {', '.join(ROLES)}."
        )
    expected, attack = ROLES[role], summary["study"]["attack"]
    objective, sigma = objective_of(attack)
    if objective != expected.objective or np.sign(sigma or 0) != expected.sign:
        side = {1: "above", -1: "below"}.get(expected.sign)
        wanted = f"a3({expected.objective}, sigma {side} 0)" if side else expected.objective
        raise ValueError(
            f"{path} should hold {expected.text}: expected the objective {wanted}, got "
            f"{attack['objective']}."
        )
    return dataset, network, role


def objective_of(attack: Mapping[str, Any]) -> tuple[str, float | None]:
    """Tells the objective of a recorded attack, and the weight of A3's attention term in it.

    Args:
        attack: a recorded threat model.

    Returns:
        Name of the objective without A3, e.g. `away_from_label`, and sigma, e.g. 10.0, or None for
        an attack without A3.
    """
    recorded: Any = attack_from_record(attack)
    objective = recorded.objective
    if isinstance(objective, AttentionAugmented):
        plain: Any = objective.objective
        return plain.name, objective.sigma
    return objective.name, None


class Results:
    """A directory of results, with a cache of what was read and computed from its records.

    Attributes:
        root: the directory, which holds `runs`, `robustness` and `attention`; it need not exist.
    """

    def __init__(self, root: PathLike) -> None:
        self.root = Path(root)
        self._made: dict[Callable[[Results], Any], Any] = {}

    @functools.cached_property
    def networks(self) -> list[Network]:
        """The attention records by network and data set, the one with most files first."""
        return find_networks(self.root)

    def once(self, make: Callable[[Results], T]) -> T:
        """Calls a function with these results, at most once.

        Args:
            make: the function, which identifies the cached value.

        Returns:
            What the function returned at its first call.
        """
        if make not in self._made:
            self._made[make] = make(self)
        return self._made[make]
