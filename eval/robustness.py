"""Accuracy under attack: python -m eval.robustness --model_dir=DIR --output=runs/model.jsonl.gz

An interrupted run of the same command is resumed. An exported model is taken alike:
--saved_model=PATH --dataset=mnist --attacks="fgsm(epsilon=0.1);pgd(...)".
"""

from __future__ import annotations

from absl import app, flags

from aad_tf import data, evaluation, results
from eval import running
from eval.inputs import open_dataset, open_model

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Directory that train.main wrote.")
_SAVED_MODEL = flags.DEFINE_string("saved_model", None, "Exported model, instead of --model_dir.")
_ATTACKS = flags.DEFINE_string("attacks", None, "Attacks, split by ';'; default: the config's.")
_OUTPUT = flags.DEFINE_string("output", None, "File of records (.jsonl.gz).", required=True)
_DATASET = flags.DEFINE_enum("dataset", None, data.available(), "Default: that of training.")
_SPLIT = flags.DEFINE_enum("split", "test", ["train", "validation", "test"], "Part of the data.")
_LIMIT = flags.DEFINE_integer("limit", None, "Only the first so many examples.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 100, "Images under attack at a time.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of random starts.")
_SUCCESS = flags.DEFINE_enum("success", "any_iterate", evaluation.SUCCESS_RULES, "What counts.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "TFDS data directory; default TFDS_DATA_DIR.")


def _evaluate() -> evaluation.RobustnessReport:
    results.check_writable(_OUTPUT.value)
    model = open_model(_MODEL_DIR.value, _SAVED_MODEL.value, _DATASET.value, _ATTACKS.value)
    dataset = open_dataset(
        model.dataset, _SPLIT.value, _BATCH_SIZE.value, _DATA_DIR.value, _LIMIT.value
    )
    with evaluation.ProgressLine() as line:
        return evaluation.evaluate_robustness(
            model.classifier,
            dataset.batches,
            model.attacks,
            batch_size=_BATCH_SIZE.value,
            seed=_SEED.value,
            success=_SUCCESS.value,
            output=_OUTPUT.value,
            description={"model": model.description, "dataset": dataset.description},
            num_examples=dataset.num_examples,
            progress=line,
        )


def main(argv: list[str]) -> None:
    """Parses flags and evaluates; a mistake of the user's ends in one line and exit code 2."""
    running.run(
        lambda: evaluation.format_summary(_evaluate().summary),
        argv[1:],
        resumed_from=lambda: evaluation.journal_path(_OUTPUT.value),
    )


if __name__ == "__main__":
    app.run(main)
