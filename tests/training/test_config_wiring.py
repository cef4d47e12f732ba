"""Every field of a config reaches the object that it is about; a new field needs a case here.

Each case changes one field and reads an attribute of what is built from the config. The same
attribute of what `BASE` builds must differ, so that a field that is dropped on the way fails.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from keras.optimizers import SGD

from aad_tf import configs, data, model_directory, models
from aad_tf.attacks import parse_attack
from aad_tf.configs import DefenseConfig, ExperimentConfig
from aad_tf.defenses import AADModel, AdversarialModel, DefenseModel, EnsembleAdversarialModel
from aad_tf.losses import AADLosses
from aad_tf.training import build_defense
from aad_tf.training.monitors import monitors
from aad_tf.training.run import TrainingRun
from aad_tf.utils.files import write_json_atomically

SHAPE = (28, 28, 1)
ADVERSARIAL = DefenseConfig("adversarial", "fgsm(epsilon=0.1)")
TRADES = DefenseConfig("trades", "trades_pgd(epsilon=0.1, step_size=0.05, num_steps=1)")
PAIRING = DefenseConfig("pairing", "fgsm(epsilon=0.1)")
AAD = DefenseConfig("aad", "step_ll(epsilon=0.1, num_steps=2)")
# Fields that reach nothing that is built, and what shows that they are read.
NOT_IN_TRAINING = {
    "name": "tests/training/test_model_directories.py::test_the_run_is_recorded",
    "reference": "a text for the reader of a preset",
    "snapshot_epochs": "tests/training/test_monitors.py",
    "budget": "a text for the reader of a preset",
    "evaluation_attacks": "tests/binaries/test_eval_robustness.py",
}


class Case(NamedTuple):
    """A change to a config, and what it makes of an attribute of what is built.

    Attributes:
        changes: of fields of the config.
        found: reads the attribute.
        expected: its value.
        base: what is changed.
    """

    changes: dict[str, Any]
    found: Callable[[Any], Any]
    expected: Any
    base: Any


def defended(defense: DefenseConfig) -> DefenseModel:
    return build(ExperimentConfig(defense=defense))


@functools.cache
def _network(model: str, options: tuple[tuple[str, Any], ...]) -> keras.Model:
    return models.build(model, SHAPE, 10, **dict(options))


_BUILT: dict[str, DefenseModel] = {}


def build(config: ExperimentConfig) -> DefenseModel:
    """The compiled defence, built once for equal configs; those of one network share it."""
    if (key := repr(config)) not in _BUILT:
        network = _network(config.model, tuple(config.model_options.items()))
        _BUILT[key] = build_defense(config, network, steps_per_epoch=10)
    return _BUILT[key]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory of a network that is trained already."""
    directory = tmp_path_factory.mktemp("trained")
    run = TrainingRun.prepare(ExperimentConfig(seed=5), directory)
    write_json_atomically(directory / model_directory.CONFIG, configs.to_dict(run.config))
    run.build_model().network.save(directory / model_directory.NETWORK)
    (directory / model_directory.RUN).write_text('{"state": "finished"}')
    return directory


