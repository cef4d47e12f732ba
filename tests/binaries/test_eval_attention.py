"""eval.attention and eval.merge_attention as a user runs them: processes, kills, shards, errors."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import pytest

from aad_tf import data
from aad_tf.attention_study.records import KEYS
from aad_tf.evaluation import journal_path
from aad_tf.results import read_record_lines, read_summary

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ("--dataset=digits", "--batch_size=20", "--attack=step_ll", "--epsilon=0.1", "--rounds=2")

# Takes seconds, so that it can be stopped on the way.
LONG = ("--dataset=digits", "--split=train", "--attack=ifgsm(epsilon=0.1, num_steps=60)")


def command(*arguments: object, module: str = "eval.attention") -> list[str]:
    return [sys.executable, "-m", module, *map(str, arguments)]


def run(*arguments: object, module: str = "eval.attention") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, module=module), cwd=ROOT, capture_output=True, text=True, timeout=280
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
    model.compile(keras.optimizers.Adam(3e-3), loss)
    model.fit(data.training_batches("digits", 50, seed=0), steps_per_epoch=100, verbose=0)
    path = tmp_path_factory.mktemp("network") / "network.keras"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def whole(network: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of the whole test split from one run."""
    output = tmp_path_factory.mktemp("whole") / "new" / "whole.jsonl.gz"
    done = run(f"--keras_model={network}", *FLAGS, f"--output={output}")
    assert done.returncode == 0, done.stderr
    assert "360/360 (100%) images" in done.stderr
    assert "360 images" in done.stdout and "0.2 = 51/255" in done.stdout
    return output


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


def test_shards_run_apart_and_merge_into_the_same_file(
    network: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [tmp_path / "by_hand.jsonl.gz", tmp_path / "part.2-of-2.jsonl.gz"]
    cluster = {"worker": ["host0:2222", "host1:2222"]}
    worker = {"cluster": cluster, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(worker))
    for shard, output in (("1/2", parts[0]), ("cluster", tmp_path / "part.jsonl.gz")):
        flags = (*FLAGS, f"--shard={shard}", f"--output={output}")
        done = run(f"--keras_model={network}", *flags)
        assert done.returncode == 0, done.stderr
    merged = tmp_path / "merged.jsonl.gz"
    missing = run(f"--output={merged}", parts[1], module="eval.merge_attention")
    assert missing.returncode == 2
    assert missing.stderr.splitlines()[-1].startswith("error: Expected every shard")
    done = run(f"--output={merged}", *parts, module="eval.merge_attention")
    assert done.returncode == 0, done.stderr
    assert merged.read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_killed_and_resumed_it_writes_the_same_file(network: Path, tmp_path: Path) -> None:
    whole, output = tmp_path / "whole.jsonl.gz", tmp_path / "cut.jsonl.gz"
    same = (f"--keras_model={network}", *LONG)
    assert run(*same, f"--output={whole}").returncode == 0
    flags = (*same, f"--output={output}")
    stops = ((40, signal.SIGKILL, -signal.SIGKILL), (300, signal.SIGINT, 130))
    for records, stop, code in stops:
        process = subprocess.Popen(
            command(*flags),
            cwd=ROOT,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            # Where the tests run in the background, Ctrl-C is ignored, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        wait_for_records(process, journal_path(output), records)
        process.send_signal(stop)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == code, errors
        assert not output.exists() and journal_path(output).exists()
    assert errors.splitlines()[-1].startswith("interrupted: run the same command again to resume")
    done = run(*flags)
    assert done.returncode == 0, done.stderr
    assert output.read_bytes() == whole.read_bytes()
    assert read_summary(output, "study")["resumed_at"] >= 300


def wait_for_records(process: subprocess.Popen, journal: Path, records: int) -> None:
    deadline = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < deadline:
        if journal.exists() and journal.read_bytes().count(b"\n") > records:
            return
        time.sleep(0.005)


def test_records_of_another_network_are_refused(whole: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.keras"
    small_network(10).save(other)
    before = whole.read_bytes()
    done = run(f"--keras_model={other}", *FLAGS, f"--output={whole}")
    assert done.returncode == 2
    assert "belongs to another evaluation, which differs in weights" in done.stderr
    assert whole.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--epsilon=16"], "Was 16/255"),
        (["--attack=step_l"], "Did you mean 'step_ll'"),
        (["--attack=step_ll(epsilon=0.1)"], "has its own size and rounds"),
        (["--shard=3/2"], "number/count"),
        (["--shard=1/99"], "18 shards at most"),
        (["--weights=imagenet"], "--weights belongs to --network"),
        (["--methods=grad_cam,lyme"], "Did you mean 'lime'"),
        (["--network=inception_v3"], "Give one of --model_dir, --keras_model and --network"),
        (["--annotations=boxes.tgz"], "annotations"),
        (["--keras_model={tmp}/missing.keras"], "missing.keras"),
        (["--keras_model={tmp}/three.keras"], "The network has 3 classes, digits has 10"),
        (["--attention_layer=convv"], "No layer is named 'convv'"),
    ],
)
def test_mistakes_end_in_one_line(
    network: Path, tmp_path: Path, changes: list[str], message: str
) -> None:
    small_network(3).save(tmp_path / "three.keras")
    output = tmp_path / "out" / "x.jsonl"
    flags = [*FLAGS, *(change.format(tmp=tmp_path) for change in changes)]
    done = run(f"--keras_model={network}", f"--output={output}", *flags)
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ") and message in last
    assert not output.exists() and "Traceback" not in done.stderr
