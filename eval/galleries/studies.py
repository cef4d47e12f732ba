"""Records of attention studies, with the IoU columns that the paper's figures need."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aad_tf.attacks import GradientSignAttack, attack_from_record
from aad_tf.classifier import Classifier
from aad_tf.records.columns import AttentionRecords, read_attention_records
from aad_tf.records.fingerprints import weights_fingerprint
from aad_tf.utils.files import PathLike


@dataclass(frozen=True, eq=False)
class Study:
    """Records of `n` images of one network, clean and after each round of one attack.

    A round is an iteration of the attack.

    Attributes:
        records: all measurements of each image.
        iou_box: `[n, rounds + 1]`, IoU of attention area and box, the clean image first; NaN
            without a box.
        iou_clean: `[n, rounds]`, IoU of the areas after each round with the clean image's area.
        name: name of the network, for titles.
    """

    records: AttentionRecords
    iou_box: np.ndarray
    iou_clean: np.ndarray
    name: str = "network"

    @property
    def path(self) -> Path:
        """File of the records."""
        return self.records.paths[0]

    @property
    def summary(self) -> Mapping[str, Any]:
        """The summary of the records."""
        return self.records.summaries[0]

    @property
    def threat_model(self) -> Mapping[str, Any]:
        """The attack's parameters and threat model, as recorded."""
        return self.records.study["attack"]

    @functools.cached_property
    def attack(self) -> GradientSignAttack:
        """The attack of the study, rebuilt from the records.

        Raises:
            ValueError: the records do not hold its parameters, or contradict themselves.
        """
        try:
            attack: Any = attack_from_record(self.threat_model)
            return attack
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error

    @property
    def dataset(self) -> Mapping[str, Any]:
        """Name, split and fingerprint of the data; empty if they are not recorded."""
        return self.records.fingerprint["dataset"] or {}

    def succeeded(self, round_number: int) -> np.ndarray:
        """bool `[n]`: correct when clean and misclassified after a round, counted from 1.

        Raises:
            ValueError: the attack has fewer rounds.
        """
        if round_number > self.records.rounds:
            raise ValueError(
                f"{self.path} has {self.records.rounds} rounds of the attack, {round_number} are "
                f"needed. Make records with --rounds={round_number} or more."
            )
        return self.records.succeeded(round_number)

    def class_name(self, label: int) -> str:
        """Name of a class, or its number if it has none."""
        names = self.records.class_names or ()
        return str(names[label]) if label < len(names) else str(label)

    def select(self, rows: np.ndarray) -> Study:
        """The records of the images at some positions, in that order."""
        chosen = self.records.select(rows), self.iou_box[rows], self.iou_clean[rows]
        return Study(*chosen, self.name)


def read_study(
    path: PathLike, method: str = "grad_cam", box_area: str = "equal_area", cells: str = "10"
) -> Study:
    """Reads a file of attention records and its summary.

    Args:
        path: file that `aad_tf.attention_study.study_attention` wrote.
        method: attention method whose IoU are read, `"grad_cam"` or `"lime"`.
        box_area: size of the area that is compared with the box, as the records name it:
            `"equal_area"`, or of LIME a number of superpixels.
        cells: number of cells, or of superpixels, of the areas compared with the clean image's.

    Returns:
        The study.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: damaged files, or records without the method or the areas.
    """
    on_box, on_clean = f"{method}/iou_box/{box_area}", f"{method}/iou_clean/{cells}"
    columns = ("boxes", "confidence", "top_confidence", on_box, on_clean)
    records = read_attention_records(path, columns=columns)
    return Study(records, records.columns[on_box], records.columns[on_clean])


def check_network(study: Study, classifier: Classifier) -> None:
    """Checks that records are of a network.

    Args:
        study: the records.
        classifier: the network.

    Raises:
        ValueError: other weights than those recorded, or another attention layer.
    """
    recorded, found = study.records.fingerprint["weights"], weights_fingerprint(classifier)
    if recorded != found:
        raise ValueError(
            f"{study.path} holds records of another network: its weights are {recorded}, those "
            f"given {found}. Give the network that the records were made with."
        )
    layer = study.records.study["attention_layer"]
    if layer != classifier.attention_layer:
        raise ValueError(
            f"{study.path} explains the layer {layer!r}, the network given "
            f"{classifier.attention_layer!r}."
        )


def common_images(studies: Sequence[Study]) -> list[Study]:
    """Reduces studies to the images that all of them have.

    Args:
        studies: records of the same data; a single study is returned unchanged.

    Returns:
        The studies, with the same images, sorted by index.

    Raises:
        ValueError: different data, no image in common, or labels that differ.
    """
    first, *others = studies
    if not others:
        return [first]
    keys = ("name", "split", "fingerprint")
    one = [first.dataset.get(key) for key in keys]
    for study in others:
        two = [study.dataset.get(key) for key in keys]
        if one != two:
            raise ValueError(
                f"{first.path} and {study.path} are of different data: {one} and {two}."
            )
    shared = functools.reduce(np.intersect1d, [study.records.index for study in studies])
    if len(shared) == 0:
        raise ValueError(f"{' and '.join(str(s.path) for s in studies)} have no image in common.")
    cut = []
    for study in studies:
        order = np.argsort(study.records.index)
        cut.append(study.select(order[np.isin(study.records.index[order], shared)]))
    for study in cut[1:]:
        if not np.array_equal(study.records.label, cut[0].records.label):
            raise ValueError(f"{first.path} and {study.path} disagree about labels.")
    return cut
