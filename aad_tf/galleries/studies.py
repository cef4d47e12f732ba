"""The records of an attention study as columns, as far as galleries need them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aad_tf.attacks import GradientSignAttack
from aad_tf.attacks.parsing import parse_attack
from aad_tf.attention_study.records import KEYS
from aad_tf.classifier import Classifier
from aad_tf.evaluation.inputs import weights_fingerprint
from aad_tf.results import PathLike, read_record_lines, read_summary


@dataclass(frozen=True, eq=False)
class Study:
    """Images of one network under one attack; the second axis of arrays runs over rounds.

    Attributes:
        path: file of records.
        summary: what lies beside it.
        index: int `[n]`, place in the split.
        label: int `[n]`.
        boxes: for each image its boxes (ymin, xmin, ymax, xmax), fractions.
        prediction: int `[n, rounds + 1]`, the clean image first.
        confidence: `[n, rounds + 1]`, of the label.
        top_confidence: `[n, rounds + 1]`, of the prediction.
        iou_box: `[n, rounds + 1]`, NaN without a box.
        iou_clean: `[n, rounds]`, from round 1 on.
    """

    path: Path
    summary: Mapping[str, Any]
    index: np.ndarray
    label: np.ndarray
    boxes: tuple[Any, ...]
    prediction: np.ndarray
    confidence: np.ndarray
    top_confidence: np.ndarray
    iou_box: np.ndarray
    iou_clean: np.ndarray

    @property
    def facts(self) -> Mapping[str, Any]:
        """What was done to each image."""
        return self.summary["study"]

    @property
    def rounds(self) -> int:
        """Rounds of the attack."""
        return int(self.facts["rounds"])

    @property
    def dataset(self) -> Mapping[str, Any]:
        """Which copy and split of which data."""
        return self.summary["fingerprint"]["dataset"] or {}

    @property
    def right(self) -> np.ndarray:
        """bool `[n]`: predicted right as they are, I_att of [AAD Sec. 2.1]."""
        return self.prediction[:, 0] == self.label

    def flipped(self, round_number: int) -> np.ndarray:
        """bool `[n]`: right as they are, wrong after this round.

        Raises:
            ValueError: the attack has fewer rounds.
        """
        if round_number > self.rounds:
            raise ValueError(
                f"{self.path} has {self.rounds} rounds of the attack, {round_number} are needed. "
                f"Make records with --rounds={round_number} or more."
            )
        return self.right & (self.prediction[:, round_number] != self.label)

    def class_name(self, label: int) -> str:
        """Name of a class, or its number if it has none."""
        names = self.summary.get("class_names") or ()
        return str(names[label]) if label < len(names) else str(label)

    def attack(self, classifier: Classifier) -> GradientSignAttack:
        """The attack of the study, built anew.

        Raises:
            ValueError: its name is no call, or does not build what was recorded.
        """
        recorded = dict(self.facts["attack"])
        attack = parse_attack(recorded["attack"])
        rebuilt = attack.threat_model(classifier.bounds)
        # With all its options, where the records say them.
        rebuilt["objective"] = repr(attack.objective)
        recorded["objective"] = self.summary["fingerprint"].get("objective", rebuilt["objective"])
        different = [key for key in recorded if rebuilt.get(key) != recorded[key]]
        if different:
            key = different[0]
            raise ValueError(
                f"{self.path}: {recorded['attack']} builds an attack of {key} {rebuilt.get(key)}, "
                f"recorded is {recorded[key]}. Make the records anew with eval.attention."
            )
        return attack


def read_study(
    path: PathLike, method: str = "grad_cam", box_area: str = "equal_area", cells: str = "10"
) -> Study:
    """Reads a file of records and the summary beside it.

    Args:
        path: file that `aad_tf.attention_study.study_attention` wrote.
        method: whose IoU are read.
        box_area: area compared with the box, as the records name it.
        cells: size of the areas compared with the clean map's.

    Returns:
        The study.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: damaged files, records without the method or the areas.
    """
    summary = read_summary(path, "study")
    if not isinstance(summary.get("fingerprint"), Mapping):
        raise ValueError(f"The summary of {path} has no fingerprint: it is no attention study's.")
    columns: dict[str, list[Any]] = {name: [] for name in ("boxes", *_NUMBERS)}
    for number, record in enumerate(read_record_lines(path, KEYS), start=1):
        try:
            row = _row(record, method, box_area, cells)
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{path}, line {number}: no {method} maps with {box_area} and {cells} ({error})."
            ) from error
        for name, value in row.items():
            columns[name].append(value)
    boxes = tuple(columns.pop("boxes"))
    if not boxes:
        raise ValueError(f"{path} holds no records.")
    arrays = {
        name: np.asarray(values, float if name in _NUMBERS[3:] else int)
        for name, values in columns.items()
    }
    return Study(Path(path), summary, boxes=boxes, **arrays)


def _row(record: Mapping[str, Any], method: str, box_area: str, cells: str) -> dict[str, Any]:
    """What a record holds for each column."""
    measured = record["maps"][method]
    on_box = measured["iou_box"]
    return {
        **{name: record[name] for name in _NUMBERS[:5]},
        "boxes": tuple(map(tuple, record["boxes"])),
        "iou_box": [None] * len(record["prediction"]) if on_box is None else on_box[box_area],
        "iou_clean": measured["iou_clean"][cells],
    }


# Integers first.
_NUMBERS = (
    "index",
    "label",
    "prediction",
    "confidence",
    "top_confidence",
    "iou_box",
    "iou_clean",
)


def check_network(study: Study, classifier: Classifier) -> None:
    """Refuses records of another network.

    Raises:
        ValueError: other weights than those recorded, or another attention layer.
    """
    recorded, found = study.summary["fingerprint"]["weights"], weights_fingerprint(classifier)
    if recorded != found:
        raise ValueError(
            f"{study.path} holds records of another network: its weights are {recorded}, those "
            f"given {found}. Give the network that the records were made with."
        )
    layer = study.facts["attention_layer"]
    if layer != classifier.attention_layer:
        raise ValueError(
            f"{study.path} explains the layer {layer!r}, the network given "
            f"{classifier.attention_layer!r}."
        )


def check_same_images(first: Study, second: Study) -> None:
    """Refuses studies of different images, which cannot stand side by side.

    Raises:
        ValueError: other data, splits or labels.
    """
    keys = ("name", "split", "fingerprint")
    one, two = ([study.dataset.get(key) for key in keys] for study in (first, second))
    if one != two:
        raise ValueError(f"{first.path} and {second.path} are of different data: {one} and {two}.")


def common_images(studies: list[Study]) -> list[Study]:
    """The studies cut to the images that all of them hold, in one order.

    Raises:
        ValueError: different data, no image in common, or labels that differ.
    """
    first = studies[0]
    shared = first.index
    for study in studies[1:]:
        check_same_images(first, study)
        shared = np.intersect1d(shared, study.index)
    if len(shared) == 0:
        raise ValueError(f"{' and '.join(str(s.path) for s in studies)} share no image.")
    cut = [_rows(study, shared) for study in studies]
    for study in cut[1:]:
        if not np.array_equal(study.label, cut[0].label):
            raise ValueError(f"{first.path} and {study.path} disagree about labels.")
    return cut


def _rows(study: Study, indices: np.ndarray) -> Study:
    order = np.argsort(study.index)
    places = order[np.searchsorted(study.index, indices, sorter=order)]
    columns = {name: getattr(study, name)[places] for name in _NUMBERS}
    boxes = tuple(study.boxes[place] for place in places)
    return Study(study.path, study.summary, boxes=boxes, **columns)
