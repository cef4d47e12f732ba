"""Opens networks, images and attacks for evaluation binaries, and describes them for records."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import keras
import tensorflow as tf

from aad_tf import configs, data, export, model_directory, models
from aad_tf.attacks import Attack, a3, parse_attack
from aad_tf.classifier import Classifier, held_classifier
from aad_tf.data import DatasetInfo
from aad_tf.data.folders import SPLIT, folder_classes
from aad_tf.defenses import AADModel
from aad_tf.losses import AADLosses
from aad_tf.records.shards import shard_range
from aad_tf.types import Bounds
from aad_tf.utils.checks import check_bounds, check_choice, check_count
from aad_tf.utils.provenance import portable, provenance_path

InputShape = tuple[int | None, ...]
_UNIT = Bounds(0.0, 1.0)
_OPEN: InputShape = (None, None, None)


class Images(Protocol):
    """Protocol of labelled images that networks are evaluated on.

    Attributes:
        split: name of the split, a key of `num_examples` of `info`.
    """

    @property
    def split(self) -> str: ...

    def classes(self) -> int:
        """Number of classes."""

    def info(self, input_shape: InputShape) -> DatasetInfo:
        """Describes the images in the size in which a network gets them.

        Args:
            input_shape: (height, width, channels) that the network takes; None where it takes any.

        Returns:
            The description of the data set.

        Raises:
            ValueError: missing data, or a size that neither the network nor the user gives.
        """

    def limited(self, info: DatasetInfo, limit: int | None) -> Images:
        """Takes a part of the images, so that the indices of `batches` count within that part.

        Args:
            info: what the method `info` returned.
            limit: number of images in the part; None, or more than there are, for all.

        Returns:
            The images of that part.
        """

    def batches(
        self,
        info: DatasetInfo,
        batch_size: int,
        start: int,
        stop: int,
        bounds: Bounds,
        with_boxes: bool,
    ) -> tf.data.Dataset:
        """Makes batches of a range of the images.

        Args:
            info: what the method `info` returned.
            batch_size: images per batch.
            start: index of the first image.
            stop: index after the last image.
            bounds: range that pixels are scaled to.
            with_boxes: whether elements hold boxes.

        Returns:
            Batches (images, labels), or dicts of `image`, `label` and, where there are any, boxes.
        """

    def description(self, info: DatasetInfo, limit: int | None, with_boxes: bool) -> dict[str, Any]:
        """Facts that identify the copy and the part of the data, as JSON can hold them.

        Args:
            info: what the method `info` returned.
            limit: number of images used; None for all.
            with_boxes: whether boxes are used.

        Returns:
            Facts by name.
        """


@dataclasses.dataclass(frozen=True)
class NamedImages:
    """A split of a registered data set.

    Attributes:
        name: a name of `aad_tf.data.available()`.
        split: "train", "validation" or "test".
        data_dir: data directory of TensorFlow Datasets; None for `TFDS_DATA_DIR`.
        annotations: path of the archive of boxes, for imagenet2012 alone.
        image_size: side, or (height, width), that images are resized to, in pixels; 0 or None for
            their own size.
    """

    name: str
    split: str = "test"
    data_dir: str | None = None
    annotations: str | None = None
    image_size: int | tuple[int, int] | None = None

    def classes(self) -> int:
        """Number of classes."""
        return self.info(_OPEN).num_classes

    def info(self, input_shape: InputShape) -> DatasetInfo:
        """Describes the data set, whatever `input_shape` the network takes."""
        del input_shape
        return data.info(self.name, self.data_dir, self.image_size, self.annotations)

    def limited(self, info: DatasetInfo, limit: int | None) -> NamedImages:
        """Returns the data set itself, whose first images are of all classes."""
        del info, limit
        return self

    def batches(
        self,
        info: DatasetInfo,
        batch_size: int,
        start: int,
        stop: int,
        bounds: Bounds,
        with_boxes: bool,
    ) -> tf.data.Dataset:
        """Makes batches of a range of the images; those before `start` are not decoded.

        Args:
            info: what the method `info` returned.
            batch_size: images per batch.
            start: index of the first image.
            stop: index after the last image.
            bounds: range that pixels are scaled to.
            with_boxes: whether elements hold boxes.

        Returns:
            Batches (images, labels), or dicts of `image`, `label` and boxes.
        """
        size, split = self.image_size, self.split
        if with_boxes:
            found = data.boxed_batches(
                self.name, split, batch_size, self.data_dir, start, stop, size, self.annotations
            )
        else:
            found = data.evaluation_batches(
                self.name, split, batch_size, self.data_dir, stop, image_size=size, start=start
            )
        if bounds == _UNIT:
            return found
        lower, width = bounds.lower, bounds.upper - bounds.lower
        if with_boxes:
            return found.map(lambda batch: {**batch, "image": lower + width * batch["image"]})
        return found.map(lambda images, labels: (lower + width * images, labels))

    def description(self, info: DatasetInfo, limit: int | None, with_boxes: bool) -> dict[str, Any]:
        """Name, split, limit and copy of the data, and `image_size` if images are resized.

        With boxes, `image_size` is left out.
        """
        limit = _leaving_out(limit, info.num_examples[self.split])
        facts: dict[str, Any] = {"name": self.name, "split": self.split, "limit": limit}
        facts |= {"source": info.source, "fingerprint": info.fingerprint}
        if self.annotations:
            facts["boxes"] = _coverage(self.split, self.annotations, self.data_dir)
        if self.image_size and not with_boxes:
            facts["image_size"] = self.image_size
        return facts


@dataclasses.dataclass(frozen=True)
class FolderImages:
    """Images in a directory with one folder for each class.

    Attributes:
        directory: the directory that holds the folders.
        class_names: names of all classes, which the folders carry, in the order of the network's
            outputs; None takes the names of the folders in alphabetical order.
        image_size: side, or (height, width), that images are resized to, in pixels; None for the
            size that the network takes.
        limit: number of images to take, at equal distances in the order of the files, which lie
            class by class, so that classes are drawn in proportion; None for all.
    """

    directory: str
    class_names: Sequence[str] | None = None
    image_size: int | tuple[int, int] | None = None
    limit: int | None = None

    @property
    def split(self) -> str:
        """Name of the only split."""
        return SPLIT

    def classes(self) -> int:
        """Number of classes."""
        return len(folder_classes(self.directory, self.class_names))

    def info(self, input_shape: InputShape) -> DatasetInfo:
        """Describes the images in the size and with the channels that the network takes.

        Returns:
            The description of the images, with the names of classes.

        Raises:
            ValueError: neither the network nor `image_size` gives a size, or no images are found.
        """
        height, width, channels = input_shape
        size = self.image_size
        if not size:
            if height is None or width is None:
                raise ValueError(
                    f"The network takes images of shape {tuple(input_shape)}, which leaves their "
                    f"size open: give --image_size."
                )
            size = (height, width)
        return data.image_folder_info(
            self.directory, size, channels=channels or 3, class_names=self.class_names
        )

    def limited(self, info: DatasetInfo, limit: int | None) -> FolderImages:
        """Takes as many images from all over the folders; the first ones would be of one class.

        Indices, also those in records, are then positions among these images: number k of n is
        file `present * k // n` of all files that are present.

        Args:
            info: what the method `info` returned.
            limit: number of images, at least 1; None, or more than there are, for all.

        Returns:
            The images of that part.
        """
        del info
        return dataclasses.replace(self, limit=limit)

    def batches(
        self,
        info: DatasetInfo,
        batch_size: int,
        start: int,
        stop: int,
        bounds: Bounds,
        with_boxes: bool,
    ) -> tf.data.Dataset:
        """Makes batches of a range of the images.

        Args:
            info: what the method `info` returned.
            batch_size: images per batch.
            start: index of the first image, among those that `limit` leaves.
            stop: index after the last image.
            bounds: range that pixels are scaled to.
            with_boxes: True gives dicts instead of tuples; folders have no boxes.

        Returns:
            Batches (images, labels), or dicts of `image` and `label`.
        """
        height, width, channels = info.image_shape
        present = info.num_examples[SPLIT]
        count = present if self.limit is None else min(self.limit, present)
        found = data.image_folder(
            self.directory,
            batch_size,
            (height, width),
            bounds=bounds,
            channels=channels,
            class_names=self.class_names,
            indices=[present * number // count for number in range(start, stop)],
        )
        if not with_boxes:
            return found
        return found.map(lambda images, labels: {"image": images, "label": labels})

    def description(self, info: DatasetInfo, limit: int | None, with_boxes: bool) -> dict[str, Any]:
        """Directory, limit, fingerprint of the files, names of classes, and size of the images."""
        limit = _leaving_out(limit, info.num_examples[SPLIT])
        facts: dict[str, Any] = {
            "name": info.name,
            "images": provenance_path(self.directory),
            "limit": limit,
            "source": info.source,
            "fingerprint": info.fingerprint,
            "class_names": list(info.class_names),
            "image_size": list(info.image_shape[:2]),
        }
        if limit is not None:
            facts["taken"] = "at equal distances in the order of the files"
        return facts


@dataclasses.dataclass(frozen=True)
class Network:
    """A network to be evaluated.

    Attributes:
        classifier: the network.
        description: facts that identify it, as JSON can hold them.
        config: the config it was trained with, if it is from a model directory; else None.
        attention_losses: weights (alpha, beta, gamma) and choices of the AAD loss that it was
            trained on; None of a network trained otherwise, or if that is not known.
    """

    classifier: Classifier
    description: dict[str, Any]
    config: configs.ExperimentConfig | None = None
    attention_losses: tuple[tuple[float, ...], AADLosses] | None = None

    def __str__(self) -> str:
        """What it is, in a few words."""
        shape = " x ".join(
            "any" if side is None else str(side) for side in self.classifier.input_shape
        )
        lower, upper = self.classifier.bounds
        if self.config is None:
            name = next(str(value) for value in self.description.values() if value)
        else:
            name = f"{self.config.name} ({self.config.model} trained on {self.config.dataset})"
        return (
            f"{name}, {self.classifier.num_classes} classes, images of {shape} in "
            f"[{lower:g}, {upper:g}]"
        )


@dataclasses.dataclass(frozen=True)
class Part:
    """The images, or a part of them, that a network is evaluated on.

    Attributes:
        batches: batches (images, labels), in the same order every time. With boxes, a function from
            the index of an example to batches of dicts that begin with it.
        first: index of the first example in the data set.
        num_examples: number of examples.
        description: facts that identify the images, as JSON can hold them.
        info: description of the data set, with the size of the images as given to the network.
    """

    batches: Any
    first: int
    num_examples: int
    description: dict[str, Any]
    info: DatasetInfo

    def __str__(self) -> str:
        """What it is, in a few words."""
        return f"{self.num_examples:,} images of {self.info.name} ({self.info.source})"


def open_network(
    *,
    model_dir: str | None = None,
    saved_model: str | None = None,
    keras_model: str | None = None,
    network: str | None = None,
    weights: str | None = None,
    attention_layer: str | None = None,
    bounds: Sequence[Any] | None = None,
    images: Images | None = None,
) -> Network:
    """Opens a model directory, an exported model, a Keras file, or a registered network.

    Args:
        model_dir: directory that `train.main` wrote.
        saved_model: directory that `aad_tf.export.export_saved_model` wrote.
        keras_model: `.keras` or `.h5` file of any classifier, or `.keras` file of a defence.
        network: a name of `aad_tf.models.available()`, such as "inception_v3".
        weights: weights of `network`, "imagenet" or a file; None for random ones.
        attention_layer: name of the layer that attention maps explain; None for the default.
        bounds: lowest and highest pixel value that the network of a Keras file takes; None for 0
            and 1. Other networks have their own.
        images: the images it will be evaluated on. They give the image size and the number of
            classes that `network` is built for, and the image size of a Keras file that leaves it
            open.

    Returns:
        The network; exactly one of `model_dir`, `saved_model`, `keras_model` and `network` must be
        given.

    Raises:
        ValueError: none or several networks asked for, one that is missing or damaged, or
            arguments that belong to another kind of network.
        FileNotFoundError: there is no such exported model.
    """
    check_one_network((model_dir, saved_model, keras_model, network))
    if weights and not network:
        raise ValueError("--weights belongs to --network; other networks have their own.")
    if bounds is not None and not keras_model:
        raise ValueError(
            "--bounds belongs to --keras_model; other networks know the range of their pixels."
        )
    if model_dir:
        classifier, config = model_directory.load_classifier(model_dir)
        if attention_layer not in (None, classifier.attention_layer):
            classifier = Classifier.from_keras(classifier.model, attention_layer)
        return Network(classifier, described(config), config, trained_losses(config))
    if saved_model:
        exported = export.load_classifier(saved_model)
        if attention_layer not in (None, exported.attention_layer):
            raise ValueError(
                f"The exported model explains its layer {exported.attention_layer!r} and no other: "
                f"leave out --attention_layer."
            )
        return Network(exported, {"saved_model": Path(saved_model).absolute().name})
    if keras_model:
        if Path(keras_model).is_dir():
            raise ValueError(
                f"{keras_model} is a directory, where a .keras or .h5 file was expected. What "
                f"export_saved_model wrote is a --saved_model, what train.main wrote a --model_dir."
            )
        model = keras.saving.load_model(keras_model, compile=False)
        held = held_classifier(model)
        known, layer, output = _UNIT, attention_layer, None
        losses = (model.loss_weights_aad, model.parts) if isinstance(model, AADModel) else None
        if held is not None:
            # A defence knows how its network is wrapped.
            model, known, output = held.model, held.bounds, held.output
            layer = attention_layer or held.attention_layer
        taken = known if bounds is None else check_bounds(bounds)
        classifier = Classifier.from_keras(model, layer, taken, _size(model, images), output)
        description = {"keras_model": provenance_path(keras_model)}
        return Network(classifier, description, attention_losses=losses)
    if images is None:
        raise ValueError("A registered network is built for the images that it is evaluated on.")
    options = {"weights": weights} if weights else {}
    shape = images.info(_OPEN).image_shape
    model = models.build(str(network), shape, images.classes(), **options)
    source = weights if weights in (None, "imagenet") else provenance_path(str(weights))
    classifier = Classifier.from_keras(model, attention_layer)
    return Network(classifier, {"network": network, "weights": source})


def _size(model: keras.Model, images: Images | None) -> tuple[int, int, int] | None:
    """The shape of the images, if a network takes any; None if it has its own."""
    taken = getattr(model, "input_shape", None)
    if images is None or not isinstance(taken, tuple) or len(taken) != 4 or None not in taken[1:]:
        return None
    return images.info(taken[1:]).image_shape


def open_part(
    images: Images,
    classifier: Classifier,
    batch_size: int,
    limit: int | None = None,
    shard: tuple[int, int] | None = None,
    *,
    with_boxes: bool = False,
) -> Part:
    """Opens images, or a shard of them, in the size and pixel range that a network takes.

    Args:
        images: the images that the network is evaluated on.
        classifier: the network; it must take images of their size and have their number of classes.
        batch_size: examples per batch; shards begin and end between batches.
        limit: number of examples that are used: the first ones of a data set, or as many from all
            over the folders of a directory; None for all.
        shard: (number, count): which part of these, from 1, of how many; None for all of them.
        with_boxes: True gives batches as dicts with boxes, from any example on.

    Returns:
        The images.

    Raises:
        ValueError: missing data, images or classes that are not those of the network, a count
            below 1, more shards than batches.
    """
    info = images.info(classifier.input_shape)
    check_belongs(classifier, info)
    first, stop = _examples(info, images.split, batch_size, limit, shard)
    used = images.limited(info, limit)

    def opened(start: int) -> tf.data.Dataset:
        return used.batches(info, batch_size, start, stop, classifier.bounds, with_boxes)

    description = images.description(info, limit, with_boxes)
    batches = opened if with_boxes else opened(first)
    return Part(batches, first, stop - first, description, info)


def open_attack(text: str, epsilon: str | None, rounds: int | None, sigma: float | None) -> Attack:
    """Builds an attack from text, either complete or a name whose size is given separately.

    Args:
        text: a complete attack, `step_ll(epsilon=4/255, num_steps=3)`, or a name, `step_ll`.
        epsilon: with a name alone, its epsilon, e.g. "4/255": for `step_ll` the size of one
            iteration, for attacks with a budget, such as `ifgsm`, the budget.
        rounds: with a name alone, its number of iterations; None for 1.
        sigma: weight of the attention term that makes it the attention-augmented attack A3; None
            for the attack itself.

    Returns:
        The attack.

    Raises:
        ValueError: an unknown attack, or a size that is left out or given twice.

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
    plain: Any = attack  # Which a3 checks.
    return attack if sigma is None else a3(plain, sigma)


