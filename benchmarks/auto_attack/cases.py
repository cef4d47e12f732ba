"""The networks and budgets that are compared, and one comparison."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from aad_tf import attacks, data
from aad_tf.evaluation import evaluate_robustness
from aad_tf.model_directory import load_classifier
from aad_tf.records.fingerprints import weights_fingerprint
from benchmarks.auto_attack import translation
from benchmarks.auto_attack.original import SEEDS
from benchmarks.report import Finding, Section

CONTENDERS = OURS, ORIGINAL, ADV_LIB = "aad_tf", "original", "adv-lib"
CLEAN, STAGES = "clean", ("apgd-ce", "apgd-t", "fab-t", "square")
BATCH_SIZE = 250
LARGEST_DIFFERENCE = 0.2
"""In points of robust accuracy after a stage."""


@dataclass(frozen=True)
class Case:
    """A trained network that is attacked within a budget.

    Attributes:
        preset: name of its preset and of its model directory under `--runs_dir`.
        epsilon: l-inf budget, for images in [0, 1].
        faster: target: how many times as fast as the original code AutoAttack here should be.
        logit_scale: factor of the logits; large factors make gradients of the loss vanish.
    """

    preset: str
    epsilon: float
    faster: float
    logit_scale: float = 1.0


CASES = {
    "mnist_clean": Case("mnist_clean", 0.3, 10.0),
    "mnist_clean_smaller_epsilon": Case("mnist_clean", 0.15, 3.0),
    "mnist_madry_short": Case("mnist_madry_short", 0.3, 3.0),
    "cifar10_clean": Case("cifar10_clean", 4 / 255, 10.0),
    "mnist_saturated": Case("mnist_clean", 0.15, 3.0, logit_scale=1000.0),
}


class OriginalFailedError(RuntimeError):
    """The process with the original code ended without a result."""


def compare(
    case: Case,
    runs_dir: str,
    num_images: int,
    python: str,
    original: str,
    say: Callable[[str], None],
    done: Mapping[str, Any],
    keep: Callable[[Mapping[str, Any]], None],
) -> dict[str, Any]:
    """Runs AutoAttack here, then that of the original code and of adv-lib, on the same images.

    Args:
        case: the network and the budget.
        runs_dir: directory of the model directories.
        num_images: number of images, from the start of the test split.
        python: path of a Python interpreter that has PyTorch and adv-lib.
        original: directory of the original code's package `autoattack`.
        say: a function that is called with lines of text on progress.
        done: results of an earlier, interrupted run by contender (`CONTENDERS`), in the form of
            the returned dict. These contenders are not run again.
        keep: a function that is called after each contender with all results so far, so that the
            caller can save them.

    Returns:
        Results by contender: `broken_by`, which holds the stage that got each image misclassified
        (see `ours`), `times`, `held_by_seed` and, of the two others, `versions`.

    Raises:
        OriginalFailedError: the process of the original code or of adv-lib failed.
        ModelDirectoryError: the network is missing or its training has not finished.
    """
    network, images, labels = subject(case, runs_dir, num_images)
    found = dict(done)
    if OURS not in found:
        found[OURS] = ours(network, images, labels, case.epsilon, say)
        keep(found)
    with tempfile.TemporaryDirectory() as directory:
        problem = Path(directory, "problem.npz")
        write_problem(problem, network, images, labels, case.epsilon)
        for name, package in ((ORIGINAL, original), (ADV_LIB, ADV_LIB)):
            if name not in found:
                say(f"{name} ...")
                found[name] = run_original(python, problem, package)
                keep(found)
    return found


def weights_of(case: Case, runs_dir: str) -> str:
    """Hash of the weights of a case's network, as in the records of evaluations."""
    classifier, _ = load_classifier(Path(runs_dir, case.preset))
    return weights_fingerprint(classifier)


def subject(
    case: Case, runs_dir: str, num_images: int
) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """Loads the network and the test images of a case.

    Args:
        case: the network.
        runs_dir: directory of the model directories.
        num_images: number of images, from the start of the test split.

    Returns:
        The network, images `[n, H, W, C]` in [0, 1] and labels `[n]`.
    """
    classifier, config = load_classifier(Path(runs_dir, case.preset))
    network = classifier.model
    if case.logit_scale != 1.0:
        logits = keras.layers.Rescaling(case.logit_scale, name="saturated")(network.output)
        network = keras.Model(network.input, logits)
    batches = data.evaluation_batches(config.dataset, "test", BATCH_SIZE, limit=num_images)
    images, labels = zip(*((x.numpy(), y.numpy()) for x, y in batches), strict=True)
    return network, np.concatenate(images), np.concatenate(labels)


