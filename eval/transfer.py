r"""Measures the accuracy of all networks on the adversarial images of each network.

    python -m eval.transfer --model_dirs=runs/resnet50,runs/cbam_resnet50,runs/vgg16 \
        --attacks="fgsm(epsilon=0.05);fgsm(epsilon=0.1)" --output=runs/transfer.jsonl.gz
    python -m eval.transfer --model_dirs=plain=runs/clean --keras_models=mine=my_network.keras \
        --attacks="pgd(epsilon=0.1, step_size=0.01, num_steps=20)" --sources=mine \
        --dataset=mnist --output=runs/from_mine.jsonl.gz
    python -m eval.transfer --model_dirs=runs/clean --saved_models=served=exports/lenet \
        --attacks="fgsm(epsilon=0.1)" --targets=served --output=runs/on_served.jsonl.gz

Each attack runs with all its iterations on each source over every image, and all targets judge the
final image. One record per image holds the predictions of every network. An interrupted run of the
same command is resumed. Parts run anywhere with --shard=3/50, or on the workers of a cluster with
--shard=cluster, and `python -m eval.merge_transfer` joins them.
"""

from __future__ import annotations

from absl import app, flags

from aad_tf import evaluation
from aad_tf.attacks import as_attack, parse_attack
from aad_tf.attacks.parsing import split_attacks
from aad_tf.utils.files import check_writable
from binaries import command_line, running
from eval import part_flags, shared_flags
from eval.inputs import open_part

_MODEL_DIRS = flags.DEFINE_list(
    "model_dirs",
    [],
    "Directories that train.main wrote, split by commas: networks that are named as the last parts "
    "of these, or otherwise by NAME=DIRECTORY.",
)
_KERAS_MODELS = flags.DEFINE_list(
    "keras_models",
    [],
    "Files (.keras or .h5) of any Keras classifiers, split by commas, as FILE or NAME=FILE.",
)
_SAVED_MODELS = flags.DEFINE_list(
    "saved_models",
    [],
    "Models exported by aad_tf.export.export_saved_model, split by commas, as DIRECTORY or "
    "NAME=DIRECTORY; both sources and targets, for they have gradients.",
)
_ATTACKS = flags.DEFINE_string(
    "attacks",
    None,
    "Attacks, split by ';', such as 'fgsm(epsilon=0.1);pgd(epsilon=0.1, step_size=0.02, "
    "num_steps=20)'; those that differ in the number of iterations alone share one run.",
    required=True,
)
_SOURCES = flags.DEFINE_list(
    "sources", None, "Names of the networks that images are made on; by default all."
)
_TARGETS = flags.DEFINE_list(
    "targets", None, "Names of the networks that judge the images; by default all."
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 100, "How many images are attacked at a time.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of random starts.")
_IMAGE_FLAGS = (
    *("attention_layer", "bounds", "dataset", "images", "class_names", "split", "data_dir"),
    "image_size",
)
for _name in (*_IMAGE_FLAGS, *part_flags.NAMES):
    flags.declare_key_flag(_name)
flags.mark_flag_as_required("output")


def _evaluate() -> str:
    part_of_all, output = part_flags.asked_for()
    check_writable(output)
    asked = [parse_attack(text) for text in split_attacks(_ATTACKS.value)]
    given = (_MODEL_DIRS.value, _KERAS_MODELS.value, _SAVED_MODELS.value)
    if not any(given):
        raise ValueError(
            "Which networks? Give --model_dirs=runs/a,runs/b, --keras_models or --saved_models."
        )
    networks, images = shared_flags.opened_several(*given)
    first = next(iter(networks.values())).classifier
    attacks = [as_attack(attack, first.bounds) for attack in asked]
    part = open_part(images, first, _BATCH_SIZE.value, part_flags.LIMIT.value, part_of_all)
    for name, network in networks.items():
        running.say(f"{name}: {network}.")
    sources, targets = (names.value or list(networks) for names in (_SOURCES, _TARGETS))
    named = "; ".join(str(attack.name) for attack in attacks)
    running.say(
        f"Attacking {', '.join(sources)} on {part} with {named}; {', '.join(targets)} judge the "
        f"images; records go to {output}."
    )
    descriptions = {name: network.description for name, network in networks.items()}
    report = evaluation.evaluate_transfer(
        {name: network.classifier for name, network in networks.items()},
        part.batches,
        attacks,
        sources=sources,
        targets=targets,
        batch_size=_BATCH_SIZE.value,
        seed=_SEED.value,
        output=output,
        description={"models": descriptions, "dataset": part.description},
        first_index=part.first,
        num_examples=part.num_examples,
        shard=part_of_all,
        verbose=1,
    )
    return evaluation.format_transfer(report.summary)


def main(argv: list[str]) -> None:
    """Evaluates what the flags name; bad input ends with one line and exit code 2."""
    del argv
    running.run(_evaluate, resumed_from=part_flags.journal)


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse)
