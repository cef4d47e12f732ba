"""A plain and a defended LeNet on the embedded digits: train, attack, look, export, load back.

python -m train.demo --output_dir=demo_output
"""

from __future__ import annotations

from binaries import quiet  # noqa: F401

# isort: split

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import app, flags

from aad_tf import data, evaluation, model_directory, training
from aad_tf.attacks import GradientSignAttack, fgsm, ifgsm, pgd, step_ll
from aad_tf.classifier import Classifier
from aad_tf.configs import ExperimentConfig
from aad_tf.plots import compare_networks, save_png
from binaries import command_line, running
from train.configs import digits

_OUTPUT = flags.DEFINE_string(
    "output_dir", "demo_output", "Directory that models and figures go to."
)
_DRAWN = 6


def run_demo(presets: Mapping[str, ExperimentConfig], output_dir: Path) -> str:
    """Trains networks, attacks them, draws their attention, and loads an exported one.

    Args:
        presets: experiments by name, all on one data set; the last one is the defended network.
        output_dir: directory to which the model directories and the figure are written.

    Returns:
        A report to print: accuracies, and paths of the figure and the SavedModel.

    Raises:
        ValueError: a model directory holds something else, or a run of another config.
    """
    classifiers = {}
    for name, config in presets.items():
        print(f"Training {name} on {config.dataset} ({config.epochs} epochs) ...", flush=True)
        training.train(config, output_dir / name)
        classifiers[name] = model_directory.load_classifier(output_dir / name)[0]
    dataset = next(iter(presets.values())).dataset
    table = _table(classifiers, dataset)
    images, labels = next(iter(data.evaluation_batches(dataset, "test", _DRAWN)))
    figure = output_dir / "attention_before_after.png"
    save_png(compare_networks(classifiers, images, labels, fgsm(0.15)), figure)
    exported = output_dir / list(presets)[-1] / model_directory.SAVED_MODEL
    return "\n".join(
        [
            "",
            table,
            "",
            f"Attention before and after defence: {figure}",
            f"SavedModel: {exported}",
            _classify_with(exported, images.numpy(), labels.numpy()),
        ]
    )


def _table(classifiers: Mapping[str, Classifier], dataset: str) -> str:
    attacks: list[GradientSignAttack] = [
        fgsm(0.15),
        ifgsm(0.15, num_steps=3),
        step_ll(0.15),
        pgd(0.15, step_size=0.03, num_steps=10),
    ]
    rows = [["accuracy in % of test digits", "clean", *(attack.name for attack in attacks)]]
    for name, classifier in classifiers.items():
        print(f"Attacking {name} ...", flush=True)
        test = data.evaluation_batches(dataset, "test", 100)
        summary = evaluation.evaluate_robustness(classifier, test, attacks).summary["attacks"]
        accuracies = [summary[0]["clean_accuracy"], *(row["robust_accuracy"] for row in summary)]
        rows.append([name, *(f"{100 * accuracy:.1f}" for accuracy in accuracies)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    lines.append(
        "l-inf, white box, epsilon 0.15 in [0, 1] (38/255), true labels, one random start for pgd "
        "(10 steps of 0.03), 3 steps for ifgsm; misclassified at any step counts."
    )
    return "\n".join(lines)


def _classify_with(path: Path, images: np.ndarray, labels: np.ndarray) -> str:
    """Loads the export with TensorFlow alone and classifies a few images."""
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    (name,) = serve.structured_input_signature[1]
    outputs = serve(**{name: tf.constant(images)})
    predicted = outputs["probabilities"].numpy().argmax(axis=-1)
    return f"Loaded back, it reads the first test digits {labels.tolist()} as {predicted.tolist()}."


def main(argv: list[str]) -> None:
    """Runs the demo; a mistake of the user's ends in one line and exit code 2."""
    del argv
    presets = {"plain": digits.PRESETS["clean"], "AAD": digits.PRESETS["aad_step_ll"]}
    running.run(lambda: run_demo(presets, Path(_OUTPUT.value)), resumed_from=lambda: _OUTPUT.value)


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse)
