"""Attacks and explains some images of a study again, and checks the result against its records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature

import numpy as np
import tensorflow as tf

from aad_tf.attention_study.measures import overlap
from aad_tf.attention_study.network_pass import Round, follow
from aad_tf.classifier import Classifier, checked_inputs
from eval.galleries.studies import Study, check_network

# Rounding on other machines moves probabilities a little.
_TOLERANCE = 0.02


@dataclass(frozen=True, eq=False)
class Source:
    """The records of a study, with the network and the data they were made with.

    Attributes:
        study: the records.
        classifier: the network.
        opened: a function from the index of an example to the data set from that example on, in
            batches of the same size as the study's.

    Raises:
        ValueError: the records are of another network.
    """

    study: Study
    classifier: Classifier
    opened: Callable[[int], tf.data.Dataset]

    def __post_init__(self) -> None:
        check_network(self.study, self.classifier)


@dataclass(frozen=True, eq=False)
class Replayed:
    """An image, clean and after each iteration of an attack, with its attention.

    Attributes:
        images: `[rounds + 1, H, W, C]`, the clean image first.
        maps: `[rounds + 1, h, w]`, Grad-CAM maps of the true class.
        areas: bool `[rounds + 1, H, W]`, LIME's best superpixels; None if not asked for.
    """

    images: np.ndarray
    maps: np.ndarray
    areas: np.ndarray | None = None


def replay(source: Source, rows: Sequence[int], features: int | None = None) -> dict[int, Replayed]:
    """Attacks and explains images again as their study did.

    Their whole batches are passed through the network, because float rounding, and with it the
    signs of gradients, may depend on the other images of a batch.

    Args:
        source: the records, network and data.
        rows: positions of the images in the records.
        features: number of superpixels that LIME keeps; None leaves LIME out.

    Returns:
        The images by their position.

    Raises:
        ValueError: labels, predictions or confidences that differ from the records.
    """
    records, study, attack = source.study.records, source.study.records.study, source.study.attack
    first = source.study.summary["range"][0]
    explained, seed = study.get("explained", "label"), study.get("seed", 0)
    found = {}
    # The first index of the batch that each image was studied in.
    starts = first + (records.index - first) // study["batch_size"] * study["batch_size"]
    for start in sorted({int(starts[row]) for row in rows}):
        batch = next(iter(source.opened(start)))
        images, labels = checked_inputs(source.classifier, batch["image"], batch["label"])
        rounds = list(follow(source.classifier, attack, images, labels, explained, seed, start))
        for row in (int(row) for row in rows if starts[row] == start):
            position = int(records.index[row]) - start
            _check(source.study, row, position, labels, rounds)
            areas = None
            if features is not None:
                areas = _areas(source, rounds, position, labels, features)
                _check_areas(source.study, row, areas)
            found[row] = Replayed(
                np.stack([step.images[position] for step in rounds]),
                np.stack([np.maximum(step.explanation.grad_cam[position], 0) for step in rounds]),
                areas,
            )
    return found


def _check(
    study: Study, row: int, position: int, labels: tf.Tensor, rounds: Sequence[Round]
) -> None:
    """Refuses a pass that is not the recorded one."""
    records = study.records
    index, label = records.index[row], int(records.label[row])
    if position >= len(labels) or int(labels[position]) != label:
        raise ValueError(
            f"Image {index} of the data has another label than {study.path} says ({label}). Is it "
            f"the same copy and split?"
        )
    predicted = [int(step.explanation.prediction[position]) for step in rounds]
    recorded = records.prediction[row].tolist()
    if predicted != recorded:
        raise ValueError(
            f"Image {index}: the network predicts {predicted} over the rounds, {study.path} says "
            f"{recorded}. Make the records again on this machine with eval.attention."
        )
    confidences = np.array([float(step.explanation.confidence[position]) for step in rounds])
    apart = np.abs(confidences - records.confidence[row]).max()
    if apart > _TOLERANCE:
        raise ValueError(
            f"Image {index}: confidences are up to {apart:.3f} off those in {study.path}. Make the "
            f"records again on this machine with eval.attention."
        )


def _areas(
    source: Source, rounds: Sequence[Round], position: int, labels: tf.Tensor, features: int
) -> np.ndarray:
    """LIME's best superpixels of an image, bool `[rounds + 1, H, W]`."""
    # Deferred: it needs scikit-image, which only some users have.
    from aad_tf.attention.lime import lime

    study = source.study.records.study
    recorded = study.get("lime") or {}
    # The rest says what LIME was run with, such as the version of scikit-image.
    options = {name: recorded[name] for name in signature(lime).parameters if name in recorded}
    options = {"seed": study.get("seed", 0), **options}
    by_label = study.get("explained", "label") == "label"
    found = []
    for step in rounds:
        target = int(labels[position] if by_label else step.explanation.prediction[position])
        image = step.images[position : position + 1]
        explanation = lime(source.classifier, image, [target], **options)
        found.append(explanation.top_features(features))
    return np.concatenate(found)


def _check_areas(study: Study, row: int, areas: np.ndarray) -> None:
    """Refuses superpixels that are not the recorded ones."""
    flat = areas.reshape(len(areas), -1)
    apart = np.abs(overlap(flat[1:], flat[:1]) - study.iou_clean[row]).max()
    if apart > _TOLERANCE:
        version = (study.records.study.get("lime") or {}).get("scikit_image")
        raise ValueError(
            f"Image {study.records.index[row]}: LIME's areas overlap differently than {study.path} "
            f"says, by {apart:.3f}. It was made with scikit-image "
            f"{version or '(version not recorded)'}; install that version, or make the records "
            f"again."
        )
