"""eval.robustness as a user runs it: a new process, real kills, one-line errors."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import signal
from pathlib import Path

import keras
import pytest

from aad_tf import configs, data, export, model_directory
from aad_tf.classifier import Classifier
from aad_tf.evaluation import journal_path
from aad_tf.records import read_records, read_summary
from tests.binaries.many_runs import Run, run, run_many, stopped_after

ATTACKS = ("fgsm(epsilon=0.1)", "ifgsm(epsilon=0.1)")
# Most digits stay correct, so it takes all its steps: long enough to be killed on the way.
LONG = "--attacks=fgsm(epsilon=0.01); pgd(epsilon=0.01, step_size=0.002, num_steps=50, restarts=3)"


def run_once(*arguments: object) -> Run:
    (done,) = run_many("eval.robustness", [arguments])
    return done


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained network as train.main leaves it, in float64 so that batches do not matter."""
    directory = tmp_path_factory.mktemp("model")
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [
            keras.Input((28, 28, 1), dtype="float64"),
            keras.layers.Conv2D(8, 5, strides=3, activation="relu", dtype="float64"),
            keras.layers.Flatten(dtype="float64"),
            keras.layers.Dense(10, dtype="float64"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(3e-3), loss, jit_compile=False)
    network.fit(data.training_batches("digits", 50, seed=0), steps_per_epoch=100, verbose=0)
    config = configs.ExperimentConfig(dataset="digits", evaluation_attacks=ATTACKS)
    (directory / model_directory.CONFIG).write_text(json.dumps(configs.to_dict(config)))
    export.save_network(network, directory / model_directory.NETWORK)
    export.export_saved_model(Classifier.from_keras(network), directory / "saved_model")
    return directory


def trained_by_aad(model_dir: Path, directory: Path, weights: tuple[float, ...]) -> Path:
    """The same network, as AAD with these weights would leave it."""
    shutil.copytree(model_dir, directory)
    path = directory / model_directory.CONFIG
    config = configs.from_dict(json.loads(path.read_text()))
    defense = configs.DefenseConfig("aad", "step_ll(epsilon=0.1)", weights=weights, losses="paper")
    config = dataclasses.replace(config, defense=defense)
    path.write_text(json.dumps(configs.to_dict(config)))
    return directory


def stopped(records: int, stop: signal.Signals, output: Path, *flags: object) -> Run:
    journal, flags = journal_path(output), (*flags, f"--output={output}")
    return stopped_after(records, stop, journal, "eval.robustness", *flags)


def test_the_configs_attacks_run_and_the_summary_says_all(model_dir, tmp_path):
    output = tmp_path / "new" / "r.jsonl.gz"
    done = run("eval.robustness", f"--model_dir={model_dir}", f"--output={output}", "--limit=200")
    assert done.code == 0, done.errors
    summary = read_summary(output)
    assert [entry["attack"] for entry in summary["attacks"]] == list(ATTACKS)
    assert all(0.1 < e["robust_accuracy"] < e["clean_accuracy"] for e in summary["attacks"])
    records = list(read_records(output))
    assert len(records) == 400
    for entry in summary["attacks"]:
        robust = [r for r in records if r["attack"] == entry["attack"] and not r["success"]]
        assert entry["robust_accuracy"] == len(robust) / 200
        assert f"{entry['robust_accuracy']:.2%}" in done.output
    description = summary["evaluated"]["description"]
    assert description["dataset"]["fingerprint"] == data.info("digits").fingerprint
    assert description["model"]["config"]["dataset"] == "digits"
    flags = f"--model_dir={model_dir.name} --output=r.jsonl.gz --limit=200"
    assert summary["provenance"]["command"] == f"python -m eval.robustness {flags}"
    assert str(tmp_path) not in json.dumps(summary)
    # Nothing of TensorFlow's either, which speaks while it is imported and first used.
    started, *progress = done.errors.splitlines()
    assert started.startswith(
        "Evaluating custom (lenet trained on digits), 10 classes, images of 28 x 28 x 1 in [0, 1], "
        "on 200 images of digits (scikit-learn digits 8x8 resized to 28x28) under fgsm(epsilon=0.1)"
    )
    assert progress and "100% 400/400" in progress[-1]
    assert sorted(path.name for path in output.parent.iterdir()) == [
        "r.jsonl.gz",
        "r.summary.json",
    ]


def test_an_exported_model_is_taken_alike(model_dir, tmp_path):
    keras_file = f"--keras_model={model_dir / model_directory.NETWORK}"
    named = (f"--attacks={';'.join(ATTACKS)}", "--dataset=digits")
    networks = {
        "of_export": [f"--saved_model={model_dir / 'saved_model'}", *named],
        "of_directory": [f"--model_dir={model_dir}"],
        "of_file": [keras_file, *named],
    }
    commands = [
        [*flags, f"--output={tmp_path / name}.jsonl", "--limit=60"]
        for name, flags in networks.items()
    ]
    for done in run_many("eval.robustness", commands):
        assert done.code == 0, done.errors
    exported, trained, of_file = (
        list(read_records(tmp_path / f"{name}.jsonl")) for name in networks
    )
    assert of_file == trained
    # The export computes in float32 at its edges.
    differing = [a for a, b in zip(exported, trained, strict=True) if a["success"] != b["success"]]
    assert len(differing) <= 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_stopped_twice_ends_like_an_uninterrupted_one(model_dir, tmp_path):
    whole, cut = tmp_path / "whole.jsonl.gz", tmp_path / "cut.jsonl.gz"
    flags = [f"--model_dir={model_dir}", LONG, "--limit=60", "--batch_size=5", "--seed=3"]
    killed = stopped(20, signal.SIGKILL, cut, *flags)
    assert killed.code == -signal.SIGKILL and not cut.exists()
    kept = journal_path(cut).read_bytes().count(b"\n") - 1
    code, _, errors = stopped(kept + 30, signal.SIGINT, cut, *flags)
    assert code == 130 and not cut.exists(), errors
    assert "interrupted: run the same command again to resume" in errors
    assert "Traceback" not in errors
    kept = journal_path(cut).read_bytes().count(b"\n") - 1

    commands = [[*flags, f"--output={output}"] for output in (cut, whole)]
    for finished in run_many("eval.robustness", commands):
        assert finished.code == 0, finished.errors
    assert cut.read_bytes() == whole.read_bytes()
    assert not journal_path(cut).exists()
    attacked = sum(entry["images_attacked"] for entry in read_summary(cut)["attacks"])
    assert 0 < attacked <= 120 - kept


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("cascade", "kills"),
    [
        ("quick_cascade(epsilon=0.05, num_steps=100)", 2),
        # A minute, most of it in Square.
        pytest.param("auto_attack(epsilon=0.05)", 3, marks=pytest.mark.long),
    ],
)
def test_a_cascade_killed_again_and_again_ends_like_an_uninterrupted_one(
    model_dir, tmp_path, cascade, kills
):
    whole, cut = tmp_path / "whole.jsonl.gz", tmp_path / "cut.jsonl.gz"
    flags = [f"--model_dir={model_dir}", "--limit=24", "--batch_size=6", "--seed=3"]
    flags += [f"--attacks={cascade}", "--nodiagnostics"]
    kept = []
    for _ in range(kills):
        killed = stopped(kept[-1] + 1 if kept else 0, signal.SIGKILL, cut, *flags)
        assert killed.code == -signal.SIGKILL and not cut.exists(), killed.errors
        kept.append(journal_path(cut).read_bytes().count(b"\n") - 1)
    assert kept[0] >= 0 and kept == sorted(set(kept)) and kept[-1] < 24
    commands = [[*flags, f"--output={output}"] for output in (cut, whole)]
    for finished in run_many("eval.robustness", commands):
        assert finished.code == 0, finished.errors
    broken = {record["broken_by"] for record in read_records(whole)}
    # Images leave in the first attack, and some in none.
    assert {"apgd-ce", None} <= broken
    assert cut.read_bytes() == whole.read_bytes()


