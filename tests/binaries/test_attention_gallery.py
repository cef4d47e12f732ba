"""eval.attention_gallery as a user runs it: from records to a figure, one-line errors."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import pytest

from aad_tf import data, export
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
