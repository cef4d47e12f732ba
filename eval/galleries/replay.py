"""Redoes the passes of a study for the images chosen, and makes sure they are the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from inspect import signature

import numpy as np
import tensorflow as tf

from aad_tf.attention_study.areas import overlap
from aad_tf.attention_study.network_pass import Round, follow
from aad_tf.classifier import Classifier, checked_inputs
from eval.galleries.studies import Study, check_network

# From the first example to the one behind the last to a data set of batches of that size.
OpenBatches = Callable[[int, int, int], tf.data.Dataset]
# Rounding on other machines moves probabilities a little.
_TOLERANCE = 0.02


@dataclass(frozen=True, eq=False)
class Source:
    """A study and what its passes can be redone with.

    Attributes:
        study: the records.
        classifier: the network they are of.
        opened: opens the data set in batches.
        name: of the network, for titles.
    """

    study: Study
    classifier: Classifier
    opened: OpenBatches
    name: str = "network"

    def __post_init__(self) -> None:
        check_network(self.study, self.classifier)


@dataclass(frozen=True, eq=False)
class Replayed:
    """An image through the rounds of an attack, the clean image first.

    Attributes:
        source: where it is from.
        place: its row in the study.
        images: `[rounds + 1, H, W, C]`.
        maps: `[rounds + 1, h, w]`, Grad-CAM.
        areas: bool `[rounds + 1, H, W]`, LIME's best superpixels; None if not asked for.
    """

    source: Source
    place: int
    images: np.ndarray
    maps: np.ndarray
    areas: np.ndarray | None = None


def replay(source: Source, places: Sequence[int], features: int | None = None) -> list[Replayed]:
    """Attacks and explains images again as their study did.

    Their whole batches are passed through the network, since rounding, and by that an attack's
    signs, may depend on an image's company.

    Args:
        source: study, network and data.
        places: rows of the study.
        features: number of superpixels LIME shall keep; None leaves LIME out.

    Returns:
        One for each place, in their order.

    Raises:
        ValueError: labels, predictions or confidences that differ from the records.
    """
    found: dict[int, Replayed] = {}
    for start, chosen in _by_batch(source.study, places):
        images, labels = _open(source, start)
        rounds = _passes(source, start, images, labels)
        for place in chosen:
            row = int(source.study.index[place]) - start
            _check(source.study, place, row, labels, rounds)
            areas = None
            if features is not None:
                areas = _areas(source, rounds, row, labels, features)
                _check_areas(source.study, place, areas)
            found[place] = Replayed(
                source,
                place,
                np.stack([step.images[row] for step in rounds]),
                np.stack([np.maximum(step.explanation.grad_cam[row], 0) for step in rounds]),
                areas,
            )
    return [found[place] for place in places]


def _passes(source: Source, start: int, images: tf.Tensor, labels: tf.Tensor) -> list[Round]:
    facts, attack = source.study.facts, source.study.attack(source.classifier)
    explained, seed = facts.get("explained", "label"), facts.get("seed", 0)
    return list(follow(source.classifier, attack, images, labels, explained, seed, start))


def _by_batch(study: Study, places: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """Places by the first index of the batch they were studied in."""
    first, size = study.summary["range"][0], study.facts["batch_size"]
    starts = first + (study.index - first) // size * size
    for start in sorted({int(starts[place]) for place in places}):
        yield start, [int(place) for place in places if starts[place] == start]


def _open(source: Source, start: int) -> tuple[tf.Tensor, tf.Tensor]:
    size, stop = source.study.facts["batch_size"], source.study.summary["range"][1]
    batch = next(iter(source.opened(start, min(start + size, stop), size)))
    return checked_inputs(source.classifier, batch["image"], batch["label"])


def _check(study: Study, place: int, row: int, labels: tf.Tensor, rounds: Sequence[Round]) -> None:
    """Refuses a pass that is not the recorded one."""
    index, label = study.index[place], int(study.label[place])
    if row >= len(labels) or int(labels[row]) != label:
        raise ValueError(
            f"Image {index} of the data has another label than {study.path} says ({label}). Is it "
            f"the same copy and split?"
        )
    predicted = [int(step.explanation.prediction[row]) for step in rounds]
    recorded = study.prediction[place].tolist()
    if predicted != recorded:
        raise ValueError(
            f"Image {index}: the network predicts {predicted} over the rounds, {study.path} says "
            f"{recorded}. Make the records anew on this machine with eval.attention."
        )
    confidences = np.array([float(step.explanation.confidence[row]) for step in rounds])
    apart = np.abs(confidences - study.confidence[place]).max()
    if apart > _TOLERANCE:
        raise ValueError(
            f"Image {index}: confidences are up to {apart:.3f} off those in {study.path}. Make the "
            f"records anew on this machine with eval.attention."
        )


def _areas(
    source: Source, rounds: Sequence[Round], row: int, labels: tf.Tensor, features: int
) -> np.ndarray:
    """LIME's best superpixels of an image, bool `[rounds + 1, H, W]`."""
    # Deferred: it needs scikit-image, which only some users have.
    from aad_tf.attention.lime import lime

    facts = source.study.facts
    recorded = facts.get("lime") or {}
    # The rest says what LIME was run with, such as the version of scikit-image.
    options = {name: recorded[name] for name in signature(lime).parameters if name in recorded}
    by_label = facts.get("explained", "label") == "label"
    found = []
    for step in rounds:
        explained = int(labels[row] if by_label else step.explanation.prediction[row])
        image = step.images[row : row + 1]
        explanation = lime(
            source.classifier, image, [explained], **{"seed": facts.get("seed", 0), **options}
        )
        found.append(explanation.top_features(features))
    return np.concatenate(found)


def _check_areas(study: Study, place: int, areas: np.ndarray) -> None:
    """Refuses superpixels that are not the recorded ones."""
    flat = areas.reshape(len(areas), -1)
    apart = np.abs(overlap(flat[1:], flat[:1]) - study.iou_clean[place]).max()
    if apart > _TOLERANCE:
        raise ValueError(
            f"Image {study.index[place]}: LIME's areas overlap differently than {study.path} says, "
            f"by {apart:.3f}. It was made with scikit-image "
            f"{(study.facts.get('lime') or {}).get('scikit_image', '(version not recorded)')}; "
            f"install that version, or make the records anew."
        )
