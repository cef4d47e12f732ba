"""Opens the networks and the data that records are of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from aad_tf import data
from aad_tf.classifier import Classifier
from eval.galleries.replay import Source
from eval.galleries.studies import Study
from eval.inputs import NamedImages, Part, open_network, open_part


def open_sources(
    studies: Sequence[Study],
    model_dirs: Sequence[str],
    *,
    network: str | None = None,
    weights: str | None = None,
    data_dir: str | None = None,
    annotations: str | None = None,
) -> list[Source]:
    """Opens the network and the data that records are of.

    Args:
        studies: the records.
        model_dirs: model directories or Keras files, one for all records or one for each; none if
            `network` is given.
        network: a name of `aad_tf.models.available()`, with `weights`.
        weights: weights of `network`, "imagenet" or a file.
        data_dir: data directory of TensorFlow Datasets; None for `TFDS_DATA_DIR`.
        annotations: path of the archive of boxes, for imagenet2012 alone.

    Returns:
        For each study the records, with a name of the network for titles, the network and the data.

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
        images = _images(study, data_dir, annotations)
        layer, bounds = study.records.study["attention_layer"], _bounds(study)
        if (model, layer) not in networks:
            is_file = model is not None and Path(model).is_file()
            opened = open_network(
                model_dir=None if is_file else model,
                keras_model=model if is_file else None,
                network=network,
                weights=weights,
                attention_layer=layer,
                bounds=bounds if is_file else None,
                images=images,
            )
            networks[model, layer] = opened.classifier
        part = _open_data(study, images, networks[model, layer])
        study = dataclasses.replace(study, name=_name(study, model or network))
        sources.append(Source(study, networks[model, layer], part.batches))
    return sources


def _images(study: Study, data_dir: str | None, annotations: str | None) -> NamedImages:
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
    size = None if (height, width) == tuple(info.image_shape[:2]) else (height, width)
    return NamedImages(recorded["name"], recorded["split"], data_dir, annotations, size)


def _open_data(study: Study, images: NamedImages, classifier: Classifier) -> Part:
    batch_size, stop = study.records.study["batch_size"], study.summary["range"][1]
    return open_part(images, classifier, batch_size, stop, with_boxes=True)


def _bounds(study: Study) -> Sequence[float] | None:
    """The pixel range of the network studied, where it is not [0, 1]."""
    return study.records.study["attack"].get("bounds")


def _name(study: Study, model: str | None) -> str:
    """A short name: of the config the network was trained with, or of its file."""
    described = study.summary.get("description", {}).get("model", {})
    name = described.get("config", {}).get("name") or Path(model or "network").stem
    return {"clean": "plain network", "step_ll": "StepLL-trained"}.get(name, f"{name}-trained")
