"""Attention of networks on clean and attacked images, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from matplotlib.figure import Figure

from aad_tf.attacks import Attack, as_attack
from aad_tf.attention import grad_cam
from aad_tf.classifier import Classifier
from aad_tf.plots.grid import Panel, attention_grid
from aad_tf.types import Bounds
from aad_tf.utils.checks import label_vector
from aad_tf.utils.ops import at_least_float32

LETTERS = 14
"""Letters of a class name that have room beneath a panel, beside a probability."""


def compare_networks(
    classifiers: Mapping[str, Classifier],
    images: Any,
    labels: Any,
    attack: Attack | str,
    *,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
) -> Figure:
    """Attacks each network and draws its attention before and after, side by side, [AAD Fig. 6].

    There is one row per image: the clean image, then for each network the Grad-CAM map of the true
    class over the clean image, the image that was attacked on this network, and the map over the
    attacked image. The predicted class and its probability are written beneath each map.

    Args:
        classifiers: networks by the name that heads their columns, all of one pixel range.
        images: float `[batch, H, W, C]` in the classifiers' bounds.
        labels: int `[batch]` or `[batch, 1]`, true classes.
        attack: an attack, or text such as `"fgsm(epsilon=0.1)"`, run against each network with that
            network's own gradients.
        class_names: names by class number; None or empty shows the numbers.
        seed: seed of the attack's random starts.

    Returns:
        A matplotlib figure.

    Raises:
        TypeError: no attack.
        ValueError: text that is no attack, an epsilon or step size larger than the pixel range, no
            networks, networks of different pixel ranges, or fewer names than classes.

    Example:
        >>> figure = compare_networks({"plain": plain, "AAD": defended}, images, labels, fgsm(0.15))
    """
    attack = as_attack(attack, shared_bounds(classifiers))
    adversarial = {
        name: attack(classifier, images, labels, seed=seed)
        for name, classifier in classifiers.items()
    }
    return compare_attacked(classifiers, images, adversarial, labels, class_names=class_names)


def compare_attacked(
    classifiers: Mapping[str, Classifier],
    images: Any,
    adversarial: Mapping[str, Any],
    labels: Any,
    *,
    class_names: Sequence[str] | None = None,
    row_titles: Sequence[str] = (),
    heading: Sequence[str] = (),
) -> Figure:
    """Draws each network's attention on clean images and on adversarial ones, [AAD Figs. 6, 8].

    There is one row per image: the clean image with its true class beneath, then for each network
    the Grad-CAM map of the true class over the clean image, the adversarial image, and the map over
    the adversarial image. The predicted class and its probability are written beneath each map.

    Args:
        classifiers: networks by the name that heads their columns, all of one pixel range.
        images: clean images, float `[batch, H, W, C]` in the classifiers' bounds.
        adversarial: for each name of a network its adversarial images, of the shape of `images`.
        labels: int `[batch]` or `[batch, 1]`, true classes.
        class_names: names by class number; None or empty shows the numbers.
        row_titles: one text per image, to the left of its row, or none.
        heading: paragraphs above everything, the first in bold.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: no networks, networks of different pixel ranges, another number of row titles
            than images, or fewer names than classes.

    Example:
        >>> attacked = {"plain": fgsm(0.15)(plain, images, labels)}
        >>> figure = compare_attacked({"plain": plain}, images, attacked, labels)
    """
    bounds = shared_bounds(classifiers)
    classes = tf.cast(label_vector(labels), tf.int32).numpy()
    truth = [f"true: {class_name(number, class_names, LETTERS)}" for number in classes]
    columns, titles = [image_panels(images, truth)], ["image"]
    for name, classifier in classifiers.items():
        columns += [
            map_panels(classifier, images, labels, class_names),
            image_panels(adversarial[name]),
            map_panels(classifier, adversarial[name], labels, class_names),
        ]
        titles += [f"{name}: clean", f"{name}: attacked", f"{name}: under attack"]
    rows = list(zip(*columns, strict=True))
    return attention_grid(
        rows, column_titles=titles, row_titles=row_titles, heading=heading, bounds=bounds
    )


def shared_bounds(classifiers: Mapping[str, Classifier]) -> Bounds:
    """Finds the pixel range of networks that are drawn beside each other.

    Args:
        classifiers: networks by name.

    Returns:
        The range that all of them take, (lower, upper).

    Raises:
        ValueError: no networks, or networks of different pixel ranges.
    """
    ranges = {classifier.bounds for classifier in classifiers.values()}
    if len(ranges) != 1:
        raise ValueError(
            f"classifiers must be one network or more, all of one pixel range, got "
            f"{len(classifiers)} with the ranges {sorted(map(tuple, ranges))}."
        )
    return ranges.pop()


def image_panels(images: Any, captions: Sequence[str] | None = None) -> list[Panel]:
    """Makes panels, the cells that `attention_grid` draws, that show images alone.

    Args:
        images: `[batch, H, W, C]` of any floating-point dtype, in the pixel range that is given to
            `attention_grid` later.
        captions: one text per image; None for no captions.

    Returns:
        One `Panel` per image: the image in float32, its caption, and no map.

    Raises:
        ValueError: another number of captions than of images.
    """
    # Not every precision of a network exists in NumPy.
    pixels = tf.cast(images, tf.float32).numpy()
    texts = captions or [""] * len(pixels)
    return [Panel(image, caption=text) for image, text in zip(pixels, texts, strict=True)]


def map_panels(
    classifier: Classifier, images: Any, labels: Any, class_names: Sequence[str] | None = None
) -> list[Panel]:
    """Makes panels, the cells that `attention_grid` draws, that show Grad-CAM maps over images.

    The predicted class and its probability are written beneath each image.

    Args:
        classifier: the network whose maps are drawn.
        images: `[batch, H, W, C]` in the classifier's bounds.
        labels: int `[batch]`, the classes that the maps explain.
        class_names: names by class number; None or empty shows the numbers.

    Returns:
        One `Panel` per image: the image, its map `[h, w]` on the grid of the attention layer, and a
        caption such as "cat 0.93".
    """
    images = tf.cast(images, classifier.dtype)
    maps = grad_cam(classifier, images, labels).numpy()
    logits = at_least_float32(classifier.predict_logits(images))
    probabilities = tf.nn.softmax(logits).numpy()
    names = [class_name(row.argmax(), class_names, LETTERS) for row in probabilities]
    captions = [f"{name} {row.max():.2f}" for name, row in zip(names, probabilities, strict=True)]
    return [
        Panel(panel.image, attention_map, panel.caption)
        for panel, attention_map in zip(image_panels(images, captions), maps, strict=True)
    ]


def class_name(label: Any, class_names: Sequence[str] | None, letters: int | None = None) -> str:
    """The name of a class, or its number as text if there are no names.

    Args:
        label: number of the class.
        class_names: names by class number; None or empty for none.
        letters: largest number of letters, to which `short_class_name` cuts the name; None for the
            whole name.

    Returns:
        The text.

    Raises:
        ValueError: a class beyond the names.
    """
    if class_names is None or not len(class_names):
        return str(label)
    if not 0 <= int(label) < len(class_names):
        raise ValueError(f"class_names has {len(class_names)} names and none of class {label}.")
    name = str(class_names[int(label)])
    return name if letters is None else short_class_name(name, letters)


def short_class_name(name: str, letters: int = LETTERS) -> str:
    """Shortens a class name so that it fits beneath an image.

    Args:
        name: the name; of synonyms separated by commas, the first is taken.
        letters: the largest number of letters. A longer name is cut, between words if possible.

    Returns:
        The name, with "…" at the end if it was cut.

    Example:
        >>> short_class_name("European fire salamander")
        'European fire…'
    """
    name = name.split(",")[0].strip()
    if len(name) <= letters:
        return name
    # With the letter behind, a word that ends here counts as whole.
    cut = name[:letters]
    whole_words = cut.rfind(" ")
    return (cut[:whole_words] if whole_words > letters // 2 else cut[:-1]).rstrip() + "…"
