"""What `eval.attention_gallery` opens: the networks and the data that records are of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from aad_tf import data
from aad_tf.classifier import Classifier
from eval.attention_inputs import open_network
from eval.galleries import Source, Study


def open_sources(
    studies: Sequence[Study],
    model_dirs: Sequence[str],
    *,
    network: str | None = None,
    weights: str | None = None,
    data_dir: str | None = None,
    annotations: str | None = None,
) -> list[Source]:
    """Opens the network and the data of each study.

    Args:
        studies: records.
        model_dirs: model directories or Keras files, one for all studies or one each; none if a
            registered network is given.
        network: a name of `aad_tf.models.available()`.
        weights: of `network`.
        data_dir: TFDS data directory.
        annotations: box archive of imagenet2012.

    Raises:
        ValueError: another number of networks, a network that is missing, or of other weights
            than the records, or another copy of the data.
    """
    places: list[str | None] = list(model_dirs) or [None]
    if len(places) not in (1, len(studies)):
        raise ValueError(
            f"Give one --model_dir for all records or one for each of the {len(studies)} files, "
            f"got {len(places)}."
        )
    places = places * len(studies) if len(places) == 1 else places
    opened: dict[Any, Classifier] = {}
    sources = []
    for study, place in zip(studies, places, strict=True):
        info, size = _data_of(study, data_dir, annotations)
        key = (place, study.facts["attention_layer"])
        if key not in opened:
            opened[key] = _network(place, network, weights, study, info)
        batches = _opener(study, data_dir, annotations, size)
        sources.append(Source(study, opened[key], batches, _name(study, place or network)))
    return sources


def _data_of(
    study: Study, data_dir: str | None, annotations: str | None
) -> tuple[data.DatasetInfo, tuple[int, int] | None]:
    """The data set of a study, and the size its images were brought to."""
    recorded = study.dataset
    if recorded.get("name") not in data.boxed_available():
        raise ValueError(
            f"{study.path} is of no data set that can be opened by name; its summary says "
            f"{recorded.get('name')!r}."
        )
    info = data.boxed_info(recorded["name"], data_dir, annotations)
    if recorded.get("fingerprint") != info.fingerprint:
        raise ValueError(
            f"{study.path} is of another copy of {recorded['name']}: fingerprint "
            f"{recorded.get('fingerprint')}, found {info.fingerprint}."
        )
    height, width, channels = study.facts["image_shape"]
    if (height, width) == tuple(info.image_shape[:2]):
        return info, None
    sized = data.boxed_info(recorded["name"], data_dir, annotations, (height, width))
    return sized, (height, width)


def _network(
    place: str | None,
    network: str | None,
    weights: str | None,
    study: Study,
    info: data.DatasetInfo,
) -> Classifier:
    is_file = place is not None and Path(place).is_file()
    directory, file = (None, place) if is_file else (place, None)
    layer = study.facts["attention_layer"]
    return open_network(directory, file, network, weights, layer, info)[0]


def _opener(
    study: Study, data_dir: str | None, annotations: str | None, size: tuple[int, int] | None
) -> Any:
    def opened(start: int, stop: int, batch_size: int) -> tf.data.Dataset:
        name, split = study.dataset["name"], study.dataset["split"]
        return data.boxed_batches(name, split, batch_size, data_dir, start, stop, size, annotations)

    return opened


def _name(study: Study, place: str | None) -> str:
    """A short name: of the config the network was trained with, or of its file."""
    model = study.summary.get("description", {}).get("model", {})
    name = model.get("config", {}).get("name") or Path(place or "network").stem
    return {"clean": "plain network", "step_ll": "StepLL-trained"}.get(name, f"{name}-trained")
