"""eval.transfer as a user runs it: networks by name, a real kill, shards, one-line errors."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import keras
import pytest

from aad_tf import Classifier, configs, data, export, model_directory
from aad_tf.evaluation import journal_path
from aad_tf.records import read_summary
from tests.binaries.many_runs import run_each, run_many, stopped_after

ATTACKS = "--attacks=fgsm(epsilon=0.1); fgsm(epsilon=0.2); pgd(0.1, step_size=0.02, num_steps=10)"


def network_of(filters: int, dtype: str) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((28, 28, 1), dtype=dtype),
            keras.layers.Conv2D(filters, 5, strides=3, activation="relu", dtype=dtype),
            keras.layers.Flatten(dtype=dtype),
            keras.layers.Dense(10, dtype=dtype),
        ]
    )


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trained networks as train.main leaves them, in float64 so that batches do not matter.

    Beside them is the first one in float32, for exported networks take float32 images.
    """
    directory = tmp_path_factory.mktemp("runs")
    for name, filters in (("narrow", 4), ("wide", 12)):
        keras.utils.set_random_seed(0)
        network = network_of(filters, "float64")
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        network.compile(keras.optimizers.Adam(3e-3), loss, jit_compile=False)
        network.fit(
            data.training_batches("digits", 50, seed=0),
            steps_per_epoch=60,
            shuffle=False,
            verbose=0,
        )
        (directory / name).mkdir()
        config = configs.ExperimentConfig(dataset="digits")
        text = json.dumps(configs.to_dict(config))
        (directory / name / model_directory.CONFIG).write_text(text)
        export.save_network(network, directory / name / model_directory.NETWORK)
        exported = directory / name / model_directory.SAVED_MODEL
        export.export_saved_model(Classifier.from_keras(network), exported)
        if name == "narrow":
            single = network_of(filters, "float32")
            single.set_weights(network.get_weights())
            export.save_network(single, directory / "single.keras")
    return directory


def test_directories_and_keras_files_are_judged_by_each_other(runs_dir, tmp_path):
    output, file = tmp_path / "r.jsonl.gz", runs_dir / "wide" / model_directory.NETWORK
    flags = [f"--model_dirs={runs_dir / 'narrow'},other={runs_dir / 'wide'}", "--limit=60"]
    command = [*flags, f"--keras_models={file}", ATTACKS, "--sources=narrow,other"]
    (done,) = run_many("eval.transfer", [[*command, f"--output={output}"]])
    assert done.code == 0, done.errors
    summary = read_summary(output, "transfer")
    assert [each["network"] for each in summary["networks"]] == ["narrow", "other", "model"]
    found = {
        (each["source"], each["target"], each["attack"]): each["accuracy"]
        for each in summary["transfer"]
    }
    assert len(found) == 2 * 3 * 3
    for (source, target, attack), accuracy in found.items():
        # The file holds the network of the directory.
        assert target != "model" or accuracy == found[source, "other", attack]
        assert f"{accuracy:.2%}" in done.output
    names = {attack for _, _, attack in found}
    assert len(names) == 3 and "fgsm(epsilon=0.2)" in names
    own, others = ((name, "narrow", "fgsm(epsilon=0.1)") for name in ("narrow", "other"))
    assert found[own] < found[others]
    described = summary["evaluated"]["description"]
    assert described["models"]["narrow"]["config"]["dataset"] == "digits"
    assert described["dataset"]["fingerprint"] == data.info("digits").fingerprint
    assert str(tmp_path) not in json.dumps(summary)
    lines = done.errors.splitlines()
    assert lines[0].startswith("narrow: custom (lenet trained on digits), 10 classes")
    assert lines[3].startswith("Attacking narrow, other on 60 images of digits")
    assert "narrow, other, model judge the images" in lines[3]
    assert "60/60" in lines[-1]


