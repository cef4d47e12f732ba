"""Galleries drawn from real records of a small network: pictures, JSON, and what is refused."""

from __future__ import annotations

import dataclasses
import gzip
import json

import matplotlib.image
import numpy as np
import pytest

from aad_tf.attention_study import Options
from eval.galleries import GALLERIES, Source, make_gallery, read_study
from eval.galleries.replay import replay
from tests.galleries.conftest import COUNT, network, opened, source, study


def drawn(number, sources, tmp_path):
    path = tmp_path / f"aad_fig_{number}.png"
    content = make_gallery(number, sources, path)
    assert sorted(found.name for found in tmp_path.iterdir()) == [f"{path.stem}.json", path.name]
    assert json.loads(path.with_suffix(".json").read_text()) == json.loads(json.dumps(content))
    return content, matplotlib.image.imread(path)


def edited(records, path, change):
    """A copy of records with something changed in each, under the same summary."""
    with gzip.open(records, "rt") as file:
        lines = [json.loads(line) for line in file]
    for line in lines:
        change(line)
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    summary = records.with_name("plain.summary.json").read_text()
    path.with_name(path.name.replace(".jsonl.gz", ".summary.json")).write_text(summary)
    return path


def test_figure_1(records, classifier, tmp_path):
    content, picture = drawn(1, [source(records, classifier)], tmp_path)
    known = read_study(records)
    succeeded, failed = content["groups"]
    flips = known.right & (known.prediction[:, 1] != known.label) & ~np.isnan(known.iou_box[:, 0])
    assert succeeded["images"] == flips.sum()
    examples = [example for group in (succeeded, failed) for example in group["examples"]]
    assert content["panels"] == 3 * len(examples)
    # Three panels of 128 pixels for each example, rows of two examples.
    assert picture.shape[1] >= 90 + 3 * 136
    for example in examples:
        place = int(np.flatnonzero(known.index == example["index"])[0])
        assert example["prediction"] == known.prediction[place].tolist()
        assert example["prediction"][0] == example["label"]
        assert known.boxes[place]
    for group, wrong in ((succeeded, True), (failed, False)):
        for example in group["examples"]:
            assert (example["prediction"][1] != example["label"]) == wrong
    assert content["records"][0]["weights"] == known.summary["fingerprint"]["weights"]
    assert "one round of 12.8/255, at most 12.8/255" in content["attacks"][0]
    assert "median" in content["rule"]


def test_figure_3_shows_each_image_thrice(records, classifier, tmp_path):
    content, picture = drawn(3, [source(records, classifier)], tmp_path)
    assert content["panels"] == 3 * len(content["groups"][0]["examples"])
    assert all(e["prediction"][3] != e["label"] for e in content["groups"][0]["examples"])
    assert picture[..., :3].std() > 0.1


def test_figure_11_puts_attacks_below_each_other(records, classifier, tmp_path):
    sources = [source(records, classifier)]
    (tmp_path / "records").mkdir()
    for sigma in (10, -10):
        path = tmp_path / "records" / f"a3_{sigma}.jsonl.gz"
        attack = f"a3(step_ll(epsilon=0.05,num_steps=3),sigma={sigma})"
        sources.append(source(study(classifier, path, attack), classifier))
    (tmp_path / "drawn").mkdir()
    content, _ = drawn(11, sources, tmp_path / "drawn")
    shown = len(content["groups"][0]["examples"])
    assert content["panels"] == 5 * 3 * shown
    assert [text.split(",")[1] for text in content["attacks"][1:]] == [" σ +10", " σ −10"]


