"""The original AutoAttack and adv-lib on a translated network; run by a Python that has PyTorch.

python benchmarks/auto_attack/original.py PROBLEM.npz FOUND.json ORIGINAL_DIR

PROBLEM.npz is what `benchmarks.auto_attack.cases` wrote. ORIGINAL_DIR holds the package
`autoattack` of https://github.com/fra31/auto-attack, or is "adv-lib" for the package of that name.
Nothing here imports TensorFlow or `aad_tf`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TOLERANCE = 1e-4
"""Largest relative difference between the logits of the two frameworks."""
MOST_IMAGES = 250
"""A batch, the original code's default."""
SEEDS = (1, 2)
"""Further seeds of the first stage, which show how much of a difference is chance."""


def network_of(problem: dict[str, Any], operations: list[dict[str, Any]]) -> Any:
    """Builds the network as a PyTorch module from images `[batch, C, H, W]` to logits.

    Args:
        problem: arrays of the problem file, with the weights.
        operations: the layers, as `benchmarks.auto_attack.translation` describes them.

    Returns:
        The module, in evaluation mode.
    """
    import torch
    from torch.nn import functional

    weights = {
        name: torch.tensor(value) for name, value in problem.items() if name.startswith("layer_")
    }

    def weight(number: int, which: int) -> Any:
        return weights[f"layer_{number}_weight_{which}"]

    def apply(number: int, operation: dict[str, Any], values: Any) -> Any:
        kind = operation["kind"]
        if kind == "Rescaling":
            return values * operation["scale"] + operation["offset"]
        if kind == "Conv2D":
            kernel = weight(number, 0).permute(3, 2, 0, 1).contiguous()
            values = functional.conv2d(values, kernel, weight(number, 1), padding="same")
            return functional.relu(values) if operation["relu"] else values
        if kind == "MaxPooling2D":
            return functional.max_pool2d(values, operation["size"])
        if kind == "LocalResponseNormalization":
            width = 2 * operation["depth_radius"] + 1
            # PyTorch takes the mean over the channels where TensorFlow takes the sum.
            return functional.local_response_norm(
                values, width, operation["alpha"] * width, operation["beta"], operation["bias"]
            )
        if kind == "Flatten":
            return values.permute(0, 2, 3, 1).flatten(1)
        values = values @ weight(number, 0) + weight(number, 1)
        return functional.relu(values) if operation["relu"] else values

    class Network(torch.nn.Module):
        def forward(self, images: Any) -> Any:
            values = images
            for number, operation in enumerate(operations):
                values = apply(number, operation, values)
            return values

    return Network().eval()


def original_stages(network: Any, epsilon: float, directory: str) -> dict[str, Callable[..., Any]]:
    """The stages of the standard version of the original code, in their order.

    Args:
        network: a PyTorch module.
        epsilon: l-inf budget.
        directory: directory that holds the package `autoattack`.

    Returns:
        By name, functions of images, labels and a seed that return adversarial images.
    """
    sys.path.insert(0, directory)
    from autoattack.autoattack import AutoAttack

    attack = AutoAttack(
        network, norm="Linf", eps=epsilon, version="standard", device="cpu", seed=0, verbose=False
    )

    def run(stage: str, images: Any, labels: Any, seed: int) -> Any:
        attack.attacks_to_run, attack.seed = [stage], seed
        return attack.run_standard_evaluation(images, labels, bs=len(images))

    def stage_of(name: str) -> Callable[..., Any]:
        return lambda images, labels, seed: run(name, images, labels, seed)

    return {name: stage_of(name) for name in list(attack.attacks_to_run)}


def adv_lib_stages(network: Any, epsilon: float) -> dict[str, Callable[..., Any]]:
    """The two stages of the standard version that adv-lib has.

    Args:
        network: a PyTorch module.
        epsilon: l-inf budget.

    Returns:
        By name, functions of images, labels and a seed that return adversarial images.
    """
    import torch
    from adv_lib.attacks import apgd, apgd_targeted

    def cross_entropy(images: Any, labels: Any, seed: int) -> Any:
        torch.manual_seed(seed)
        return apgd(network, images, labels, epsilon, float("inf"), loss_function="ce")

    def targeted(images: Any, labels: Any, seed: int) -> Any:
        torch.manual_seed(seed)
        return apgd_targeted(network, images, labels, epsilon, float("inf"), num_targets=9)

    return {"apgd-ce": cross_entropy, "apgd-t": targeted}


