r"""Draws figures of [AAD] from attention records: examples chosen by a rule, never by hand.

    python -m eval.attention_gallery --figure=1 --records=attention.jsonl.gz \
        --model_dir=runs/tiny_imagenet_boxes_clean --output=aad_fig_1.png

Figure 11 takes three files (the plain attack, A3 with sigma above and below 0), Figures 12 and 13
two with a model directory each (plain network, adversarially trained one): repeat the flags.
"""

from __future__ import annotations

from absl import app, flags

from aad_tf.utils.files import check_writable
from binaries import command_line, running
from eval import galleries
from eval.galleries.inputs import open_sources

_FIGURE = flags.DEFINE_enum(
    "figure",
    None,
    [*map(str, galleries.GALLERIES)],
    "Number of the figure in the paper.",
    required=True,
)
_RECORDS = flags.DEFINE_multi_string(
    "records", None, "File of records that eval.attention wrote.", required=True
)
_MODEL_DIR = flags.DEFINE_multi_string(
    "model_dir",
    [],
    "Network that the records are of: a model directory or a Keras file; one for all files of "
    "records or one for each.",
)
_NETWORK = flags.DEFINE_string(
    "network", None, "Registered network that the records are of, such as inception_v3."
)
_WEIGHTS = flags.DEFINE_string("weights", None, "With --network: its weights, imagenet or a file.")
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Directory of TensorFlow Datasets; default: the environment variable TFDS_DATA_DIR.",
)
_ANNOTATIONS = flags.DEFINE_string(
    "annotations",
    None,
    "For records of imagenet2012: the archive of its boxes, of the test split "
    "ILSVRC2012_bbox_val_v3.tgz.",
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "PNG file to write; a JSON file that tells what it shows goes beside it.",
    required=True,
)


def _draw() -> str:
    check_writable(_OUTPUT.value)
    figure = int(_FIGURE.value)
    gallery = galleries.gallery_of(figure, len(_RECORDS.value))
    sources = open_sources(
        [gallery.read(path) for path in _RECORDS.value],
        _MODEL_DIR.value,
        network=_NETWORK.value,
        weights=_WEIGHTS.value,
        data_dir=_DATA_DIR.value,
        annotations=_ANNOTATIONS.value,
    )
    galleries.make_gallery(figure, sources, _OUTPUT.value)
    return f"written: {_OUTPUT.value}"


def main(argv: list[str]) -> None:
    """Draws the figure that the flags name; bad input ends with one line and exit code 2."""
    del argv
    running.run(_draw)


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse)