DEFENSE_CASES = {
    "kind": Case({"kind": "adversarial"}, type, AdversarialModel, AAD),
    "attack": Case(
        {"attack": "pgd(epsilon=0.2, step_size=0.1, num_steps=3)"},
        lambda model: model.attack,
        parse_attack("pgd(epsilon=0.2, step_size=0.1, num_steps=3)"),
        ADVERSARIAL,
    ),
    "replace_clean": Case(
        {"replace_clean": True}, lambda model: model.replace_clean, True, ADVERSARIAL
    ),
    "weights": Case(
        {"weights": (5.0, 3.0, 2.0)}, lambda model: model.loss_weights_aad, (5.0, 3.0, 2.0), AAD
    ),
    "losses": Case({"losses": "paper"}, lambda model: model.parts, AADLosses.preset("paper"), AAD),
    "loss_parts": Case(
        {"loss_parts": {"rectification": "l1"}},
        lambda model: model.parts,
        AADLosses.preset("balanced").replace(rectification="l1"),
        AAD,
    ),
    "beta": Case({"beta": 2.5}, lambda model: model.beta, 2.5, TRADES),
    "pairing": Case(
        {"pairing": (0.25, 2.0)},
        lambda model: (model.logit_weight, model.attention_weight),
        (0.25, 2.0),
        PAIRING,
    ),
    "warmup_steps of pairing": Case(
        {"warmup_steps": 7}, lambda model: model.warmup_steps, 7, PAIRING
    ),
    "attack of pairing": Case(
        {"attack": "fgsm(epsilon=0.3)"},
        lambda model: model.attack,
        parse_attack("fgsm(epsilon=0.3)"),
        PAIRING,
    ),
    "warmup_steps of TRADES": Case(
        {"warmup_steps": 7}, lambda model: model.warmup_steps, 7, TRADES
    ),
    "attack of TRADES": Case(
        {"attack": "fgsm(epsilon=0.3)"},
        lambda model: model.attack,
        parse_attack("fgsm(epsilon=0.3)"),
        TRADES,
    ),
    "fill": Case({"fill": "1/4"}, lambda model: model.parts.fill, 0.25, AAD),
    "update_per_round": Case(
        {"update_per_round": True}, lambda model: model.update_per_round, True, AAD
    ),
    "attention_noise": Case(
        {"attention_noise": "shared"}, lambda model: model.attention_noise, "shared", AAD
    ),
    "warmup_steps": Case({"warmup_steps": 7}, lambda model: model.warmup_steps, 7, AAD),
    "warmup_steps of adversarial training": Case(
        {"warmup_steps": 7}, lambda model: model.warmup_steps, 7, ADVERSARIAL
    ),
    "attack of AAD": Case(
        {"attack": "fgsm(epsilon=0.3)"},
        lambda model: model.attack,
        parse_attack("fgsm(epsilon=0.3)"),
        AAD,
    ),
}


@pytest.mark.parametrize("name", DEFENSE_CASES)
def test_a_field_of_the_defense_reaches_the_model(name: str) -> None:
    case = DEFENSE_CASES[name]
    assert case.found(defended(case.base)) != case.expected
    assert case.found(defended(dataclasses.replace(case.base, **case.changes))) == case.expected


