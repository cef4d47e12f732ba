"""Flags that evaluation binaries share: which network, and on which images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from aad_tf import data, model_directory
from eval.inputs import FolderImages, Images, NamedImages, Network, check_one_network, open_network

MODEL_DIR = flags.DEFINE_string(
    "model_dir", None, "Directory that train.main wrote: the network trained there is evaluated."
)
SAVED_MODEL = flags.DEFINE_string(
    "saved_model", None, "Exported model, such as DIR/saved_model, that is evaluated instead."
)
KERAS_MODEL = flags.DEFINE_string(
    "keras_model", None, "File (.keras or .h5) of any Keras classifier that is evaluated instead."
)
NETWORK = flags.DEFINE_string(
    "network", None, "Registered network, such as inception_v3, that is evaluated instead."
)
WEIGHTS = flags.DEFINE_string(
    "weights", None, "With --network: its weights, 'imagenet' or a file; random by default."
)
ATTENTION_LAYER = flags.DEFINE_string(
    "attention_layer", None, "Layer that attention maps explain; found by itself by default."
)
BOUNDS = flags.DEFINE_list(
    "bounds",
    None,
    "With --keras_model: lowest and highest pixel value that the network takes, such as 0,255; "
    "0,1 by default. Sizes of attacks are in this unit.",
)
DATASET = flags.DEFINE_enum(
    "dataset",
    None,
    data.available(),
    "Data set to evaluate on; of a model directory by default that of its training.",
)
IMAGES = flags.DEFINE_string(
    "images",
    None,
    "Directory of your own images to evaluate on instead, with one folder for each class.",
)
CLASS_NAMES = flags.DEFINE_string(
    "class_names",
    None,
    "With --images: names of all classes in the order of the network's outputs, split by commas, "
    "or a text file with one name in each line. Folders carry these names. By default the classes "
    "are the folders in the order of their names.",
)
SPLIT = flags.DEFINE_enum(
    "split", "test", data.SPLITS, "Part of the data set; --images has no parts."
)
DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Directory of TensorFlow Datasets; default: the environment variable TFDS_DATA_DIR.",
)
IMAGE_SIZE = flags.DEFINE_integer(
    "image_size",
    None,
    "Side that images are resized to, 0 for the data set's own; by default that of a model "
    "directory's config, else the data set's own; with --images the size that the network takes.",
    0,
)
NAMES = (
    "model_dir",
    "saved_model",
    "keras_model",
    "network",
    "weights",
    "attention_layer",
    "bounds",
    "dataset",
    "images",
    "class_names",
    "split",
    "data_dir",
    "image_size",
)
"""To be declared as key flags of a binary, so that its `--help` shows them."""


def images(annotations: str | None = None) -> Images:
    """The images that the flags name: a data set, or a directory of the user's own images.

    Args:
        annotations: path of the archive of boxes, for imagenet2012 alone.

    Returns:
        The images, not read yet.

    Raises:
        ValueError: neither a data set nor a directory, both of them, or flags that belong to the
            other one.
    """
    config = model_directory.read_config(MODEL_DIR.value) if MODEL_DIR.value else None
    if IMAGES.value:
        if DATASET.value:
            raise ValueError("Give either --dataset or --images.")
        if annotations:
            raise ValueError("--annotations belongs to --dataset=imagenet2012, not to --images.")
        return FolderImages(IMAGES.value, _class_names(), IMAGE_SIZE.value or None)
    if CLASS_NAMES.value:
        raise ValueError("--class_names belongs to --images; data sets have their own.")
    name = DATASET.value or (config.dataset if config else None)
    if not name:
        raise ValueError(
            "Which images? Give --images=DIRECTORY, with one folder for each class, or "
            f"--dataset, one of {', '.join(data.available())}."
        )
    size = IMAGE_SIZE.value
    if size is None:
        size = config.image_size if config else 0
    return NamedImages(name, SPLIT.value, DATA_DIR.value, annotations, size or None)


def opened(annotations: str | None = None) -> tuple[Network, Images]:
    """Opens the network and the images that the flags name.

    Args:
        annotations: path of the archive of boxes, for imagenet2012 alone.

    Returns:
        The network, and the images, which are not read yet.

    Raises:
        ValueError: no or several networks, no images or images of two kinds, flags that do not go
            together, or a network that cannot be opened.
    """
    network: dict[str, str | None] = {
        "model_dir": MODEL_DIR.value,
        "saved_model": SAVED_MODEL.value,
        "keras_model": KERAS_MODEL.value,
        "network": NETWORK.value,
    }
    check_one_network(network.values())
    chosen = images(annotations)
    opened = open_network(
        **network,
        weights=WEIGHTS.value,
        attention_layer=ATTENTION_LAYER.value,
        bounds=BOUNDS.value,
        images=chosen,
    )
    return opened, chosen


def opened_several(
    model_dirs: Sequence[str], keras_models: Sequence[str] = (), saved_models: Sequence[str] = ()
) -> tuple[dict[str, Network], Images]:
    """Opens several networks, and the images that all of them are evaluated on.

    Args:
        model_dirs: directories that `train.main` wrote, each as NAME=DIRECTORY, or as DIRECTORY,
            whose last part is then the name.
        keras_models: files of Keras classifiers, each as NAME=FILE, or as FILE, whose name without
            the ending is then the name.
        saved_models: directories of exported models, each as NAME=DIRECTORY, or as DIRECTORY; the
            name is then its last part, or that of the model directory whose `saved_model` it is.

    Returns:
        The networks by name, and the images that the flags name, by default the data set that the
        networks of the directories were trained on.

    Raises:
        ValueError: a name twice; flags that name a single network; directories of several data sets
            where the flags name none; no images or images of two kinds; or a network that cannot be
            opened.
        FileNotFoundError: there is no such exported model.
    """
    for flag in (MODEL_DIR, SAVED_MODEL, KERAS_MODEL, NETWORK, WEIGHTS):
        if flag.value is not None:
            several = flag.name if flag.name in ("saved_model", "keras_model") else "model_dir"
            raise ValueError(f"--{flag.name} belongs to one network; several have --{several}s.")
    if BOUNDS.value is not None and not keras_models:
        raise ValueError(
            "--bounds belongs to Keras files; model directories and exported models have their own."
        )
    paths: dict[str, dict[str, Any]] = {}
    given = {"model_dir": model_dirs, "keras_model": keras_models, "saved_model": saved_models}
    for kind, texts in given.items():
        for name, path in map(_named, texts):
            if name in paths:
                raise ValueError(
                    f"Two networks are named {name!r}. Give one of them another name: "
                    f"--{kind}s=NAME={path}."
                )
            paths[name] = {kind: path}
    trained = [
        model_directory.read_config(each["model_dir"])
        for each in paths.values()
        if "model_dir" in each
    ]
    datasets = {(config.dataset, config.image_size) for config in trained}
    if IMAGES.value or DATASET.value or not datasets:
        chosen = images()
    elif len(datasets) == 1:
        ((name, size),) = datasets
        chosen = NamedImages(name, SPLIT.value, DATA_DIR.value, image_size=size or None)
    else:
        found = ", ".join(f"{name} ({size or 'own size'})" for name, size in sorted(datasets))
        raise ValueError(
            f"The networks must share one data set and image size, got {found}. Name one with "
            f"--dataset or --images, if all of them take it."
        )
    networks = {
        name: open_network(
            **path,
            attention_layer=ATTENTION_LAYER.value,
            bounds=BOUNDS.value if "keras_model" in path else None,
            images=chosen,
        )
        for name, path in paths.items()
    }
    return networks, chosen


def _named(text: str) -> tuple[str, str]:
    """The name and the path of NAME=PATH, or of a path alone."""
    name, separator, path = text.partition("=")
    if separator and not Path(text).exists():
        return name, path
    last = Path(text).absolute()
    if last.name == model_directory.SAVED_MODEL:
        last = last.parent
    return last.stem if last.suffix in (".keras", ".h5") else last.name, text


def _class_names() -> list[str] | None:
    text = CLASS_NAMES.value
    if text is None:
        return None
    # `Path.is_file` raises where many names make no possible name of a file.
    is_file = os.path.isfile(text)
    lines = Path(text).read_text(encoding="utf-8").splitlines() if is_file else text.split(",")
    return [line.strip() for line in lines if line.strip()]
