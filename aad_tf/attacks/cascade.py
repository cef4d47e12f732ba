"""Attacks run one after the other, each on the images that are still classified correctly.

Source of AutoAttack: F. Croce and M. Hein, Reliable Evaluation of Adversarial Robustness with an
Ensemble of Diverse Parameter-free Attacks, ICML 2020.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from aad_tf.attacks.auto_pgd import apgd
from aad_tf.attacks.fab import fab
from aad_tf.attacks.iterative import IterativeAttack
from aad_tf.attacks.objectives import chosen_target
from aad_tf.attacks.serialization import attack_to_dict, register_kind
from aad_tf.attacks.square import square
from aad_tf.attacks.starts import checked_seed
from aad_tf.classifier import Classifier, checked_inputs
from aad_tf.types import Bounds
from aad_tf.utils.checks import check_choice

# Of version "rand" in the original code.
_DRAWS = 20
# Wider than any pixel range, so that no budget is cut off at its width.
_ANY_BOUNDS = Bounds(0.0, 1e9)


@register_kind("cascade")
@dataclass(frozen=True)
class AttackCascade:
    """A sequence of attacks; each attacks only the images that no earlier one got misclassified.

    Attributes:
        stages: untargeted attacks, or their texts such as `"apgd(epsilon=8/255)"`, all with the
            same norm and budget.
        stage_names: one name per attack for records and tables, all different; the attacks' own
            names by default.
        name: label in records and tables; cascades that differ in their names alone are equal.

    Raises:
        TypeError: a stage that is not an attack, or is a cascade itself.
        ValueError: no stages, equal names, another number of names than of stages, different norms
            or budgets, a targeted attack, or text that is not an attack.

    Example:
        >>> cascade = AttackCascade((apgd(8 / 255), square(8 / 255, num_queries=1000)))
        >>> adversarial = cascade(classifier, images, labels, seed=0)
    """

    stages: tuple[IterativeAttack, ...]
    stage_names: tuple[str, ...] = ()
    name: str = dataclasses.field(default="cascade", compare=False)

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("A cascade needs at least one attack.")
        # Text may be a cascade itself, so its reader imports this module.
        from aad_tf.attacks.parsing import as_attack

        if isinstance(self.stages, (str, IterativeAttack)):
            raise TypeError(f"stages must be a tuple of attacks, got {self.stages!r}.")
        object.__setattr__(self, "stages", tuple(as_attack(stage) for stage in self.stages))
        for stage in self.stages:
            if not isinstance(stage, IterativeAttack):
                raise TypeError(
                    f"The stages of a cascade must be single attacks, such as apgd(8 / 255), got "
                    f"{stage!r}."
                )
            if chosen_target(stage.objective) is not None:
                raise ValueError(
                    f"{stage.name} has a target, but an image leaves a cascade once it is "
                    f"misclassified as any class. Evaluate it by itself, or take off its target."
                )
        names = tuple(self.stage_names) or tuple(stage.name for stage in self.stages)
        if len(set(names)) < len(names) or len(names) != len(self.stages):
            raise ValueError(
                f"The {len(self.stages)} stages of a cascade need as many names that differ, got "
                f"{', '.join(names)}. Give stage_names."
            )
        object.__setattr__(self, "stage_names", names)
        named = zip(self.stages, names, strict=True)
        stages = tuple(dataclasses.replace(stage, name=name) for stage, name in named)
        object.__setattr__(self, "stages", stages)
        if len(norms := {stage.norm for stage in stages}) > 1:
            raise ValueError(
                f"The stages of a cascade must have one norm, got {', '.join(sorted(norms))}."
            )
        # The pixel range is not known yet: attacks whose steps accumulate may reach beyond [0, 1].
        if not self._have_one_budget(_ANY_BOUNDS):
            self._check_budgets(Bounds(0.0, 1.0))

    def _have_one_budget(self, bounds: Bounds) -> bool:
        budgets = [stage.epsilon_after(bounds=bounds) for stage in self.stages]
        return all(math.isclose(budget, budgets[0], rel_tol=1e-9) for budget in budgets)

    def _check_budgets(self, bounds: Bounds) -> None:
        if not self._have_one_budget(bounds):
            found = sorted({stage.threat_model(bounds)["epsilon"] for stage in self.stages})
            raise ValueError(f"The stages of a cascade must have one budget, got {found}.")

    def check_sizes(
        self, bounds: Bounds, image_shape: Sequence[int | None] = (None, None, None)
    ) -> None:
        """Checks that budgets and step sizes fit the pixel range, and that the budgets are equal.

        Args:
            bounds: pixel range of the images.
            image_shape: `(H, W, C)` of the images, on which the largest sizes in l2 depend; with an
                entry None, sizes in l2 may be any.

        Raises:
            ValueError: one of them is larger than the largest distance between two images, the
                width of the pixel range, in l2 times the root of the number of values of an image;
                or the attacks have different budgets in the pixel range.
        """
        for stage in self.stages:
            stage.check_sizes(bounds, image_shape)
        self._check_budgets(bounds)

    def for_classes(self, num_classes: int) -> AttackCascade:
        """Returns the cascade that is run on a network with `num_classes` classes.

        It differs only if an attack tries several target classes per example and the network has
        fewer classes besides the true one. Then that attack tries all of those.

        Args:
            num_classes: number of classes of the network, at least 2.

        Returns:
            A cascade with the same names.
        """
        return dataclasses.replace(
            self, stages=tuple(stage.for_classes(num_classes) for stage in self.stages)
        )

    @property
    def norm(self) -> str:
        """Norm of the budget, `"linf"` or `"l2"`, which all attacks share."""
        return self.stages[0].norm

    @property
    def total_epsilon(self) -> float:
        """Largest possible perturbation by any of the attacks, in its norm, of images in [0, 1]."""
        return self.stages[0].total_epsilon

    def threat_model(self, bounds: Bounds = Bounds(0.0, 1.0)) -> dict[str, Any]:
        """Describes the threat model of the cascade, for the record of an evaluation.

        Args:
            bounds: pixel range of the images.

        Returns:
            A dictionary that `json` can write:
            `attack`: the cascade's name; `stages`: the names of its attacks in their order;
                `parameters`: the parameters of all attacks; `objective`: `"cascade"`.
            `steps`: the sum over the attacks of steps times restarts; `restarts`: 1; `step_size`:
                None; `random_start`: whether any attack has one; `labels`: `"true"`.
            Those of the last attack: `norm`, `"linf"` or `"l2"`; `epsilon`, the largest possible
                perturbation in that norm and in the unit of the images; `epsilon_255`, the same in
                255ths of the width of the pixel range; `projected`, whether a budget bounds all
                iterations together; and, only where they apply, `bounds`, `minimum_norm` and
                `draws`.
        """
        # An image that withstands all of them is recorded as the last one leaves it.
        last = self.stages[-1].threat_model(bounds)
        return {
            **last,
            "random_start": any(stage.random_start for stage in self.stages),
            "attack": self.name,
            "steps": sum(stage.num_steps * stage.restarts for stage in self.stages),
            "step_size": None,
            "restarts": 1,
            "objective": "cascade",
            "parameters": attack_to_dict(self),
            "stages": list(self.stage_names),
        }

    def __call__(
        self,
        classifier: Classifier,
        images: Any,
        labels: Any,
        *,
        seed: int | None = None,
        first_index: int = 0,
    ) -> tf.Tensor:
        """Attacks a batch of images.

        Args:
            classifier: the network under attack; runs in inference mode throughout.
            images: float `[batch, H, W, C]` within the classifier's bounds.
            labels: int `[batch]`, true labels.
            seed: int64, seed of random starts; None is 0. The same seed gives the same images.
            first_index: index of the first image in its data set, on which random starts depend.

        Returns:
            `[batch, H, W, C]`: for each example the result of the first attack that gets it
            misclassified, or of the last attack. An image that is misclassified without attack is
            returned unchanged.

        Raises:
            TypeError: no Classifier, images not floating point, labels not numbers, or a seed that
                is not an integer.
            ValueError: images of wrong rank or shape, with NaN or outside of the classifier's
                bounds, labels that are not classes, sizes larger than the pixel range, budgets that
                differ in it, or a seed beyond int64.
            RuntimeError: a call inside a `tf.function`.
        """
        images, labels = checked_inputs(classifier, images, labels)
        self.check_sizes(classifier.bounds)
        seed = checked_seed(seed)
        found, rows = images, np.arange(len(images))
        for stage in self.stages:
            logits = stage.predict_logits(classifier, tf.gather(found, rows))
            correct = tf.argmax(logits, -1, tf.int32) == tf.gather(labels, rows)
            rows = rows[correct.numpy()]
            if not len(rows):
                break
            part = (tf.gather(images, rows), tf.gather(labels, rows))
            moved = stage.run(classifier, *part, seed, first_index + rows)
            found = tf.tensor_scatter_nd_update(found, rows[:, np.newaxis], moved)
        return found


# What an evaluation runs.
Attack = IterativeAttack | AttackCascade


def auto_attack(epsilon: float, version: str = "standard", *, norm: str = "linf") -> AttackCascade:
    """AutoAttack (Croce and Hein 2020), in l-inf or l2.

    Version `"standard"` runs APGD on the cross-entropy, APGD on the targeted DLR loss (difference
    of logits ratio), targeted FAB and Square, each with its published number of iterations, on the
    images that are still classified correctly. APGD and FAB try nine target classes, or all other
    classes if the network has fewer than ten. The targeted DLR loss is not defined for two and
    three classes. There the label's logit minus the target's logit is divided by the largest minus
    the third largest logit (three classes) or by 1 (two classes).

    Version `"rand"` is for networks with random layers. It runs APGD on the cross-entropy and on
    the DLR loss, whose values and gradients are means over 20 passes of the network in each step
    (expectation over transformation). An image is misclassified if another class has the largest
    mean logit over those passes, at any step. (The original code uses a single pass at each step
    and one at the end, so that an image near a boundary may be misclassified by chance.) The clean
    accuracy is that of one pass. Such numbers differ from run to run.

    Unlike in the original code, the random numbers of the attacks depend on the seed, the example
    and the restart alone. So the result does not depend on the batch size, on the order of the
    examples, or on the parts into which an evaluation is divided.

    AutoAttack is slow: an image that is never misclassified takes several thousand passes of the
    network, 5,000 of them in Square. Begin with few images, as in the example.

    Args:
        epsilon: budget in the norm, in the unit of the images.
        version: `"standard"` or `"rand"`.
        norm: `"linf"` or `"l2"`.

    Returns:
        The cascade, to be called with a classifier, images and labels, or passed to
        `aad_tf.evaluate_robustness`.

    Raises:
        TypeError: an epsilon that is not a number.
        ValueError: epsilon negative, not finite, or None, or an unknown version or norm.

    Example:
        >>> report = aad_tf.evaluate_robustness(
        ...     model, (images, labels), auto_attack(8 / 255), num_examples=100, batch_size=25
        ... )
    """
    stages: dict[str, IterativeAttack]
    if check_choice(version, ("standard", "rand"), "version") == "rand":
        losses = {"apgd-ce": "cross_entropy", "apgd-dlr": "dlr"}
        stages = {
            name: apgd(epsilon, loss=loss, num_draws=_DRAWS, norm=norm)
            for name, loss in losses.items()
        }
    else:
        stages = {
            "apgd-ce": apgd(epsilon, norm=norm),
            "apgd-t": apgd(epsilon, loss="targeted_dlr", norm=norm),
            "fab-t": fab(epsilon, norm=norm),
            "square": square(epsilon, norm=norm),
        }
    return AttackCascade(tuple(stages.values()), tuple(stages), name="auto_attack")


def quick_cascade(
    epsilon: float, num_steps: int = 30, num_targets: int = 3, *, norm: str = "linf"
) -> AttackCascade:
    """A cheap cascade: APGD on the cross-entropy, then on the targeted DLR loss, l-inf or l2.

    It is weaker than AutoAttack, so robust accuracies under it are higher. It leaves out FAB and
    Square, so that it does not detect masked gradients, and it takes fewer steps and fewer target
    classes. The targets are those of the 20 classes with the largest logits whose linearised
    decision boundary is nearest, as in MALT (Melamed et al. 2024). With the default arguments, an
    image that is never misclassified takes 124 gradients and one for each of the up to 20
    classes; AutoAttack takes 1,911 gradients and 5,900 forward passes more.

    Args:
        epsilon: budget in the norm, in the unit of the images.
        num_steps: number of steps of APGD, on the cross-entropy and for each target.
        num_targets: number of target classes.
        norm: `"linf"` or `"l2"`.

    Returns:
        The cascade, to be called with a classifier, images and labels, or passed to
        `aad_tf.evaluate_robustness`.

    Raises:
        TypeError: a size that is not a number, or a count that is not an integer.
        ValueError: a size or count out of range, or an unknown norm.

    Example:
        >>> report = aad_tf.evaluate_robustness(model, (images, labels), quick_cascade(8 / 255))
    """
    targeted = apgd(
        epsilon,
        num_steps,
        "targeted_dlr",
        num_targets=num_targets,
        nearest_by="distance",
        norm=norm,
    )
    names = ("apgd-ce", "apgd-t")
    plain = apgd(epsilon, num_steps, norm=norm)
    return AttackCascade((plain, targeted), names, name="quick_cascade")
