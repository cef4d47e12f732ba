"""Draws what networks look at before and after an attack, side by side.

    python -m eval.attention_pictures --model_dirs=plain=runs/mnist_clean,AAD=runs/mnist_aad \
        --attack="fgsm(epsilon=0.15)" --output=attention.png
"""

from __future__ import annotations

from absl import app, flags

from aad_tf import data, model_directory
from aad_tf.attacks import parse_attack
from aad_tf.plots import compare_networks, save_png
from eval import running

_MODELS = flags.DEFINE_list(
    "model_dirs", None, "Comma-separated title=model directory pairs.", required=True
)
_ATTACK = flags.DEFINE_string("attack", "fgsm(epsilon=0.15)", "The attack on each network.")
_OUTPUT = flags.DEFINE_string("output", None, "PNG file to write.", required=True)
_SPLIT = flags.DEFINE_string("split", "test", "Part of the data set the images are from.")
_COUNT = flags.DEFINE_integer("count", 6, "How many images: the first ones of the split.", 1)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "TFDS data directory; default TFDS_DATA_DIR.")


def draw() -> str:
    """Loads the networks, attacks the first images of their data set, writes the figure."""
    classifiers, datasets = {}, set()
    for pair in _MODELS.value or ():
        title, separator, directory = pair.partition("=")
        if not separator:
            raise ValueError(f"--model_dirs takes title=directory pairs, got {pair!r}.")
        classifiers[title], config = model_directory.load_classifier(directory)
        datasets.add((config.dataset, config.image_size))
    if len(datasets) != 1:
        found = ", ".join(f"{name} ({size or 'own size'})" for name, size in sorted(datasets))
        raise ValueError(f"The networks must share one data set and image size, got {found}.")
    name, size = datasets.pop()
    batches = data.evaluation_batches(
        name, _SPLIT.value, _COUNT.value, _DATA_DIR.value, limit=_COUNT.value, image_size=size
    )
    images, labels = next(iter(batches))
    figure = compare_networks(classifiers, images, labels, parse_attack(_ATTACK.value))
    save_png(figure, str(_OUTPUT.value))
    return f"written: {_OUTPUT.value}"


def main(argv: list[str]) -> None:
    """Draws; bad input ends in one line and exit code 2."""
    running.run(draw, argv[1:])


if __name__ == "__main__":
    app.run(main)
