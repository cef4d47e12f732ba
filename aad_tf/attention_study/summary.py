"""What a study is called, what it counted, and how both are written down."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from aad_tf._version import __version__
from aad_tf.attacks import GradientSignAttack
from aad_tf.classifier import Classifier
from aad_tf.records.fingerprints import weights_fingerprint


class Counts:
    """Counts records as they come: how many are classified correctly, and how many have no box.

    Args:
        rounds: rounds of the attack.
    """

    def __init__(self, rounds: int) -> None:
        self.examples = self.right = self.without_box = self.right_without_box = 0
        self._right_by_round = np.zeros(rounds + 1, int)

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Counts further records."""
        for record in records:
            hits = np.asarray(record["prediction"]) == record["label"]
            boxless = record["box_area"] is None
            self.examples += 1
            self.right += int(hits[0])
            self.without_box += int(boxless)
            self.right_without_box += int(boxless and hits[0])
            self._right_by_round += hits

    def as_dict(self) -> dict[str, int]:
        """The counts by name."""
        names = ("examples", "right", "without_box", "right_without_box")
        return {name: getattr(self, name) for name in names}

    def accuracy(self) -> list[float]:
        """Fractions of all examples classified correctly: as they are, and after each round."""
        return [
            round(float(fraction), 6) for fraction in self._right_by_round / max(self.examples, 1)
        ]


def format_summary(summary: Mapping[str, Any]) -> str:
    """A few lines for the terminal: accuracies, counts, rate."""
    counts, attack = summary["counts"], summary["study"]["attack"]
    accuracies = ", ".join(f"{fraction:.2%}" for fraction in summary["accuracy"][1:])
    return (
        f"{counts['examples']} images, {counts['right']} correct as they are "
        f"({summary['accuracy'][0]:.2%}), {counts['without_box']} without a box of their class\n"
        f"{attack['attack']}: correct after each round: {accuracies} "
        f"(linf, total {attack['epsilon']:.4g} = {attack['epsilon_255']:.4g}/255)"
    )


def study_facts(
    classifier: Classifier,
    attack: GradientSignAttack,
    grid: tuple[int, int],
    image_shape: Sequence[int | None],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """What is done to each image, ready for JSON.

    Args:
        classifier: the network.
        attack: followed round by round.
        grid: rows and columns of the attention layer.
        image_shape: `(H, W, C)`.
        options: further choices.

    Returns:
        The `study` entry of a summary.
    """
    return {
        "attack": attack.threat_model(classifier.bounds),
        "rounds": attack.num_steps,
        "attention_layer": classifier.attention_layer,
        "grid": list(grid),
        "image_shape": list(image_shape),
        **options,
    }


def study_fingerprint(
    classifier: Classifier,
    study: Mapping[str, Any],
    description: Mapping[str, Any],
) -> dict[str, Any]:
    """What must be the same for records to belong together, as JSON gives it back.

    Returns:
        `aad_tf` (version), `weights`, `bounds`, `dataset` (as described) and `study`, which
        holds the parameters of the attack.
    """
    facts = {
        "aad_tf": __version__,
        "weights": weights_fingerprint(classifier),
        "bounds": [float(bound) for bound in classifier.bounds],
        "dataset": description.get("dataset"),
        "study": dict(study),
    }
    return json.loads(json.dumps(facts))
