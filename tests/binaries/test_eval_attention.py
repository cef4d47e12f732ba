"""eval.attention and eval.merge_attention as a user runs them: flags, kills, shards, errors."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import keras
import pytest

from aad_tf import data
from aad_tf.attention_study.records import KEYS
from aad_tf.evaluation import journal_path
from aad_tf.records import read_record_lines, read_summary
from tests.binaries.many_runs import Run, run_many, stopped_after

FLAGS = ("--dataset=digits", "--batch_size=20", "--attack=step_ll", "--epsilon=0.1", "--rounds=2")

# Takes seconds, so that it can be stopped on the way.
LONG = (
    "--dataset=digits",
    "--split=train",
    "--limit=200",
    "--batch_size=25",
    "--attack=ifgsm(epsilon=0.1, num_steps=30)",
)


def small_network(classes: int) -> keras.Model:
    keras.utils.set_random_seed(classes)
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(8, 5, strides=3, activation="relu", name="conv"),
            keras.layers.Flatten(),
            keras.layers.Dense(classes),
        ]
    )


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Keras file of a network that has seen a hundred batches of digits."""
    model = small_network(10)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, jit_compile=False)
    model.fit(data.training_batches("digits", 50, seed=0), steps_per_epoch=100, verbose=0)
    path = tmp_path_factory.mktemp("network") / "network.keras"
    model.save(path)
    return path


BAD_FLAGS = {
    "--epsilon=16": "Was 16/255",
    "--attack=step_l": "Did you mean 'step_ll'",
    "--attack=step_ll(epsilon=0.1)": "has its own size and rounds",
    "--shard=3/2": "number/count",
    "--shard=1/99": "18 shards at most",
    "--weights=imagenet": "--weights belongs to --network",
    "--methods=grad_cam,lyme": "Did you mean 'lime'",
    "--network=inception_v3": "Give one of --model_dir, --saved_model, --keras_model and --network",
    "--annotations=boxes.tgz": "annotations",
    "--keras_model={tmp}/missing.keras": "missing.keras",
    "--keras_model={tmp}/three.keras": "The network has 3 classes, digits has 10",
    "--faithfulness_steps=5": "go with --faithfulness",
    "--explained=map": "explained",
    "--cells=5,a": "--cells must be integers such as 5,10, got 5,a",
    "--attention_layer=convv": "No layer is named 'convv'",
}
FAITHFUL = (
    "--faithfulness --faithfulness_steps=3 --randomized_images=5 --explained=prediction --limit=20"
)


