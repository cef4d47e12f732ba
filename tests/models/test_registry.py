"""Networks by name, and what is said when a request makes no sense."""

from __future__ import annotations

import inspect
import math
import re

import keras
import numpy as np
import pytest

from aad_tf import models
from aad_tf.models import registry


@pytest.fixture
def restored_registry(monkeypatch):
    monkeypatch.setattr(registry, "_BUILDERS", dict(registry._BUILDERS))


def test_available():
    assert {"cifarnet", "lenet"} <= set(models.available())
    assert list(models.available()) == sorted(models.available())


def test_registered_network_can_be_built(restored_registry):
    @models.register("mean")
    def mean(input_shape, num_classes, **options):
        pooled = [keras.Input(input_shape), keras.layers.GlobalAveragePooling2D()]
        return keras.Sequential([*pooled, keras.layers.Dense(num_classes, **options)])

    model = models.build("mean", (4, 4, 3), 2, kernel_initializer="ones")
    assert "mean" in models.available()
    np.testing.assert_allclose(model(np.ones((1, 4, 4, 3), "float32")), [[3.0, 3.0]])


def test_taken_and_empty_names():
    with pytest.raises(ValueError, match="'lenet' is taken by aad_tf.models.lenet.lenet"):
        models.register("lenet")(lambda input_shape, num_classes: None)
    with pytest.raises(ValueError, match="must not be empty"):
        models.register("")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lennet", "Unknown network 'lennet'. Did you mean 'lenet'"),
        ("cifar_net", "Did you mean 'cifarnet'"),
        ("transformer", "Unknown network 'transformer'. Known: cbam_resnet50, cifarnet, "),
    ],
)
def test_unknown_name_lists_the_near_ones(name, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        models.build(name, (28, 28, 1), 10)


@pytest.mark.parametrize("name", ["lenet", "cifarnet"])
@pytest.mark.parametrize(
    ("input_shape", "message"),
    [
        ((28, 28), "expected input_shape=(height, width, channels)"),
        ((None, 28, 28, 1), "without the batch axis; got (None, 28, 28, 1)"),
        ((None, 28, 1), "three positive integers"),
        (28, "three positive integers without the batch axis; got 28."),
        ((28, 28, 1.0), "three positive integers"),
        ((28, 28, True), "three positive integers"),
        ((28, 28, 0), "three positive integers"),
        ((7, 28, 1), "height and width must be at least 8, got 7x28"),
    ],
)
def test_bad_shapes(name, input_shape, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        models.build(name, input_shape, 10)


@pytest.mark.parametrize("name", ["lenet", "cifarnet"])
@pytest.mark.parametrize("num_classes", [1, 0, -3, 10.0, True])
def test_bad_number_of_classes(name, num_classes):
    message = rf"num_classes of {name} must be (at least 2|an integer), got {num_classes!r}"
    with pytest.raises((TypeError, ValueError), match=message):
        models.build(name, (28, 28, 1), num_classes)


NUMBERS = {
    "dropout_rate": {
        1.0: "in [0, 1), got 1.0",
        -0.1: "in [0, 1), got -0.1",
        "a": "number, got 'a'",
    },
    "weight_decay": {math.nan: "finite, got nan", -1.0: "at least 0, got -1.0", "x": "got 'x'"},
    "width": {
        **{0: "positive number, such as 0.5, got 0", -1.0: "positive number", math.inf: "finite"},
        **{"half": "number, such as 0.5, got 'half'", True: "number, such as 0.5, got True"},
    },
    "pad_to": {0: "at least 1, got 0", 31.5: "an integer, got 31.5"},
}


@pytest.mark.parametrize(
    ("name", "option"),
    [
        (name, option)
        for name in models.available()
        # Other tests register networks of their own.
        if registry._BUILDERS[name].__module__.startswith("aad_tf.")
        for option in inspect.signature(registry._BUILDERS[name]).parameters
        if option in NUMBERS
    ],
)
def test_numbers_out_of_range(name, option):
    shape = (96, 96, 3)
    for value, message in NUMBERS[option].items():
        with pytest.raises((TypeError, ValueError), match=re.escape(message)) as raised:
            models.build(name, shape, 10, **{option: value})
        assert option in str(raised.value)


def test_numpy_integers_are_integers():
    assert models.build("lenet", np.array([8, 8, 1]), np.int64(3)).output_shape == (None, 3)


def test_unknown_option_names_the_near_one():
    with pytest.raises(TypeError, match="lenet has no option 'dropout'. Did you mean 'dropout_r"):
        models.build("lenet", (28, 28, 1), 10, dropout=0.3)
    with pytest.raises(TypeError, match="cbam_resnet50 has no option 'attention'"):
        models.build("cbam_resnet50", (32, 32, 3), 10, attention="cbam")
