"""Checks of the arguments of evaluations: networks, attacks and data sets."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aad_tf.attacks import (
    AADTotal,
    Attack,
    AttackCascade,
    AttentionAugmented,
    IterativeAttack,
    as_attack,
    with_unique_names,
)
from aad_tf.classifier import Classifier, checked_inputs, held_classifier
from aad_tf.classifier.inputs_outputs import images_of
from aad_tf.records.fingerprints import array_fingerprint
from aad_tf.utils.checks import check_count, check_dataset

_KEYS = ("image", "label", "boxes", "box_labels")


def as_classifier(classifier: Classifier | keras.Model) -> Classifier:
    """Returns a network as a Classifier.

    Args:
        classifier: a Classifier, a defence, whose own Classifier is taken, or a Keras model, which
            is wrapped.

    Returns:
        The Classifier.

    Raises:
        TypeError: none of these.
        ValueError: a Keras model that cannot be wrapped: it has several inputs or outputs, no layer
            with spatial features, probabilities that cannot be turned into logits, or operations
            behind the attention layer through which gradients stop or whose second derivatives are
            wrong.
    """
    if isinstance(classifier, Classifier):
        return classifier
    return held_classifier(classifier) or Classifier.from_keras(classifier)


def as_surrogate(surrogate: Classifier | keras.Model, classifier: Classifier) -> Classifier:
    """Checks a surrogate, the network whose gradients attacks follow, against the network judged.

    Args:
        surrogate: the network whose gradients attacks follow, a Classifier or a Keras model.
        classifier: the network that judges the attacked images.

    Returns:
        The surrogate as a Classifier.

    Raises:
        TypeError: the surrogate is neither a Classifier nor a Keras model.
        ValueError: images of another shape, dtype or pixel range, or another number of classes.
    """
    surrogate = as_classifier(surrogate)
    check_same_task("the surrogate", surrogate, "the classifier", classifier)
    return surrogate


def as_classifiers(networks: Mapping[str, Classifier | keras.Model]) -> dict[str, Classifier]:
    """Checks that networks take the same images and have the same number of classes.

    Args:
        networks: Classifiers or Keras models by their names.

    Returns:
        Classifiers by the same names.

    Raises:
        TypeError: one of them is neither.
        ValueError: one of them is refused, or two differ in the shape, dtype or pixel range of
            their images or in the number of classes.
    """
    classifiers = {}
    for name, network in networks.items():
        try:
            classifiers[name] = as_classifier(network)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"Network {name!r}: {error}") from error
    known = strictest(classifiers)
    for name, classifier in classifiers.items():
        check_same_task(f"network {name!r}", classifier, f"network {known!r}", classifiers[known])
    return classifiers


def strictest(classifiers: Mapping[str, Classifier]) -> str:
    """Finds the network that leaves fewest sizes of its images open.

    Args:
        classifiers: networks by name, at least one.

    Returns:
        The name of the network whose `input_shape` has fewest None; of several, the first.
    """
    return min(classifiers, key=lambda name: classifiers[name].input_shape.count(None))


def check_same_task(name: str, network: Classifier, other_name: str, other: Classifier) -> None:
    """Checks that a network takes all images that another network takes, for as many classes.

    Args:
        name: what the error calls the network.
        network: the network; it may leave the size of images open.
        other_name: what the error calls the other network.
        other: the other network.

    Raises:
        ValueError: they differ in shape, dtype or pixel range of the images, or in the number of
            classes.
    """
    ours, theirs, begin = other.input_shape, network.input_shape, name[0].upper() + name[1:]
    if any(size not in (None, known) for size, known in zip(theirs, ours, strict=True)):
        raise ValueError(
            f"{begin} takes images of shape {theirs}, {other_name} of {ours}: it must take "
            f"the same. Put a Resizing layer in front of it if only the size differs: "
            f"keras.Sequential([keras.Input({ours}), keras.layers.Resizing{theirs[:2]}, model])."
        )
    if network.num_classes != other.num_classes:
        raise ValueError(
            f"{begin} has {network.num_classes} classes, {other_name} {other.num_classes}. Both "
            f"must have the same, in the same order: take networks trained on one data set."
        )
    if network.bounds != other.bounds:
        (low, high), (known_low, known_high) = network.bounds, other.bounds
        scale = (high - low) / (known_high - known_low)
        raise ValueError(
            f"{begin} takes pixels in {tuple(network.bounds)}, {other_name} in "
            f"{tuple(other.bounds)}. Put a Rescaling layer in front of it, and wrap it so: "
            f"Classifier.from_keras(keras.Sequential([keras.Input({ours}), "
            f"keras.layers.Rescaling({scale!r}, {low - scale * known_low!r}), model]), "
            f"bounds={tuple(other.bounds)})."
        )
    if network.dtype != other.dtype:
        raise ValueError(
            f"{begin} computes in {network.dtype.name}, {other_name} in {other.dtype.name}. Build "
            f"both in one dtype."
        )


def check_attacks(
    attacks: Sequence[Attack | str] | Attack | str,
) -> tuple[Attack, ...]:
    """Checks the attacks of an evaluation, and gives those of equal name different names.

    Args:
        attacks: one or several attacks, also as text such as `"fgsm(epsilon=0.1)"`.

    Returns:
        The attacks, at least one.

    Raises:
        TypeError: something else than an attack.
        ValueError: no attacks, the same one twice, or text that is no attack.
    """
    if isinstance(attacks, str) or not isinstance(attacks, Iterable):
        attacks = (attacks,)
    chosen = tuple(as_attack(each) for each in attacks)
    if not chosen:
        raise ValueError("attacks is empty; give at least one, e.g. [aad_tf.attacks.fgsm(0.1)].")
    for attack in chosen:
        if not isinstance(attack, (IterativeAttack, AttackCascade)):
            raise TypeError(
                f"An evaluation runs attacks of the type IterativeAttack, or an AttackCascade, "
                f"got {attack!r}."
            )
    return with_unique_names(chosen)


def check_transferred(
    attacks: Sequence[Attack | str] | Attack | str, surrogate: Any
) -> tuple[Attack, ...]:
    """Checks attacks that follow the gradients of a surrogate, and names them accordingly.

    Args:
        attacks: one or several attacks, also as text such as `"fgsm(epsilon=0.1)"`.
        surrogate: the network whose gradients they follow.

    Returns:
        The attacks, under names such as `transfer(fgsm)`.

    Raises:
        TypeError: something else than an attack.
        ValueError: no surrogate, no attacks, the same one twice, or text that is no attack.
    """
    if surrogate is None:
        raise ValueError(
            "transferred names attacks that follow the gradients of a surrogate, and there is "
            "none: give surrogate=, or leave transferred out."
        )
    return tuple(
        dataclasses.replace(attack, name=f"transfer({attack.name})")
        for attack in check_attacks(attacks)
    )


def open_batches(
    dataset: Any,
    batch_size: int,
    num_examples: int | None = None,
    images_in: Callable[[Any], Any] = images_of,
) -> tuple[Iterator[dict[str, Any]], int | None]:
    """Opens a data set for one pass over its batches.

    Args:
        dataset: a `tf.data.Dataset`, `keras.utils.PyDataset` or any other iterable of batches (a
            list, a generator, a `torch` DataLoader), a function without arguments that returns
            one, or a whole data set as arrays. A batch is `(images, labels)` or
            `{"image": images, "label": labels}`, of NumPy arrays or tensors; what follows labels
            in a tuple, such as sample weights, is left out. Whole data sets have the same forms.
        batch_size: number of examples in each batch that arrays are cut into; batches that a data
            set gives stay as they are.
        num_examples: how many examples are taken, from the first one on; None for all. An endless
            data set needs it.
        images_in: a function that takes the images out of what a batch holds for the inputs of a
            network, as `Classifier.images_of` does. The default takes arrays alone.

    Returns:
        An iterator over batches, dicts of `image` `[batch, H, W, C]` and `label` `[batch]`, and of
        `boxes` `[batch, n, 4]` and `box_labels` `[batch, n]` if the data set has them, whose values
        are not checked; and the number of examples, or None if it is known at the end only.

    Raises:
        TypeError: no such data set, batches of another structure, or `num_examples` that is not an
            integer.
        ValueError: an endless data set, single images instead of batches, `num_examples` below 1,
            or fewer examples than that. What is not known beforehand is raised during the pass.
    """
    if num_examples is not None:
        num_examples = check_count(num_examples, "num_examples")
    if callable(dataset) and not isinstance(dataset, Iterable):
        dataset = dataset()
    count: int | None
    batches: Iterator[dict[str, Any]]
    if _is_arrays(dataset):
        examples = _checked_arrays(_named(dataset, images_in))
        count, batches = len(examples["label"]), _slices(examples, batch_size)
    else:
        count, opened = _opened(dataset, num_examples)
        named = (_checked_batch(_named(batch, images_in)) for batch in opened)
        # Batches may be empty, as where a filter took all of their examples.
        batches = (batch for batch in named if np.shape(batch["label"])[:1] != (0,))
    if num_examples is None:
        return batches, count
    if count is not None and count < num_examples:
        raise ValueError(_ended(count, num_examples))
    return _first_examples(batches, num_examples), num_examples


def follows_attention(attack: Any) -> bool:
    """Whether what an attack lowers has a term of attention, which depends on the attention layer.

    Args:
        attack: an `IterativeAttack`, or an `AttackCascade`, of which one stage is enough.

    Returns:
        True for `a3` and `aad_total`, also averaged over several draws.
    """
    stages = getattr(attack, "stages", (attack,))
    objectives = [each.objective for each in stages]
    objectives += [getattr(each, "objective", None) for each in objectives]
    return any(isinstance(each, (AADTotal, AttentionAugmented)) for each in objectives)


class Batches:
    """A data set as checked batches, for one pass.

    Iterating gives, for each batch, the index of its first example, images `[batch, H, W, C]` in
    the classifier's dtype, and labels, int32 `[batch]`.

    Args:
        classifier: the network whose image shape, pixel range and classes batches must fit.
        dataset: a `tf.data.Dataset`, `keras.utils.PyDataset` or another iterable of batches, a
            function without arguments that returns one, or a whole data set as arrays. Batches and
            arrays are `(images, labels)` or `{"image": images, "label": labels}`.
        batch_size: number of examples in each batch that arrays are cut into.
        num_examples: how many examples are taken, from the first one on; None for all.
        first_index: index of the first example in its data set.

    Attributes:
        first_index: the argument of that name.
        num_examples: number of examples, or None if it is known at the end only.
        first_example: hash of the first image and label.
        image_shape: `(H, W, C)` of the first batch's images.

    Raises:
        TypeError: no data set, or batches of another structure.
        ValueError: no examples, an endless data set, single images instead of batches, or images
            or labels that do not fit the classifier. What the first batch does not show is raised
            during the pass.
    """

    def __init__(
        self,
        classifier: Classifier,
        dataset: Any,
        batch_size: int,
        num_examples: int | None,
        first_index: int = 0,
    ) -> None:
        self._classifier = classifier
        self.first_index = check_count(first_index, "first_index", least=0)
        self._batches, self.num_examples = open_batches(
            dataset, batch_size, num_examples, classifier.images_of
        )
        first = next(self._batches, None)
        if first is None:
            raise ValueError("The data set is empty: there is nothing to evaluate.")
        self._first = self._checked(first)
        self.first_example = array_fingerprint([part[:1] for part in self._first])
        self.image_shape = self._first[0].shape[1:]

    def __iter__(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        start = self.first_index
        images, labels = self._first
        while True:
            yield start, images, labels
            start += len(labels)
            batch = next(self._batches, None)
            if batch is None:
                return
            images, labels = self._checked(batch)

    def first(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The first examples of the first batch.

        Args:
            count: how many are returned at most.

        Returns:
            Images `[n, H, W, C]` and labels `[n]`.
        """
        images, labels = self._first
        return images[:count], labels[:count]

    def count(self) -> int:
        """Number of examples; if it is not known yet, this uses up the pass over the data set."""
        if self.num_examples is None:
            self.num_examples = sum(len(labels) for _, _, labels in self)
        return self.num_examples

    def _checked(self, batch: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        images, labels = checked_inputs(self._classifier, batch["image"], batch["label"])
        return images.numpy(), labels.numpy()


def _is_arrays(dataset: Any) -> bool:
    """Whether this is a whole data set as arrays; batches in a list hold their images deeper."""
    if isinstance(dataset, Mapping):
        return True
    if not isinstance(dataset, (tuple, list)) or len(dataset) < 2:
        return False
    first, second, *_ = dataset
    if isinstance(first, Mapping):
        return not isinstance(second, Mapping)
    if isinstance(first, list) and len(first) > 0:
        return not hasattr(first[0], "shape") or len(first[0].shape) < 4
    return not isinstance(first, (tuple, list))


def _opened(dataset: Any, num_examples: int | None) -> tuple[int | None, Iterable[Any]]:
    """The number of examples, if a data set tells it, and its batches."""
    if isinstance(dataset, (str, os.PathLike)):
        raise TypeError(
            f"The data set must give batches (images, labels), got {type(dataset).__name__} "
            f"'{dataset}'. Read a directory of images with aad_tf.data.image_folder, a data set "
            f"that has a name with aad_tf.data.evaluation_batches."
        )
    if isinstance(dataset, tf.data.Dataset):
        if num_examples is not None:
            dataset = dataset.take(num_examples)  # As many batches at most, so no longer endless.
        check_dataset(dataset, "image" if isinstance(dataset.element_spec, Mapping) else 0)
        return _cardinality(dataset), dataset
    if isinstance(dataset, keras.utils.PyDataset):
        if dataset.num_batches is None and num_examples is None:
            raise ValueError("The data set is endless. Pass num_examples=..., how many to take.")
        return None, dataset
    if not isinstance(dataset, Iterable):
        raise TypeError(
            f"dataset must be a tf.data.Dataset of (images, labels) batches or a pair of arrays "
            f"(images, labels), a keras.utils.PyDataset, or another iterable of such batches, got "
            f"{type(dataset).__name__}."
        )
    return None, dataset


def _cardinality(dataset: tf.data.Dataset) -> int | None:
    """Number of examples, or None where the last batch may be short or the end is not known."""
    spec = dataset.element_spec
    images = spec["image"] if isinstance(spec, Mapping) else spec[0]
    batches, shape = int(dataset.cardinality()), getattr(images, "shape", None)
    if batches < 0 or not shape or shape[0] is None:
        return None
    return batches * shape[0]


def _named(batch: Any, images_in: Callable[[Any], Any]) -> dict[str, Any]:
    """Images and labels by name, and boxes if there are any."""
    if isinstance(batch, Mapping):
        if not {"image", "label"} <= batch.keys():
            raise TypeError(
                f"A batch that is a dictionary must hold image and label, got "
                f"{', '.join(map(str, batch))}."
            )
        held = {key: batch[key] for key in _KEYS if key in batch}
        return {**held, "image": images_in(held["image"])}
    if not isinstance(batch, (tuple, list)) or len(batch) < 2:
        types = (
            f" of {', '.join(type(part).__name__ for part in batch)}"
            if isinstance(batch, (tuple, list))
            else ""
        )
        raise TypeError(
            f"The data set must give batches (images, labels), or dictionaries of image and "
            f"label, got {type(batch).__name__}{types}."
        )
    images, labels, *_ = batch
    return {"image": images_in(images), "label": labels}


def _checked_batch(batch: dict[str, Any]) -> dict[str, Any]:
    shape = np.shape(batch["image"])
    if len(shape) == 3 and np.ndim(batch["label"]) == 0:
        raise ValueError(
            f"The data set must give batches of images [batch, height, width, channels], got "
            f"single images {tuple(shape)}. Batch it, or pass the images and labels as two arrays."
        )
    return batch


def _checked_arrays(examples: dict[str, Any]) -> dict[str, Any]:
    arrays = {key: a if tf.is_tensor(a) else np.asarray(a) for key, a in examples.items()}
    images, labels = arrays["image"], arrays["label"]
    if len(images.shape) == 0 or len(labels.shape) == 0 or len(images) != len(labels):
        raise ValueError(
            f"images and labels must have one entry per example, got shapes "
            f"{tuple(images.shape)} and {tuple(labels.shape)}."
        )
    return arrays


def _slices(examples: Mapping[str, Any], batch_size: int) -> Iterator[dict[str, Any]]:
    for start in range(0, len(examples["label"]), batch_size):
        yield {key: array[start : start + batch_size] for key, array in examples.items()}


def _first_examples(
    batches: Iterator[dict[str, Any]], num_examples: int
) -> Iterator[dict[str, Any]]:
    """So many examples; the data set is not asked for more."""
    taken = 0
    for batch in batches:
        batch = {key: array[: num_examples - taken] for key, array in batch.items()}
        yield batch
        taken += len(batch["label"])
        if taken == num_examples:
            return
    raise ValueError(_ended(taken, num_examples))


def _ended(count: int, num_examples: int) -> str:
    return (
        f"The data set ended after {count} examples; {num_examples} were announced. Is the copy "
        f"complete?"
    )