def test_sources_reach_the_model(trained: Path) -> None:
    config = DefenseConfig(
        "ensemble", "fgsm(epsilon=0.1)", replace_clean=True, warmup_steps=7, sources=(str(trained),)
    )
    # What the network itself started from may be gone.
    model = build(ExperimentConfig(defense=config, initial_weights="moved"))
    assert isinstance(model, EnsembleAdversarialModel)
    (source,) = model.sources
    expected = model_directory.load_network(trained).get_weights()
    for found, wanted in zip(source.model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert (model.replace_clean, model.warmup_steps) == (True, 7)
    assert model.attack == parse_attack("fgsm(epsilon=0.1)")


def test_every_field_of_the_defense_has_a_case() -> None:
    fields = {field.name for field in dataclasses.fields(DefenseConfig)}
    assert fields - set(DEFENSE_CASES) - {"sources"} == set()


def schedule(model: DefenseModel) -> dict[str, Any]:
    rate = model.optimizer._learning_rate
    return rate.get_config() | {"kind": type(rate).__name__}


def first_batch(config: ExperimentConfig) -> np.ndarray:
    run = TrainingRun.prepare(config, "unused")
    return next(iter(run.training_data(0, 0)))[0].numpy()


def run_of(config: ExperimentConfig) -> TrainingRun:
    return TrainingRun.prepare(config, "unused")


def checkpoint_of(config: ExperimentConfig) -> Any:
    return run_of(config).checkpoint(build(config))


BASE = ExperimentConfig()
COSINE = dataclasses.replace(BASE, learning_rate_schedule="cosine")
STAIRS = dataclasses.replace(BASE, learning_rate_schedule="exponential")


def of_model(read: Callable[[DefenseModel], Any]) -> Callable[[ExperimentConfig], Any]:
    return lambda config: read(build(config))


EXPERIMENT_CASES = {
    "image_size": Case(
        {"image_size": 14}, lambda config: first_batch(config).shape, (100, 14, 14, 1), BASE
    ),
    "model": Case({"model": "cifarnet"}, of_model(lambda m: m.network.name), "cifarnet", BASE),
    "model_options": Case(
        {"model_options": {"dropout_rate": 0.3}},
        lambda config: [
            layer.rate
            for layer in model_directory.build_network(config, SHAPE, 10).layers
            if isinstance(layer, keras.layers.Dropout)
        ],
        [0.3],
        BASE,
    ),
    "attention_layer": Case(
        {"attention_layer": "conv1"},
        of_model(lambda m: m.classifier.attention_layer),
        "conv1",
        BASE,
    ),
    "defense": Case({"defense": AAD}, of_model(type), AADModel, BASE),
    "optimizer": Case({"optimizer": "sgd"}, of_model(lambda m: type(m.optimizer)), SGD, BASE),
    "optimizer_options": Case(
        {"optimizer_options": {"beta_1": 0.5}}, of_model(lambda m: m.optimizer.beta_1), 0.5, BASE
    ),
    "learning_rate": Case(
        {"learning_rate": 0.25},
        of_model(lambda m: float(m.optimizer.learning_rate)),
        0.25,
        BASE,
    ),
    "learning_rate_schedule": Case(
        {"learning_rate_schedule": "exponential"},
        of_model(lambda m: type(m.optimizer._learning_rate).__name__),
        "ExponentialDecay",
        BASE,
    ),
    "warmup_epochs": Case(
        {"warmup_epochs": 3}, of_model(lambda m: schedule(m)["warmup_steps"]), 30, COSINE
    ),
    "decay_epochs": Case(
        {"decay_epochs": 3.0}, of_model(lambda m: schedule(m)["decay_steps"]), 30.0, STAIRS
    ),
    "decay_rate": Case(
        {"decay_rate": 0.5}, of_model(lambda m: schedule(m)["decay_rate"]), 0.5, STAIRS
    ),
    "label_smoothing": Case(
        {"label_smoothing": 0.2}, of_model(lambda m: m.label_smoothing), 0.2, BASE
    ),
    "augmentation": Case(
        {"augmentation": "flip"},
        # Half of the images are mirrored, so that some differ and some do not.
        lambda config: len(
            {(a == b).all() for a, b in zip(first_batch(config), first_batch(BASE), strict=True)}
        ),
        2,
        BASE,
    ),
    "batch_size": Case({"batch_size": 60}, lambda config: first_batch(config).shape[0], 60, BASE),
    "replica_batch_size": Case(
        {"replica_batch_size": 60}, lambda config: first_batch(config).shape[0], 60, BASE
    ),
    "epochs": Case({"epochs": 7}, of_model(lambda m: schedule(m)["decay_steps"]), 70, COSINE),
    "train_examples": Case({"train_examples": 250}, lambda config: run_of(config).steps, 3, BASE),
    "precision": Case(
        {"precision": "mixed_bfloat16"},
        lambda config: model_directory.build_network(config, SHAPE, 10).layers[1].compute_dtype,
        "bfloat16",
        BASE,
    ),
    "seed": Case({"seed": 9}, of_model(lambda m: m.seed), 9, BASE),
    "validation_examples": Case(
        {"validation_examples": 120},
        lambda config: sum(len(labels) for _, labels in run_of(config).validation_data()),
        120,
        BASE,
    ),
    "validation_attacks": Case(
        {"validation_attacks": ("fgsm(epsilon=0.1)", "pgd(0.1, 0.05, 1)")},
        lambda config: [each._name for each in run_of(config).robust_accuracies()],
        ["robust_accuracy_fgsm(epsilon=0.1)", "robust_accuracy_pgd(0.1,0.05,1)"],
        BASE,
    ),
    "early_stopping": Case(
        {"early_stopping": "fgsm(epsilon=0.1)"},
        lambda config: [each._name for each in run_of(config).robust_accuracies()],
        ["robust_accuracy_fgsm(epsilon=0.1)"],
        BASE,
    ),
    "patience": Case(
        {"patience": 3},
        lambda config: run_of(config).best_epoch(build(config))._patience,
        3,
        dataclasses.replace(BASE, early_stopping="fgsm(epsilon=0.1)"),
    ),
    "monitor_examples": Case(
        {"monitor_examples": 20},
        lambda config: [len(callback._batches) for callback in monitors(run_of(config))[:1]],
        [1],
        dataclasses.replace(BASE, defense=AAD),
    ),
    "monitor_attack": Case(
        {"monitor_attack": "fgsm(epsilon=0.2)"},
        lambda config: monitors(run_of(config))[0]._attack,
        parse_attack("fgsm(epsilon=0.2)"),
        dataclasses.replace(BASE, defense=AAD, monitor_examples=20),
    ),
    "checkpoint_steps": Case(
        {"checkpoint_steps": 17}, lambda config: checkpoint_of(config).every, 17, BASE
    ),
    "steps_per_execution": Case(
        {"steps_per_execution": 5}, of_model(lambda m: m.steps_per_execution), 5, BASE
    ),
    "jit_compile": Case({"jit_compile": True}, of_model(lambda m: m.jit_compile), True, BASE),
}
for _defense in (ADVERSARIAL, TRADES, PAIRING, AAD):
    _kind = _defense.kind
    EXPERIMENT_CASES |= {
        f"label_smoothing of {_kind}": EXPERIMENT_CASES["label_smoothing"]._replace(
            base=dataclasses.replace(BASE, defense=_defense)
        ),
        f"seed of {_kind}": EXPERIMENT_CASES["seed"]._replace(
            base=dataclasses.replace(BASE, defense=_defense)
        ),
    }


@pytest.mark.parametrize("name", EXPERIMENT_CASES)
def test_a_field_of_the_experiment_reaches_what_is_built(name: str) -> None:
    case = EXPERIMENT_CASES[name]
    assert case.found(case.base) != case.expected
    assert case.found(dataclasses.replace(case.base, **case.changes)) == case.expected


# Have a test of their own below.
APART = {"dataset", "initial_weights"}


def test_every_field_of_the_experiment_has_a_case() -> None:
    fields = {field.name for field in dataclasses.fields(ExperimentConfig)}
    assert fields - set(EXPERIMENT_CASES) - set(NOT_IN_TRAINING) - APART == set()
    assert set(NOT_IN_TRAINING) <= fields


def test_the_data_set_and_its_directory_reach_all_that_reads_data(tmp_path: Path) -> None:
    config = ExperimentConfig(dataset="mnist")
    run = TrainingRun(config, tmp_path, data.info("digits"), str(tmp_path), run_of(BASE).strategy)
    for read in (
        lambda: TrainingRun.prepare(config, tmp_path, str(tmp_path)),
        lambda: run.training_data(0, 0),
        run.validation_data,
    ):
        with pytest.raises(data.DatasetNotFoundError, match="mnist") as missing:
            read()
        assert str(tmp_path) in str(missing.value)


def test_initial_weights_and_the_seed_reach_the_network(trained: Path) -> None:
    def weights(**changes: Any) -> np.ndarray:
        run = TrainingRun.prepare(ExperimentConfig(**changes), "unused")
        return np.asarray(run.build_model().network.get_weights()[0])

    of_trained = model_directory.load_network(trained).get_weights()[0]
    np.testing.assert_array_equal(weights(initial_weights=str(trained)), of_trained)
    np.testing.assert_array_equal(weights(seed=5), of_trained)
    assert np.abs(weights(seed=6) - of_trained).max() > 0.01
