"""Weights files on small networks: every format, and that a file fits wholly or is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from aad_tf import models
from aad_tf.models.weights_files import load_weights_file
from tests.networks import bytes_of

layers = keras.layers
FORMATS = ["network.weights.h5", "network.keras", "network.h5"]


def network(classes=3, channels=2, filters=(4, 5), extra=(), seed=0):
    """Two kinds of layers in turns, so that their order matters."""
    keras.utils.set_random_seed(seed)
    images = keras.Input((6, 6, channels))
    net = layers.Rescaling(2.0)(images)
    for count in filters:
        net = layers.Conv2D(count, 1)(net)
        net = layers.BatchNormalization(scale=False)(net)
    net = layers.GlobalAveragePooling2D()(net)
    net = layers.Dense(4)(net)
    for layer in extra:
        net = layer(net)
    model = keras.Model(images, layers.Dense(classes, name="logits")(net), name="small")
    generator = np.random.default_rng(seed)
    model.set_weights([generator.uniform(size=each.shape) for each in model.get_weights()])
    return model


def saved(model, path: Path) -> str:
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)
    return str(path)


@pytest.mark.parametrize("name", FORMATS)
def test_round_trip_is_bit_exact(tmp_path, name):
    # Twelve layers of a kind, so that number 10 must not come before number 2.
    source, target = (network(filters=[4] * 12, seed=seed) for seed in (1, 2))
    assert load_weights_file(target, saved(source, tmp_path / name))
    assert bytes_of(target.weights) == bytes_of(source.weights)


@pytest.mark.parametrize("name", FORMATS)
def test_layers_without_weights_and_the_state_of_training_may_differ(tmp_path, name):
    source, target = network(extra=[layers.Dropout(0.5)], seed=1), network(seed=2)
    source.compile("adam", "mse")
    source.optimizer.build(source.trainable_variables)
    assert load_weights_file(target, saved(source, tmp_path / name))
    assert bytes_of(target.weights) == bytes_of(source.weights)


@pytest.mark.parametrize("classes", [1000, 7])
@pytest.mark.parametrize("name", FORMATS)
def test_other_classes_leave_the_logits(tmp_path, name, classes):
    path = saved(network(classes, seed=1), tmp_path / name)
    source, target, fresh = network(classes, seed=1), network(seed=2), network(seed=2)
    assert not load_weights_file(target, path)
    assert bytes_of(target.weights[:-2]) == bytes_of(source.weights[:-2])
    assert bytes_of(target.weights[-2:]) == bytes_of(fresh.weights[-2:])
    same = network(classes, seed=3)
    assert load_weights_file(same, path)
    assert bytes_of(same.weights) == bytes_of(source.weights)


@pytest.mark.parametrize("name", FORMATS)
def test_files_without_a_logits_layer_leave_it(tmp_path, name):
    def without_dense(seed):
        model = network(seed=seed)
        pooled = model.layers[-3].output
        return keras.Model(model.inputs[0], layers.Dense(3, name="logits")(pooled))

    source, target = without_dense(1), without_dense(2)
    head = bytes_of(target.weights[-2:])
    body = keras.Model(source.inputs[0], source.layers[-2].output)
    assert not load_weights_file(target, saved(body, tmp_path / name))
    assert bytes_of(target.weights) == bytes_of(source.weights[:-2]) + head


def nested():
    inner = keras.Sequential([keras.Input((4, 4, 3)), layers.Conv2D(2, 3), layers.Flatten()])
    return keras.Sequential([inner, layers.Dense(2)])


FOREIGN = {
    "lenet": models.lenet,
    "nested": nested,
    "no weights": lambda: keras.Sequential([keras.Input((4,)), layers.ReLU()]),
    "fewer layers": lambda: network(filters=(4,)),
    "more layers": lambda: network(filters=(4, 5, 5)),
    "another layer": lambda: network(extra=[layers.LayerNormalization()]),
    "another kind": lambda: keras.Sequential([keras.Input((6, 6, 2)), layers.Conv2D(4, 1)]),
    "one more dense layer": lambda: network(extra=[layers.Dense(4)]),
    "wider layer": lambda: network(filters=(4, 6)),
    "other channels": lambda: network(channels=1),
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("name", ["network.weights.h5", "network.h5"])
def test_weights_of_another_network_are_refused(tmp_path, name, kind):
    target = network()
    before = bytes_of(target.weights)
    path = saved(FOREIGN[kind](), tmp_path / name)
    with pytest.raises(ValueError, match=f"{name} holds no weights for small, or"):
        load_weights_file(target, path)
    assert bytes_of(target.weights) == before


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("lenet", r"0 of the network's 6 layers found their weights; 'conv2d\S*' found none"),
        (
            "fewer layers",
            r"3 of the network's 6 layers found their weights; 'conv2d_\d+' found none",
        ),
        ("more layers", "it has 19 arrays of weights, the network 14"),
        ("wider layer", r"found none of the shapes \[\(1, 1, 4, 5\), \(5,\)\]"),
    ],
)
def test_messages_say_what_does_not_fit(tmp_path, kind, message):
    path = saved(FOREIGN[kind](), tmp_path / "network.weights.h5")
    with pytest.raises(ValueError, match=message):
        load_weights_file(network(), path)


def test_files_that_are_missing_cut_short_or_something_else(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weights file 'imagnet'"):
        load_weights_file(network(), "imagnet")
    whole = Path(saved(network(), tmp_path / "network.weights.h5")).read_bytes()
    for name, content in (("cut.weights.h5", whole[: len(whole) // 2]), ("text.h5", b"weights")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} holds no weights for small, or is cut short"):
            load_weights_file(network(), str(tmp_path / name))
    with zipfile.ZipFile(tmp_path / "archive.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(ValueError, match="archive.keras holds no weights .*model.weights.h5"):
        load_weights_file(network(), str(tmp_path / "archive.keras"))


def test_an_interrupted_load_leaves_the_network_as_it_was(tmp_path, monkeypatch):
    path, model = saved(network(seed=1), tmp_path / "network.weights.h5"), network()
    before = bytes_of(model.weights)

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(keras.Model, "load_weights", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_weights_file(model, path)
    assert bytes_of(model.weights) == before
