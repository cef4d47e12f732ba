"""Several attacks one after the other, each on what the ones before have left correct.

Source of AutoAttack: F. Croce and M. Hein, Reliable Evaluation of Adversarial Robustness with an
Ensemble of Diverse Parameter-free Attacks, ICML 2020.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from aad_tf.attacks.auto_pgd import AutoPGD, apgd
from aad_tf.attacks.fab import fab
from aad_tf.attacks.iterative import IterativeAttack
from aad_tf.attacks.margins import TargetedLogitsRatio
from aad_tf.attacks.objectives import chosen_target
from aad_tf.attacks.serialization import attack_to_dict, register_kind
from aad_tf.attacks.square import square
from aad_tf.classifier import Classifier, checked_inputs
from aad_tf.types import Bounds
from aad_tf.utils.checks import check_choice

# Of version "rand" in the original code.
_DRAWS = 20


@register_kind("cascade")
@dataclass(frozen=True)
class AttackCascade:
    """Attacks in their order; an image that one of them gets misclassified is done.

    Attributes:
        stages: untargeted attacks or their texts, all within the same budget.
        stage_names: what they are called in records and tables, which differ; by default the names
            that they have.
        name: label for records and tables; no part of the cascade's identity.

    Raises:
        TypeError: a stage that is no attack, or is a cascade itself.
        ValueError: no stages, names that do not differ, budgets that do, a targeted attack, or text
            that is no attack.

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
        budgets = [stage.total_epsilon for stage in stages]
        if not all(math.isclose(budget, budgets[0], rel_tol=1e-9) for budget in budgets):
            raise ValueError(
                f"The stages of a cascade must have one budget, got {sorted(set(budgets))}."
            )

    def check_sizes(self, bounds: Bounds) -> None:
        """Raises ValueError if the budget is larger than the width of the pixel range."""
        for stage in self.stages:
            stage.check_sizes(bounds)

    def for_classes(self, num_classes: int) -> AttackCascade:
        """The cascade as it is run on a network of so many classes."""
        return dataclasses.replace(
            self, stages=tuple(stage.for_classes(num_classes) for stage in self.stages)
        )

    @property
    def total_epsilon(self) -> float:
        """Largest possible l-inf perturbation of images in [0, 1], in their unit."""
        return self.stages[0].total_epsilon

    def threat_model(self, bounds: Bounds = Bounds(0.0, 1.0)) -> dict[str, Any]:
        """What a robust accuracy under the cascade speaks of, ready for a record.

        Args:
            bounds: pixel range of the images.

        Returns:
            As `IterativeAttack.threat_model`, with the names of the attacks under `stages`.
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
        """Adversarial images `[batch, H, W, C]`; see `IterativeAttack.rounds`.

        An image is that of the first attack that gets it misclassified, or of the last attack.
        What is misclassified as it is stays as it is.
        """
        images, labels = checked_inputs(classifier, images, labels)
        found, rows = images, np.arange(len(images))
        for stage in self.stages:
            logits = stage.predict_logits(classifier, tf.gather(found, rows))
            correct = tf.argmax(logits, -1, tf.int32) == tf.gather(labels, rows)
            rows = rows[correct.numpy()]
            if not len(rows):
                break
            part = (tf.gather(images, rows), tf.gather(labels, rows))
            moved = stage.run(classifier, *part, seed or 0, first_index + rows)
            found = tf.tensor_scatter_nd_update(found, rows[:, np.newaxis], moved)
        return found


# What an evaluation runs.
Attack = IterativeAttack | AttackCascade


def auto_attack(epsilon: float, version: str = "standard") -> AttackCascade:
    """AutoAttack (Croce and Hein 2020), l-inf.

    Version `"standard"`: APGD on the cross-entropy, APGD on the targeted DLR loss, targeted FAB and
    Square, each with its published number of iterations, on the images that are still classified
    correctly. Of a network with fewer than ten classes all other classes are targets; of three and
    two classes the targeted DLR loss is the one that `aad_tf.attacks.margins` gives for them.

    Version `"rand"`, for networks whose outputs are random: APGD on the cross-entropy and on the
    DLR loss, with losses and gradients that are means over 20 passes of the network in each step
    (expectation over transformation). An image is misclassified if another class has the largest
    logit in the mean over those passes, at any step. (The original code asks a single
    pass at each step and a last one at the end, so that an image near a boundary fails by
    chance.) The clean accuracy is that of one pass, and no such number repeats exactly. `"rand"`
    is not for networks without random layers, whose 20 passes are the same.

    Unlike in the original code, random numbers of the attacks depend on the seed, the example and
    the restart alone, so the batch size, the order and the parts that an evaluation is cut into do
    not matter.

    It is slow: an image that holds is shown to the network several thousand times, 5,000 of them
    by Square. Begin with few images, as in the example; progress shows within each batch, too.

    Args:
        epsilon: l-inf budget, in the unit of the images.
        version: `"standard"` or `"rand"`.

    Raises:
        ValueError: epsilon negative, not finite, or None, or an unknown version.

    Example:
        >>> report = aad_tf.evaluate_robustness(
        ...     model, (images, labels), auto_attack(8 / 255), num_examples=100, batch_size=25
        ... )
    """
    stages: dict[str, IterativeAttack]
    if check_choice(version, ("standard", "rand"), "version") == "rand":
        losses = {"apgd-ce": "cross_entropy", "apgd-dlr": "dlr"}
        stages = {name: apgd(epsilon, loss=loss, num_draws=_DRAWS) for name, loss in losses.items()}
    else:
        stages = {
            "apgd-ce": apgd(epsilon),
            "apgd-t": apgd(epsilon, loss="targeted_dlr"),
            "fab-t": fab(epsilon),
            "square": square(epsilon),
        }
    return AttackCascade(tuple(stages.values()), tuple(stages), name="auto_attack")


def quick_cascade(epsilon: float, num_steps: int = 30, num_targets: int = 3) -> AttackCascade:
    """A cheap cascade for a first look: APGD on the cross-entropy, then targeted APGD, l-inf.

    It is not AutoAttack, and its robust accuracies are higher. Left out are FAB and Square, so that
    nothing shows masked gradients; most of the steps; and most of the target classes. Those that
    are left have the nearest linearised boundary, the order of MALT (Melamed et al. 2024), among
    the 20 classes of the largest logits. An image that withstands all of it takes 124 gradients and
    one for each of those classes, where AutoAttack takes 1,911 and 5,900 forward passes more.

    Args:
        epsilon: l-inf budget, in the unit of the images.
        num_steps: of APGD, on the cross-entropy and towards each target.
        num_targets: how many of the nearest classes are tried.

    Raises:
        ValueError: a size or count out of range.

    Example:
        >>> report = aad_tf.evaluate_robustness(model, (images, labels), quick_cascade(8 / 255))
    """
    nearest = TargetedLogitsRatio(num_targets, nearest_by="distance")
    targeted = AutoPGD(nearest, num_steps, epsilon, restarts=num_targets)
    names = ("apgd-ce", "apgd-t")
    return AttackCascade((apgd(epsilon, num_steps), targeted), names, name="quick_cascade")