def test_shards_run_apart_and_merge_into_the_same_file(model_dir, tmp_path):
    whole, part, merged = (tmp_path / f"{name}.jsonl.gz" for name in ("whole", "part", "merged"))
    parts = [tmp_path / f"part.{number}-of-3.jsonl.gz" for number in (1, 2, 3)]
    flags = [f"--model_dir={model_dir}", "--limit=90", "--batch_size=20", "--seed=2"]
    flags += [f"--attacks={ATTACKS[0]};pgd(epsilon=0.1, step_size=0.05, num_steps=2, restarts=2)"]
    commands = [
        [*flags, f"--output={whole}"],
        [*flags, f"--output={parts[0]}", "--shard=1/3"],
        [*flags, f"--output={part}", "--shard=cluster"],
        [*flags, f"--output={parts[2]}", "--shard=3/3"],
        [*flags, f"--output={part}", "--shard=cluster", "--limit=40"],
    ]
    cluster = {"cluster": {"worker": [f"host{n}:2222" for n in range(3)]}}
    task = {"task": {"type": "worker", "index": 1}}
    runs = run_many("eval.robustness", commands, {"TF_CONFIG": json.dumps(cluster | task)})
    assert [each.code for each in runs] == [0, 0, 0, 0, 2], runs
    # Two of five batches, under two attacks.
    assert "100% 80/80" in runs[2].errors and "Only shard 2/3" in runs[2].output
    assert "40 examples in batches of 20 make 2 shards at most, got 3" in runs[4].errors
    assert not part.exists()
    (done,) = run_many("eval.merge_robustness", [[f"--output={merged}", *parts]])
    assert done.code == 0, done.errors
    assert merged.read_bytes() == whole.read_bytes()
    # The table of one pass, but for its seconds, and for the first batch of each part.
    tables = [text.split("Diagnostics, ")[0] for text in (done.output, runs[0].output)]
    tables = [re.sub(r"[\d.]+ s$", "", text, flags=re.M) for text in tables]
    assert tables[0].split() == tables[1].split()
    assert read_summary(merged)["evaluated"] == read_summary(whole)["evaluated"]


