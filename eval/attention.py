"""What a network looks at, image by image, as it is and after each round of an attack.

    python -m eval.attention --model_dir=runs/tiny_imagenet_boxes_clean --attack=step_ll \
        --dataset=tiny_imagenet_boxes --epsilon=4/255 --rounds=3 --output=attention.jsonl.gz

An interrupted run of the same command is resumed. Parts run anywhere with --shard=3/50, or on the
workers of a cluster with --shard=cluster, and `python -m eval.merge_attention` joins them.
"""

from __future__ import annotations

from absl import app, flags

from aad_tf import attention_study, data, model_directory
from aad_tf.utils.files import check_writable
from eval import running, sharding
from eval.inputs import open_attack, open_network, open_part

_SHARD = flags.DEFINE_string("shard", None, sharding.HELP)
_OUTPUT = flags.DEFINE_string("output", None, "File of records (.jsonl.gz).", required=True)
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


def _study() -> attention_study.StudyReport:
    shard, output = sharding.requested_part(_SHARD.value, _OUTPUT.value)
    check_writable(output)
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
    options = attention_study.Options(
        methods=tuple(_METHODS.value),
        cells=tuple(map(int, _CELLS.value)),
        keep_maps=tuple(_MAPS.value),
        seed=_SEED.value,
        lime={"num_samples": _LIME.value} if "lime" in _METHODS.value else {},
    )
    return attention_study.study_attention(
        classifier,
        part.batches,
        attack,
        output=output,
        batch_size=_BATCH_SIZE.value,
        options=options,
        first_index=part.first,
        num_examples=part.num_examples,
        shard=shard,
        description={"model": model, "dataset": part.description},
        class_names=part.info.class_names,
        verbose=1,
    )


def _image_size() -> int:
    if _IMAGE_SIZE.value is None and _MODEL_DIR.value:
        return model_directory.read_config(_MODEL_DIR.value).image_size
    return _IMAGE_SIZE.value or 0


def main(argv: list[str]) -> None:
    """Parses flags and studies; bad input ends in one line and exit code 2."""
    running.run(
        lambda: attention_study.format_summary(_study().summary),
        argv[1:],
        resumed_from=lambda: sharding.requested_journal(_SHARD.value, _OUTPUT.value),
    )


if __name__ == "__main__":
    app.run(main)
