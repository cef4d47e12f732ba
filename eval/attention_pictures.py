r"""Draws the attention maps of networks before and after an attack, side by side.

    python -m eval.attention_pictures --model_dirs=plain=runs/mnist_clean,AAD=runs/mnist_aad \
        --attack="fgsm(epsilon=0.15)" --output=attention.png
    python -m eval.attention_pictures --keras_model=my_network.keras --bounds=0,255 \
        --images=photos --attack="fgsm(epsilon=1)" --output=mine.png
    python -m eval.attention_pictures --snapshots=runs/mnist_aad/attention --output=evolution.png

The second draws any Keras classifier on your own images, which lie in one folder for each class.
The third draws how attention changed during a training with --config.snapshot_epochs=1. A JSON file
beside each picture tells what it shows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags
from matplotlib.figure import Figure

from aad_tf import model_directory, plots
from aad_tf.attacks import Attack, as_attack, attack_to_dict, parse_attack
from aad_tf.classifier import Classifier
from aad_tf.data import DatasetInfo
from aad_tf.records.fingerprints import weights_fingerprint
from aad_tf.records.progress import Progress, shown_progress
from aad_tf.utils.files import check_writable, write_json_atomically
from aad_tf.utils.provenance import provenance, provenance_path
from binaries import command_line, running
from eval import shared_flags
from eval.galleries.outcomes import Comparison, compare_outcomes
from eval.inputs import FolderImages, Images, Network, check_belongs, described

_MODELS = flags.DEFINE_list(
    "model_dirs",
    [],
    "Several networks, as title=DIRECTORY pairs split by commas, each a directory that train.main "
    "wrote; without a title, by the last part of the directory.",
)
_ATTACK = flags.DEFINE_string("attack", "fgsm(epsilon=0.15)", "The attack on each network.")
_COUNT = flags.DEFINE_integer(
    "count",
    6,
    "How many images: the first ones of a data set, or as many from all over --images.",
    1,
)
_AMONG = flags.DEFINE_integer(
    "among",
    None,
    "With several networks: choose the images among so many, the first ones or from all over "
    "--images, by the outcome of the attack: half of them where it fools the first network and not "
    "the last, half the other way round.",
    1,
)
_SNAPSHOTS = flags.DEFINE_string(
    "snapshots",
    None,
    "Directory of the .npz files that a training with snapshots left: draw how its attention "
    "changed instead.",
)
_TITLE = flags.DEFINE_string(
    "title", "Attention, clean and under attack", "Line in bold above the picture."
)
_OUTPUT = flags.DEFINE_string("output", None, "PNG file to write.", required=True)
for _name in shared_flags.NAMES:
    flags.declare_key_flag(_name)
_BATCH = 100
_MAPS = "Maps: Grad-CAM of the true class, each in colours from 0 to its highest value."
_NOT_WITH_SNAPSHOTS = ("model_dirs", "attack", "among", *shared_flags.NAMES)


def draw() -> str:
    """Opens what the flags name, draws it, and writes the picture with a JSON file beside it.

    Returns:
        A sentence to print, with the path of the picture.

    Raises:
        ValueError: flags that do not go together, or a picture that is no PNG file.
    """
    output = Path(_OUTPUT.value)
    if output.suffix != ".png":
        raise ValueError(f"--output must be a .png file, got {output}.")
    check_writable(output)
    figure, content = _evolution(_SNAPSHOTS.value) if _SNAPSHOTS.value else _networks()
    plots.save_png(figure, output)
    content = {"title": _TITLE.value, "picture": output.name, **content}
    content["provenance"] = provenance()
    write_json_atomically(output.with_suffix(".json"), content)
    return f"written: {output}"


def _evolution(directory: str) -> tuple[Figure, dict[str, Any]]:
    """How attention changed during a training, of the first images it was drawn of."""
    given = [name for name in _NOT_WITH_SNAPSHOTS if flags.FLAGS[name].present]
    if given:
        raise ValueError(
            f"--snapshots draws what a training left, and takes no networks, images or attack: "
            f"leave out --{', --'.join(given)}."
        )
    paths = sorted(Path(directory).glob("attention_epoch_*.npz"))
    if not paths:
        raise ValueError(
            f"{directory} holds no snapshots. A training writes them with "
            f"--config.snapshot_epochs=1, into the directory attention of its model directory."
        )
    snapshots = [plots.load_snapshot(path) for path in paths]
    count = min(_COUNT.value, len(snapshots[0].truth))
    content: dict[str, Any] = {"snapshots": provenance_path(directory)}
    of = "that training drew"
    run = Path(directory).absolute().parent
    if (run / model_directory.CONFIG).is_file():
        config = model_directory.read_config(run)
        content["networks"] = {run.name: described(config)}
        of = f"of {config.dataset}, validation"
    attack = snapshots[0].attack
    rule = (
        f"The first {count} images {of}, at {len(snapshots)} moments from update "
        f"{snapshots[0].update:,} to {snapshots[-1].update:,}"
        + (f"; the attack is {attack}, on the network of the moment." if attack else ".")
    )
    figure = plots.attention_evolution(snapshots, count=count, heading=[_TITLE.value, rule, _MAPS])
    return figure, {**content, "rule": rule}


def _networks() -> tuple[Figure, dict[str, Any]]:
    """Networks side by side, on images that the flags or outcomes of the attack choose."""
    attack = parse_attack(_ATTACK.value)
    if _AMONG.value and len(_MODELS.value) < 2:
        raise ValueError(
            "--among compares how the attack ends on several networks: give two or more as "
            "--model_dirs."
        )
    if _MODELS.value:
        networks, images = shared_flags.opened_several(_MODELS.value)
    else:
        network, images = shared_flags.opened()
        networks = {"network": network}
    classifiers = {title: network.classifier for title, network in networks.items()}
    bounds = plots.shared_bounds(classifiers)
    attack = as_attack(attack, bounds)
    info = images.info(next(iter(classifiers.values())).input_shape)
    for classifier in classifiers.values():
        check_belongs(classifier, info)
    names = info.class_names
    content: dict[str, Any] = {
        "attacks": [f"{attack.name}, white box, l∞, on each network itself."],
        "attack": attack_to_dict(attack),
        "networks": {title: _described(network) for title, network in networks.items()},
        "dataset": images.description(info, _AMONG.value or _COUNT.value, with_boxes=False),
    }
    if _AMONG.value:
        figure, found = _by_outcome(classifiers, images, info, attack, content["attacks"])
        return figure, {**content, **found}
    present = info.num_examples[images.split]
    count = min(_COUNT.value, present)
    running.say(
        f"Drawing {' and '.join(map(str, networks.values()))}, on {count} images of {info.name} "
        f"under {attack.name}."
    )
    batches = images.limited(info, count).batches(info, count, 0, count, bounds, with_boxes=False)
    rule = f"The first {count} images of {info.name}, {images.split}."
    if isinstance(images, FolderImages):
        rule = f"{count} images from all over {info.name}."
    pixels, labels = next(iter(batches))
    adversarial = {
        title: attack(classifier, pixels, labels, seed=0)
        for title, classifier in classifiers.items()
    }
    figure = plots.compare_attacked(
        classifiers,
        pixels,
        adversarial,
        labels,
        class_names=names,
        heading=[_TITLE.value, *content["attacks"], rule, _MAPS],
    )
    return figure, {**content, "rule": rule}


def _by_outcome(
    classifiers: Mapping[str, Classifier],
    images: Images,
    info: DatasetInfo,
    attack: Attack,
    attack_lines: list[str],
) -> tuple[Figure, dict[str, Any]]:
    """Networks side by side on images where the attack on the first and on the last end apart."""
    among = min(int(_AMONG.value or 0), info.num_examples[images.split])
    images = images.limited(info, among)
    bounds = plots.shared_bounds(classifiers)
    batches = images.batches(info, min(_BATCH, among), 0, among, bounds, with_boxes=False)
    running.say(f"Attacking {among:,} images of {info.name} with {attack.name}, on each network.")
    started = time.monotonic()
    with shown_progress(1) as show:

        def progress(done: int) -> None:
            if show is not None:
                show(Progress(done, among, 0, time.monotonic() - started, "images"))

        found = compare_outcomes(classifiers, batches, attack, _COUNT.value, progress)
    shown = [(group, example) for group in found.outcomes for example in group.examples]
    if not shown:
        raise ValueError(
            f"On none of {among:,} images does the attack end differently on the first and on the "
            f"last network ({found.all_correct:,} are right by all networks): give more images as "
            f"--among, or another attack."
        )
    place = "from all over" if isinstance(images, FolderImages) else "the first of"
    source = f"{found.images:,} images, {place} {info.name}, {images.split}"
    rule = _rule(found, list(classifiers), source)
    figure = plots.compare_attacked(
        classifiers,
        np.stack([example.image for _, example in shown]),
        {
            name: np.stack([example.adversarial[name] for _, example in shown])
            for name in classifiers
        },
        np.array([example.label for _, example in shown], np.int32),
        class_names=info.class_names,
        row_titles=[f"{group.name}\nn = {group.images:,}" for group, _ in shown],
        heading=[_TITLE.value, *attack_lines, rule, _MAPS],
    )
    groups = [
        {
            "name": group.name,
            "images": group.images,
            "examples": [
                {
                    "index": example.index,
                    "label": example.label,
                    "class": plots.class_name(example.label, info.class_names),
                }
                for example in group.examples
            ],
        }
        for group in found.outcomes
    ]
    counts = {
        "examples": found.images,
        "right_by_all": found.all_correct,
        "right": dict(found.correct),
        "right_under_attack": dict(found.robust),
    }
    return figure, {"rule": rule, "groups": groups, "counts": counts}


def _rule(found: Comparison, names: list[str], source: str) -> str:
    accuracies = "; ".join(
        f"{name} {100 * found.correct[name] / found.images:.1f} %, under attack "
        f"{100 * found.robust[name] / found.images:.1f} %"
        for name in names
    )
    first, second = found.outcomes
    return (
        f"Rule: of the {found.all_correct:,} images that all networks get right, of {source}, the "
        f"first where the attack fools {names[0]} and not {names[-1]} "
        f"({first.images:,} images) and the other way round ({second.images:,}), one per class. "
        f"Accuracy on the {found.images:,}: {accuracies}."
    )


def _described(network: Network) -> dict[str, Any]:
    return {**network.description, "fingerprint": weights_fingerprint(network.classifier)}


def main(argv: list[str]) -> None:
    """Draws the figure that the flags ask for; bad input ends with one line and exit code 2."""
    del argv
    running.run(draw)


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse)
