"""The records of attention passes over one network as NumPy columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aad_tf.results import PathLike
from analysis.attention.checks import check_complete, check_same_network, check_same_study
from analysis.attention.reading import read_attention_summary, read_columns

# Split of data that has none.
WHOLE = "all"


@dataclass(frozen=True, eq=False)
class AttentionRun:
    """Images of one network under one attack; the first axis of every array is the image.

    The second axis runs over rounds: place 0 is the clean image, place k the image after round k.
    Arrays that compare with the clean image begin at round 1.

    Attributes:
        summaries: one for each file read.
        split: str `[n]`, split of each image.
        columns: arrays by the names that `reading.read_columns` gives them.

    Example:
        >>> run = load_run("results/attention/tiny_imagenet_boxes_clean_test_step_ll.jsonl.gz")
        >>> run.iou_box()[run.succeeded(1), 0].mean()
    """

    summaries: tuple[Mapping[str, Any], ...]
    split: np.ndarray
    columns: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.split)

    @property
    def study(self) -> Mapping[str, Any]:
        """What was measured: attack with threat model, rounds, cells, features, grid, methods."""
        return self.summaries[0]["study"]

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """Of the network, the data and the study, as in the first summary."""
        return self.summaries[0]["fingerprint"]

    @property
    def class_names(self) -> Sequence[str]:
        """Name of each class."""
        return self.summaries[0]["class_names"]

    @property
    def rounds(self) -> int:
        """Rounds of the attack."""
        return int(self.study["rounds"])

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods whose maps were recorded, e.g. `grad_cam`."""
        return tuple(self.study["methods"])

    @property
    def index(self) -> np.ndarray:
        """int `[n]`, place in the split."""
        return self.columns["index"]

    @property
    def label(self) -> np.ndarray:
        """int `[n]`, true class."""
        return self.columns["label"]

    @property
    def boxes(self) -> np.ndarray:
        """object `[n]`: tuples of (ymin, xmin, ymax, xmax), fractions; of the label's class."""
        return self.columns["boxes"]

    @property
    def box_area(self) -> np.ndarray:
        """float `[n]`, share of the pixels inside the boxes' union; NaN without a box."""
        return self.columns["box_area"]

    @property
    def has_box(self) -> np.ndarray:
        """bool `[n]`."""
        return ~np.isnan(self.box_area)

    @property
    def right(self) -> np.ndarray:
        """bool `[n]`: the clean image is classified right, the set I_att of [AAD Sec. 2.1]."""
        return self.prediction[:, 0] == self.label

    @property
    def prediction(self) -> np.ndarray:
        """int `[n, rounds + 1]`, the class predicted."""
        return self.columns["prediction"]

    @property
    def confidence(self) -> np.ndarray:
        """float `[n, rounds + 1]`, probability of the true class."""
        return self.columns["confidence"]

    @property
    def top_confidence(self) -> np.ndarray:
        """float `[n, rounds + 1]`, probability of the predicted class."""
        return self.columns["top_confidence"]

    def iou_box(self, method: str = "grad_cam", size: int | str = "equal_area") -> np.ndarray:
        """IoU of attention area and box, [AAD Eq. 4]: `[n, rounds + 1]`, NaN without a box."""
        return self._column(method, "iou_box", size)

    def iou_clean(self, method: str = "grad_cam", size: int | str = 10) -> np.ndarray:
        """IoU of clean and adversarial attention area, [AAD Eq. 5]: `[n, rounds]`."""
        return self._column(method, "iou_clean", size)

    def iou_repeat(self, size: int | str) -> np.ndarray | None:
        """IoU of LIME's areas of one clean image explained twice with other samples: `[n]`.

        None if the records are without it.
        """
        column = self.columns.get(f"lime/iou_repeat/{size}")
        return None if column is None else column[:, 0]

    def measure(self, method: str, name: str) -> np.ndarray:
        """`entropy`, `components`, `positive` or `peak` of the maps: `[n, rounds + 1]`."""
        return self._column(method, name)

    def centroid(self, method: str = "grad_cam") -> np.ndarray:
        """Centre of mass, (y, x) as fractions: `[n, rounds + 1, 2]`, NaN for a map of zeros."""
        return self._column(method, "centroid")

    def maps(self, method: str = "grad_cam") -> np.ndarray:
        """uint8 `[n, rounds + 1, h, w]`, each scaled so that its largest value is 255."""
        return self._column(method, "map")

    def agreement(self, first: str, second: str, measure: str) -> np.ndarray:
        """`rank_correlation` or `iou` of two methods' maps, in either order: `[n, rounds + 1]`."""
        name = f"{first}|{second}"
        if f"agreement/{name}/{measure}" not in self.columns:
            name = f"{second}|{first}"
        return self._column("agreement", name, measure)

    def succeeded(self, round_number: int) -> np.ndarray:
        """bool `[n]`: classified right when clean and wrong after this round, I_succeed."""
        return self.right & (self.prediction[:, self._round(round_number)] != self.label)

    def failed(self, round_number: int) -> np.ndarray:
        """bool `[n]`: classified right when clean and after this round, I_fail."""
        return self.right & (self.prediction[:, self._round(round_number)] == self.label)

    def select(self, mask: np.ndarray) -> AttentionRun:
        """The images that a mask, or an array of places, chooses."""
        chosen = {name: column[mask] for name, column in self.columns.items()}
        return AttentionRun(self.summaries, self.split[mask], chosen)

    def _column(self, *keys: int | str) -> np.ndarray:
        name = "/".join(map(str, keys))
        if name not in self.columns:
            raise ValueError(f"No {name} in the records; they hold {', '.join(self.columns)}.")
        return self.columns[name]

    def _round(self, number: int) -> int:
        if not 1 <= number <= self.rounds:
            raise ValueError(f"round must be in [1, {self.rounds}], got {number}.")
        return number


def load_run(*paths: PathLike) -> AttentionRun:
    """Reads one or several files of attention records, e.g. two splits, as one run.

    Args:
        *paths: files of records, each with its summary beside it.

    Returns:
        Their images, file after file.

    Raises:
        FileNotFoundError: a file or its summary is not there.
        ValueError: a damaged file, files of different networks, data or studies, an image that
            comes twice, or fewer records than the summary counts.

    Example:
        >>> load_run("a_test.jsonl.gz", "a_validation.jsonl.gz").rounds
        5
    """
    if not paths:
        raise ValueError("load_run needs at least one file of records.")
    summaries = [read_attention_summary(path) for path in paths]
    splits, parts = [], []
    for path, summary in zip(paths, summaries, strict=True):
        check_same_network(summaries[0], summary, f"{paths[0]}", f"{path}")
        check_same_study(summaries[0], summary, f"{paths[0]}", f"{path}")
        columns = read_columns(path, summary["study"])
        check_complete(columns, summary, f"{path}")
        split = (summary["fingerprint"]["dataset"] or {}).get("split") or WHOLE
        splits.append(np.full(len(columns["index"]), split))
        parts.append(columns)
    # Only files of an older format are without a column that others hold.
    names = [name for name in parts[0] if all(name in part for part in parts)]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in names}
    run = AttentionRun(tuple(summaries), np.concatenate(splits), joined)
    if len(set(zip(run.split.tolist(), run.index.tolist(), strict=True))) < len(run):
        raise ValueError(f"An image comes twice in {', '.join(map(str, paths))}.")
    return run
