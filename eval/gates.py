r"""Measures the gates of CBAM, clean and under attack, and what the network loses without them.

    python -m eval.gates --model_dir=runs/cbam_resnet50 --limit=1000 \
        --attacks="fgsm(epsilon=2/255)" --output=runs/gates.jsonl.gz

Three copies of the network, whose channel gates, spatial gates or both are constants, the means
over images of another split, are attacked as well. All four networks judge the images of each
other, and the records are those of eval.transfer. The summary also has the gates of each layer,
clean and attacked. The same command continues an interrupted run.
"""

from __future__ import annotations

import dataclasses

from absl import app, flags

from aad_tf import data, evaluation
from aad_tf.attacks import as_attack, parse_attack
from aad_tf.attacks.parsing import split_attacks
from aad_tf.utils.files import check_writable
from binaries import command_line, running
from eval import part_flags, shared_flags
from eval.inputs import NamedImages, open_part

_ATTACKS = flags.DEFINE_string(
    "attacks",
    None,
    "Attacks, split by ';', such as 'fgsm(epsilon=2/255)'.",
    required=True,
)
_REFERENCE_SPLIT = flags.DEFINE_enum(
    "reference_split", "validation", data.SPLITS, "Whose images give the means of the gates."
)
_REFERENCE = flags.DEFINE_integer(
    "reference", 1000, "How many of its first images give the means of the gates.", 1
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 100, "How many images are attacked at a time.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of random starts.")
for _name in (*shared_flags.NAMES, "limit", "output"):
    flags.declare_key_flag(_name)
flags.mark_flag_as_required("output")


def _evaluate() -> str:
    part_of_all, output = part_flags.asked_for()
    if part_of_all is not None:
        raise ValueError("The gates are evaluated in one piece: leave out --shard.")
    check_writable(output)
    asked = [parse_attack(text) for text in split_attacks(_ATTACKS.value)]
    network, images = shared_flags.opened()
    if not isinstance(images, NamedImages):
        raise ValueError(
            "The gates are held at their means over another split: give --dataset instead of "
            "--images, which has no splits."
        )
    if images.split == _REFERENCE_SPLIT.value:
        raise ValueError(
            f"--split and --reference_split are both {images.split}: the means of the gates must "
            f"come from other images than those that are evaluated."
        )
    attacks = [as_attack(attack, network.classifier.bounds) for attack in asked]
    part, reference = (
        open_part(each, network.classifier, _BATCH_SIZE.value, limit)
        for each, limit in (
            (images, part_flags.LIMIT.value),
            (dataclasses.replace(images, split=_REFERENCE_SPLIT.value), _REFERENCE.value),
        )
    )
    running.say(
        f"The gates of {network}, on {part}, against their means over "
        f"{reference.num_examples:,} {_REFERENCE_SPLIT.value} images; records go to {output}."
    )
    described = {"dataset": part.description, "reference": reference.description}
    report = evaluation.evaluate_gates(
        network.classifier,
        part.batches,
        reference.batches,
        attacks,
        batch_size=_BATCH_SIZE.value,
        seed=_SEED.value,
        output=output,
        description={"model": network.description, **described},
        num_examples=part.num_examples,
        num_reference=reference.num_examples,
        verbose=1,
    )
    shown = (evaluation.format_transfer(report.summary), evaluation.format_gates(report.summary))
    return "\n".join(shown)


def main(argv: list[str]) -> None:
    """Evaluates what the flags name; bad input ends with one line and exit code 2."""
    del argv
    running.run(_evaluate, resumed_from=part_flags.journal)


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse)
