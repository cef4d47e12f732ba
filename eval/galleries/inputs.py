"""Opens the networks and the data that records are of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from aad_tf import data
from aad_tf.classifier import Classifier
from eval.galleries.replay import Source
from eval.galleries.studies import Study
from eval.inputs import NamedDataset, open_network, open_part


def open_sources(
    studies: Sequence[Study],
    model_dirs: Sequence[str],
    *,
    network: str | None = None,
    weights: str | None = None,
    data_dir: str | None = None,
    annotations: str | None = None,
) -> list[Source]:
    """Opens the network and the data of each study, and names the network for titles.

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
    models: list[str | None] = list(model_dirs) or [None]
    if len(models) == 1:
        models *= len(studies)
    if len(models) != len(studies):
        raise ValueError(
            f"Give one --model_dir for all records or one for each of the {len(studies)} files, "
            f"got {len(models)}."
        )
    networks: dict[tuple[str | None, str], Classifier] = {}
    sources = []
    for study, model in zip(studies, models, strict=True):
        part = _open_data(study, data_dir, annotations)
        layer = study.records.study["attention_layer"]
        if (model, layer) not in networks:
            is_file = model is not None and Path(model).is_file()
            directory, file = (None, model) if is_file else (model, None)
            opened = open_network(directory, file, network, weights, layer, part.info)
            networks[model, layer] = opened[0]
        study = dataclasses.replace(study, name=_name(study, model or network))
        sources.append(Source(study, networks[model, layer], part.batches))
    return sources


def _open_data(study: Study, data_dir: str | None, annotations: str | None) -> NamedDataset:
    """The data of a study, at the size its images were brought to."""
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
    height, width, _ = study.records.study["image_shape"]
    return open_part(
        recorded["name"],
        recorded["split"],
        study.records.study["batch_size"],
        data_dir=data_dir,
        annotations=annotations,
        image_size=None if (height, width) == tuple(info.image_shape[:2]) else (height, width),
        limit=study.summary["range"][1],
    )


def _name(study: Study, model: str | None) -> str:
    """A short name: of the config the network was trained with, or of its file."""
    described = study.summary.get("description", {}).get("model", {})
    name = described.get("config", {}).get("name") or Path(model or "network").stem
    return {"clean": "plain network", "step_ll": "StepLL-trained"}.get(name, f"{name}-trained")
