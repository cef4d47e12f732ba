"""Synchronised BatchNormalization, in whose calls replicas wait for each other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# Two devices train in some 20 s; what waits for ever is ended here.
SECONDS = 200
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Weights after two steps by model and number of devices."""
    path = tmp_path_factory.mktemp("synchronized") / "weights.npz"
    command = [sys.executable, "-m", "tests.defenses.synchronized_worker", str(path)]
    done = subprocess.run(command, cwd=ROOT, timeout=SECONDS, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
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
