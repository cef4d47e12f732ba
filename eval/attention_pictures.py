r"""Draws the attention maps of networks before and after an attack, side by side.

    python -m eval.attention_pictures --model_dirs=plain=runs/mnist_clean,AAD=runs/mnist_aad \
        --attack="fgsm(epsilon=0.15)" --output=attention.png
    python -m eval.attention_pictures --keras_model=my_network.keras --bounds=0,255 \
        --images=photos --attack="fgsm(epsilon=1)" --output=mine.png

The second draws any Keras classifier on your own images, which lie in one folder for each class.
"""

from __future__ import annotations

from absl import app, flags

from aad_tf.attacks import as_attack, parse_attack
from aad_tf.plots import compare_networks, save_png
from aad_tf.utils.files import check_writable
from binaries import command_line, running
from eval import shared_flags
from eval.inputs import FolderImages, check_belongs

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
_OUTPUT = flags.DEFINE_string("output", None, "PNG file to write.", required=True)
for _name in shared_flags.NAMES:
    flags.declare_key_flag(_name)


def draw() -> str:
    """Opens the networks that the flags name, attacks the images, and writes the figure.

    Returns:
        A sentence to print, with the path of the figure.
    """
    output = str(_OUTPUT.value)
    check_writable(output)
    attack = parse_attack(_ATTACK.value)
    if _MODELS.value:
        networks, images = shared_flags.opened_several(_MODELS.value)
    else:
        network, images = shared_flags.opened()
        networks = {"network": network}
    first = next(iter(networks.values())).classifier
    info = images.info(first.input_shape)
    for network in networks.values():
        check_belongs(network.classifier, info)
    attack = as_attack(attack, first.bounds)
    present = info.num_examples[images.split]
    count = min(_COUNT.value, present)
    running.say(
        f"Drawing {' and '.join(map(str, networks.values()))}, on {count} images of {info.name} "
        f"under {attack.name}."
    )
    if isinstance(images, FolderImages):
        # The first ones would all be of one class.
        places = [present * number // count for number in range(count)]
        batches = images.chosen(info, places, count, first.bounds)
    else:
        batches = images.batches(info, count, 0, count, first.bounds, with_boxes=False)
    pixels, labels = next(iter(batches))
    classifiers = {title: network.classifier for title, network in networks.items()}
    names = info.class_names if isinstance(images, FolderImages) else None
    save_png(compare_networks(classifiers, pixels, labels, attack, class_names=names), output)
    return f"written: {output}"


def main(argv: list[str]) -> None:
    """Draws the figure that the flags ask for; bad input ends with one line and exit code 2."""
    del argv
    running.run(draw)


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse)
