"""Accuracy under attack: python -m eval.robustness --model_dir=DIR --output=runs/model.jsonl.gz

An interrupted run of the same command is resumed. An exported model is taken alike:
--saved_model=PATH --dataset=mnist --attacks="fgsm(epsilon=0.1);pgd(...)". Parts run anywhere with
--shard=3/50, or on the workers of a cluster with --shard=cluster, and `python -m
eval.merge_robustness` joins them.
"""

from __future__ import annotations

from absl import app, flags

from aad_tf import data, evaluation
from aad_tf.utils.files import check_writable
from eval import running, sharding
from eval.inputs import open_dataset, open_model

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Directory that train.main wrote.")
_SAVED_MODEL = flags.DEFINE_string("saved_model", None, "Exported model, instead of --model_dir.")
_ATTACKS = flags.DEFINE_string("attacks", None, "Attacks, split by ';'; default: the config's.")
_OUTPUT = flags.DEFINE_string("output", None, "File of records (.jsonl.gz).", required=True)
_DATASET = flags.DEFINE_enum("dataset", None, data.available(), "Default: that of training.")
_SPLIT = flags.DEFINE_enum("split", "test", ["train", "validation", "test"], "Part of the data.")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", None, running.IMAGE_SIZE, 0)
_LIMIT = flags.DEFINE_integer("limit", None, "Only the first so many examples.")
_SHARD = flags.DEFINE_string("shard", None, sharding.HELP)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 100, "Images under attack at a time.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of random starts.")
_SUCCESS = flags.DEFINE_enum("success", "any_iterate", evaluation.SUCCESS_RULES, "What counts.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "TFDS data directory; default TFDS_DATA_DIR.")


def _evaluate() -> evaluation.RobustnessReport:
    shard, output = sharding.requested_part(_SHARD.value, _OUTPUT.value)
    check_writable(output)
    model = open_model(
        _MODEL_DIR.value, _SAVED_MODEL.value, _DATASET.value, _ATTACKS.value, _IMAGE_SIZE.value
    )
    dataset = open_dataset(
        model, _SPLIT.value, _BATCH_SIZE.value, _DATA_DIR.value, _LIMIT.value, shard
    )
    return evaluation.evaluate_robustness(
        model.classifier,
        dataset.batches,
        model.attacks,
        batch_size=_BATCH_SIZE.value,
        seed=_SEED.value,
        success=_SUCCESS.value,
        output=output,
        description={"model": model.description, "dataset": dataset.description},
        first_index=dataset.first,
        num_examples=dataset.num_examples,
        shard=shard,
        verbose=1,
    )


def main(argv: list[str]) -> None:
    """Parses flags and evaluates; bad input ends in one line and exit code 2."""
    running.run(
        lambda: evaluation.format_summary(_evaluate().summary),
        argv[1:],
        resumed_from=lambda: sharding.requested_journal(_SHARD.value, _OUTPUT.value),
    )


if __name__ == "__main__":
    app.run(main)
