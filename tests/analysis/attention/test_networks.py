"""The page of studied networks: numbers from summaries, and what is left out."""

from __future__ import annotations

import json

from aad_tf.attacks import fgsm
from analysis.attention import networks
from analysis.records import Results
from tests.attention_records import make_record, write_records


def on_record(results, name, robust=30, clean=80, count=100, iou=0.5):
    """A studied network with its training and one attack."""
    write_records(
        results / "attention" / f"tiny_imagenet_boxes_{name}_test_step_ll.jsonl.gz",
        [make_record(0, [0, 1], iou_clean=iou)],
    )
    entry = {
        "attack": "fgsm(epsilon=4/255)",
        "robust": robust,
        "count": count,
        "clean_accuracy": clean / count,
        "threat_model": {**fgsm(4 / 255).threat_model(), "success": "any_iterate"},
    }
    (results / "robustness").mkdir(exist_ok=True)
    path = results / "robustness" / f"tiny_imagenet_boxes_{name}.summary.json"
    path.write_text(json.dumps({"attacks": [entry]}))
    training = results / "runs" / f"tiny_imagenet_boxes_{name}"
    training.mkdir(parents=True)
    config = {
        "model": "inception_small",
        "defense": {"attack": "", "kind": "none"},
        "initial_weights": "",
        "epochs": 30,
        "seed": 0,
    }
    (training / "config.json").write_text(json.dumps(config))
    run = {"dataset": {"source": "tfds data/1.0.0"}, "seconds": 125.0}
    (training / "run.json").write_text(json.dumps(run))


def test_accuracies_threat_models_and_training(tmp_path):
    on_record(tmp_path, "clean")
    studied = networks.read(Results(tmp_path))
    # Wilson's intervals of 80 and of 30 in 100.
    assert networks.accuracies(studied).rows == (
        ("tiny_imagenet_boxes_clean", "100", "80.0 [71.1, 86.7]", "30.0 [21.9, 39.6]"),
    )
    assert networks.threat_models(studied).rows[0][:5] == (
        "fgsm(epsilon=4/255)",
        "l∞",
        "0.01569",
        "4/255",
        "1 × 4/255",
    )
    assert networks.training(studied).rows[0][-3:] == ("30", "0", "2")
    page = networks.page(studied)
    assert "tfds data/1.0.0" in page and "white box" in page


def test_networks_without_training_or_robustness_are_left_out(tmp_path):
    on_record(tmp_path, "clean")
    on_record(tmp_path, "other")
    (tmp_path / "runs" / "tiny_imagenet_boxes_other" / "run.json").unlink()
    assert [network.name for network in networks.read(Results(tmp_path))] == [
        "tiny_imagenet_boxes_clean"
    ]
    assert networks.read(Results(tmp_path / "nowhere")) == []


def test_attention_kept_is_drawn_against_accuracy_from_three_networks_on(tmp_path):
    for number, name in enumerate(("clean", "ensemble", "step_ll")):
        assert networks.figure(Results(tmp_path)) is None
        assert not [path for path in networks.files(Results(tmp_path)) if path.endswith(".png")]
        on_record(tmp_path, name, robust=10 + 20 * number, iou=0.25 + 0.25 * number)
    results = Results(tmp_path)
    (panel,) = networks.figure(results).axes
    assert panel.get_title() == "fgsm(epsilon=4/255)"
    points = {bars.get_label(): bars.lines[0].get_xydata()[0] for bars in panel.containers}
    assert {name: tuple(point) for name, point in points.items()} == {
        "tiny_imagenet_boxes_clean": (0.25, 10.0),
        "tiny_imagenet_boxes_ensemble": (0.5, 30.0),
        "tiny_imagenet_boxes_step_ll": (0.75, 50.0),
    }
    made = networks.files(results)
    assert made["figures/attention_networks.png"].startswith(b"\x89PNG")
    assert "(../figures/attention_networks.png)" in made["tables/attention_networks.md"]
