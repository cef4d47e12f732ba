"""Texts beneath and above the images of figures: classes, confidences, IoU, threat models."""

from __future__ import annotations

from typing import Any

from aad_tf.attacks import AttentionAugmented, GradientSignAttack, preset_of
from aad_tf.attacks.objectives import TowardsFirstLeastLikely
from aad_tf.plots import short_class_name
from aad_tf.types import Bounds
from eval.galleries.studies import Study

CORRECT, MISCLASSIFIED = "black", "#B34700"
_ATTACKS = {"step_ll": "StepLL", "fgsm": "FGSM", "ifgsm": "IFGSM", "iter_ll": "Iter-LL"}


def truth(study: Study, row: int) -> str:
    """The name of the true class of an image, shortened.

    Args:
        study: the records.
        row: position of the image in them.
    """
    return short_class_name(study.class_name(int(study.records.label[row])), 20)


def outcome(study: Study, row: int, round_number: int) -> tuple[str, str]:
    """The predicted class of an image with its probability, and a colour.

    Args:
        study: the records.
        row: position of the image in them.
        round_number: number of attack iterations before; 0 for the clean image.

    Returns:
        The text, which begins with ✓ or ✗, and the colour in which it is written: black if the
        prediction is correct, orange if it is not.

    Example:
        >>> outcome(study, 0, 1)
        ('✗ tarantula 0.17', '#B34700')
    """
    records = study.records
    predicted = int(records.prediction[row, round_number])
    is_correct = predicted == records.label[row]
    name, confidence = study.class_name(predicted), records.top_confidence[row, round_number]
    sign, color = ("✓", CORRECT) if is_correct else ("✗", MISCLASSIFIED)
    return f"{sign} {short_class_name(name)} {confidence:.2f}", color


def overlap(study: Study, row: int, round_number: int, box: bool = True) -> list[str]:
    """IoU of the attention area of an image with its box and with the clean image's area.

    Args:
        study: the records.
        row: position of the image in them.
        round_number: number of attack iterations before; 0 for the clean image.
        box: whether the IoU with the box is given.

    Returns:
        Lines of text, one for each IoU.
    """
    lines = [f"IoU box {study.iou_box[row, round_number]:.2f}"] if box else []
    if round_number > 0:
        lines.append(f"IoU clean map {study.iou_clean[row, round_number - 1]:.2f}")
    return lines


def attack_name(attack: GradientSignAttack) -> str:
    """The name of an attack for readers, such as `StepLL`, with the weight sigma of A3's term.

    Returns:
        The name.

    Example:
        >>> attack_name(a3(step_ll(4 / 255, num_steps=3), sigma=-10))
        'StepLL + A3, σ −10'
    """
    preset = preset_of(attack) or attack.name
    name = _ATTACKS.get(preset, preset)
    objective: Any = attack.objective
    augmented = isinstance(objective, AttentionAugmented)
    plain = objective.objective if augmented else objective
    # Iter-LL keeps its target by definition.
    if preset == "step_ll" and isinstance(plain, TowardsFirstLeastLikely):
        name += " with a kept target"
    if not augmented:
        return name
    weight = f"{objective.sigma:+g}".replace("-", "−")
    return f"{name} + A3, σ {weight}"


def threat_model(study: Study, rounds: int) -> str:
    """The attack of a study in a sentence: norm, size of an iteration, largest perturbation.

    Args:
        study: the records.
        rounds: number of iterations that are shown.

    Returns:
        The sentence.
    """
    attack, bounds = study.attack, Bounds(*study.threat_model.get("bounds", (0.0, 1.0)))
    step = 255 * attack.step_size / (bounds.upper - bounds.lower)
    reach = 255 * attack.epsilon_after(rounds, bounds)
    number = "one round" if rounds == 1 else f"{rounds} rounds"
    return (
        f"{attack_name(attack)}, white box, l∞: {number} of {step:.3g}/255, "
        f"at most {reach:.3g}/255 from the original."
    )