def test_a_curve_is_drawn_of_the_distances_to_misclassified_images(model_dir, tmp_path):
    output, picture = tmp_path / "r.jsonl", tmp_path / "pictures" / "curve.png"
    attacks = "--attacks=fgsm(epsilon=0.1);fab(epsilon=None, num_steps=4, num_targets=2)"
    flags = (f"--model_dir={model_dir}", attacks, "--limit=20", "--nodiagnostics")
    done = run_once(*flags, f"--output={output}", f"--curve={picture}")
    assert done.code == 0, done.errors
    assert picture.read_bytes().startswith(b"\x89PNG")
    fgsm, fab = read_summary(output)["attacks"]
    assert "median_distance" not in fgsm
    median = fab["median_distance"]
    assert f"median distance to the nearest misclassified image found: {median:.4g}" in done.output


def test_adaptive_attacks_take_what_the_network_was_trained_on(model_dir, tmp_path):
    output = tmp_path / "r.jsonl"
    aad = trained_by_aad(model_dir, tmp_path / "aad", (9.0, 3.0, 2.0))
    twin = trained_by_aad(model_dir, tmp_path / "twin", (8.0, 0.0, 0.0))
    flags = [f"--model_dir={aad}", f"--twin_dir={twin}", "--adaptive", "--adaptive_steps=2"]
    done = run_once(*flags, "--limit=40", "--nodiagnostics", f"--output={output}")
    assert done.code == 0, done.errors
    assert "climb the loss alpha:beta:gamma = 9:3:2, with which the network was" in done.errors
    summary = read_summary(output)
    entries = {entry["attack"]: entry for entry in summary["attacks"]}
    of_pgd = [
        "pgd",
        "aad_total(pgd,weights=(9,3,2),losses=paper)",
        "aad_total(pgd,weights=(9,-3,-2),losses=paper)",
        "a3(pgd,sigma=10)",
        "a3(pgd,sigma=-10)",
    ]
    of_apgd = [name.replace("pgd", "apgd") for name in of_pgd]
    assert list(entries) == [*of_pgd, *of_apgd, "transfer(pgd)", "transfer(apgd)"]
    # The twin is the network itself here, and the first attack of the config has this budget.
    assert {entry["threat_model"]["epsilon"] for entry in entries.values()} == {0.1}
    same = entries["transfer(pgd)"]["robust_accuracy"]
    assert same == entries["pgd"]["robust_accuracy"] > 0
    records = list(read_records(output))
    lost = {r["index"] for r in records if r["success"] or r["clean_mistake"]}
    (worst,) = summary["adaptive"]["worst"]
    assert worst["robust"] == 40 - len(lost)
    assert f"Worst over all 12 attacks within 0.1: {worst['robust_accuracy']:.2%}" in done.output
    described = summary["evaluated"]["description"]["adaptive"]
    assert described["weights"] == [9.0, 3.0, 2.0]
    assert described["twin"]["config"]["defense"]["weights"] == [8.0, 0.0, 0.0]


