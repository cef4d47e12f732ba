"""eval.gates as a user runs it: gates, copies that hold them, records and summary."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from aad_tf import Classifier, configs, data, export, model_directory
from aad_tf.attacks import fgsm
from aad_tf.attention import Gates, NetworkGates, gate_agreement, grad_cam, hold_gates
from aad_tf.models import CBAM
from aad_tf.records import read_record_lines, read_summary
from tests.binaries.many_runs import run_each, run_many

IMAGES, REFERENCE = 20, 12
ATTACK = "fgsm(epsilon=0.1)"


def images_of(split: str, count: int):
    return next(iter(data.evaluation_batches("digits", split, count)))


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with CBAM, and one without, as train.main leaves them."""
    keras.utils.set_random_seed(3)
    images = keras.Input((28, 28, 1))
    net = keras.layers.Conv2D(4, 7, strides=7, activation="relu", name="features")(images)
    attended = CBAM(reduction=2, kernel_size=3, name="cbam")(net)
    directory = tmp_path_factory.mktemp("runs")
    for name, features in (("gated", attended), ("plain", net)):
        network = keras.Model(images, keras.layers.Dense(10)(keras.layers.Flatten()(features)))
        if name == "gated":
            layer = network.get_layer("cbam")
            layer.spatial.normalization.gamma.assign([2.0])
            layer.channel.hidden.bias.assign([1.0, 1.0])
            # The score is the sum of two passes: one channel of four is closed, one is open.
            layer.channel.scores.bias.assign([-20.0, 0.0, 20.0, 0.0])
        (directory / name).mkdir()
        text = json.dumps(configs.to_dict(configs.ExperimentConfig(dataset="digits")))
        (directory / name / model_directory.CONFIG).write_text(text)
        export.save_network(network, directory / name / model_directory.NETWORK)
    return directory


@pytest.fixture(scope="module")
def evaluated(runs_dir, tmp_path_factory):
    output = tmp_path_factory.mktemp("gates") / "gates.jsonl.gz"
    flags = [f"--model_dir={runs_dir / 'gated'}", f"--limit={IMAGES}", f"--reference={REFERENCE}"]
    (done,) = run_many("eval.gates", [[*flags, f"--attacks={ATTACK}", f"--output={output}"]])
    assert done.code == 0, done.errors
    model = model_directory.load_network(runs_dir / "gated")
    return done, read_summary(output, "gates"), output, model


def test_copies_are_judged_as_networks_of_their_own(evaluated):
    _, summary, output, model = evaluated
    records = list(read_record_lines(output, ("index", "clean", "adversarial")))
    assert [each["index"] for each in records] == list(range(IMAGES))
    networks = {"own_gates", "channel_held", "spatial_held", "both_held"}
    assert set(records[0]["clean"]) == set(records[0]["adversarial"]) == networks
    means = NetworkGates(model).means([images_of("validation", REFERENCE)])
    held = hold_gates(model, means, ["spatial"])
    images, labels = images_of("test", IMAGES)
    clean = [each["clean"]["spatial_held"] for each in records]
    np.testing.assert_array_equal(clean, np.argmax(held(images), -1))
    attacked = fgsm(0.1)(Classifier.from_keras(held, "features"), images, labels)
    own = [each["adversarial"]["spatial_held"][ATTACK] for each in records]
    for name, network in (("spatial_held", held), ("own_gates", model)):
        judged = [each["predictions"][name] for each in own]
        np.testing.assert_array_equal(judged, np.argmax(network(attacked), -1))
    assert summary["evaluated"]["description"]["reference"]["split"] == "validation"


def test_the_summary_tells_of_gates_clean_and_attacked(evaluated):
    done, summary, _, model = evaluated
    found = summary["gates"]
    assert (found["reference_examples"], found["map_cells"], found["area_cells"]) == (12, 16, 4)
    images, labels = images_of("test", IMAGES)
    gates = NetworkGates(model)(images)["cbam"]
    clean, attacked = (found["layers"]["cbam"][name] for name in ("clean", ATTACK))
    for kind in Gates._fields:
        values = np.asarray(getattr(gates, kind))
        entry = clean[kind]
        assert entry["mean"] == pytest.approx(values.mean(), abs=1e-5)
        assert entry["spread"] == pytest.approx(values.std(), abs=1e-5)
        between = np.sqrt(values.var(0).mean())
        assert entry["between_images"] == pytest.approx(between, abs=1e-5)
        assert entry["gates"] == values[0].size and entry["moved"] == 0
        assert attacked[kind]["moved"] > 0
    assert (clean["channel"]["closed"], clean["channel"]["open"]) == (0.25, 0.25)
    layer = summary["evaluated"]["description"]["model"]["config"]["attention_layer"]
    maps = grad_cam(Classifier.from_keras(model, layer or None), images, labels)
    wanted = gate_agreement(gates.spatial, maps, 4)._asdict()
    for name, values in wanted.items():
        known = values[~np.isnan(values)]
        entry = clean["agreement"][name]
        assert entry["count"] == len(known) > 5
        assert entry["mean"] == pytest.approx(known.mean(), abs=1e-5)
        assert entry["interval"][0] < entry["mean"] < entry["interval"][1]
    assert f"cbam, {ATTACK}: channel 0." in done.output
    assert "Accuracy on 20 images" in done.output


def test_bad_input_has_a_clear_message(runs_dir, tmp_path):
    gated, attack = f"--model_dir={runs_dir / 'gated'}", f"--attacks={ATTACK}"
    cases = [
        ([f"--model_dir={runs_dir / 'plain'}", attack], "no layer of the kind aad_tf.models.CBAM"),
        ([gated, attack, "--split=validation"], "must come from other images"),
        ([gated, attack, "--shard=1/2"], "leave out --shard"),
    ]
    given = [["eval.gates", f"--output={tmp_path}/r.jsonl", *words] for words, _ in cases]
    for done, (_, message) in zip(run_each(given), cases, strict=True):
        assert done.code == 2 and message in done.errors.splitlines()[-1], done.errors
        assert "Traceback" not in done.errors
