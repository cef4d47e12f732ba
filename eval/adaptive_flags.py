"""Flags of adaptive attacks: attacks on the loss a network was trained on, and from its twin.

The twin is the same architecture, trained without attention losses.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from absl import flags

from aad_tf import model_directory
from aad_tf.attacks import Attack, AwayFromLabel, adaptive_attacks
from aad_tf.attacks.adaptive import DEFAULT_WEIGHTS
from aad_tf.attacks.parsing import parse_number
from aad_tf.classifier import Classifier
from aad_tf.configs import ExperimentConfig
from aad_tf.evaluation.summary import looks_for_nearest
from aad_tf.losses import AADLosses
from aad_tf.utils.provenance import portable
from eval.inputs import Network, described

ADAPTIVE = flags.DEFINE_bool(
    "adaptive",
    False,
    "Run the adaptive attacks on attention defences: PGD and APGD on the classification alone, on "
    "AAD's total loss, on the same with its attention terms turned around, and with A3 in both "
    "directions. Those of --attacks are run beside them; the config's own are not.",
)
EPSILON = flags.DEFINE_string(
    "adaptive_epsilon",
    None,
    "Budget of the adaptive attacks, such as 0.15 or 8/255; by default that of the first attack of "
    "--attacks that has one, else of the config of a model directory.",
)
STEPS = flags.DEFINE_integer("adaptive_steps", 20, "Steps of each adaptive attack.", 1)
WEIGHTS = flags.DEFINE_list(
    "adaptive_weights",
    None,
    "alpha,beta,gamma of AAD's total loss in the adaptive attacks; by default those that the "
    "network was trained with, else the paper's 8,4,1.",
)
TWIN = flags.DEFINE_string(
    "twin_dir",
    None,
    "Directory that train.main wrote of the network's alpha-only twin, the same architecture "
    "trained with --config.defense.weights='(8, 0, 0)': the plain attacks of --adaptive follow its "
    "gradients, too.",
)
NAMES = ("adaptive", "adaptive_epsilon", "adaptive_steps", "adaptive_weights", "twin_dir")
"""To be declared as key flags of a binary, so that its `--help` shows them."""


class Adaptive(NamedTuple):
    """The adaptive attacks that the flags ask for; empty without `--adaptive`.

    Attributes:
        attacks: the adaptive attacks and the plain ones they are compared with, all on the
            network's own gradients.
        twin: the network whose gradients the attacks `transferred` follow, or None.
        transferred: the plain attacks again, if there is a twin; else None.
        note: a sentence for the user on the weights of the loss and where they come from.
        description: the weights, where they come from, and the twin, as JSON can hold them.
    """

    attacks: tuple[Attack, ...] = ()
    twin: Classifier | None = None
    transferred: tuple[Attack, ...] | None = None
    note: str = ""
    description: Mapping[str, Any] = MappingProxyType({})


def chosen(network: Network, others: list[Attack]) -> Adaptive:
    """Makes the adaptive attacks on a network that the flags ask for.

    Args:
        network: the network that is evaluated.
        others: attacks of `--attacks`, or else of the network's config; the budget of the first one
            that has one is the default of `--adaptive_epsilon`.

    Returns:
        The attacks; an empty `Adaptive` without `--adaptive`.

    Raises:
        ValueError: flags that belong to `--adaptive` are given without it; no budget; malformed
            weights; or a twin that has another architecture or data, or that was trained with
            attention losses.
    """
    if not ADAPTIVE.value:
        for flag in (EPSILON, STEPS, WEIGHTS, TWIN):
            if flag.present:
                raise ValueError(f"--{flag.name} belongs to --adaptive: give that, too.")
        return Adaptive()
    weights, losses, source = _losses_of(network)
    attacks = adaptive_attacks(
        _budget(network, others), STEPS.value, weights=weights, losses=losses
    )
    note = f"Adaptive attacks climb the loss alpha:beta:gamma = {_ratio(weights)}, {source}."
    description: dict[str, Any] = {"weights": list(weights), "source": source}
    if TWIN.value is None:
        return Adaptive(tuple(attacks), note=note, description=description)
    twin, config = model_directory.load_classifier(TWIN.value)
    _check_twin(config, network.config)
    plain = tuple(each for each in attacks if each.objective == AwayFromLabel())
    description["twin"] = described(config)
    return Adaptive(tuple(attacks), twin, plain, note, description)


def _losses_of(network: Network) -> tuple[tuple[float, ...], AADLosses, str]:
    """Weights and losses that attacks climb, and where they come from."""
    trained, source = network.attention_losses, "with which the network was trained"
    if trained is None:
        trained = (DEFAULT_WEIGHTS, AADLosses())
        source = "the paper's, for nothing tells that the network was trained with AAD"
    elif not any(trained[0][1:]):
        trained = (DEFAULT_WEIGHTS, trained[1])
        source = "the paper's, for the network was trained with AAD's classification loss alone"
    weights, losses = trained
    if WEIGHTS.value is not None:
        weights, source = _numbers(WEIGHTS.value), "as given"
    return weights, losses, source


def _numbers(texts: list[str]) -> tuple[float, ...]:
    try:
        return tuple(map(parse_number, texts))
    except ValueError:
        raise ValueError(
            f"--adaptive_weights must be three numbers such as 8,4,1, got {','.join(texts)}."
        ) from None


def _ratio(weights: tuple[float, ...]) -> str:
    return ":".join(f"{weight:g}" for weight in weights)


def _budget(network: Network, others: list[Attack]) -> float:
    if EPSILON.value is None:
        models = [each.threat_model(network.classifier.bounds) for each in others]
        # Of a search at any distance, such as fab(epsilon=None), it is the whole pixel range; and
        # attacks that know the defence are l-inf attacks.
        budgets = [
            model["epsilon"]
            for model in models
            if model["norm"] == "linf" and not looks_for_nearest(model)
        ]
        if not budgets:
            raise ValueError(
                "Which budget? Give --adaptive_epsilon=8/255, or --attacks with a budget in l-inf."
            )
        return float(budgets[0])
    try:
        return parse_number(EPSILON.value)
    except ValueError:
        raise ValueError(
            f"--adaptive_epsilon must be a number such as 0.15 or 8/255, got {EPSILON.value!r}."
        ) from None


def _check_twin(twin: ExperimentConfig, own: ExperimentConfig | None) -> None:
    """Refuses what is no twin; of a network without a config only its inputs can be compared."""
    weights = twin.defense.weights
    if twin.defense.kind == "aad" and any(weights[1:]):
        raise ValueError(
            f"--twin_dir={TWIN.value} was trained with attention losses, at weights "
            f"{_ratio(tuple(weights))}. The twin is trained without, with "
            f"--config.defense.weights='(8, 0, 0)'."
        )
    for name in ("model", "model_options", "dataset") if own else ():
        ours, theirs = getattr(own, name), getattr(twin, name)
        if ours != theirs:
            raise ValueError(
                f"--twin_dir={TWIN.value} has the {name} {portable(theirs)}, the network "
                f"{portable(ours)}. A twin is the same network, trained on the same data."
            )
