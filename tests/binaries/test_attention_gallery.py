"""eval.attention_gallery and eval.attention_pictures as a user runs them, with one-line errors."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from aad_tf import configs, data, export, model_directory, plots
from aad_tf.attacks import fgsm
from tests.binaries.many_runs import run_many


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network trained a little, as a Keras file."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(8, 5, strides=3, activation="relu", name="conv"),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, jit_compile=False)
    model.fit(data.training_batches("digits", 50, seed=0), steps_per_epoch=100, verbose=0)
    path = tmp_path_factory.mktemp("network") / "small.keras"
    export.save_network(model, path)
    return path


@pytest.fixture(scope="module")
def records(network: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("records") / "digits.jsonl.gz"
    flags = ("--attack=step_ll", "--epsilon=0.1", "--rounds=3", "--limit=100", f"--output={path}")
    model = (f"--keras_model={network}", "--attention_layer=conv", "--dataset=digits")
    (done,) = run_many("eval.attention", [[*model, *flags]])
    assert done.code == 0, done.errors
    return path


def test_a_figure_from_records_and_mistakes_in_one_line(network, records, tmp_path):
    other = tmp_path / "other.keras"
    model = keras.saving.load_model(network, compile=False)
    model.layers[-1].bias.assign_add([1.0] * 10)
    export.save_network(model, other)
    output = tmp_path / "new" / "aad_fig_3.png"
    mistakes = [
        ([f"--records={records}", f"--model_dir={other}"], "records of another network"),
        ([f"--records={records}", "--model_dir=missing"], "No model directory at missing"),
        (["--records=missing.jsonl", f"--model_dir={network}"], "missing.summary.json"),
        ([f"--records={records}"] * 2, "Figure 3 takes 1 file(s) of records"),
    ]
    drawn, *refused = run_many(
        "eval.attention_gallery",
        [
            ["--figure=3", f"--records={records}", f"--model_dir={network}", f"--output={output}"],
            *(["--figure=3", f"--output={tmp_path / 'x.png'}", *flags] for flags, _ in mistakes),
        ],
    )
    assert drawn.code == 0, drawn.errors
    assert drawn.output.splitlines()[-1] == f"written: {output}"
    assert output.read_bytes().startswith(b"\x89PNG")
    content = json.loads(output.with_suffix(".json").read_text())
    assert content["records"][0]["dataset"]["name"] == "digits"
    assert str(tmp_path) not in json.dumps(content)
    examples = content["groups"][0]["examples"]
    assert len({example["label"] for example in examples}) == len(examples) > 1
    for done, (_, message) in zip(refused, mistakes, strict=True):
        assert done.code == 2
        assert done.errors.strip().splitlines()[-1].startswith("error: ")
        assert message in done.errors
    assert not (tmp_path / "x.png").exists()


def test_pictures_of_two_networks_and_of_a_training(network, tmp_path):
    for name, shift in (("plain", 0.0), ("shifted", 4.0)):
        model = keras.saving.load_model(network, compile=False)
        model.layers[-1].bias.assign_add([shift] + 9 * [0.0])
        (tmp_path / name).mkdir()
        config = configs.to_dict(configs.ExperimentConfig(dataset="digits"))
        (tmp_path / name / model_directory.CONFIG).write_text(json.dumps(config))
        export.save_network(model, tmp_path / name / model_directory.NETWORK)
    images = np.zeros((2, 1, 4, 4, 3), np.uint8)
    captions, truth = np.array([["7 0.50"], ["1 0.50"]]), np.array(["true: 7"])
    for epoch, update in enumerate((0, 40, 80)):
        snapshot = plots.Snapshot(update, images, np.ones((2, 1, 2, 2)), captions, truth, "pgd")
        plots.save_snapshot(snapshot, tmp_path / f"attention_epoch_{epoch:04d}.npz")
    both = f"--model_dirs=plain={tmp_path / 'plain'},{tmp_path / 'shifted'}"
    output, evolution = tmp_path / "compared.png", tmp_path / "evolution.png"
    flags = [both, "--attack=fgsm(epsilon=0.05)", f"--output={output}"]
    compared, drawn, *refused = run_many(
        "eval.attention_pictures",
        [
            [*flags, "--among=200", "--count=3", "--title=Two"],
            [f"--snapshots={tmp_path}", "--count=1", f"--output={evolution}"],
            [*flags, "--among=200", f"--snapshots={tmp_path}"],
            [f"--snapshots={tmp_path}", "--dataset=digits", f"--output={evolution}"],
            [f"--snapshots={tmp_path / 'plain'}", f"--output={evolution}"],
            [both, f"--output={tmp_path / 'picture.jpg'}"],
            [f"--model_dirs={tmp_path / 'plain'}", "--among=9", f"--output={output}"],
            [*flags[:1], "--attack=fgsm(epsilon=1e-9)", "--among=9", f"--output={output}"],
        ],
    )
    assert compared.code == 0, compared.errors
    found = json.loads(output.with_suffix(".json").read_text())
    assert found["title"] == "Two" and found["picture"] == "compared.png"
    first, second = found["groups"]
    counts = found["counts"]
    assert counts["examples"] == 200
    shown = [example for group in (first, second) for example in group["examples"]]
    assert len(first["examples"]) <= 2 and len(second["examples"]) <= 1 and shown
    classifiers = [
        model_directory.load_classifier(tmp_path / name)[0] for name in ("plain", "shifted")
    ]
    pixels, labels = next(iter(data.evaluation_batches("digits", "test", 200)))

    def correct(images):
        found = zip(classifiers, images, strict=True)
        return [np.argmax(one(each).logits, axis=1) == labels.numpy() for one, each in found]

    right = correct([pixels, pixels])
    held = correct([fgsm(0.05)(one, pixels, labels) for one in classifiers])
    assert [int(one.sum()) for one in right] == list(counts["right"].values())
    for group, (fooled, other) in ((first, held), (second, held[::-1])):
        ends_so = right[0] & right[1] & ~fooled & other
        assert group["images"] == int(ends_so.sum())
        for example in group["examples"]:
            assert ends_so[example["index"]] and labels[example["index"]] == example["label"]
    assert drawn.code == 0, drawn.errors
    assert json.loads(evolution.with_suffix(".json").read_text())["rule"] == (
        "The first 1 images that training drew, at 3 moments from update 0 to 80; the attack is "
        "pgd, on the network of the moment."
    )
    messages = [
        "leave out --model_dirs, --attack, --among",
        "leave out --dataset",
        "holds no snapshots",
        "--output must be a .png file",
        "--among compares how the attack ends on several networks: give two or more",
        "On none of 9 images does the attack end differently",
    ]
    for run, message in zip(refused, messages, strict=True):
        assert run.code == 2 and message in run.errors
        assert "Traceback" not in run.errors