def test_mistakes_about_adaptive_attacks_have_a_clear_message(model_dir, tmp_path):
    aad = trained_by_aad(model_dir, tmp_path / "aad", (8.0, 4.0, 1.0))
    model, adaptive = f"--model_dir={model_dir}", "--adaptive"
    other = trained_by_aad(model_dir, tmp_path / "other", (8.0, 0.0, 0.0))
    config = json.loads((other / model_directory.CONFIG).read_text())
    (other / model_directory.CONFIG).write_text(json.dumps({**config, "model": "cifarnet"}))
    keras_model = f"--keras_model={model_dir / model_directory.NETWORK}"
    cases = [
        ([model, f"--twin_dir={aad}"], "--twin_dir belongs to --adaptive"),
        ([model, "--adaptive_steps=20"], "--adaptive_steps belongs to --adaptive: give that, too."),
        ([model, adaptive, "--adaptive_epsilon=a/b"], "must be a number such as 0.15 or 8/255"),
        ([model, adaptive, "--adaptive_epsilon=8"], "Was 8.0/255 = 0.03137 meant?"),
        ([model, adaptive, "--adaptive_weights=8,4,x"], "three numbers such as 8,4,1"),
        ([model, adaptive, f"--twin_dir={aad}"], "trained with attention losses, at weights 8:4:1"),
        ([model, adaptive, f"--twin_dir={other}"], "has the model cifarnet, the network lenet"),
        ([keras_model, "--dataset=digits", adaptive], "Which budget? Give --adaptive_epsilon"),
        ([model, adaptive, "--attacks=fab(epsilon=None)"], "Which budget? Give --adaptive_epsilon"),
    ]
    given = [[f"--output={tmp_path}/r.jsonl", *arguments] for arguments, _ in cases]
    for run_, (_, message) in zip(run_many("eval.robustness", given), cases, strict=True):
        assert run_.code == 2 and message in run_.errors, run_.errors
        assert run_.errors.count("\n") == 1
    assert not (tmp_path / "r.jsonl").exists()


# Together longer than any name of a file may be.
MANY = "--class_names=" + ",".join(f"class_{number:03d}" for number in range(60))


def test_bad_input_of_every_kind_has_a_clear_message(model_dir, tmp_path):
    (tmp_path / "file").touch()
    model = f"--model_dir={model_dir}"
    keras_model = f"--keras_model={model_dir / model_directory.NETWORK}"
    cases = [
        ([f"--model_dir={tmp_path}/none"], "No model directory at"),
        ([f"--model_dir={tmp_path}"], "is not a model directory"),
        ([model, f"--output={tmp_path}/file/r.jsonl"], "Cannot write to"),
        ([model, "--attacks=fgms(epsilon=0.1)"], "Did you mean 'fgsm'"),
        ([model, "--attacks=fgsm(epsilon=8)"], "Was 8/255 = 0.03137 meant?"),
        ([model, "--dataset=mnist", f"--data_dir={tmp_path}"], "Set TFDS_DATA_DIR"),
        ([model, "--batch_size=0"], "batch_size must be at least 1"),
        ([f"--saved_model={model_dir}/saved_model"], "Which images? Give --images=DIRECTORY"),
        ([keras_model, "--dataset=digits"], "Which attacks? Give them as --attacks="),
        ([keras_model, "--dataset=digits", "--images=here"], "either --dataset or --images"),
        ([keras_model, "--dataset=digits", "--class_names=a,b"], "belongs to --images"),
        ([keras_model, "--dataset=digits", "--bounds=0"], "bounds must be a pair"),
        ([keras_model, f"--images={tmp_path}/none", "--attacks=fgsm(0.1)"], "is no directory"),
        (
            [keras_model, f"--images={tmp_path}/none", MANY, "--attacks=fgsm(0.1)"],
            "is no directory",
        ),
        ([model, "--bounds=0,255"], "--bounds belongs to --keras_model"),
        ([f"--saved_model={tmp_path}", "--dataset=digits", "--attacks=fgsm(0.1)"], "no SavedModel"),
        ([], "Give one of --model_dir, --saved_model, --keras_model and --network"),
        ([model, "--limit=0"], "--limit=0"),
        (["--shards=1/3"], "Did you mean: shard"),
        ([model, "--shard=4/3"], "number/count, from 1/50 to 50/50; got '4/3'"),
        ([model, "--shard=1/5"], "make 4 shards at most, got 5"),
        ([model, f"--curve={tmp_path}/c.png"], "add the attack 'fab(epsilon=None)'"),
        (
            [model, "--attacks=fab(None)", "--shard=1/2", f"--curve={tmp_path}/c.png"],
            "--curve with --shard would draw a part of the images",
        ),
        ([model, "more"], "Unexpected arguments: more"),
    ]
    given = [[f"--output={tmp_path}/r.jsonl", *arguments] for arguments, _ in cases]
    for run_, (_, message) in zip(run_many("eval.robustness", given), cases, strict=True):
        errors = run_.errors
        assert run_.code == 2 and errors.startswith("error: ") and message in errors, errors
        assert errors.count("\n") == 1 and not run_.output
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
