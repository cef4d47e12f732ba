"""Values of CBAM's original code on small feature maps, for test_cbam.py.

python -m tests.models.cbam_reference PATH writes cbam_reference.json beside this file. PATH is
MODELS/cbam.py of https://github.com/Jongchan/attention-module at 459efad; torch must be installed.
Both sides compute in float64.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_name("cbam_reference.json")
BATCH, SIDE, CHANNELS, REDUCTION, KERNEL = 2, 5, 8, 4, 7
HIDDEN = CHANNELS // REDUCTION


def pseudorandom(*shape: int, start: int) -> np.ndarray:
    """Numbers in [-1, 1) that every version of NumPy makes alike."""
    counter = np.arange(start, start + int(np.prod(shape)), dtype=np.float64)
    return 2.0 * np.modf(np.abs(np.sin(counter * 12.9898) * 43758.5453))[0].reshape(shape) - 1.0


def features() -> np.ndarray:
    """Feature maps `[BATCH, SIDE, SIDE, CHANNELS]`."""
    return 3.0 * pseudorandom(BATCH, SIDE, SIDE, CHANNELS, start=1)


def weights() -> list[np.ndarray]:
    """Both dense layers, the convolution, gamma, beta, mean and variance, as Keras orders them."""
    return [
        pseudorandom(CHANNELS, HIDDEN, start=1_000),
        pseudorandom(HIDDEN, start=2_000),
        pseudorandom(HIDDEN, CHANNELS, start=3_000),
        pseudorandom(CHANNELS, start=4_000),
        pseudorandom(KERNEL, KERNEL, 2, 1, start=5_000),
        1.0 + 0.5 * pseudorandom(1, start=6_000),
        pseudorandom(1, start=7_000),
        pseudorandom(1, start=8_000),
        2.0 + pseudorandom(1, start=9_000),
    ]


def main(path: str) -> None:
    """Runs the original code and writes what it returns."""
    import torch

    specification: Any = importlib.util.spec_from_file_location("cbam", path)
    original = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(original)
    torch.set_default_dtype(torch.float64)
    module = original.CBAM(CHANNELS, REDUCTION)
    first, first_bias, second, second_bias, kernel, gamma, beta, mean, variance = map(
        torch.tensor, weights()
    )
    named = {
        "ChannelGate.mlp.1.weight": first.T,
        "ChannelGate.mlp.1.bias": first_bias,
        "ChannelGate.mlp.3.weight": second.T,
        "ChannelGate.mlp.3.bias": second_bias,
        "SpatialGate.spatial.conv.weight": kernel.permute(3, 2, 0, 1),
        "SpatialGate.spatial.bn.weight": gamma,
        "SpatialGate.spatial.bn.bias": beta,
        "SpatialGate.spatial.bn.running_mean": mean,
        "SpatialGate.spatial.bn.running_var": variance,
        "SpatialGate.spatial.bn.num_batches_tracked": torch.tensor(0),
    }
    module.load_state_dict(named)
    inputs = torch.tensor(features()).permute(0, 3, 1, 2).requires_grad_()
    found = {}
    for mode, training in (("inference", False), ("training", True)):
        module.train(training)
        outputs = module(inputs)
        (gradient,) = torch.autograd.grad((outputs**2).sum(), inputs)
        found[mode] = outputs.permute(0, 2, 3, 1).tolist()
        found[f"{mode}_gradient"] = gradient.permute(0, 2, 3, 1).tolist()
    module.eval()
    found["channel"] = module.ChannelGate(inputs).permute(0, 2, 3, 1).tolist()
    FILE.write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