def check_one_network(given: Iterable[str | None]) -> None:
    """Checks the flags that name a network.

    Args:
        given: values of `--model_dir`, `--saved_model`, `--keras_model` and `--network`.

    Raises:
        ValueError: none or several of them are given.
    """
    if sum(map(bool, given)) != 1:
        raise ValueError("Give one of --model_dir, --saved_model, --keras_model and --network.")


def check_belongs(classifier: Classifier, info: DatasetInfo) -> None:
    """Checks that a network takes the images of a data set and has as many classes.

    Args:
        classifier: the network.
        info: description of the data set.

    Raises:
        ValueError: another image shape or another number of classes.
    """
    if classifier.num_classes != info.num_classes:
        advice = "Do they belong together?"
        if SPLIT in info.num_examples and classifier.num_classes < info.num_classes:
            advice = (
                f"Each folder in it is taken for a class: {', '.join(info.class_names[:10])}"
                f"{', ...' if info.num_classes > 10 else ''}. Give the directory that holds the "
                f"folders of the network's classes and no others."
            )
        elif SPLIT in info.num_examples:
            advice = (
                f"Its classes are {', '.join(info.class_names[:10])}"
                f"{', ...' if info.num_classes > 10 else ''}, by the names of its folders: give "
                f"the names of all classes of the network, in the order of its outputs, as "
                f"--class_names."
            )
        raise ValueError(
            f"The network has {classifier.num_classes} classes, {info.name} has "
            f"{info.num_classes}. {advice}"
        )
    taken, given = tuple(classifier.input_shape), info.image_shape
    if tf.TensorShape(taken).is_compatible_with(given):
        return
    height, width, channels = taken
    resizable = height == width and channels in (None, given[2])
    advice = f"Give --image_size={height}." if resizable else "Do they belong together?"
    raise ValueError(
        f"The network takes images of shape {taken}, those of {info.name} are {given}. {advice}"
    )


