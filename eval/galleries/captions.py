"""Words under and above the pictures: classes, confidences, IoU, threat models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from eval.galleries.replay import Replayed
from eval.galleries.studies import Study

RIGHT, WRONG = "black", "#B34700"
_LETTERS = 14
_ATTACKS = {"step_ll": "StepLL", "fgsm": "FGSM", "ifgsm": "IFGSM", "iter_ll": "Iter-LL"}


def short_name(name: str, letters: int = _LETTERS) -> str:
    """A class name that fits under a picture: its first synonym, cut at a word if it can be.

    Example:
        >>> short_name("European fire salamander")
        'European fire…'
    """
    name = name.split(",")[0].strip()
    if len(name) <= letters:
        return name
    # With the letter behind, a word that ends here counts as whole.
    cut = name[:letters]
    whole_words = cut.rfind(" ")
    return (cut[:whole_words] if whole_words > letters // 2 else cut[:-1]).rstrip() + "…"


def truth(image: Replayed) -> str:
    """The true class in words."""
    study = image.source.study
    return short_name(study.class_name(int(study.label[image.place])), 20)


def outcome(image: Replayed, round_number: int) -> str:
    """Predicted class and its confidence after a round, marked right or wrong."""
    study, place = image.source.study, image.place
    predicted = int(study.prediction[place, round_number])
    sign = "✓" if predicted == study.label[place] else "✗"
    name = short_name(study.class_name(predicted))
    return f"{sign} {name} {study.top_confidence[place, round_number]:.2f}"


def outcome_color(image: Replayed, round_number: int) -> str:
    """Colour of the words under a picture: another one where the prediction is wrong."""
    study = image.source.study
    wrong = study.prediction[image.place, round_number] != study.label[image.place]
    return WRONG if wrong else RIGHT


def overlap(image: Replayed, round_number: int, box: bool = True, clean: bool = True) -> list[str]:
    """IoU of the map after a round with the box, and with the clean map, one a line."""
    study, place = image.source.study, image.place
    lines = []
    if box:
        lines.append(f"IoU box {study.iou_box[place, round_number]:.2f}")
    if clean and round_number > 0:
        lines.append(f"IoU clean map {study.iou_clean[place, round_number - 1]:.2f}")
    return lines


def attack_name(attack: Mapping[str, Any]) -> str:
    """An attack of a threat model as readers know it.

    Example:
        >>> attack_name({"attack": "a3(step_ll(epsilon=4/255,num_steps=3),sigma=-10)"})
        'StepLL + A3, σ −10'
    """
    text = str(attack["attack"])
    sigma = re.match(r"a3\((.*),sigma=([-+.\de]+)", text)
    plain = (sigma.group(1) if sigma else text).split("(")[0]
    name = _ATTACKS.get(plain, plain)
    if "relabel=False" in text:
        name += " with a kept target"
    if not sigma:
        return name
    weight = f"{float(sigma.group(2)):+g}".replace("-", "−")
    return f"{name} + A3, σ {weight}"


def threat_model(study: Study, rounds: int) -> str:
    """The attack in a sentence: norm, size of a round, reach after the rounds shown."""
    attack = study.facts["attack"]
    low, high = attack.get("bounds", (0.0, 1.0))
    step = 255 * attack["step_size"] / (high - low)
    reach = rounds * step
    if attack["projected"]:
        reach = min(reach, attack["epsilon_255"])
    if attack.get("random_start"):
        reach = attack["epsilon_255"]
    number = "one round" if rounds == 1 else f"{rounds} rounds"
    return (
        f"{attack_name(attack)}, white box, l∞: {number} of {step:.3g}/255, "
        f"at most {reach:.3g}/255 from the original."
    )
