"""Pictures that compare networks: attention on clean and attacked images, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from aad_tf.attacks import GradientSignAttack
from aad_tf.attention import grad_cam
from aad_tf.classifier import Classifier
from aad_tf.plots import Panel, attention_grid


def compare_networks(
    classifiers: Mapping[str, Classifier],
    images: Any,
    labels: Any,
    attack: GradientSignAttack,
    *,
    class_names: tuple[str, ...] = (),
    seed: int = 0,
) -> Figure:
    """Draws each network's attention before and after an attack on itself.

    One row an image: the image, then for each network the attention map of the true class, the
    adversarial image and its attention map, with the predicted class and its confidence beneath.

    Args:
        classifiers: networks by the name that heads their columns.
        images: float `[batch, H, W, C]` in the classifiers' bounds.
        labels: int `[batch]`.
        attack: run against every network on its own (white box).
        class_names: names by label; numbers if empty.
        seed: of random starts.

    Returns:
        A matplotlib figure.

    Example:
        >>> figure = compare_networks({"plain": plain, "AAD": defended}, images, labels, fgsm(0.15))
    """
    images, labels = np.asarray(images), np.asarray(labels)
    columns, titles = [[Panel(image) for image in images]], ["image"]
    for name, classifier in classifiers.items():
        adversarial = attack(classifier, images, labels, seed=seed).numpy()
        clean_maps = grad_cam(classifier, images, labels).numpy()
        attacked_maps = grad_cam(classifier, adversarial, labels).numpy()
        clean_text = _captions(classifier, images, class_names)
        attacked_text = _captions(classifier, adversarial, class_names)
        columns += [
            [Panel(*parts) for parts in zip(images, clean_maps, clean_text, strict=True)],
            [Panel(image) for image in adversarial],
            [
                Panel(*parts)
                for parts in zip(adversarial, attacked_maps, attacked_text, strict=True)
            ],
        ]
        titles += [f"{name}: clean", f"{name}: attacked", f"{name}: under attack"]
    rows = [list(row) for row in zip(*columns, strict=True)]
    bounds = next(iter(classifiers.values())).bounds
    return attention_grid(rows, column_titles=titles, bounds=bounds)


def _captions(
    classifier: Classifier, images: np.ndarray, class_names: tuple[str, ...]
) -> list[str]:
    logits = tf.cast(classifier.predict_logits(tf.cast(images, classifier.dtype)), tf.float32)
    probabilities = tf.nn.softmax(logits).numpy()
    predicted = probabilities.argmax(axis=-1)
    names = [class_names[label] if class_names else str(label) for label in predicted]
    return [f"{name} {row.max():.2f}" for name, row in zip(names, probabilities, strict=True)]
