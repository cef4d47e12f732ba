r"""Measures a network's attention on each image, clean and after each iteration of an attack.

    python -m eval.attention --model_dir=runs/tiny_imagenet_boxes_clean --attack=step_ll \
        --epsilon=4/255 --rounds=3 --output=attention.jsonl.gz
    python -m eval.attention --keras_model=my_network.keras --bounds=0,255 --images=photos \
        --attack="step_ll(epsilon=1, num_steps=3)" --output=mine.jsonl.gz

The second follows any Keras classifier on your own images, which lie in one folder for each class.
An interrupted run of the same command is resumed. Parts run anywhere with --shard=3/50, or on the
workers of a cluster with --shard=cluster, and `python -m eval.merge_attention` joins them.
"""

from __future__ import annotations

from typing import Any

from absl import app, flags

from aad_tf import attention_study
from aad_tf.attacks import as_attack
from aad_tf.attention_study import Faithfulness
from aad_tf.attention_study.explain import CELLS, EXPLAINED
from aad_tf.utils.files import check_writable
from binaries import command_line, running
from eval import part_flags, shared_flags
from eval.inputs import open_attack, open_part

_ANNOTATIONS = flags.DEFINE_string(
    "annotations",
    None,
    "With --dataset=imagenet2012: the archive of its boxes, of the test split "
    "ILSVRC2012_bbox_val_v3.tgz.",
)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 50, "How many images go through the network at a time.", 1
)
_ATTACK = flags.DEFINE_string(
    "attack",
    "step_ll",
    "The attack: a name, with --epsilon and --rounds beside it, or a call such as "
    "step_ll(epsilon=4/255, num_steps=3).",
)
_EPSILON = flags.DEFINE_string(
    "epsilon", None, "Size of an attack given by its name, in the unit of the images: 4/255."
)
_ROUNDS = flags.DEFINE_integer(
    "rounds", None, "Number of rounds of an attack given by its name; 1 by default.", 1
)
_SIGMA = flags.DEFINE_float(
    "sigma",
    None,
    "Weight of A3's attention term, which is added to the attack: above 0 it pushes attention "
    "off its area, below 0 it keeps it there.",
)
_METHODS = flags.DEFINE_list(
    "methods",
    "grad_cam,grad_cam_plus_plus",
    f"Which attention maps are made, of {', '.join(attention_study.METHODS)}; lime takes a "
    f"thousand times as long as the others.",
)
_CELLS = flags.DEFINE_list(
    "cells",
    None,
    "Sizes, in cells of the map, of the areas whose overlap with those of the clean image is "
    f"measured; by default those of {','.join(map(str, CELLS))} that are smaller than the map.",
)
_MAPS = flags.DEFINE_list(
    "keep_maps", "grad_cam,lime", "Methods whose maps are written into the records."
)
_LIME = flags.DEFINE_integer(
    "lime_samples", 1000, "How many perturbed images make each map of LIME.", 2
)
_EXPLAINED = flags.DEFINE_enum(
    "explained",
    "label",
    list(EXPLAINED),
    "The class that maps explain: the true label, as in the paper, or what each round predicts.",
)
_FAITHFULNESS = flags.DEFINE_bool(
    "faithfulness",
    False,
    "Also measures whether maps say what the network uses, on clean and attacked images: deletion, "
    "insertion, max-sensitivity and the randomisation of layers, the last two without lime, "
    "whose maps take too many passes to be made again and again. Takes about 200 passes for each "
    "image and round, and for the first images a map for each layer; best with "
    "--explained=prediction.",
)
_STEPS = flags.DEFINE_integer(
    "faithfulness_steps",
    None,
    f"With --faithfulness: how many times pixels are removed or put in; "
    f"{Faithfulness.num_steps} by default.",
    1,
)
_RANDOMIZED = flags.DEFINE_integer(
    "randomized_images",
    None,
    f"With --faithfulness: layers are randomised for so many images, the first of the data; "
    f"{Faithfulness.randomized_images} by default, 0 leaves it out.",
    0,
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of random starts and of LIME.")
for _name in (*shared_flags.NAMES, *part_flags.NAMES):
    flags.declare_key_flag(_name)
flags.mark_flag_as_required("output")


def _study() -> str:
    part_of_all, output = part_flags.asked_for()
    check_writable(output)
    faithfulness = _faithfulness()
    asked = open_attack(_ATTACK.value, _EPSILON.value, _ROUNDS.value, _SIGMA.value)
    network, images = shared_flags.opened(_ANNOTATIONS.value)
    attack: Any = as_attack(asked, network.classifier.bounds)
    part = open_part(
        images,
        network.classifier,
        _BATCH_SIZE.value,
        part_flags.LIMIT.value,
        part_of_all,
        with_boxes=True,
    )
    options = attention_study.Options(
        methods=tuple(_METHODS.value),
        cells=_cells(),
        explained=_EXPLAINED.value,
        keep_maps=tuple(_MAPS.value),
        seed=_SEED.value,
        lime={"num_samples": _LIME.value} if "lime" in _METHODS.value else {},
        faithfulness=faithfulness,
    )
    running.say(
        f"Following the attention of {network}, at layer {network.classifier.attention_layer}, on "
        f"{part} under {attack.name}; records go to {output}."
    )
    report = attention_study.study_attention(
        network.classifier,
        part.batches,
        attack,
        output=output,
        batch_size=_BATCH_SIZE.value,
        options=options,
        first_index=part.first,
        num_examples=part.num_examples,
        shard=part_of_all,
        description={"model": network.description, "dataset": part.description},
        class_names=part.info.class_names,
        verbose=1,
    )
    return attention_study.format_summary(report.summary)


def _cells() -> tuple[int, ...] | None:
    texts = _CELLS.value
    if texts is None:
        return None
    try:
        return tuple(map(int, texts))
    except ValueError:
        raise ValueError(f"--cells must be integers such as 5,10, got {','.join(texts)}.") from None


def _faithfulness() -> Faithfulness | None:
    flags_of = {"num_steps": _STEPS.value, "randomized_images": _RANDOMIZED.value}
    given = {name: value for name, value in flags_of.items() if value is not None}
    if given and not _FAITHFULNESS.value:
        raise ValueError("--faithfulness_steps and --randomized_images go with --faithfulness.")
    return Faithfulness(**given) if _FAITHFULNESS.value else None


def main(argv: list[str]) -> None:
    """Runs the attention study that the flags name; bad input ends with exit code 2."""
    del argv
    running.run(_study, resumed_from=part_flags.journal)


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse)
