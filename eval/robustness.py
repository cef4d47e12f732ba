r"""Measures accuracy under attacks, with a record for each image and attack.

    python -m eval.robustness --model_dir=runs/aad --output=runs/aad.jsonl.gz
    python -m eval.robustness --keras_model=my_network.keras --bounds=0,255 --images=photos \
        --attacks="fgsm(epsilon=1);pgd(epsilon=1, step_size=0.25, num_steps=20)" \
        --output=mine.jsonl.gz
    python -m eval.robustness --model_dir=runs/aad --adaptive --twin_dir=runs/alpha_only \
        --output=runs/adaptive.jsonl.gz
    python -m eval.robustness --model_dir=runs/aad --attacks="fab(epsilon=None)" \
        --output=runs/nearest.jsonl.gz --curve=runs/curve.png

The second evaluates any Keras classifier on your own images, which lie in one folder for each
class. The third attacks the loss that an AAD network was trained on, and the fourth draws accuracy
against the budget. An interrupted run of the same command is resumed. Parts run anywhere with
--shard=3/50, or on the workers of a cluster with --shard=cluster, and
`python -m eval.merge_robustness` joins them.
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import app, flags

from aad_tf import evaluation, plots
from aad_tf.attacks import PRESETS, WRAPPERS, as_attack, parse_attack
from aad_tf.attacks.parsing import split_attacks
from aad_tf.evaluation.summary import looks_for_nearest
from aad_tf.utils.files import check_writable
from binaries import command_line, running
from eval import adaptive_flags, part_flags, shared_flags
from eval.inputs import Network, open_part

_ATTACKS = flags.DEFINE_string(
    "attacks",
    None,
    "Attacks, split by ';', such as 'fgsm(epsilon=0.1);pgd(epsilon=0.1, step_size=0.02, "
    "num_steps=20)'; of a model directory by default those of its config. Known: "
    f"{', '.join(sorted({**PRESETS, **WRAPPERS}))}; help(aad_tf.attacks.pgd) tells what pgd takes.",
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 100, "How many images are attacked at a time.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of random starts.")
_SUCCESS = flags.DEFINE_enum(
    "success",
    "any_iterate",
    evaluation.SUCCESS_RULES,
    "Whether an image counts as misclassified if any point of the attack's path is, or its end.",
)
_DIAGNOSTICS = flags.DEFINE_bool(
    "diagnostics",
    True,
    "Whether the summary says which signs there are that an attack failed; takes some passes of "
    "the network over the first images.",
)
_CURVE = flags.DEFINE_string(
    "curve",
    None,
    "Picture to draw, a PNG file: robust accuracy within every budget, from the distances to the "
    "nearest misclassified image that the attack 'fab(epsilon=None)' finds; that must be among "
    "--attacks.",
)
for _name in (*adaptive_flags.NAMES, *shared_flags.NAMES, *part_flags.NAMES):
    flags.declare_key_flag(_name)
flags.mark_flag_as_required("output")


def _evaluate() -> str:
    part_of_all, output = part_flags.asked_for()
    check_writable(output)
    attacks = [parse_attack(text) for text in split_attacks(_ATTACKS.value or "")]
    network, images = shared_flags.opened()
    bounds = network.classifier.bounds
    own = [parse_attack(text) for text in _texts_of(network)]
    adaptive = adaptive_flags.chosen(network, attacks or own)
    # One of its plain attacks may be among those given.
    further = [attack for attack in adaptive.attacks if attack not in attacks]
    attacks = [*attacks, *further] or own
    attacks = [as_attack(attack, bounds) for attack in attacks]
    if not attacks:
        raise ValueError(
            "Which attacks? Give them as --attacks='fgsm(epsilon=0.1);ifgsm(epsilon=0.1)'; only "
            "the config of a model directory may name some itself."
        )
    nearest = [each.name for each in attacks if looks_for_nearest(each.threat_model())]
    if _CURVE.value:
        _check_curve(nearest, part_of_all)
        check_writable(_CURVE.value)
    part = open_part(
        images, network.classifier, _BATCH_SIZE.value, part_flags.LIMIT.value, part_of_all
    )
    named = "; ".join(str(attack.name) for attack in attacks)
    running.say(f"Evaluating {network}, on {part} under {named}; records go to {output}.")
    if adaptive.note:
        running.say(adaptive.note)
    description = {"model": network.description, "dataset": part.description}
    if adaptive.description:
        description["adaptive"] = dict(adaptive.description)
    report = evaluation.evaluate_robustness(
        network.classifier,
        part.batches,
        attacks,
        batch_size=_BATCH_SIZE.value,
        seed=_SEED.value,
        success=_SUCCESS.value,
        output=output,
        description=description,
        first_index=part.first,
        num_examples=part.num_examples,
        shard=part_of_all,
        surrogate=adaptive.twin,
        transferred=adaptive.transferred,
        diagnostics=_DIAGNOSTICS.value,
        verbose=1,
    )
    if _CURVE.value:
        curves = {name: evaluation.security_curve(report, attack=name) for name in nearest}
        plots.save_png(plots.security_curves(curves), _CURVE.value)
    return evaluation.format_summary(report.summary)


def _check_curve(nearest: Sequence[str], part_of_all: tuple[int, int] | None) -> None:
    """Refuses a curve that the records of this evaluation would not give."""
    if not nearest:
        raise ValueError(
            "--curve draws the distances to the nearest misclassified image: add the attack "
            "'fab(epsilon=None)', which looks for it, to --attacks."
        )
    if part_of_all is not None:
        raise ValueError(
            "--curve with --shard would draw a part of the images. Leave it out, join the parts by "
            "python -m eval.merge_robustness, and give the same command without --shard the joined "
            "file as --output."
        )


def _texts_of(network: Network) -> Sequence[str]:
    """The attacks that the config of a model directory names."""
    return network.config.evaluation_attacks if network.config else ()


def main(argv: list[str]) -> None:
    """Evaluates what the flags name; bad input ends with one line and exit code 2."""
    del argv
    running.run(_evaluate, resumed_from=part_flags.journal)


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse)
