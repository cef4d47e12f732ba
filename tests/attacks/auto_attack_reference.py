"""Values of the original AutoAttack code on a small network, for test_auto_attack.py.

python -m tests.attacks.auto_attack_reference PATH writes auto_attack_reference.json beside this
file. PATH holds the package `autoattack` of https://github.com/fra31/auto-attack at a392200; torch
must be installed. Both sides compute in float64.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_name("auto_attack_reference.json")
SIDE, CLASSES, FILTERS, EXAMPLES = 8, 10, 4, 12
EPSILON, NUM_STEPS, NUM_TARGETS = 0.1, 40, 3
# In l2.
EPSILON_L2 = 0.4
SIDES = (1, 2, 3, 4, 5, 8, 9)


def pseudorandom(*shape: int, start: int) -> np.ndarray:
    """Numbers in [0, 1) that every version of NumPy makes alike."""
    counter = np.arange(start, start + int(np.prod(shape)), dtype=np.float64)
    return np.modf(np.abs(np.sin(counter * 12.9898) * 43758.5453))[0].reshape(shape)


def weights() -> list[np.ndarray]:
    """Of a convolution 3x3, GELU, and a dense layer: kernels and biases as Keras orders them."""
    inner = SIDE - 2
    return [
        2.0 * pseudorandom(3, 3, 1, FILTERS, start=1) - 1.0,
        0.2 * pseudorandom(FILTERS, start=1000) - 0.1,
        pseudorandom(inner * inner * FILTERS, CLASSES, start=2000) - 0.5,
        0.2 * pseudorandom(CLASSES, start=9000) - 0.1,
    ]


def images() -> np.ndarray:
    """Original images `[EXAMPLES, SIDE, SIDE, 1]`."""
    return pseudorandom(EXAMPLES, SIDE, SIDE, 1, start=20_000)


def starts() -> np.ndarray:
    """Where APGD starts, like `images`."""
    noise = 2.0 * pseudorandom(EXAMPLES, SIDE, SIDE, 1, start=50_000) - 1.0
    return np.clip(images() + EPSILON * noise, 0.0, 1.0)


def starts_l2() -> np.ndarray:
    """Where APGD in l2 starts, like `images`."""
    noise = 2.0 * pseudorandom(EXAMPLES, SIDE, SIDE, 1, start=50_000) - 1.0
    noise /= np.sqrt(np.square(noise).sum(axis=(1, 2, 3), keepdims=True))
    return np.clip(images() + EPSILON_L2 * noise, 0.0, 1.0)


def main(path: str) -> None:
    """Runs the original code and writes what it found."""
    sys.path.insert(0, path)
    import torch
    from autoattack.autopgd_base import APGDAttack, APGDAttack_targeted
    from autoattack.fab_projections import projection_l2, projection_linf
    from autoattack.fab_pt import FABAttack_PT
    from autoattack.square import SquareAttack

    torch.set_default_dtype(torch.float64)
    # The original code casts images to float32.
    torch.Tensor.float = torch.Tensor.double
    kernel, bias, dense, last = (torch.tensor(each) for each in weights())

    def network(batch: Any) -> Any:
        hidden = torch.nn.functional.conv2d(batch, kernel.permute(3, 2, 0, 1), bias)
        hidden = torch.nn.functional.gelu(hidden).permute(0, 2, 3, 1)
        return hidden.reshape(len(batch), -1) @ dense + last

    original, start, start_l2 = (
        torch.tensor(each).permute(0, 3, 1, 2) for each in (images(), starts(), starts_l2())
    )
    logits = network(original)
    labels = logits.argmax(1)
    found: dict[str, Any] = {"labels": labels.tolist()}

    def apgd(loss: str, norm: str, epsilon: float, begin: Any) -> dict[str, Any]:
        kind = APGDAttack_targeted if loss == "dlr-targeted" else APGDAttack
        attack = kind(network, n_iter=NUM_STEPS, norm=norm, eps=epsilon, device="cpu")
        attack.loss = loss
        attack.y_target = logits.sort(dim=1)[1][:, -3]
        attack.init_hyperparam(original)
        _, correct, best, _ = attack.attack_single_run(original, labels, x_init=begin)
        return {"best_loss": best.tolist(), "correct": correct.tolist()}

    def fab(norm: str, epsilon: float) -> list[list[float]]:
        attack = FABAttack_PT(
            network, norm=norm, n_iter=NUM_STEPS, eps=epsilon, targeted=True, device="cpu"
        )
        distances = []
        for target in range(2, 2 + NUM_TARGETS):
            attack.target_class = target
            moved = attack.attack_single_run(original, labels, is_targeted=True)
            fooled = network(moved).argmax(1) != labels
            change = (moved - original).abs().flatten(1)
            distance = change.max(1)[0] if norm == "Linf" else change.norm(dim=1)
            distances.append(torch.where(fooled, distance, 1e9).tolist())
        return np.minimum.accumulate(distances, axis=0).tolist()

    losses = ("ce", "dlr", "dlr-targeted")
    found |= {loss: apgd(loss, "Linf", EPSILON, start) for loss in losses}
    found["fab"] = fab("Linf", EPSILON)
    points, normals, values = hyperplanes()
    planes = [torch.tensor(each) for each in (points, normals, values)]
    found["hyperplanes"] = projection_linf(*planes).tolist()
    found["l2"] = {loss: apgd(loss, "L2", EPSILON_L2, start_l2) for loss in losses}
    found["l2"]["fab"] = fab("L2", EPSILON_L2)
    found["l2"]["hyperplanes"] = projection_l2(*planes).tolist()
    square = SquareAttack(network, norm="L2", eps=EPSILON_L2, device="cpu")
    torch.manual_seed(0)
    # Each is transposed at random.
    found["l2"]["patterns"] = {side: square.eta(side).tolist() for side in SIDES}
    FILE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def hyperplanes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points `[8, 6]`, normal vectors `[8, 6]` and values `[8]`, some of them out of reach."""
    points = pseudorandom(8, 6, start=70_000)
    points[:, 0], points[:, 1] = 0.0, 1.0
    normals = 2.0 * pseudorandom(8, 6, start=80_000) - 1.0
    normals[:, 2] = 0.0
    gaps = np.array([0.05, -0.05, 0.3, -0.3, 1.0, -1.0, 9.0, -9.0])
    return points, normals, np.sum(points * normals, axis=1) - gaps


if __name__ == "__main__":
    main(sys.argv[1])
