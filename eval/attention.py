"""What a network looks at, image by image, as it is and after each round of an attack.

    python -m eval.attention --model_dir=runs/tiny_imagenet_boxes_clean --attack=step_ll \
        --dataset=tiny_imagenet_boxes --epsilon=4/255 --rounds=3 --output=attention.jsonl.gz

An interrupted run of the same command is resumed. Parts run anywhere with --shard=3/50, or on the
workers of a cluster with --shard=cluster, and `python -m eval.merge_attention` joins them.
"""

from __future__ import annotations

from absl import app, flags

from aad_tf import attention_study, evaluation
from aad_tf.utils.files import check_writable
from eval import attention_flags, running, sharding

_SHARD = flags.DEFINE_string("shard", None, sharding.HELP)
_OUTPUT = flags.DEFINE_string("output", None, "File of records (.jsonl.gz).", required=True)
flags.adopt_module_key_flags(attention_flags)


def _study() -> attention_study.StudyReport:
    shard, output = sharding.own_part(_SHARD.value, _OUTPUT.value)
    check_writable(output)
    study = attention_flags.open_study(shard)
    with evaluation.ProgressLine() as line:
        return attention_study.study_attention(
            study.classifier,
            study.part.opened,
            study.attack,
            output=output,
            batch_size=study.batch_size,
            options=study.options,
            first_index=study.part.first,
            num_examples=study.part.count,
            shard=shard,
            description={"model": study.model, "dataset": study.part.description},
            class_names=study.part.info.class_names,
            progress=line,
        )


def main(argv: list[str]) -> None:
    """Parses flags and studies; a mistake of the user's ends in one line and exit code 2."""
    running.run(
        lambda: attention_study.format_summary(_study().summary),
        argv[1:],
        resumed_from=lambda: sharding.own_journal(_SHARD.value, _OUTPUT.value),
    )


if __name__ == "__main__":
    app.run(main)