@pytest.fixture(scope="module")
def directory(network: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs of this module write, with networks that do not belong there."""
    directory = tmp_path_factory.mktemp("runs")
    small_network(3).save(directory / "three.keras")
    small_network(10).save(directory / "other.keras")
    return directory


@pytest.fixture(scope="module")
def runs(network: Path, directory: Path) -> dict[str, Run]:
    """Runs of the binary one after the other in one process: by the flag that sets each apart.

    The whole test split; its two halves, the second as worker 1 of a cluster; the first once more
    with another network; the faithfulness of a few images; and bad flags of each kind.
    """
    outputs = {
        FAITHFUL: directory / "faithful.jsonl",
        "whole": directory / "new" / "whole.jsonl.gz",
        "--shard=1/2": directory / "by_hand.jsonl.gz",
        "--shard=cluster": directory / "part.jsonl.gz",
        f"--keras_model={directory}/other.keras": directory / "new" / "whole.jsonl.gz",
        **{flag.format(tmp=directory): directory / "out" / "x.jsonl" for flag in BAD_FLAGS},
    }
    commands = [
        [
            f"--keras_model={network}",
            *FLAGS,
            f"--output={output}",
            *flag.removeprefix("whole").split(),
        ]
        for flag, output in outputs.items()
    ]
    cluster = {"worker": ["host0:2222", "host1:2222"]}
    worker = {"cluster": cluster, "task": {"type": "worker", "index": 1}}
    found = run_many("eval.attention", commands, {"TF_CONFIG": json.dumps(worker)})
    return dict(zip(outputs, found, strict=True))


@pytest.fixture(scope="module")
def whole(runs: dict[str, Run], directory: Path) -> Path:
    """Records of the whole test split from one run."""
    done = runs["whole"]
    assert done.code == 0, done.errors
    assert "100% 360/360" in done.errors and " images/s]" in done.errors
    assert "360 images" in done.output and "0.2 = 51/255" in done.output
    return directory / "new" / "whole.jsonl.gz"


def test_records_and_summary(whole: Path) -> None:
    records = list(read_record_lines(whole, KEYS))
    assert [record["index"] for record in records] == list(range(360))
    assert all(len(record["prediction"]) == 3 for record in records)
    summary = read_summary(whole, "study")
    right = sum(record["prediction"][0] == record["label"] for record in records)
    assert summary["counts"] == {
        "examples": 360,
        "right": right,
        "without_box": 360,
        "right_without_box": right,
    }
    assert summary["accuracy"][0] > 0.7 > summary["accuracy"][2]
    assert summary["study"]["grid"] == [8, 8]
    assert summary["class_names"] == [str(digit) for digit in range(10)]
    assert summary["description"]["model"] == {"keras_model": "network.keras"}
    assert str(whole.parent) not in json.dumps(summary)
    assert sorted(path.name for path in whole.parent.iterdir()) == [
        "whole.jsonl.gz",
        "whole.summary.json",
    ]


def test_faithfulness_is_measured_where_asked_for(runs: dict[str, Run], directory: Path) -> None:
    done = runs[FAITHFUL]
    assert done.code == 0, done.errors
    assert "grad_cam, clean -> attacked: deletion 0." in done.output
    summary = read_summary(directory / "faithful.jsonl", "study")
    assert summary["study"]["explained"] == "prediction"
    assert summary["study"]["faithfulness"]["num_steps"] == 3
    layers = [name.split("_")[0] for name in summary["randomized_layers"]]
    assert layers == ["none", "dense", "conv"]
    assert summary["faithfulness"]["random"]["insertion"][2]["count"] == 20
    assert summary["randomization"]["grad_cam"]["iou"][0] == {
        "mean": 1.0,
        "interval": [1.0, 1.0],
        "count": 5,
    }


def test_shards_run_apart_and_merge_into_the_same_file(
    whole: Path, runs: dict[str, Run], directory: Path, tmp_path: Path
) -> None:
    parts = [str(directory / name) for name in ("by_hand.jsonl.gz", "part.2-of-2.jsonl.gz")]
    for flag in ("--shard=1/2", "--shard=cluster"):
        assert runs[flag].code == 0, runs[flag].errors
    merged = tmp_path / "merged.jsonl.gz"
    flag = f"--output={merged}"
    missing, done = run_many("eval.merge_attention", [[flag, parts[1]], [flag, *parts]])
    assert missing.code == 2 and missing.errors.startswith("error: Expected every shard")
    assert done.code == 0, done.errors
    assert merged.read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_killed_and_resumed_it_writes_the_same_file(network: Path, tmp_path: Path) -> None:
    whole, output = tmp_path / "whole.jsonl.gz", tmp_path / "cut.jsonl.gz"
    same = (f"--keras_model={network}", *LONG)
    flags = (*same, f"--output={output}")
    for records, stop, code in ((20, signal.SIGKILL, -signal.SIGKILL), (75, signal.SIGINT, 130)):
        stopped = stopped_after(records, stop, journal_path(output), "eval.attention", *flags)
        assert stopped.code == code, stopped.errors
        assert not output.exists() and journal_path(output).exists()
    advice = "interrupted: run the same command again to resume"
    assert stopped.errors.splitlines()[-1].startswith(advice)
    for done in run_many("eval.attention", [flags, [*same, f"--output={whole}"]]):
        assert done.code == 0, done.errors
    assert output.read_bytes() == whole.read_bytes()
    assert read_summary(output, "study")["resumed_at"] >= 75


def test_records_of_another_network_are_refused(
    whole: Path, runs: dict[str, Run], directory: Path
) -> None:
    done = runs[f"--keras_model={directory}/other.keras"]
    assert done.code == 2
    assert "belongs to another evaluation, which differs in weights" in done.errors
    assert len(list(read_record_lines(whole, KEYS))) == 360


@pytest.mark.parametrize("flag", BAD_FLAGS)
def test_bad_flags_end_in_one_line(runs: dict[str, Run], directory: Path, flag: str) -> None:
    done = runs[flag.format(tmp=directory)]
    assert done.code == 2, done.errors
    last = done.errors.splitlines()[-1]
    assert last.startswith("error: ") and BAD_FLAGS[flag] in last
    assert "Traceback" not in done.errors
    assert not (directory / "out" / "x.jsonl").exists()
