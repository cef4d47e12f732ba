"""Finds the records of the attention study by their names.

They lie in `results/attention` as `<data set>_<network>_<split>_<attack>.jsonl.gz`, each with its
summary beside it, which says data set and split. `<attack>` is one of `ROLES`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aad_tf.results import PathLike
from analysis.attention.caption import base_objective, sigma
from analysis.attention.checks import check_same_network
from analysis.attention.reading import read_attention_summary
from analysis.attention.run import WHOLE, AttentionRun, load_run

# What the last part of a name stands for.
ROLES = {
    "step_ll": "StepLL, for Tables 1 to 4 and 9",
    "step_ll_kept_target": "StepLL towards the original image's least likely class in every round",
    "step_ll_kept_target_a3_plus": "the same with A3, sigma above 0",
    "step_ll_kept_target_a3_minus": "the same with A3, sigma below 0",
    "step_ll_a3_plus": "StepLL with A3, sigma above 0",
    "step_ll_a3_minus": "StepLL with A3, sigma below 0",
    "ifgsm": "FGSM in rounds",
    "ifgsm_a3_plus": "FGSM in rounds with A3, sigma above 0",
    "ifgsm_a3_minus": "FGSM in rounds with A3, sigma below 0",
    "lime": "StepLL with LIME's maps",
}
# What the plain attack of a role descends, by the role's name without its ending for A3.
_OBJECTIVES = {
    "step_ll": "towards_least_likely",
    "step_ll_kept_target": "towards_first_least_likely",
    "ifgsm": "away_from_label",
    "lime": "towards_least_likely",
}
_SIGNS = {"_a3_plus": 1, "_a3_minus": -1}
_SUFFIX = ".jsonl.gz"


@dataclass(frozen=True)
class NetworkFiles:
    """The records of one network on one data set.

    Attributes:
        dataset: name of the data.
        network: name of the network.
        files: by role, one file a split.
    """

    dataset: str
    network: str
    files: Mapping[str, Sequence[Path]]

    @property
    def name(self) -> str:
        """`<data set>_<network>`."""
        return f"{self.dataset}_{self.network}"

    def load(self, role: str) -> AttentionRun | None:
        """All splits of a role as one run, or None if it was not run.

        Raises:
            ValueError: damaged files, or files that do not belong together.
        """
        paths = self.files.get(role)
        return load_run(*paths) if paths else None


def find_networks(results_dir: PathLike) -> list[NetworkFiles]:
    """What was recorded, the network with most files first.

    Args:
        results_dir: the directory that holds `attention`; it need not exist.

    Returns:
        One entry a network and data set.

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
        first, own = seen.setdefault((dataset, network), (path, summary))
        check_same_network(own, summary, str(first), str(path))
        found.setdefault((dataset, network), {}).setdefault(role, []).append(path)
    networks = [NetworkFiles(*key, files) for key, files in found.items()]
    return sorted(networks, key=lambda n: (-sum(map(len, n.files.values())), n.name))


def _parts(path: Path, summary: Mapping[str, Any]) -> tuple[str, str, str]:
    """Data set, network and role in a file's name."""
    if summary.get("shard") is not None:
        raise ValueError(f"{path} is shard {summary['shard']} of a study; merge its shards first.")
    data = summary["fingerprint"]["dataset"] or {}
    dataset, split = data.get("name", ""), data.get("split") or WHOLE
    stem = path.name.removesuffix(_SUFFIX)
    network, _, role = stem.removeprefix(f"{dataset}_").partition(f"_{split}_")
    if not stem.startswith(f"{dataset}_") or not network or role not in ROLES:
        raise ValueError(
            f"{path} should be called {dataset or '<data set>'}_<network>_{split}_<attack>{_SUFFIX}"
            f", where <attack> is one of {', '.join(ROLES)}."
        )
    _check_attack(path, role, summary["study"]["attack"])
    return dataset, network, role


def _check_attack(path: Path, role: str, attack: Mapping[str, Any]) -> None:
    """Refuses records of another attack than the file's name says."""
    ending = next((end for end in _SIGNS if role.endswith(end)), "")
    expected = _OBJECTIVES[role.removesuffix(ending)]
    sign = int(np.sign(sigma(attack) or 0))
    if base_objective(attack) != expected or sign != _SIGNS.get(ending, 0):
        with_a3 = f"a3({expected}, sigma {'above' if ending == '_a3_plus' else 'below'} 0)"
        raise ValueError(
            f"{path} should hold {ROLES[role]}: expected the objective "
            f"{with_a3 if ending else expected}, got {attack['objective']}."
        )
