"""Images that represent how an attack ends on two networks, for figures that compare defences.

A picture can show whatever its author looks for. Here both ways are shown in which the outcomes of
two networks can differ, with the number of images of each, and of each the first ones, one of a
class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from aad_tf.attacks import Attack
from aad_tf.classifier import Classifier


@dataclass(frozen=True)
class Example:
    """An image, and what the attack makes of it.

    Attributes:
        index: position of the image among those that were attacked, from 0.
        label: its true class.
        image: float `[H, W, C]`, in the pixel range of the networks.
        adversarial: by name of the network, the image that the attack on it found.
    """

    index: int
    label: int
    image: np.ndarray
    adversarial: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Outcome:
    """Images on which the attack ends in one way.

    Attributes:
        name: which of the first and the last network the attack gets to misclassify; networks
            between them are not looked at.
        images: number of images on which it ends so, among those that were attacked.
        examples: the first of them by index, at most one of each class.
    """

    name: str
    images: int
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Comparison:
    """What an attack does to two or more networks.

    Attributes:
        images: number of images that were looked at.
        correct: by name of the network, how many of them it classifies correctly.
        robust: by name of the network, how many of these also after the attack on it.
        all_correct: number of images that all networks classify correctly without an attack.
        outcomes: the two ways in which the first and the last network differ on these.
    """

    images: int
    correct: Mapping[str, int]
    robust: Mapping[str, int]
    all_correct: int
    outcomes: tuple[Outcome, Outcome]


def compare_outcomes(
    classifiers: Mapping[str, Classifier],
    batches: Iterable[tuple[Any, Any]],
    attack: Attack,
    count: int,
    progress: Callable[[int], None] | None = None,
) -> Comparison:
    """Attacks several networks on the same images, and finds some where the outcomes differ.

    Args:
        classifiers: two or more networks by name, all of one pixel range.
        batches: batches (images, labels), float `[batch, H, W, C]` in that range and int `[batch]`,
            always in the same order.
        attack: the attack, run on each network with that network's own gradients.
        count: number of examples in all; of an odd number the attack on the first network alone
            succeeds on one more.
        progress: a function that is called with the number of images attacked so far.

    Returns:
        Counts over all images, and the examples.

    Raises:
        ValueError: fewer than two networks.
    """
    names = list(classifiers)
    if len(names) < 2:
        raise ValueError(f"Outcomes of two networks or more can be compared, got {len(names)}.")
    correct, robust = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    wanted = (count - count // 2, count // 2)
    examples: tuple[list[Example], list[Example]] = ([], [])
    found, all_correct, seen = [0, 0], 0, 0
    for images, labels in batches:
        pixels, truth = np.asarray(images), np.asarray(labels)
        right, held, attacked = {}, {}, {}
        for name, classifier in classifiers.items():
            adversarial = attack(classifier, images, labels, seed=seen)
            right[name] = _predicted(classifier, images) == truth
            held[name] = right[name] & (_predicted(classifier, adversarial) == truth)
            attacked[name] = np.asarray(adversarial)
            correct[name] += int(right[name].sum())
            robust[name] += int(held[name].sum())
        eligible = np.all(list(right.values()), axis=0)
        all_correct += int(eligible.sum())
        first, last = held[names[0]], held[names[-1]]
        for number, members in enumerate((~first & last & eligible, first & ~last & eligible)):
            found[number] += int(members.sum())
            for row in np.flatnonzero(members):
                shown = {example.label for example in examples[number]}
                if len(shown) < wanted[number] and int(truth[row]) not in shown:
                    examples[number].append(
                        Example(
                            seen + int(row),
                            int(truth[row]),
                            pixels[row],
                            {name: attacked[name][row] for name in names},
                        )
                    )
        seen += len(truth)
        if progress is not None:
            progress(seen)
    pairs = ((names[0], names[-1]), (names[-1], names[0]))
    outcomes = [
        Outcome(f"{fooled} fooled, {other} not", number, tuple(shown))
        for (fooled, other), number, shown in zip(pairs, found, examples, strict=True)
    ]
    return Comparison(seen, correct, robust, all_correct, (outcomes[0], outcomes[1]))


def _predicted(classifier: Classifier, images: Any) -> np.ndarray:
    return np.argmax(classifier.predict_logits(images).numpy(), axis=-1)
