"""Several attacks one after the other, each on what the ones before have left correct."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from aad_tf.attacks.auto_pgd import apgd
from aad_tf.attacks.fab import fab
from aad_tf.attacks.gradient_sign import GradientSignAttack
from aad_tf.attacks.serialization import attack_to_dict, register_kind
from aad_tf.attacks.square import square
from aad_tf.classifier import Classifier, checked_inputs
from aad_tf.types import Bounds


@register_kind("cascade")
@dataclass(frozen=True)
class AttackCascade:
    """Attacks in their order; an image that one of them gets misclassified is done.

    Attributes:
        stages: attacks, all within the same budget.
        stage_names: what they are called in records and tables, which differ; by default the names
            that they have.
        name: label for records and tables; no part of the cascade's identity.

    Example:
        >>> cascade = AttackCascade((apgd(8 / 255), square(8 / 255, num_queries=1000)))
        >>> adversarial = cascade(classifier, images, labels, seed=0)
    """

    stages: tuple[GradientSignAttack, ...]
    stage_names: tuple[str, ...] = ()
    name: str = dataclasses.field(default="cascade", compare=False)

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("A cascade needs at least one attack.")
        for stage in self.stages:
            if not isinstance(stage, GradientSignAttack):
                raise TypeError(f"The stages of a cascade must be attacks, got {stage!r}.")
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
        budgets = {stage.total_epsilon for stage in self.stages}
        if len(budgets) > 1:
            raise ValueError(
                f"The stages of a cascade must have one budget, got {sorted(budgets)}."
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
            As `GradientSignAttack.threat_model`, with the names of the attacks under `stages`.
        """
        first = self.stages[0].threat_model(bounds)
        return {
            **first,
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
        """Adversarial images `[batch, H, W, C]`; see `GradientSignAttack.rounds`.

        An image is that of the first attack that gets it misclassified, or of the last attack.
        """
        images, labels = checked_inputs(classifier, images, labels)
        found = images
        for stage in self.for_classes(classifier.num_classes).stages:
            predicted = tf.argmax(classifier.predict_logits(found), -1, tf.int32)
            correct = (predicted == labels)[:, tf.newaxis, tf.newaxis, tf.newaxis]
            if not bool(tf.reduce_any(correct)):
                break
            attacked = stage(classifier, images, labels, seed=seed, first_index=first_index)
            found = tf.where(correct, attacked, found)
        return found


# What an evaluation runs.
Attack = GradientSignAttack | AttackCascade


def auto_attack(epsilon: float) -> AttackCascade:
    """AutoAttack (Croce and Hein 2020), standard version, l-inf.

    APGD on the cross-entropy, APGD on the targeted DLR loss, targeted FAB and Square, each with its
    published number of iterations, on the images that are still classified correctly. Of a
    network with fewer than ten classes all other classes are targets; of three and two classes the
    targeted DLR loss is the one that `aad_tf.attacks.margins` gives for them.

    Unlike in the original code, random numbers depend on the seed, the example and the restart
    alone, so the batch size, the order and the parts that an evaluation is cut into do not matter.

    It is slow: an image that holds is shown to the network several thousand times, 5,000 of them
    by Square. Begin with few images, as in the example; progress shows after each batch.

    Args:
        epsilon: l-inf budget, in the unit of the images.

    Raises:
        ValueError: epsilon negative or not finite.

    Example:
        >>> report = aad_tf.evaluate_robustness(
        ...     model, (images, labels), auto_attack(8 / 255), num_examples=100, batch_size=25
        ... )
    """
    stages = (apgd(epsilon), apgd(epsilon, loss="targeted_dlr"), fab(epsilon), square(epsilon))
    return AttackCascade(stages, ("apgd-ce", "apgd-t", "fab-t", "square"), name="auto_attack")
