"""Learning rates over updates, by hand; options reach the optimizer."""

from __future__ import annotations

import dataclasses
import math

import keras
import numpy as np
import pytest

from aad_tf.configs import ExperimentConfig
from aad_tf.training.optimizers import build_optimizer, learning_rate

BASE = ExperimentConfig(optimizer="sgd", learning_rate=0.4, epochs=10)


def rates(steps, **changes):
    schedule = learning_rate(dataclasses.replace(BASE, **changes), 100)
    return [float(schedule(step)) for step in steps]


def test_constant():
    assert learning_rate(BASE, 100) == 0.4


def test_cosine_falls_to_zero():
    found = rates([0, 250, 500, 1000], learning_rate_schedule="cosine")
    quarter = 0.4 * (1 + math.cos(math.pi / 4)) / 2
    np.testing.assert_allclose(found, [0.4, quarter, 0.2, 0.0], atol=1e-6)


def test_cosine_with_warm_up():
    """200 updates up from 0.4/200, then 800 down."""
    steps = [0, 100, 200, 600, 1000]
    found = rates(steps, learning_rate_schedule="cosine", warmup_epochs=2)
    np.testing.assert_allclose(found, [0.002, 0.201, 0.4, 0.2, 0.0], atol=1e-6)


def test_triangular():
    """400 updates up, 600 down; Wong et al. (2020) interpolate at the end of each update."""
    steps = np.array([0, 199, 399, 400, 699, 999, 1500])
    found = rates(steps, learning_rate_schedule="triangular", warmup_epochs=4)
    expected = np.interp(steps + 1, [0, 400, 1000], [0.0, 0.4, 0.0])
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert rates([0, 499], learning_rate_schedule="triangular") == pytest.approx([0.3996, 0.2])
    schedule = learning_rate(
        dataclasses.replace(BASE, learning_rate_schedule="triangular", warmup_epochs=4), 100
    )
    again = type(schedule).from_config(schedule.get_config())
    assert float(again(123)) == float(schedule(123))


def test_exponential_steps():
    found = rates(
        [0, 299, 300, 650], learning_rate_schedule="exponential", decay_epochs=3.0, decay_rate=0.5
    )
    np.testing.assert_allclose(found, [0.4, 0.4, 0.2, 0.1], rtol=1e-6)


def test_options_and_decay_of_kernels_only():
    options = {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}
    optimizer = build_optimizer(dataclasses.replace(BASE, optimizer_options=options), 100)
    assert (optimizer.momentum, optimizer.nesterov) == (0.9, True)
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(1), keras.layers.BatchNormalization()]
    )
    before = [np.ones_like(w) for w in model.get_weights()]
    model.set_weights(before)
    optimizer.apply(
        [np.zeros_like(v) for v in model.trainable_variables], model.trainable_variables
    )
    kernel, *others = (np.asarray(v) for v in model.trainable_variables)
    np.testing.assert_allclose(kernel, 1 - 0.4 * 0.1, rtol=1e-6)
    for other in others:
        np.testing.assert_array_equal(other, np.ones_like(other))


def test_what_cannot_be_built():
    with pytest.raises(ValueError, match="momentun"):
        build_optimizer(dataclasses.replace(BASE, optimizer_options={"momentun": 1}), 100)
    with pytest.raises(ValueError, match="Cannot build optimizer 'sdg'"):
        build_optimizer(dataclasses.replace(BASE, optimizer="sdg"), 100)
    with pytest.raises(ValueError, match="only 'cosine' and 'triangular' warm up"):
        dataclasses.replace(BASE, warmup_epochs=2)
    with pytest.raises(ValueError, match="less than epochs"):
        dataclasses.replace(BASE, warmup_epochs=10, learning_rate_schedule="cosine")
    with pytest.raises(ValueError, match="Did you mean 'cosine'"):
        dataclasses.replace(BASE, learning_rate_schedule="cosin")
    with pytest.raises(ValueError, match="decay_rate must be above 0"):
        dataclasses.replace(BASE, decay_rate=0.0)


def test_averaged_weights_are_refused_since_they_cannot_be_resumed():
    config = dataclasses.replace(BASE, optimizer_options={"use_ema": True})
    with pytest.raises(ValueError, match="use_ema cannot be resumed exactly"):
        build_optimizer(config, 100)