def test_exported_models_are_sources_and_targets(runs_dir, tmp_path):
    output, exported = tmp_path / "r.jsonl", model_directory.SAVED_MODEL
    flags = [
        f"--saved_models={runs_dir / 'narrow' / exported},served={runs_dir / 'wide' / exported}"
    ]
    flags += [f"--keras_models={runs_dir / 'single.keras'}", "--dataset=digits", "--limit=60"]
    command = [*flags, "--attacks=fgsm(epsilon=0.1)", f"--output={output}"]
    (done,) = run_many("eval.transfer", [command])
    assert done.code == 0, done.errors
    summary = read_summary(output, "transfer")
    found = {(each["source"], each["target"]): each["accuracy"] for each in summary["transfer"]}
    names = ("single", "narrow", "served")
    assert set(found) == {(source, target) for source in names for target in names}
    for name in names:
        # The same weights and gradients, but for rounding.
        assert found["narrow", name] == pytest.approx(found["single", name], abs=1 / 60)
        assert found[name, "narrow"] == pytest.approx(found[name, "single"], abs=1 / 60)
    assert found["narrow", "narrow"] < found["served", "narrow"]
    assert found["served", "served"] < found["narrow", "served"]
    assert summary["evaluated"]["description"]["models"]["served"] == {"saved_model": exported}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_resumed_and_divided_runs_give_the_same_bytes(runs_dir, tmp_path):
    whole, cut, merged = (tmp_path / f"{name}.jsonl.gz" for name in ("whole", "cut", "merged"))
    flags = [f"--model_dirs={runs_dir / 'narrow'},{runs_dir / 'wide'}", ATTACKS, "--limit=120"]
    flags += ["--batch_size=10", "--seed=3"]
    killed = stopped_after(
        20, signal.SIGKILL, journal_path(cut), "eval.transfer", *flags, f"--output={cut}"
    )
    assert killed.code == -signal.SIGKILL and not cut.exists()
    parts = [tmp_path / f"{number}.jsonl.gz" for number in (1, 2)]
    commands = [[*flags, f"--output={path}"] for path in (whole, cut)]
    commands += [
        [*flags, f"--shard={number}/2", f"--output={path}"] for number, path in enumerate(parts, 1)
    ]
    commands = [["eval.transfer", *words] for words in commands]
    for done in run_each([*commands, ["eval.merge_transfer", f"--output={merged}", *parts]]):
        assert done.code == 0, done.errors
    assert cut.read_bytes() == whole.read_bytes()
    assert merged.read_bytes() == whole.read_bytes()
    assert "Accuracy on 120 images" in done.output


def test_bad_input_of_every_kind_has_a_clear_message(runs_dir, tmp_path):
    narrow, wide = runs_dir / "narrow", runs_dir / "wide"
    other = tmp_path / "other"
    other.mkdir()
    config = configs.ExperimentConfig(dataset="mnist")
    (other / model_directory.CONFIG).write_text(json.dumps(configs.to_dict(config)))
    attacks, both = "--attacks=fgsm(0.1)", f"--model_dirs={narrow},{wide}"
    exported = model_directory.SAVED_MODEL
    keras_model = f"--keras_models={narrow / model_directory.NETWORK}"
    cases = [
        ([attacks], "Which networks? Give --model_dirs=runs/a,runs/b, --keras_models or --saved"),
        ([both], "attacks"),
        ([both, attacks, f"--model_dir={narrow}"], "--model_dir belongs to one network"),
        ([both, attacks, "--bounds=0,255"], "--bounds belongs to Keras files"),
        ([f"--model_dirs={narrow},{narrow}", attacks], "named 'narrow'. Give one of them another"),
        ([f"--model_dirs={narrow},{other}", attacks], "got digits (own size), mnist (own size)"),
        (
            [both, f"--saved_models={narrow}/{exported}", attacks],
            "Two networks are named 'narrow'.*--saved_models=NAME=",
        ),
        ([f"--saved_models=a={narrow}", "--dataset=digits", attacks], "narrow is no SavedModel"),
        ([f"--saved_models={tmp_path}/no", "--dataset=digits", attacks], "No exported model at"),
        ([f"--keras_models={narrow}/{exported}", "--dataset=digits", attacks], ".* --saved_model,"),
        ([both, f"--saved_models=a={narrow}/{exported}", attacks], "Build both in one dtype"),
        ([f"--saved_models=a={narrow}/{exported}", attacks], "Which images? Give --images=DIR"),
        ([keras_model, attacks], "Which images? Give --images=DIRECTORY"),
        ([both, attacks, "--sources=narow"], "sources names 'narow'.* Did you mean 'narrow'?"),
        ([both, "--attacks=auto_attack(0.1)"], "auto_attack(0.1) is a cascade"),
        ([both, "--attacks=fgsm(epsilon=8)"], "Was 8/255 = 0.03137 meant?"),
        ([both, attacks, "--shard=4/3"], "number/count, from 1/50 to 50/50; got '4/3'"),
    ]
    given = [["eval.transfer", f"--output={tmp_path}/r.jsonl", *words] for words, _ in cases]
    for done, (_, message) in zip(run_each(given), cases, strict=True):
        last = done.errors.splitlines()[-1]
        pieces = message.split(".*")
        assert done.code == 2 and all(piece in last for piece in pieces), done.errors
        assert "Traceback" not in done.errors
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
