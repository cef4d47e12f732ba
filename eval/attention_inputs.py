"""What `eval.attention` opens: a network, a data set with boxes, an attack to follow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from aad_tf import configs, data, model_directory, models
from aad_tf.attacks import GradientSignAttack, a3
from aad_tf.attacks.parsing import parse_attack
from aad_tf.classifier import Classifier
from aad_tf.evaluation import shard_range
from aad_tf.utils.provenance import portable, provenance_path
from eval.inputs import check_image_size


@dataclasses.dataclass(frozen=True)
class BoxedPart:
    """Part of a data set with boxes.

    Attributes:
        opened: from the index of an example to batches from there on.
        first: index of the first example.
        count: number of examples.
        description: which copy and split it is, ready for JSON.
        info: the data set, its images at the size they are given.
    """

    opened: Callable[[int], tf.data.Dataset]
    first: int
    count: int
    description: dict[str, Any]
    info: data.DatasetInfo


def open_network(
    model_dir: str | None,
    keras_model: str | None,
    network: str | None,
    weights: str | None,
    attention_layer: str | None,
    info: data.DatasetInfo,
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
        values = configs.to_dict(config)
        del values["evaluation_attacks"]
        description: dict[str, Any] = {"config": portable(values)}
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
) -> BoxedPart:
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
    if split not in info.num_examples:
        raise ValueError(f"{name} has the splits {', '.join(info.num_examples)}, got {split!r}.")
    total = min(limit or info.num_examples[split], info.num_examples[split])
    first, stop = shard_range(total, batch_size, *shard) if shard else (0, total)

    def opened(start: int) -> tf.data.Dataset:
        return data.boxed_batches(
            name, split, batch_size, data_dir, start, stop, image_size, annotations
        )

    description: dict[str, Any] = {
        "name": name,
        "split": split,
        "limit": limit,
        "source": info.source,
        "fingerprint": info.fingerprint,
    }
    if annotations:
        description["boxes"] = _coverage(split, annotations, data_dir)
    return BoxedPart(opened, first, stop - first, description, info)


def _coverage(split: str, annotations: str, data_dir: str | None) -> dict[str, int]:
    """How many images of a split the box archive speaks of; ImageNet2012 only."""
    found = data.imagenet.coverage(split, annotations, data_dir)
    if found.without_annotation == found.examples:
        raise ValueError(
            f"{annotations} has boxes for none of the {found.examples} images of split {split!r}. "
            f"Is it the archive of another split?"
        )
    return found._asdict()


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
