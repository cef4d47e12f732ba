"""Synchronised BatchNormalization, in whose calls replicas wait for each other."""

from __future__ import annotations

import numpy as np
import pytest

from tests.binaries.many_runs import run_many

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Weights after two steps by model and number of devices."""
    path = tmp_path_factory.mktemp("synchronized") / "weights.npz"
    (done,) = run_many("tests.defenses.synchronized_worker", [[path]])
    assert done.code == 0, done.errors[-3000:]
    return dict(np.load(path))


def test_standard_training_equals_plain_keras_on_two_devices(weights) -> None:
    np.testing.assert_allclose(weights["standard_two"], weights["plain_two"], atol=1e-10)


def test_evaluations_on_two_devices_repeat_and_their_batches_differ(weights) -> None:
    one, two, *again = weights["evaluations_two"]
    assert again == [one, two]
    assert one != two


@pytest.mark.parametrize("defense", ["standard", "aad"])
def test_two_devices_train_as_one(weights, defense: str) -> None:
    # The statistics are those of the whole batch, so nothing depends on the number of devices.
    # The losses of AAD are differentiated twice through the second normalization.
    one, two = weights[f"{defense}_one"], weights[f"{defense}_two"]
    np.testing.assert_allclose(two, one, atol=1e-9)
    assert np.abs(one - weights["plain_one"]).max() > 1e-3 or defense == "standard"