def trained_losses(
    config: configs.ExperimentConfig,
) -> tuple[tuple[float, ...], AADLosses] | None:
    """The weights and losses that a network was trained on, if it was trained with AAD.

    The weight gamma is given for the loss of a single image: where L_p is summed over the batch, it
    is multiplied by the batch size.

    Args:
        config: the config of the training.

    Returns:
        (alpha, beta, gamma) and the choices of the losses; None for other defences.
    """
    defense, losses = config.defense, config.defense.attention_losses
    if defense.kind != "aad":
        return None
    alpha, beta, gamma = defense.weights
    if losses.preservation_over == "batch_sum":
        # Of a sum over the batch an image has as much as of a mean with so many times the weight.
        gamma *= config.batch_size
    return (alpha, beta, gamma), losses


def described(config: configs.ExperimentConfig) -> dict[str, Any]:
    """Describes a trained network by its config, as JSON can hold it, for records.

    Args:
        config: the config of the training; its `evaluation_attacks` are left out.

    Returns:
        A dict with the config under `config`.
    """
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


def _leaving_out(limit: int | None, present: int) -> int | None:
    """The limit; None if it leaves out no image, as records of all images are alike."""
    return None if limit is None or limit >= present else limit


def _coverage(split: str, annotations: str, data_dir: str | None) -> dict[str, int]:
    """How many images of a split the box archive speaks of; ImageNet2012 only."""
    found = data.imagenet.coverage(split, annotations, data_dir)
    if found.without_annotation == found.examples:
        raise ValueError(
            f"{annotations} has boxes for none of the {found.examples} images of split {split!r}. "
            f"Is it the archive of another split?"
        )
    return found._asdict()
