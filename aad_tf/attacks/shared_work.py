"""Runs several attacks on the same images and computes only once what they have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from aad_tf.attacks.gradient_sign import GradientSignAttack
from aad_tf.attacks.iterative import IterativeAttack
from aad_tf.attacks.loop import Examples, State, iteration_spec, objective_gradient, projected_step
from aad_tf.attacks.objectives import AnyObjective
from aad_tf.classifier import Classifier


def attacked_by_each(
    classifier: Classifier,
    attacks: Sequence[IterativeAttack],
    images: tf.Tensor,
    labels: tf.Tensor,
    seed: Any,
    indices: Any,
) -> Iterator[tuple[IterativeAttack, tf.Tensor]]:
    """Runs several attacks on a batch, with gradients that they have in common computed once.

    Two kinds of gradients are shared, among gradient-sign attacks without restarts. Attacks that
    differ only in their number of iterations are one run, whose images are yielded after each of
    these numbers. Attacks with the same objective and no random start share the gradient of their
    first step. So FGSM at many epsilons takes one gradient, and PGD of 5, 10 and 20 iterations
    takes 20. The images equal those of `IterativeAttack.run` bit for bit.

    Args:
        classifier: the network under attack.
        attacks: attacks that try no more target classes than the network has besides the true one;
            the method `for_classes(num_classes)` of an attack returns such a one.
        images: `[batch, H, W, C]` in the classifier's dtype.
        labels: int32 `[batch]`, true labels.
        seed: seed of random starts, an integer or int32 `[2]`.
        indices: int `[batch]`, index of each example in its data set.

    Yields:
        Each attack once, in an order that may differ from that of `attacks`, with its adversarial
        images `[batch, H, W, C]`.

    Example:
        >>> attacks = [fgsm(0.1), fgsm(0.2), pgd(0.2, 0.01, 20, random_start=False)]
        >>> found = attacked_by_each(classifier, attacks, images, labels, 0, range(len(images)))
        >>> by_name = {attack.name: adversarial for attack, adversarial in found}
    """
    known: dict[AnyObjective, tuple[Examples, tf.Tensor]] = {}
    for run in _runs(attacks):
        lead = run[0]
        if not _shares(lead):
            yield lead, lead.run(classifier, images, labels, seed, indices)
            continue
        if lead.random_start:
            examples = Examples(images, labels, lead.compiled_context(classifier)(images, labels))
            state, done = lead.begin(classifier, examples, seed, indices, 0), 0
        else:
            if lead.objective not in known:
                context = lead.compiled_context(classifier)(images, labels)
                examples = Examples(images, labels, context)
                known[lead.objective] = (
                    examples,
                    _compiled_gradient(classifier, lead.objective)(examples),
                )
            examples, gradient = known[lead.objective]
            step_size, epsilon = lead.scalars(classifier.dtype)
            moved = projected_step(
                images, gradient, images, step_size, epsilon, classifier.bounds, lead.norm
            )
            state, done = State(moved), 1
        for attack in run:
            if attack.num_steps > done:
                iterate = attack.compiled_iterations(classifier)
                state = iterate(state, examples, attack.num_steps - done, False).state
                done = attack.num_steps
            yield attack, state.images


def _shares(attack: IterativeAttack) -> bool:
    """Whether its iterations depend on the image before and the original one alone."""
    return type(attack) is GradientSignAttack and attack.restarts == 1


def _runs(attacks: Sequence[IterativeAttack]) -> list[list[IterativeAttack]]:
    """Attacks that are iterates of one run, the shortest first; each of the others by itself."""
    runs: dict[Any, list[IterativeAttack]] = {}
    for number, attack in enumerate(attacks):
        key = dataclasses.replace(attack, num_steps=1) if _shares(attack) else number
        runs.setdefault(key, []).append(attack)
    return [sorted(run, key=lambda attack: attack.num_steps) for run in runs.values()]


def _compiled_gradient(
    classifier: Classifier, objective: AnyObjective
) -> Callable[[Examples], tf.Tensor]:
    """The gradient of an objective by original images, in one trace for all batches."""
    function: Callable[[Examples], tf.Tensor] = classifier.cached_function(
        ("first_gradient", objective),
        lambda examples: objective_gradient(classifier, objective, examples.images, examples)[1],
        lambda: [iteration_spec(classifier, objective)[1]],
    )
    return function
