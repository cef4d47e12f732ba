"""Builds the network of a config, wraps it in its defence and compiles it."""

from __future__ import annotations

from typing import Any

import keras

from aad_tf import model_directory
from aad_tf.attacks import parse_attack
from aad_tf.classifier import Classifier
from aad_tf.configs import ExperimentConfig
from aad_tf.data import DatasetInfo
from aad_tf.defenses import (
    AADModel,
    AdversarialModel,
    DefenseModel,
    EnsembleAdversarialModel,
    PairingModel,
    StandardModel,
    TradesModel,
)
from aad_tf.training.optimizers import build_optimizer


def build_defense(
    config: ExperimentConfig, network: keras.Model, steps_per_epoch: int
) -> DefenseModel:
    """Wraps a network in the defence of a config and compiles it.

    Args:
        config: names the defence, attack, losses and optimizer.
        network: the network to train.
        steps_per_epoch: batches per epoch, by which learning-rate schedules turn epochs into
            updates.

    Returns:
        A compiled defence, a Keras model.

    Raises:
        ModelDirectoryError: a source network of an ensemble is missing, unfinished, or trained on
            another data set.
        ValueError: an optimizer that cannot be built, or a network or attack that the defence
            refuses.
    """
    classifier = Classifier.from_keras(network, config.attention_layer or None)
    model = _defended(config, classifier)
    rounds = model.attack.num_steps if isinstance(model, AADModel) and model.update_per_round else 1
    model.compile(
        build_optimizer(config, steps_per_epoch * rounds),
        steps_per_execution=config.steps_per_execution,
        jit_compile=config.jit_compile,
    )
    return model


def _defended(config: ExperimentConfig, classifier: Classifier) -> DefenseModel:
    defense = config.defense
    options: dict[str, Any] = {"seed": config.seed, "label_smoothing": config.label_smoothing}
    if defense.kind == "none":
        return StandardModel(classifier, **options)
    attack: Any = parse_attack(defense.attack)
    if defense.kind == "aad":
        return AADModel(
            classifier,
            attack=attack,
            weights=defense.weights,
            losses=defense.attention_losses,
            update_per_round=defense.update_per_round,
            attention_noise=defense.attention_noise,
            warmup_steps=defense.warmup_steps,
            **options,
        )
    options["warmup_steps"] = defense.warmup_steps
    if defense.kind == "trades":
        return TradesModel(classifier, attack=attack, beta=defense.beta, **options)
    if defense.kind == "pairing":
        logits, maps = defense.pairing
        return PairingModel(
            classifier, attack=attack, logit_weight=logits, attention_weight=maps, **options
        )
    options["replace_clean"] = defense.replace_clean
    if defense.kind == "adversarial":
        return AdversarialModel(classifier, attack=attack, **options)
    # Where training started from does not matter any more: the network is there.
    check_trained_networks(config, weights_follow=True)
    sources = [model_directory.load_classifier(path)[0] for path in defense.sources]
    return EnsembleAdversarialModel(classifier, sources=sources, attack=attack, **options)


def build_model(
    config: ExperimentConfig, dataset: DatasetInfo, steps: int, *, weights_follow: bool = False
) -> DefenseModel:
    """Builds the network of a config, with its initial weights, wraps and compiles it.

    Sets the global random seed of Keras to `config.seed`.

    Args:
        config: what is trained.
        dataset: gives the shape of images and the number of classes.
        steps: batches per epoch.
        weights_follow: True if the caller restores a checkpoint next, so that initial weights are
            not read.

    Returns:
        A compiled defence, a Keras model.

    Raises:
        ModelDirectoryError: a network whose weights are the initial ones, or that is attacked, is
            missing or unfinished, or initial weights are of another architecture.
        ValueError: an optimizer that cannot be built, or a network or attack that the defence
            refuses.
    """
    keras.utils.set_random_seed(config.seed)
    network = model_directory.build_network(
        config, dataset.image_shape, dataset.num_classes, weights_follow=weights_follow
    )
    if config.initial_weights and not weights_follow:
        model_directory.copy_weights(config.initial_weights, network)
    return build_defense(config, network, steps)


def check_trained_networks(config: ExperimentConfig, *, weights_follow: bool = False) -> None:
    """Checks that the trained networks that a config names exist and are of the same data set.

    Args:
        config: names the model directory that training starts from in `initial_weights`, and those
            of networks that are attacked in `defense.sources`.
        weights_follow: True if the caller restores a checkpoint next, so that `initial_weights` is
            not checked.

    Raises:
        ModelDirectoryError: a model directory is missing or of another data set, or the run that
            training starts from has not finished.
    """
    initial = (config.initial_weights,) if config.initial_weights and not weights_follow else ()
    for path in (*initial, *config.defense.sources):
        dataset = model_directory.read_config(path).dataset
        if dataset != config.dataset:
            raise model_directory.ModelDirectoryError(
                f"The config names {path}, which was trained on {dataset!r}; this run trains on "
                f"{config.dataset!r}. Networks to start from or to attack must have the same "
                f"classes."
            )
    if initial and not model_directory.is_finished(config.initial_weights):
        raise model_directory.ModelDirectoryError(
            f"initial_weights names {config.initial_weights}, whose training has not finished. "
            f"Run its train.main command again to resume it."
        )
