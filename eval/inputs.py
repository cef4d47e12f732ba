"""What evaluation binaries open: a model with where it comes from, and a named data set."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import tensorflow as tf

from aad_tf import configs, data, export, model_directory
from aad_tf.attacks import GradientSignAttack
from aad_tf.attacks.parsing import parse_attack, split_attacks
from aad_tf.classifier import Classifier
from aad_tf.data import DatasetInfo
from aad_tf.evaluation import shard_range
from aad_tf.utils.checks import check_choice, check_count
from aad_tf.utils.provenance import portable


@dataclasses.dataclass(frozen=True)
class Subject:
    """A trained network and how it is to be evaluated.

    Attributes:
        classifier: the network.
        description: what it is, ready for JSON.
        dataset: name of the data set.
        attacks: attacks to run.
        image_size: side that images are resized to; 0 is the data's own.
    """

    classifier: Classifier
    description: dict[str, Any]
    dataset: str
    attacks: tuple[GradientSignAttack, ...]
    image_size: int = 0


@dataclasses.dataclass(frozen=True)
class NamedDataset:
    """Part of a data set.

    Attributes:
        batches: (images, labels), in the same order every time.
        description: which copy and split it is, ready for JSON.
        first: index of the first example in the split.
        num_examples: its size.
    """

    batches: tf.data.Dataset
    description: dict[str, Any]
    first: int
    num_examples: int


def open_model(
    model_dir: str | None,
    saved_model: str | None,
    dataset: str | None,
    attacks: str | None,
    image_size: int | None = None,
) -> Subject:
    """Opens a model directory or an exported model.

    Args:
        model_dir: directory that `train.main` wrote, or None.
        saved_model: exported model, or None.
        dataset: name of a data set; None takes the config's.
        attacks: attacks split by ";"; None takes the config's.
        image_size: side that images are resized to, 0 for the data's own; None takes the
            config's, and for an exported model the data's own.

    Returns:
        The network; its description leaves out how its config wants it evaluated.

    Raises:
        ValueError: both or neither model are given, one is missing, foreign or cut short, an
            attack is unknown, or an exported model comes without data set and attacks.
        FileNotFoundError: there is no such exported model.
    """
    chosen = tuple(parse_attack(text) for text in split_attacks(attacks or ""))
    if bool(model_dir) == bool(saved_model):
        raise ValueError("Give either --model_dir or --saved_model.")
    if saved_model:
        if not (dataset and chosen):
            raise ValueError("With --saved_model give --dataset and --attacks too.")
        name = Path(saved_model).absolute().name
        exported = export.load_classifier(saved_model)
        return Subject(exported, {"saved_model": name}, dataset, chosen, image_size or 0)
    classifier, config = model_directory.load_classifier(str(model_dir))
    chosen = chosen or tuple(map(parse_attack, config.evaluation_attacks))
    if not chosen:
        raise ValueError("The model's config names no attacks: give --attacks.")
    values = configs.to_dict(config)
    del values["evaluation_attacks"]
    size = config.image_size if image_size is None else image_size
    described = {"config": portable(values)}
    return Subject(classifier, described, dataset or config.dataset, chosen, size)


def open_dataset(
    subject: Subject,
    split: str,
    batch_size: int,
    data_dir: str | None,
    limit: int | None,
    shard: tuple[int, int] | None = None,
) -> NamedDataset:
    """Opens part of a data set; see `aad_tf.data.evaluation_batches`.

    What lies before a shard is not decoded.

    Args:
        subject: names the data set and the size of its images, which its network must take.
        split: "train", "validation" or "test".
        batch_size: examples a batch; shards are cut between batches.
        data_dir: TFDS data directory.
        limit: only the first so many examples.
        shard: (number, count) of a part of these, or None.

    Returns:
        The part; its description names the size of images only where they are resized.

    Raises:
        ValueError: an unknown name, missing data, a count below 1, more shards than batches, or
            images of another size than the network takes.
    """
    name, size = subject.dataset, subject.image_size
    info = data.info(name, data_dir, size)
    check_image_size(subject.classifier, info)
    check_choice(split, tuple(info.num_examples), "split")
    present = info.num_examples[split]
    check_count(batch_size, "batch_size")
    check_count(present if limit is None else limit, "limit")
    total = min(limit or present, present)
    first, stop = shard_range(total, batch_size, *shard) if shard else (0, total)
    batches = data.evaluation_batches(
        name, split, batch_size, data_dir, stop, image_size=size, start=first
    )
    description = {
        "name": name,
        "split": split,
        "limit": limit,
        "source": info.source,
        "fingerprint": info.fingerprint,
        **({"image_size": size} if size else {}),
    }
    return NamedDataset(batches, description, first, stop - first)


def check_image_size(classifier: Classifier, info: DatasetInfo) -> None:
    """Raises ValueError if a network does not take the images of a data set."""
    taken, given = tuple(classifier.input_shape), info.image_shape
    if tf.TensorShape(taken).is_compatible_with(given):
        return
    height, width, channels = taken
    resizable = height == width and channels in (None, given[2])
    advice = f"Give --image_size={height}." if resizable else "Do they belong together?"
    raise ValueError(
        f"The network takes images of shape {taken}, those of {info.name} are {given}. {advice}"
    )