def broken(network: Any, run: Callable[..., Any], images: Any, labels: Any, seed: int) -> Any:
    """Tells which images a stage gets misclassified.

    Args:
        network: a PyTorch module.
        run: the stage, a function of images, labels and a seed.
        images: a tensor `[n, C, H, W]`; at most `MOST_IMAGES` are attacked at a time.
        labels: a tensor `[n]`.
        seed: seed of the stage.

    Returns:
        NumPy bool `[n]`.
    """
    import torch

    found = [np.zeros(0, bool)]
    for first in range(0, len(labels), MOST_IMAGES):
        part = slice(first, first + MOST_IMAGES)
        moved = run(images[part], labels[part], seed)
        with torch.no_grad():
            found.append((network(moved).argmax(1) != labels[part]).numpy())
    return np.concatenate(found)


def cascade(
    network: Any, stages: dict[str, Callable[..., Any]], images: Any, labels: Any, say: Any
) -> dict[str, Any]:
    """Runs each stage on the images that those before it left correct.

    The first stage is run again with further seeds.

    Args:
        network: a PyTorch module.
        stages: the stages by name.
        images: a tensor `[n, C, H, W]`.
        labels: a tensor `[n]`.
        say: a function that is called with lines of text on progress.

    Returns:
        `broken_by`, for each image the stage that got it misclassified ("clean" if it is
        misclassified when clean, None if it stays correct); `times`, seconds and CPU seconds of
        each stage; and `held_by_seed`, how many images stay correct under the first stage by seed.
    """
    correct = (network(images).argmax(1) == labels).numpy()
    broken_by: list[str | None] = [None if hit else "clean" for hit in correct]
    times: dict[str, dict[str, float]] = {}
    for name, run in stages.items():
        left = np.flatnonzero([stage is None for stage in broken_by])
        start, cpu = time.perf_counter(), time.process_time()
        found = left[broken(network, run, images[left], labels[left], 0)]
        times[name] = {
            "seconds": time.perf_counter() - start,
            "cpu_seconds": time.process_time() - cpu,
        }
        for row in found:
            broken_by[row] = name
        say(f"{name}: {len(found)} of {len(left)} broken")
    first = next(iter(stages.values()))
    left = np.flatnonzero(correct)
    held = [sum(stage not in ("clean", next(iter(stages))) for stage in broken_by)]
    held += [
        int((~broken(network, first, images[left], labels[left], seed)).sum()) for seed in SEEDS
    ]
    return {"broken_by": broken_by, "times": times, "held_by_seed": held}


def main(source: str, target: str, directory: str) -> None:
    """Runs the attacks of one package and writes what they found.

    Args:
        source: the `.npz` file with network, images and budget.
        target: JSON file to write.
        directory: directory of the original code, or "adv-lib".

    Raises:
        ValueError: the translated network has other logits than the original one.
    """
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    with np.load(source) as file:
        problem = dict(file)
    operations = json.loads(str(problem["operations"]))
    network = network_of(problem, operations)
    images = torch.tensor(problem["images"]).permute(0, 3, 1, 2).contiguous()
    labels = torch.tensor(problem["labels"]).long()
    with torch.no_grad():
        logits = network(images).numpy()
    unlike = np.abs(logits - problem["logits"]).max() / np.abs(problem["logits"]).max()
    if not unlike <= TOLERANCE:
        raise ValueError(
            f"The translated network's logits differ by {unlike:.2g} of the largest, at most "
            f"{TOLERANCE:g} is rounding."
        )
    epsilon = float(problem["epsilon"])
    if directory == "adv-lib":
        stages = adv_lib_stages(network, epsilon)
    else:
        stages = original_stages(network, epsilon, directory)
    found = cascade(network, stages, images, labels, lambda line: print(line, file=sys.stderr))
    found["versions"] = {"torch": torch.__version__}
    found["largest_difference_of_logits"] = float(unlike)
    Path(target).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
