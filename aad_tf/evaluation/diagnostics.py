"""Checks whether a robust accuracy can be trusted: signs of a failed attack on a weak network.

A robust accuracy is an upper bound, no better than the attacks behind it. Each check measures one
way in which attacks are known to fail, compares it with a threshold, and says what to run next.
A check that flags nothing proves nothing: no finding ever says more than "not flagged".

Attacks in different norms are never compared. PGD and the points nearby, below, are in the norm of
the attacks, l-inf where some are l-inf.

Measured by passes of the network over the first images of an evaluation (`of_first_batch`):

- `randomised_outputs`: over 5 forward passes a prediction changes, or logits scaled to norm 1
  differ by more than 1e-4 (as in the code of AutoAttack, Croce and Hein 2020).
- `vanished_gradients`: any gradient of an attack's loss at a clean image has no entry above 1e-20,
  with pixels in [0, 1]. AutoAttack's code looks for exact zeros, as Pintor et al. (2022) do;
  1e-20 is the cross-entropy of a margin of 46 between logits.
- `saturated_loss`: PGD on the logits divided by their median margin, or by 1 if that is smaller,
  breaks more images than PGD on the logits themselves (Carlini and Wagner 2017, who divide by a
  constant), significantly by the sign test below: the cross-entropy of a network that is too sure
  has hardly a gradient, or a wrong one. Both take 10 steps from the clean images within the largest
  budget of the attacks.
- `unstable_gradients`: gradients at points a tenth of the budget apart have a mean cosine below
  0.25, so that a step does not lead where its gradient points: the shattered gradients of Athalye
  et al. (2018). Measure and threshold are chosen here; smooth and ReLU networks have 0.7 and more.
- `unbounded_epsilon`: PGD of 40 steps with the whole pixel range as its budget leaves any accuracy;
  it should leave none (Athalye et al. 2018).
- `loss_not_converged`: of more than a tenth of the images that the strongest attack with gradients
  leaves correct, its loss still changes in the last 10 iterations, by more than 0.05 of its range
  (Pintor et al. 2022); the best loss so far counts. The tenth is chosen here. Left out are attacks
  of fewer than 20 iterations, those whose loss is no function of the logits of one pass (A3, AAD's
  total loss, means over several passes), and FAB, whose targets take turns.
- `silent_success`: with `success="last_iterate"`, an image counts as robust although an earlier
  iterate was misclassified (Pintor et al. 2022).

Measured by the outcomes of all images (`of_outcomes`), with a threshold of 0.2 percentage points,
by which Square may be better in AutoAttack's code before it warns:

- `more_iterations`, `more_restarts`: of attacks that differ in this number alone (those of other
  numbers of iterations may also differ in the step size), the one with the most lowers the accuracy
  by more than 0.2 points against the next (Carlini et al. 2019), and no other attack within its
  budget lowers it further.
- `larger_epsilon`: a budget 1.5 times as large, or more, lowers the accuracy by no more than 0.2
  points although there is accuracy left (Carlini et al. 2019).
- `black_box_is_stronger`: an attack that does not use the network's gradients (Square, or transfer)
  breaks more than 0.2 points of the images that all attacks with gradients leave correct; within a
  cascade, Square of those that the attacks before it leave correct (AutoAttack's code).
- `adaptive_is_stronger`: an attack on the loss that the defence was trained on (or, beside such
  attacks, one with the gradients of a network trained without the defence) leaves more than 0.2
  points less accuracy than the plain attack of equal steps and budget, significantly by a one-sided
  sign test at 5% over the images on which the two disagree (Tramer et al. 2020).
- `success_at_the_end`: under the strongest attack within its budget, more than 0.2 points of the
  images are first misclassified in the last tenth of the iterations, so that more iterations would
  break more.

Carlini and Wagner 2017: Towards evaluating the robustness of neural networks. Athalye et al. 2018:
Obfuscated gradients give a false sense of security. Carlini et al. 2019: On evaluating adversarial
robustness. Croce and Hein 2020: Reliable evaluation of adversarial robustness with an ensemble of
diverse parameter-free attacks. Pintor et al. 2022: Indicators of attack failure. Tramer et al.
2020: On adaptive attacks to adversarial example defenses.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from aad_tf.attacks import (
    Attack,
    AttackCascade,
    AwayFromLabel,
    AwayFromPrediction,
    IterativeAttack,
    LogitsObjective,
    SquareAttack,
)
from aad_tf.attacks.loop import Examples, compiled_context, projected_step
from aad_tf.attacks.objectives import innermost, target_classes
from aad_tf.attacks.starts import random_starts
from aad_tf.classifier import Classifier
from aad_tf.evaluation.example_log import MISCLASSIFIED, ROBUST, OutcomeCounts
from aad_tf.evaluation.summary import adaptive_pairs, leaves_more, significantly_more
from aad_tf.records.findings import (
    POINTS,
    alike,
    is_outdone,
    is_within,
    make_finding,
    still_gaining,
)
from aad_tf.utils.norms import NORMS, budget_of, norm_of
from aad_tf.utils.ops import at_least_float32

FIRST_BATCH = 32
"""The largest number of images on which findings are measured by extra passes of the network."""

_PASSES = 5
_SAME_LOGITS = 1e-4
_VANISHED = 1e-20
_SCALED_STEPS = 10
_STABLE_COSINE = 0.25
_UNBOUNDED_STEPS = 40
_CONVERGED_FALL = 0.05
_LAST_ITERATIONS = 10
_FRACTION_NOT_CONVERGED = 0.1
_LARGER = 1.5
_LAST_TENTH = 0.9

_OTHER_LOSS = "apgd(epsilon, loss='dlr'), whose loss stays the same when logits are scaled down"


def of_first_batch(
    classifier: Classifier,
    attacks: Sequence[Attack],
    images: np.ndarray,
    labels: np.ndarray,
    counts: OutcomeCounts,
    *,
    first_index: int = 0,
    seed: int = 0,
    success: str = "any_iterate",
    surrogate: Classifier | None = None,
) -> dict[str, Any]:
    """Checks by passes of the network over the first images whether attacks can be trusted.

    They cost some 30 passes of the network, forward or for a gradient, and up to 90 more where PGD
    does not succeed. One attack, the strongest that left some of these images correct, is repeated
    on those; with `success="last_iterate"` each attack is, except cascades and attacks that return
    the best image they met.

    Args:
        classifier: the network that is judged.
        attacks: the attacks that were run.
        images: `[batch, H, W, C]`, the first images of the evaluation, at most 32.
        labels: int `[batch]`, true labels.
        counts: outcomes of the evaluation by attack and example, these images first.
        first_index: index of the first image in the data set, which seeds random starts.
        seed: seed of the random starts.
        success: `"any_iterate"` or `"last_iterate"`, the images that the evaluation judges.
        surrogate: the network whose gradients the attacks follow. Its gradients are measured, and
            it is attacked by PGD with the whole pixel range. None for the classifier.

    Returns:
        A dict that `json` can write: `first_index`, `examples` (how many images), and `findings`, a
        list of dicts, one per check, with its `name`, `status` ("flagged", "not flagged" or
        "nothing comparable was run"), `value` and `threshold` (numbers or None), and two texts:
        what was `measured`, and what to `run_next`.
    """
    network = surrogate or classifier
    logits = at_least_float32(network.predict_logits(tf.constant(images)))
    correct = np.argmax(logits, -1) == labels
    probe = _Probe(network, images[correct], labels[correct], tf.boolean_mask(logits, correct))
    indices = first_index + np.flatnonzero(correct)
    norm = _probed_norm(attacks)
    findings = [
        _randomised(classifier, images),
        probe.vanished(attacks),
        probe.saturated(max(_budgets(attacks), default=None), norm),
        probe.unstable(min(_budgets(attacks), default=None), norm, indices),
        probe.unbounded(len(images)),
        _loss_not_converged(network, attacks, images, labels, counts, first_index, seed),
        _silent_success(
            classifier, network, attacks, images, labels, counts, first_index, seed, success
        ),
    ]
    return {"first_index": int(first_index), "examples": len(images), "findings": findings}


def of_outcomes(
    threat_models: Sequence[Mapping[str, Any]], counts: OutcomeCounts
) -> list[dict[str, Any]]:
    """Checks by comparing attacks over all images whether their results can be trusted.

    Args:
        threat_models: for each attack that was run a dict of its name `attack`, its `parameters`,
            `epsilon`, `access` and, for a cascade, `stages`.
        counts: outcomes of all examples under each attack.

    Returns:
        Dicts, one per check, with `name`, `status` ("flagged", "not flagged" or "nothing comparable
        was run"), `value` and `threshold` (numbers or None), and the texts `measured` and
        `run_next`.
    """
    plain = [model for model in threat_models if "num_steps" in model.get("parameters", {})]
    accuracies = {each["attack"]: _robust_accuracy(each, counts) for each in threat_models}
    return [
        still_gaining("more_iterations", threat_models, accuracies),
        still_gaining("more_restarts", threat_models, accuracies),
        _larger_epsilon(plain, counts),
        _black_box(threat_models, counts),
        _adaptive(threat_models, counts),
        _success_at_the_end(threat_models, counts, accuracies),
    ]


def _randomised(classifier: Classifier, images: np.ndarray) -> dict[str, Any]:
    passes = [classifier.predict_logits(tf.constant(images)) for _ in range(_PASSES)]
    logits = np.stack([tf.cast(each, tf.float64).numpy() for each in passes])
    norms = np.maximum(np.linalg.norm(logits, axis=-1, keepdims=True), 1e-12)
    difference = float(np.max(np.abs(logits / norms - (logits / norms)[0])))
    changed = np.any(logits.argmax(-1) != logits[0].argmax(-1), axis=0)
    return make_finding(
        "randomised_outputs",
        bool(changed.any()) or difference > _SAME_LOGITS,
        f"in {_PASSES} forward passes of the same images, {changed.sum()} of {len(images)} "
        f"predictions changed, and logits of norm 1 by {difference:.1e}",
        "auto_attack(epsilon, version='rand') or another attack on the mean of many passes, as "
        "pgd and apgd with num_draws=20 are (expectation over transformation), and several "
        "evaluations: one of them misjudges images by chance",
        difference,
        _SAME_LOGITS,
    )


class _Probe:
    """Gradients of a network at the images of the first batch that it classifies correctly."""

    def __init__(
        self, network: Classifier, images: np.ndarray, labels: np.ndarray, logits: tf.Tensor
    ) -> None:
        self._network, self._logits = network, logits
        self._images, self._labels = tf.constant(images), labels
        label = tf.one_hot(labels, network.num_classes, dtype=logits.dtype)
        hidden = tf.where(label > 0, tf.constant(logits.dtype.min, logits.dtype), logits)
        runner_up = tf.one_hot(tf.argmax(hidden, -1), network.num_classes, dtype=logits.dtype)
        # Of the margin to the second class: it does not vanish however sure the network is.
        self._margin = runner_up - label
        self._width = network.bounds[1] - network.bounds[0]

    def vanished(self, attacks: Sequence[Attack]) -> dict[str, Any]:
        """Measures how often gradients of the attacks' objectives vanish at the clean images."""
        name, run_next = "vanished_gradients", f"{_OTHER_LOSS}; square; random starts"
        fractions: dict[str, tuple[float, float]] = {}
        for objective in _objectives(attacks) if len(self._labels) else ():
            targets = target_classes(objective, self._labels)
            goal = self._labels if targets is None else targets
            # An image of the target class is not attacked.
            attacked = np.full(len(goal), True) if targets is None else goal != self._labels
            gradient = self._gradient(self._images, self._slope(objective))
            largest = _largest(gradient)[np.asarray(attacked)]
            if len(largest):
                tiny = float(np.mean(largest * self._width <= _VANISHED))
                fractions[objective.name] = (tiny, float(np.mean(largest == 0)))
        if not fractions:
            return make_finding(name, None, "no correctly classified image, or no loss", run_next)
        worst = max(fractions, key=lambda objective: fractions[objective])
        tiny, zero = fractions[worst]
        measured = (
            f"{tiny:.1%} of the gradients of {worst} at the clean images have no entry above "
            f"{_VANISHED:g} ({zero:.1%} are exactly zero)"
        )
        return make_finding(name, tiny > 0, measured, run_next, tiny, 0.0)

    def saturated(self, epsilon: float | None, norm: str) -> dict[str, Any]:
        """Counts what PGD breaks on logits that are scaled down, and on the logits themselves."""
        name = "saturated_loss"
        if epsilon is None or not len(self._labels):
            return make_finding(
                name, None, "no budget, or no correctly classified image", _OTHER_LOSS
            )
        margins = -tf.reduce_sum(self._margin * self._logits, axis=1)
        divisor = max(float(np.median(margins)), 1.0)
        step_size = 2.5 * epsilon / _SCALED_STEPS
        spared, spared_scaled = (
            self._correct_under_pgd(epsilon, step_size, _SCALED_STEPS, each, norm)
            for each in (1.0, divisor)
        )
        found = float(np.mean(spared) - np.mean(spared_scaled))
        measured = (
            f"PGD-{_SCALED_STEPS} within {_sized(epsilon, norm)} breaks "
            f"{np.sum(~spared_scaled)} of {len(spared)} correctly classified images on logits "
            f"divided by {divisor:.3g} (their median margin, at least 1), and {np.sum(~spared)} on "
            f"the logits themselves"
        )
        flagged = found > POINTS and significantly_more(spared, spared_scaled)
        return make_finding(name, flagged, measured, _OTHER_LOSS, found, POINTS)

    def unstable(self, epsilon: float | None, norm: str, indices: np.ndarray) -> dict[str, Any]:
        """Measures the mean cosine of the margin's gradients a tenth of the budget apart."""
        name = "unstable_gradients"
        run_next = "square; transfer from another network; attacks with many restarts"
        if epsilon is None or not len(self._labels):
            return make_finding(name, None, "no budget, or no correctly classified image", run_next)
        start = (self._network.bounds, 0, indices, 0, norm)
        moved = random_starts(self._images, epsilon / 10, *start)
        gradients = (self._margin_gradient, self._gradient(moved, self._margin))
        pair = [np.float64(gradient).reshape(len(indices), -1) for gradient in gradients]
        # Scaled first, for the square of a small number may be zero.
        sizes = [np.abs(each).max(1) for each in pair]
        seen = (sizes[0] > 0) & (sizes[1] > 0)
        if not seen.any():
            return make_finding(name, None, "gradients are zero", run_next)
        one, two = (g[seen] / size[seen, None] for g, size in zip(pair, sizes, strict=True))
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
        cosine = float(np.mean(np.sum(one * two, axis=1) / lengths))
        measured = f"gradients a tenth of the budget apart have a mean cosine of {cosine:.2f}"
        flagged = cosine < _STABLE_COSINE
        return make_finding(name, flagged, measured, run_next, cosine, _STABLE_COSINE)

    def unbounded(self, examples: int) -> dict[str, Any]:
        """Measures accuracy under PGD from the clean images within the whole pixel range."""
        name = "unbounded_epsilon"
        run_next = f"square; transfer from another network; {_OTHER_LOSS}"
        if not len(self._labels):
            return make_finding(name, None, "no correctly classified image", run_next)
        correct = self._correct_under_pgd(self._width, self._width / 5, _UNBOUNDED_STEPS)
        accuracy = float(correct.sum() / examples)
        measured = (
            f"PGD-{_UNBOUNDED_STEPS} with the whole pixel range as its budget leaves an accuracy "
            f"of {accuracy:.1%}, which should be 0%"
        )
        return make_finding(name, accuracy > 0, measured, run_next, accuracy, 0.0)

    def _correct_under_pgd(
        self,
        epsilon: float,
        step_size: float,
        num_steps: int,
        divisor: float = 1.0,
        norm: str = "linf",
    ) -> np.ndarray:
        """Which images stay correct at all iterates from the clean image on, bool `[batch]`.

        The cross-entropy is that of the logits divided by `divisor`.
        """
        correct = np.full(len(self._labels), True)
        images, logits = self._images, self._logits
        for _ in range(num_steps):
            gradient = self._gradient(images, self._slope(AwayFromLabel(), logits / divisor))
            images = projected_step(
                images, gradient, self._images, step_size, epsilon, self._network.bounds, norm
            )
            logits = at_least_float32(self._network.predict_logits(images))
            correct &= np.argmax(logits, -1) == self._labels
            if not correct.any():
                break
        return correct

    def _slope(self, objective: Any, logits: tf.Tensor | None = None) -> tf.Tensor:
        """Gradient of what an attack descends by the logits, `[batch, classes]`."""
        logits = self._logits if logits is None else logits
        context = compiled_context(self._network, objective)(self._images, self._labels)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(logits)
            values = objective.from_logits(logits, self._labels, *context)
        return tape.gradient(values, logits)

    @functools.cached_property
    def _margin_gradient(self) -> tf.Tensor:
        return self._gradient(self._images, self._margin)

    def _gradient(self, images: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Gradient by the images of logits weighted and summed: one trace for all losses."""
        network = self._network

        def gradient(images: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(images)
                logits = at_least_float32(network(images, training=False).logits)
            # Where a network rounds its pixels there is none.
            none = tf.UnconnectedGradients.ZERO
            return tape.gradient(logits, images, weights, unconnected_gradients=none)

        weights_spec = tf.TensorSpec((None, network.num_classes), weights.dtype)
        signature = [network.image_spec, weights_spec]
        return network.cached_function("gradient_of_logits", gradient, signature)(images, weights)


def _largest(gradient: tf.Tensor) -> np.ndarray:
    """The largest entry of each example, without its sign, `[batch]`."""
    return np.abs(np.float64(gradient)).max(axis=(1, 2, 3))


def _plain(attacks: Sequence[Attack]) -> Iterator[IterativeAttack]:
    """Attacks, those of cascades one by one."""
    for attack in attacks:
        yield from attack.stages if isinstance(attack, AttackCascade) else (attack,)


def _objectives(attacks: Sequence[Attack]) -> list[Any]:
    """What attacks with gradients descend, functions of logits; of A3's, the loss inside.

    Not the divergence from the prediction, whose gradient at the clean image is always zero.
    """
    followed = [each.objective for each in _plain(attacks) if not isinstance(each, SquareAttack)]
    inner = [innermost(objective) for objective in followed]
    return list(
        dict.fromkeys(
            each
            for each in inner
            if isinstance(each, LogitsObjective) and not isinstance(each, AwayFromPrediction)
        )
    )


def _probed_norm(attacks: Sequence[Attack]) -> str:
    """The norm in which the network is probed: l-inf if any attack is in l-inf."""
    return "linf" if any(each.norm == "linf" for each in attacks) else "l2"


def _sized(epsilon: float, norm: str) -> str:
    return f"{epsilon:.4g}" + ("" if norm == "linf" else f" ({NORMS[norm]})")


def _budgets(attacks: Sequence[Attack]) -> list[float]:
    """Budgets in the norm that is probed; of attacks that accumulate steps, one step."""
    probed = [each for each in attacks if each.norm == _probed_norm(attacks)]
    sizes = (each.epsilon or getattr(each, "step_size", None) for each in _plain(probed))
    return [size for size in sizes if size]


def _loss_not_converged(
    network: Classifier,
    attacks: Sequence[Attack],
    images: np.ndarray,
    labels: np.ndarray,
    counts: OutcomeCounts,
    first_index: int,
    seed: int,
) -> dict[str, Any]:
    """How often the loss of the strongest attack still changes in its last iterations."""
    name, run_next = "loss_not_converged", "more iterations of that attack, or apgd"
    followed = [
        (each.name, one, one.objective)
        for each in attacks
        for one in _plain([each])
        if one.num_steps >= 2 * _LAST_ITERATIONS
        and not (isinstance(one, SquareAttack) or one.minimum_norm)
        and isinstance(one.objective, LogitsObjective)
    ]
    outcomes = {label: counts.outcomes(label) == ROBUST for label, *_ in followed}

    def left(label: str, attack: IterativeAttack) -> np.ndarray:
        """Which of these images the attack left correct, but for those it does not attack."""
        targets = target_classes(attack.objective, labels)
        robust = outcomes[label][: len(images)]
        return np.flatnonzero(robust if targets is None else robust & (targets != labels))

    leaving = [each for each in followed if len(left(*each[:2]))]
    if not leaving:
        measured = (
            f"no attack on the logits' gradients of {2 * _LAST_ITERATIONS} iterations or more left "
            f"one of the first {len(images)} images correct"
        )
        return make_finding(name, None, measured, run_next)
    label, attack, objective = min(leaving, key=lambda each: np.sum(outcomes[each[0]]))
    rows = left(label, attack)
    chosen = (images[rows], labels[rows], first_index + rows)
    values = []
    for _, logits, examples in _iterates(network, attack, *chosen, seed, 0):
        logits = at_least_float32(logits)
        values.append(np.float64(objective.from_logits(logits, examples.labels, *examples.context)))
    best = np.minimum.accumulate(values)
    spread = np.max(values, axis=0) - best[-1]
    late = best[-1 - _LAST_ITERATIONS] - best[-1] > _CONVERGED_FALL * spread
    fraction = float(np.mean(late))
    measured = (
        f"in the last {_LAST_ITERATIONS} iterations of {attack.name} the loss of {late.sum()} of "
        f"{len(rows)} images that are left correct changes by more than {_CONVERGED_FALL:g} of its "
        f"range"
    )
    flagged = fraction > _FRACTION_NOT_CONVERGED
    return make_finding(name, flagged, measured, run_next, fraction, _FRACTION_NOT_CONVERGED)


def _silent_success(
    classifier: Classifier,
    network: Classifier,
    attacks: Sequence[Attack],
    images: np.ndarray,
    labels: np.ndarray,
    counts: OutcomeCounts,
    first_index: int,
    seed: int,
    success: str,
) -> dict[str, Any]:
    name, run_next = (
        "silent_success",
        'success="any_iterate", or attacks that keep their best image',
    )
    if success == "any_iterate":
        return make_finding(name, None, "every iterate is judged", run_next)
    found: dict[str, tuple[int, int]] = {}
    for attack in attacks:
        if isinstance(attack, AttackCascade) or attack.keeps_best:
            continue
        rows = np.flatnonzero(counts.outcomes(attack.name)[: len(images)] == ROBUST)
        chosen = (images[rows], labels[rows], first_index + rows)
        broken = _broken_on_the_way(classifier, network, attack, *chosen, seed)
        found[attack.name] = (int(broken.sum()), len(rows))
    if not any(robust for _, robust in found.values()):
        return make_finding(
            name, None, "no attack whose last image counts left one correct", run_next
        )
    worst = max(found, key=lambda attack: found[attack][0] / max(found[attack][1], 1))
    silent, robust = found[worst]
    measured = (
        f"{silent} of the {robust} images that count as robust under {worst} were misclassified on "
        f"the way to their last iterate"
    )
    return make_finding(name, silent > 0, measured, run_next, silent / max(robust, 1), 0.0)


def _broken_on_the_way(
    classifier: Classifier,
    network: Classifier,
    attack: IterativeAttack,
    images: np.ndarray,
    labels: np.ndarray,
    indices: np.ndarray,
    seed: int,
) -> np.ndarray:
    """Whether any iterate is misclassified, bool `[batch]`."""
    targets = target_classes(attack.objective, labels)
    attacked = np.full(len(labels), True) if targets is None else np.asarray(targets != labels)
    broken = np.full(len(labels), False)
    if not attacked.any():
        return broken
    for restart in range(attack.restarts):
        # The last image is that which the evaluation has judged.
        iterates = _iterates(network, attack, images, labels, indices, seed, restart)
        for step, (reached, logits, _) in enumerate(iterates):
            # Random starts that may lie outside the budget prove nothing.
            if step == 0 and attack.random_start and not attack.starts_in_budget:
                continue
            if network is not classifier:
                logits = classifier.predict_logits(reached)
            broken |= np.argmax(logits, -1) != labels
    return broken & attacked


def _iterates(
    network: Classifier,
    attack: IterativeAttack,
    images: np.ndarray,
    labels: np.ndarray,
    indices: np.ndarray,
    seed: int,
    restart: int,
) -> Iterator[tuple[tf.Tensor, tf.Tensor, Examples]]:
    """The images before each iteration, their logits, and what the attack starts from."""
    originals, classes = tf.constant(images), tf.constant(labels)
    examples = Examples(originals, classes, attack.compiled_context(network)(originals, classes))
    iterate = attack.compiled_iteration(network)
    state = attack.begin(network, examples, seed, indices, restart)
    for _ in range(attack.num_steps):
        reached, (state, logits) = state.images, iterate(state, examples)
        yield reached, logits, examples


def _larger_epsilon(models: Sequence[Mapping[str, Any]], counts: OutcomeCounts) -> dict[str, Any]:
    name, run_next = (
        "larger_epsilon",
        f"larger budgets, until the accuracy is 0%; square; {_OTHER_LOSS}",
    )
    gains = []
    for group in alike(models, "epsilon"):
        for (small, narrow), (large, wide) in itertools.pairwise(group):
            left = _robust_accuracy(wide, counts)
            # Where the larger budget leaves significantly more accuracy, there is a warning.
            warned = leaves_more(wide["attack"], narrow["attack"], counts)
            if large < _LARGER * small or warned:
                continue
            gain = _robust_accuracy(narrow, counts) - left
            names = f"epsilon {large:.4g} ({wide['attack']}) against {small:.4g}"
            measured = (
                f"{names} lowers the robust accuracy by {100 * gain:.2f} points, to {left:.2%}"
            )
            gains.append((left > POINTS and gain <= POINTS, -gain, measured))
    if not gains:
        return make_finding(name, None, "no two attacks differ in epsilon alone", run_next)
    flagged, loss, measured = max(gains)
    return make_finding(name, flagged, measured, run_next, -loss, POINTS)


def _robust_accuracy(model: Mapping[str, Any], counts: OutcomeCounts) -> float:
    return float(np.mean(counts.outcomes(model["attack"]) == ROBUST))


def _black_box(threat_models: Sequence[Mapping[str, Any]], counts: OutcomeCounts) -> dict[str, Any]:
    name = "black_box_is_stronger"
    run_next = "auto_attack; square with more queries; transfer from another network"
    better = list(_broken_last_in_cascades(threat_models, counts))
    with_gradients = [model for model in threat_models if not _without_gradients(model)]
    for model in filter(_without_gradients, threat_models):
        whites = [w for w in with_gradients if is_within(model, norm_of(w), budget_of(w))]
        if not whites:
            continue
        left = np.all([counts.outcomes(white["attack"]) == ROBUST for white in whites], axis=0)
        only = left & (counts.outcomes(model["attack"]) == MISCLASSIFIED)
        better.append((float(np.mean(only)), model["attack"]))
    if not better:
        return make_finding(
            name, None, "no attack without gradients beside one with as large a budget", run_next
        )
    fraction, attack = max(better)
    measured = (
        f"{attack} breaks {100 * fraction:.2f} points of the images that no attack with the "
        f"network's gradients did"
    )
    return make_finding(name, fraction > POINTS, measured, run_next, fraction, POINTS)


def _adaptive(threat_models: Sequence[Mapping[str, Any]], counts: OutcomeCounts) -> dict[str, Any]:
    name = "adaptive_is_stronger"
    run_next = (
        "that attack with more steps and restarts, until it gains nothing, and auto_attack; the "
        "accuracy to report is the worst over all"
    )
    gains = []
    for model, plain in adaptive_pairs(threat_models):
        left, left_by_plain = (_robust_accuracy(each, counts) for each in (model, plain))
        gain = left_by_plain - left
        significant = leaves_more(plain["attack"], model["attack"], counts)
        measured = (
            f"{model['attack']} leaves {left:.2%}, {plain['attack']} of equal steps and budget "
            f"{left_by_plain:.2%}"
        )
        gains.append((gain > POINTS and significant, gain, measured))
    if not gains:
        measured = "no adaptive attack beside the plain one of equal steps and budget"
        return make_finding(name, None, measured, run_next)
    flagged, gain, measured = max(gains)
    return make_finding(name, flagged, measured, run_next, gain, POINTS)


def _without_gradients(model: Mapping[str, Any]) -> bool:
    return model.get("access") == "transfer" or _kind(model.get("parameters", {})) == "square"


def _kind(parameters: Mapping[str, Any]) -> str:
    return str(parameters.get("kind"))


def _broken_last_in_cascades(
    threat_models: Sequence[Mapping[str, Any]], counts: OutcomeCounts
) -> Iterator[tuple[float, str]]:
    """What Square breaks of the images that the attacks before it have left, in each cascade."""
    for model in threat_models:
        if "stages" not in model or model.get("access") == "transfer":
            continue
        total, tally = len(counts.outcomes(model["attack"])), counts.tally(model["attack"])
        kinds = [_kind(stage) for stage in model["parameters"]["stages"]]
        for number, (kind, stage) in enumerate(zip(kinds, model["stages"], strict=True)):
            if kind == "square" and any(before != "square" for before in kinds[:number]):
                yield tally[f"broken_by {stage}"] / total, f"{stage} of {model['attack']}"


def _success_at_the_end(
    threat_models: Sequence[Mapping[str, Any]],
    counts: OutcomeCounts,
    accuracies: Mapping[str, float],
) -> dict[str, Any]:
    name = "success_at_the_end"
    run_next = "more iterations of that attack, or larger steps"
    late = []
    for model in threat_models:
        if is_outdone(model, threat_models, accuracies):
            continue
        total = len(counts.outcomes(model["attack"]))
        for stage, num_steps in _iterations_of(model):
            steps = counts.steps(model["attack"], stage)
            last = sum(n for step, n in steps.items() if step > _LAST_TENTH * num_steps)
            late.append((last / total, model["attack"] if stage is None else stage))
    if not late:
        measured = "no attack of ten iterations or more of which every iterate is judged"
        return make_finding(name, None, measured, run_next)
    fraction, attack = max(late)
    measured = (
        f"{100 * fraction:.2f} points of the images are first misclassified in the last tenth of "
        f"the iterations of {attack}"
    )
    return make_finding(name, fraction > POINTS, measured, run_next, fraction, POINTS)


def _iterations_of(model: Mapping[str, Any]) -> Iterator[tuple[str | None, int]]:
    """Attacks whose every iterate is judged, of a cascade by name, with their iterations."""
    parameters = model.get("parameters", {})
    stages: Sequence[tuple[str | None, Any]] = [(None, parameters)]
    if "stages" in model:
        stages = list(zip(model["stages"], parameters["stages"], strict=True))
    for name, stage in stages:
        keeps_best = _kind(stage) in ("auto_pgd", "square")
        judged = keeps_best or model.get("success") == "any_iterate"
        # FAB takes one target after the other, so that its last iterations are as the first.
        if judged and _kind(stage) != "fab" and stage.get("num_steps", 0) >= 10:
            yield name, stage["num_steps"]