def ours(
    network: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    epsilon: float,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Runs this package's AutoAttack; its time includes compilation.

    Args:
        network: the network.
        images: `[n, H, W, C]` in [0, 1].
        labels: int `[n]`.
        epsilon: l-inf budget.
        say: a function that is called with lines of text on progress.

    Returns:
        `broken_by`, the stage that got each image misclassified ("clean" if it is misclassified
        when clean, None if it stays correct); `times`; and `held_by_seed`, how many images stay
        correct under the first stage by seed.
    """
    start, cpu = time.perf_counter(), time.process_time()
    report = evaluate_robustness(
        network,
        (images, labels),
        attacks.auto_attack(epsilon),
        batch_size=BATCH_SIZE,
        diagnostics=False,
        verbose=0,
    )
    total = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
    say(f"{OURS}: {report.summary['attacks'][0]['stages']} in {total['seconds']:.0f} s")
    broken_by = [
        CLEAN if record["clean_mistake"] else record["broken_by"] for record in report.records()
    ]
    held = [sum(stage not in (CLEAN, STAGES[0]) for stage in broken_by)]
    for seed in SEEDS:
        first = evaluate_robustness(
            network,
            (images, labels),
            attacks.apgd(epsilon),
            batch_size=BATCH_SIZE,
            seed=seed,
            diagnostics=False,
            verbose=0,
        )
        held.append(first.summary["attacks"][0]["robust"])
    return {"broken_by": broken_by, "times": {"whole": total}, "held_by_seed": held}


def write_problem(
    path: Path, network: keras.Model, images: np.ndarray, labels: np.ndarray, epsilon: float
) -> None:
    """Writes network, images and budget to the file that `benchmarks.auto_attack.original` reads.

    Args:
        path: `.npz` file to write.
        network: the network, a chain of layers.
        images: `[n, H, W, C]` in [0, 1].
        labels: int `[n]`.
        epsilon: l-inf budget.
    """
    operations, arrays = [], {}
    for number, operation in enumerate(translation.operations(network)):
        for name in [name for name in operation if name.startswith("weight_")]:
            arrays[f"layer_{number}_{name}"] = operation.pop(name)
        operations.append(operation)
    np.savez(
        path,
        operations=np.array(json.dumps(operations)),
        images=images,
        labels=labels,
        logits=network.predict(images, batch_size=BATCH_SIZE, verbose=0),
        epsilon=np.array(epsilon),
        **arrays,
    )


def run_original(python: str, problem: Path, package: str) -> dict[str, Any]:
    """Runs the original code, or adv-lib, in a process of its own.

    Args:
        python: path of a Python interpreter that has PyTorch and adv-lib.
        problem: the file that `write_problem` wrote.
        package: directory of the original code, or "adv-lib".

    Returns:
        A dict with `broken_by`, `times`, `held_by_seed` and `versions`.

    Raises:
        OriginalFailedError: the process failed.
    """
    target = problem.with_suffix(".json")
    # As a file, since the packages around it import TensorFlow.
    script = str(Path(__file__).with_name("original.py"))
    process = subprocess.run([python, script, str(problem), str(target), package], check=False)
    if process.returncode:
        raise OriginalFailedError(
            f"The process with {Path(package).name} ended with code {process.returncode}; what it "
            f"wrote stands above. --python must name an interpreter with torch and adv-lib, "
            f"--original a directory with the package autoattack."
        )
    return json.loads(target.read_text(encoding="utf-8"))


def accuracies(broken_by: list[str | None], stages: tuple[str, ...] = STAGES) -> dict[str, float]:
    """Accuracy in percent on clean images and after each stage.

    Args:
        broken_by: for each image the stage that got it misclassified, "clean", or None.
        stages: names of the stages, in their order.

    Returns:
        Accuracies by "clean" and by stage.
    """
    left, found = len(broken_by), {}
    for stage in (CLEAN, *stages):
        left -= sum(breaker == stage for breaker in broken_by)
        found[stage] = 100.0 * left / len(broken_by)
    return found


def section(case: Case, found: Mapping[str, Any]) -> Section:
    """Makes the section of a report on one comparison.

    Args:
        case: the network and the budget.
        found: what `compare` returned, with time and machine under `measured`.

    Returns:
        The section.
    """
    # Beside the contenders stand facts on the network and on the machine.
    measured = found["measured"]
    versions = found[ORIGINAL].get("versions", {})
    found = {name: found[name] for name in CONTENDERS}
    after = {
        name: accuracies(one["broken_by"], tuple(one["times"]) if name == ADV_LIB else STAGES)
        for name, one in found.items()
    }
    times = {
        name: {
            unit: sum(stage[unit] for stage in one["times"].values())
            for unit in ("seconds", "cpu_seconds")
        }
        for name, one in found.items()
    }
    by_seed = {
        name: [100.0 * held / len(one["broken_by"]) for held in one["held_by_seed"]]
        for name, one in found.items()
    }
    findings = [
        Finding(
            f"points of accuracy between {OURS} and {name}, at most after a stage",
            max(abs(after[OURS][stage] - after[name][stage]) for stage in after[name]),
            at_most=LARGEST_DIFFERENCE,
        )
        for name in (ORIGINAL, ADV_LIB)
    ]
    findings += [
        Finding(
            f"points of accuracy between seeds of {name}, at most after apgd-ce",
            max(values) - min(values),
        )
        for name, values in by_seed.items()
    ]
    findings.append(
        Finding(
            "the whole cascade, times as fast as the original code",
            times[ORIGINAL]["seconds"] / times[OURS]["seconds"],
            "x",
            cpu_value=times[ORIGINAL]["cpu_seconds"] / times[OURS]["cpu_seconds"],
            at_least=case.faster,
        )
    )
    return Section(
        title=f"AutoAttack on {case.preset}, logits times {case.logit_scale:g}",
        settings={
            "norm": "linf",
            "epsilon": f"{case.epsilon:.4g} in [0, 1] ({case.epsilon * 255:.4g}/255)",
            "images": len(found[OURS]["broken_by"]),
            "restarts": 1,
            "labels": "true",
            "measured": f"{measured['utc'][:10]} at commit {measured['git_commit']} on "
            f"{measured['cpu_cores']} cores of {measured['cpu']}"
            + "".join(f", {name} {version}" for name, version in versions.items()),
        },
        findings=findings,
        measurements={
            name: {
                **{f"apgd-ce, seed {seed}": by_seed[name][seed] for seed in (0, *SEEDS)},
                **{f"after {stage}": after[name].get(stage) for stage in (CLEAN, *STAGES)},
                **times[name],
            }
            for name in found
        },
        notes=[
            "Accuracies in percent, of all images; adv-lib has the first two stages only. The "
            "first stage was run under further seeds, which shows how much of a difference is "
            "chance. Times are those of whole runs one after the other, compiling included.",
        ],
    )
