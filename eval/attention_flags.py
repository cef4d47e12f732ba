"""The flags of `eval.attention` that say what is studied, and what they open."""

from __future__ import annotations

from typing import Any, NamedTuple

from absl import flags

from aad_tf import data, model_directory
from aad_tf.attacks import GradientSignAttack
from aad_tf.attention_study import Options
from aad_tf.classifier import Classifier
from eval import running
from eval.attention_inputs import BoxedPart, open_attack, open_network, open_part

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Directory that train.main wrote.")
_KERAS_MODEL = flags.DEFINE_string("keras_model", None, "File of any Keras classifier, instead.")
_NETWORK = flags.DEFINE_string("network", None, "Registered network, instead: inception_v3.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Of --network: imagenet, or a file.")
_LAYER = flags.DEFINE_string("attention_layer", None, "Layer to explain; default: the model's.")
_DATASET = flags.DEFINE_enum("dataset", None, data.boxed_available(), "Data set.", required=True)
_SPLIT = flags.DEFINE_enum("split", "test", ["train", "validation", "test"], "Part of the data.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "TFDS data directory; default TFDS_DATA_DIR.")
_ANNOTATIONS = flags.DEFINE_string("annotations", None, "imagenet2012: ILSVRC2012_bbox_val_v3.tgz.")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", None, running.IMAGE_SIZE, 0)
_LIMIT = flags.DEFINE_integer("limit", None, "Only the first so many examples.", 1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 50, "Images at a time.", 1)
_ATTACK = flags.DEFINE_string("attack", "step_ll", "Name, or step_ll(epsilon=4/255, num_steps=3).")
_EPSILON = flags.DEFINE_string("epsilon", None, "Size of a named attack, e.g. 4/255.")
_ROUNDS = flags.DEFINE_integer("rounds", None, "Rounds of a named attack.", 1)
_SIGMA = flags.DEFINE_float("sigma", None, "Adds A3's attention term, of either sign.")
_METHODS = flags.DEFINE_list("methods", "grad_cam,grad_cam_plus_plus", "Also lime.")
_CELLS = flags.DEFINE_list("cells", "5,10,20,30", "Sizes of areas compared with the clean map's.")
_MAPS = flags.DEFINE_list("keep_maps", "grad_cam,lime", "Methods whose maps are recorded.")
_LIME = flags.DEFINE_integer("lime_samples", 1000, "Perturbed images for each LIME map.", 2)
_SEED = flags.DEFINE_integer("seed", 0, "Of random starts and LIME.")


class OpenedStudy(NamedTuple):
    """What is studied.

    Attributes:
        classifier: the network.
        model: what it is, ready for JSON.
        part: the images.
        attack: what they are attacked with.
        options: methods and measures.
        batch_size: images at a time.
    """

    classifier: Classifier
    model: dict[str, Any]
    part: BoxedPart
    attack: GradientSignAttack
    options: Options
    batch_size: int


def open_study(shard: tuple[int, int] | None) -> OpenedStudy:
    """Opens what the flags ask for.

    Args:
        shard: (number, count) of a part of the data set, or None.

    Raises:
        ValueError: as `open_attack`, `open_part` and `open_network`.
    """
    attack = open_attack(_ATTACK.value, _EPSILON.value, _ROUNDS.value, _SIGMA.value)
    part = open_part(
        _DATASET.value,
        _SPLIT.value,
        _BATCH_SIZE.value,
        data_dir=_DATA_DIR.value,
        annotations=_ANNOTATIONS.value,
        image_size=_image_size() or None,
        limit=_LIMIT.value,
        shard=shard,
    )
    classifier, model = open_network(
        _MODEL_DIR.value,
        _KERAS_MODEL.value,
        _NETWORK.value,
        _WEIGHTS.value,
        _LAYER.value,
        part.info,
    )
    return OpenedStudy(classifier, model, part, attack, _options(), _BATCH_SIZE.value)


def _image_size() -> int:
    if _IMAGE_SIZE.value is None and _MODEL_DIR.value:
        return model_directory.read_config(_MODEL_DIR.value).image_size
    return _IMAGE_SIZE.value or 0


def _options() -> Options:
    return Options(
        methods=tuple(_METHODS.value),
        cells=tuple(map(int, _CELLS.value)),
        keep_maps=tuple(_MAPS.value),
        seed=_SEED.value,
        lime={"num_samples": _LIME.value} if "lime" in _METHODS.value else {},
    )
