"""What evaluation binaries open: networks with where they come from, data sets, attacks."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from aad_tf import configs, data, export, model_directory, models
from aad_tf.attacks import GradientSignAttack, a3, parse_attack
from aad_tf.attacks.parsing import split_attacks
from aad_tf.classifier import Classifier
from aad_tf.data import DatasetInfo
from aad_tf.records.shards import shard_range
from aad_tf.utils.checks import check_choice, check_count
from aad_tf.utils.provenance import portable, provenance_path


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
        batches: (images, labels), in the same order every time; where there are boxes, a function
            from the index of an example to batches from there on.
        first: index of the first example in the split.
        num_examples: its size.
        description: which copy and split it is, ready for JSON.
        info: the data set, its images at the size they are given.
    """

    batches: Any
    first: int
    num_examples: int
    description: dict[str, Any]
    info: DatasetInfo


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
    size = config.image_size if image_size is None else image_size
    return Subject(classifier, _described(config), dataset or config.dataset, chosen, size)


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
        batch_size: examples per batch; shards are cut between batches.
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
    first, stop = _examples(info, split, batch_size, limit, shard)
    batches = data.evaluation_batches(
        name, split, batch_size, data_dir, stop, image_size=size, start=first
    )
    description = _copy(name, split, limit, info)
    description |= {"image_size": size} if size else {}
    return NamedDataset(batches, first, stop - first, description, info)


def open_network(
    model_dir: str | None,
    keras_model: str | None,
    network: str | None,
    weights: str | None,
    attention_layer: str | None,
    info: DatasetInfo,
) -> tuple[Classifier, dict[str, Any]]:
    """Opens a model directory, a Keras file, or a registered network with weights.

    Args:
        model_dir: directory that `train.main` wrote.
        keras_model: `.keras` or `.h5` file of any classifier of images in [0, 1].
        network: a name of `aad_tf.models.available()`, such as "inception_v3".
        weights: of `network`: "imagenet" or a file.
        attention_layer: layer that maps explain; None for the model's own choice.
        info: the data set, for the network's shape.

    Returns:
        The network, and what it is, ready for JSON.

    Raises:
        ValueError: none or several networks asked for, one that is missing or cut short, or one
            for another number of classes or another size of images than the data have.
    """
    if sum(map(bool, (model_dir, keras_model, network))) != 1:
        raise ValueError("Give one of --model_dir, --keras_model and --network.")
    if weights and not network:
        raise ValueError("--weights belongs to --network; a model directory has its own.")
    if model_dir:
        classifier, config = model_directory.load_classifier(model_dir)
        description = _described(config)
        model = classifier.model
        layer = attention_layer or classifier.attention_layer
    elif keras_model:
        model, layer = keras.saving.load_model(keras_model, compile=False), attention_layer
        description = {"keras_model": provenance_path(keras_model)}
    else:
        options = {"weights": weights} if weights else {}
        model = models.build(str(network), info.image_shape, info.num_classes, **options)
        layer = attention_layer
        described = weights if weights in (None, "imagenet") else provenance_path(weights)
        description = {"network": network, "weights": described}
    classifier = Classifier.from_keras(model, layer)
    if classifier.num_classes != info.num_classes:
        raise ValueError(
            f"The network has {classifier.num_classes} classes, {info.name} has "
            f"{info.num_classes}. Do they belong together?"
        )
    check_image_size(classifier, info)
    return classifier, description


def open_part(
    name: str,
    split: str,
    batch_size: int,
    *,
    data_dir: str | None = None,
    annotations: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    limit: int | None = None,
    shard: tuple[int, int] | None = None,
) -> NamedDataset:
    """Opens a split of a data set, or a shard of it.

    Args:
        name: a name of `aad_tf.data.boxed_available()`.
        split: "train", "validation" or "test".
        batch_size: examples per batch; shards are cut between batches.
        data_dir: TFDS data directory.
        annotations: box archive of imagenet2012.
        image_size: side, or (height, width), that images are resized to.
        limit: only the first so many examples.
        shard: (number, count) of a part of these, or None.

    Raises:
        ValueError: unknown names, missing data, a shard or count that cannot be.
    """
    info = data.boxed_info(name, data_dir, annotations, image_size)
    first, stop = _examples(info, split, batch_size, limit, shard)

    def opened(start: int) -> tf.data.Dataset:
        return data.boxed_batches(
            name, split, batch_size, data_dir, start, stop, image_size, annotations
        )

    description = _copy(name, split, limit, info)
    if annotations:
        description["boxes"] = _coverage(split, annotations, data_dir)
    return NamedDataset(opened, first, stop - first, description, info)


def open_attack(
    text: str, epsilon: str | None, rounds: int | None, sigma: float | None
) -> GradientSignAttack:
    """Builds an attack from its call, or from its name with size and rounds beside it.

    Args:
        text: `step_ll(epsilon=4/255, num_steps=3)`, or `step_ll` alone.
        epsilon: with a name alone, e.g. "4/255"; of `step_ll` the size of one round, of `ifgsm`
            and others that keep a budget the budget.
        rounds: with a name alone, the number of rounds.
        sigma: weight of A3's attention term on top of the attack; None for none.

    Raises:
        ValueError: an unknown attack, a size left out, or given twice.

    Example:
        >>> open_attack("step_ll", "4/255", 3, None).num_steps
        3
    """
    if "(" in text:
        if epsilon is not None or rounds is not None:
            raise ValueError(f"--attack={text} has its own size and rounds: leave out the others.")
        attack = parse_attack(text)
    else:
        if epsilon is None:
            raise ValueError(f"--attack={text} needs a size: --epsilon=4/255, or {text}(...).")
        steps = "" if text == "fgsm" and rounds in (None, 1) else f", num_steps={rounds or 1}"
        attack = parse_attack(f"{text}(epsilon={epsilon}{steps})")
    return attack if sigma is None else a3(attack, sigma)


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


def _described(config: configs.ExperimentConfig) -> dict[str, Any]:
    """What a trained network is, without how its config wants it evaluated; ready for JSON."""
    values = configs.to_dict(config)
    del values["evaluation_attacks"]
    return {"config": portable(values)}


def _examples(
    info: DatasetInfo, split: str, batch_size: int, limit: int | None, shard: tuple[int, int] | None
) -> tuple[int, int]:
    """The first example of a part of a split, and the one after the last."""
    present = info.num_examples[check_choice(split, tuple(info.num_examples), "split")]
    check_count(batch_size, "batch_size")
    total = present if limit is None else min(check_count(limit, "limit"), present)
    return shard_range(total, batch_size, *shard) if shard else (0, total)


def _copy(name: str, split: str, limit: int | None, info: DatasetInfo) -> dict[str, Any]:
    """Which copy of a data set and which part of it is read; ready for JSON."""
    facts = {"source": info.source, "fingerprint": info.fingerprint}
    return {"name": name, "split": split, "limit": limit, **facts}


def _coverage(split: str, annotations: str, data_dir: str | None) -> dict[str, int]:
    """How many images of a split the box archive speaks of; ImageNet2012 only."""
    found = data.imagenet.coverage(split, annotations, data_dir)
    if found.without_annotation == found.examples:
        raise ValueError(
            f"{annotations} has boxes for none of the {found.examples} images of split {split!r}. "
            f"Is it the archive of another split?"
        )
    return found._asdict()