def test_figure_9_redoes_lime(classifier, tmp_path):
    pytest.importorskip("skimage")
    lime = Options(
        methods=("grad_cam", "lime"), cells=(5, 10), features=(8,), lime={"num_samples": 20}
    )
    (tmp_path / "records").mkdir()
    path = study(
        classifier, tmp_path / "records" / "x.jsonl", "step_ll(epsilon=0.05,num_steps=1)", lime
    )
    found = replay(source(path, classifier, 9), [0, 7], features=8)
    known = read_study(path, "lime", "8", "8")
    for image in found:
        clean, attacked = image.areas
        union = (clean | attacked).sum()
        overlap = (clean & attacked).sum() / union if union else 1.0
        assert overlap == pytest.approx(known.iou_clean[image.place, 0], abs=1e-3)
    wrong = dataclasses.replace(known, iou_clean=known.iou_clean - 0.5)
    with pytest.raises(ValueError, match="LIME's areas overlap differently .* with scikit-image"):
        replay(dataclasses.replace(source(path, classifier, 9), study=wrong), [0], features=8)
    (tmp_path / "drawn").mkdir()
    content, _ = drawn(9, [source(path, classifier, 9)], tmp_path / "drawn")
    assert content["panels"] % 3 == 0


def test_figure_13_compares_two_networks_on_the_same_images(records, classifier, tmp_path):
    (tmp_path / "records").mkdir()
    other = network()
    kernel = other.model.get_layer("scores").kernel
    kernel.assign(1.01 * kernel)
    path = study(
        other, tmp_path / "records" / "defended.jsonl.gz", "step_ll(epsilon=0.03,num_steps=1)"
    )
    sources = [source(records, classifier), source(path, other, name="trained")]
    known, trained = sources[0].study, sources[1].study
    fooled = known.flipped(1) & trained.right & ~np.isnan(trained.iou_box[:, 1])
    (tmp_path / "drawn").mkdir()
    content, _ = drawn(13, sources, tmp_path / "drawn")
    assert [group["images"] for group in content["groups"]] == [
        (fooled & ~trained.flipped(1)).sum(),
        (fooled & trained.flipped(1)).sum(),
    ]


def test_passes_are_those_of_the_records(records, classifier):
    known = source(records, classifier)
    pixels = next(iter(opened(0, COUNT, COUNT)))["image"].numpy()
    for image in replay(known, [59, 0, 21]):
        assert image.images.shape == (6, 8, 8, 1)
        assert image.maps.shape[0] == 6 and image.maps.min() >= 0
        assert np.abs(image.images[1] - image.images[0]).max() == pytest.approx(0.05, abs=1e-6)
        np.testing.assert_array_equal(image.images[0], pixels[image.place])


def test_another_network_is_refused(records):
    with pytest.raises(ValueError, match="records of another network: its weights are"):
        source(records, network(seed=1))


def test_predictions_that_differ_are_refused(records, classifier, tmp_path):
    def other_prediction(record):
        record["prediction"][2] = (record["prediction"][2] + 1) % 3

    def other_confidence(record):
        record["confidence"][1] = 0.999

    for change, message in (
        (other_prediction, r"Image \d+: the network predicts \["),
        (other_confidence, r"Image \d+: confidences are up to"),
    ):
        path = edited(records, tmp_path / f"{change.__name__}.jsonl.gz", change)
        with pytest.raises(ValueError, match=message):
            replay(source(path, classifier), [0])


def test_other_labels_are_refused(records, classifier):
    def shifted(start, stop, size):
        return opened(start + 1, stop + 1, size)

    known = Source(read_study(records), classifier, shifted)
    with pytest.raises(ValueError, match="another label"):
        replay(known, list(range(20)))


def test_arguments_are_refused(records, classifier, tmp_path):
    known = source(records, classifier)
    with pytest.raises(ValueError, match="figure must be one of 1, 2, 3"):
        make_gallery(4, [known], tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"Figure 11 takes 3 file\(s\) of records"):
        make_gallery(11, [known], tmp_path / "x.png")
    with pytest.raises(ValueError, match="must be a .png file"):
        make_gallery(1, [known], tmp_path / "x.jpg")
    with pytest.raises(ValueError, match="line 1: no lime maps"):
        GALLERIES[9].read(records)
    short = dataclasses.replace(
        known.study, summary={**known.study.summary, "study": {**known.study.facts, "rounds": 1}}
    )
    with pytest.raises(ValueError, match="has 1 rounds of the attack, 2 are needed"):
        short.flipped(2)
    assert list(tmp_path.iterdir()) == []
