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
from aad_tf.evaluation import shard_range
from aad_tf.provenance import portable


@dataclasses.dataclass(frozen=True)
class Subject:
    """A trained network and how it is to be judged.

    Attributes:
        classifier: the network.
        description: what it is, ready for JSON.
        dataset: name of the data set.
        attacks: attacks to run.
    """

    classifier: Classifier
    description: dict[str, Any]
    dataset: str
    attacks: tuple[GradientSignAttack, ...]


@dataclasses.dataclass(frozen=True)
class NamedDataset:
    """Part of a data set.

    Attributes:
        batches: (images, labels), in the same order every time.
        description: which copy and split it is, ready for JSON.
        first: place of the first example in the split.
        num_examples: its size.
    """

    batches: tf.data.Dataset
    description: dict[str, Any]
    first: int
    num_examples: int


def open_model(
    model_dir: str | None, saved_model: str | None, dataset: str | None, attacks: str | None
) -> Subject:
    """Opens a model directory or an exported model.

    Args:
        model_dir: directory that `train.main` wrote, or None.
        saved_model: exported model, or None.
        dataset: name of a data set; None takes the config's.
        attacks: attacks split by ";"; None takes the config's.

    Returns:
        The network; its description leaves out how its config wants it judged.

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
        return Subject(exported, {"saved_model": name}, dataset, chosen)
    classifier, config = model_directory.load_classifier(str(model_dir))
    chosen = chosen or tuple(map(parse_attack, config.evaluation_attacks))
    if not chosen:
        raise ValueError("The model's config names no attacks: give --attacks.")
    values = configs.to_dict(config)
    del values["evaluation_attacks"]
    return Subject(classifier, {"config": portable(values)}, dataset or config.dataset, chosen)


def open_dataset(
    name: str,
    split: str,
    batch_size: int,
    data_dir: str | None,
    limit: int | None,
    shard: tuple[int, int] | None = None,
) -> NamedDataset:
    """Opens part of a data set; see `aad_tf.data.evaluation_batches`.

    Args:
        name: a name of `aad_tf.data.available()`.
        split: "train", "validation" or "test".
        batch_size: examples a batch; shards are cut between batches.
        data_dir: TFDS data directory.
        limit: only the first so many examples.
        shard: (number, count) of a part of these, or None.

    Raises:
        ValueError: an unknown name, missing data, a count below 1, or more shards than batches.
    """
    info = data.info(name, data_dir)
    batches = data.evaluation_batches(name, split, batch_size, data_dir, limit)
    total = min(limit or info.num_examples[split], info.num_examples[split])
    first, stop = shard_range(total, batch_size, *shard) if shard else (0, total)
    if shard:
        skipped = first // batch_size
        batches = batches.skip(skipped).take(-(-stop // batch_size) - skipped)
    description = {
        "name": name,
        "split": split,
        "limit": limit,
        "source": info.source,
        "fingerprint": info.fingerprint,
    }
    return NamedDataset(batches, description, first, stop - first)
