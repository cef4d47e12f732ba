"""Figures drawn from real records of a small network: every panel, the files, what is refused."""

from __future__ import annotations

import dataclasses
import gzip
import json

import matplotlib
import matplotlib.image
import numpy as np
import pytest

from aad_tf import plots
from aad_tf.attacks import step_ll
from aad_tf.attention import grad_cam
from aad_tf.attention_study import Options
from aad_tf.classifier import Classifier
from eval.galleries import GALLERIES, Source, make_gallery, read_study
from eval.galleries.gallery import drawn, panel
from eval.galleries.paper_figures import Cell
from eval.galleries.replay import Replayed, replay
from eval.galleries.studies import common_images
from tests.galleries.conftest import ATTACK, images, network, opened, source, study

CORNERS = ((0, 0), (0, -1), (-1, 0), (-1, -1))
PEAK, ZERO = (matplotlib.colormaps["viridis"](level)[:3] for level in (1.0, 0.0))


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


def corner_maps():
    """An image through three rounds: round k is of gray level k / 10, its map 1 in corner k."""
    maps = np.zeros((4, 4, 4))
    for round_number, corner in enumerate(CORNERS):
        maps[(round_number, *corner)] = 1.0
    pixels = np.stack([np.full((8, 8, 1), k / 10) for k in range(4)])
    return Replayed(pixels, maps)


@pytest.mark.parametrize("round_number", range(4))
def test_a_map_is_that_of_its_round_over_the_image_of_its_round(records, classifier, round_number):
    cell = Cell("map", 0, 0, round_number, "words", "red")
    found = panel(cell, corner_maps(), source(records, classifier))
    assert (found.caption, found.caption_color, found.attention_map) == ("words", "red", None)
    assert found.image.shape == (128, 128, 3)
    gray = round_number / 10
    for number, (y, x) in enumerate(CORNERS):
        expected = 0.3 * gray + 0.7 * np.array(PEAK)
        if number != round_number:
            expected = 0.65 * gray + 0.35 * np.array(ZERO)
        np.testing.assert_allclose(found.image[y, x], expected, atol=1e-6)


def test_an_area_of_lime_is_that_of_its_round(records, classifier):
    areas = corner_maps().maps > 0
    image = dataclasses.replace(corner_maps(), areas=areas)
    for round_number in range(4):
        cell = Cell("map", 0, 0, round_number, "")
        found = panel(cell, image, source(records, classifier)).image
        gray = plots.enlarged(image.images[round_number], 128)
        np.testing.assert_array_equal(found, plots.with_area(gray, areas[round_number]))


def test_originals_images_and_differences(records, classifier):
    known, image = source(records, classifier), corner_maps()
    row = int(np.flatnonzero([bool(boxes) for boxes in known.study.records.boxes])[0])
    original = panel(Cell("original", 0, row, 0, "x"), image, known).image
    # The box is (0.25, 0.125, 0.875, 0.75): its second line is white, at pixel 33.
    assert original[33, 64].tolist() == [1, 1, 1] and original[20, 64].tolist() == [0, 0, 0]
    after = panel(Cell("image", 0, row, 2, "x"), image, known).image
    np.testing.assert_allclose(after, 0.2)
    image.images[1, :4] = 0.0
    changed = panel(Cell("difference", 0, row, 1, ""), image, known)
    # 0.1 is 25.5 / 255, in half of the pixels; ten times as much is cut off at white.
    assert changed.caption == "max 25.5, mean 12.8"
    np.testing.assert_allclose(changed.image[:64], 0.5)
    np.testing.assert_allclose(changed.image[64:], 1.0)
    # Of the range from -1 to 1 it is half as much; what becomes darker is drawn darker.
    wide = Classifier.from_keras(classifier.model, "conv", bounds=(-1, 1))
    image.images[1, 4:] = -0.1
    changed = panel(Cell("difference", 0, row, 1, ""), image, Source(known.study, wide, opened))
    assert changed.caption == "max 12.8, mean 6.4"
    np.testing.assert_allclose(changed.image[64:], 0.0, atol=1e-9)


def check_panels(number, sources, attacks):
    """Each map is that which the public functions give for this image, attack and round."""
    studies = common_images([source.study for source in sources])
    sheet = GALLERIES[number].sheet(studies)
    sources = [
        dataclasses.replace(source, study=study)
        for source, study in zip(sources, studies, strict=True)
    ]
    figure = drawn(number, sheet, sources)
    cells = [cell for row in sheet.cells for cell in row]
    checked = 0
    for axes, cell in zip(figure.axes, cells, strict=True):
        assert axes.texts[0].get_text() == cell.caption
        if cell.kind != "map":
            continue
        classifier, records = sources[cell.study].classifier, studies[cell.study].records
        index = records.index[cell.row]
        image, label = images()[index : index + 1], records.label[cell.row : cell.row + 1]
        if cell.round_number:
            image = attacks[cell.study].rounds(classifier, image, label)[cell.round_number - 1]
        attention = grad_cam(classifier, image, label).numpy()[0]
        image = plots.enlarged(np.asarray(image)[0], 128)
        expected = plots.overlay(
            image, attention, opacity=(0.35, 0.7), colormap="viridis", gray=True
        )
        np.testing.assert_allclose(axes.images[0].get_array(), expected, atol=0.01)
        checked += 1
    assert checked >= 2


@pytest.mark.parametrize("number", [1, 2])
def test_panels_show_what_their_captions_say(number, records, classifier):
    check_panels(number, [source(records, classifier)], [ATTACK])


def test_figure_13_shows_each_network_under_its_own_attack(records, classifier, tmp_path):
    other, attack = network(), step_ll(0.03)
    kernel = other.model.get_layer("scores").kernel
    kernel.assign(1.01 * kernel)
    path = study(other, tmp_path / "defended.jsonl.gz", attack)
    check_panels(13, [source(records, classifier), source(path, other)], [ATTACK, attack])


def test_figure_and_json_are_written_together(records, classifier, tmp_path):
    path = tmp_path / "aad_fig_3.png"
    content = make_gallery(3, [source(records, classifier)], path)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["aad_fig_3.json", path.name]
    assert json.loads(path.with_suffix(".json").read_text()) == json.loads(json.dumps(content))
    known = read_study(records)
    (group,) = content["groups"]
    assert content["panels"] == 3 * len(group["examples"])
    assert group["images"] == known.succeeded(3).sum()
    for example in group["examples"]:
        row = int(np.flatnonzero(known.records.index == example["index"])[0])
        assert example["prediction"] == known.records.prediction[row].tolist()
        assert example["prediction"][3] != example["label"] == example["prediction"][0]
    assert content["records"][0]["weights"] == known.records.fingerprint["weights"]
    assert "3 rounds of 12.8/255, at most 38.3/255" in content["attacks"][0]
    assert matplotlib.image.imread(path).shape[1] >= len(group["examples"]) * 128


def test_figure_9_redoes_lime(classifier, tmp_path):
    pytest.importorskip("skimage")
    lime = Options(
        methods=("grad_cam", "lime"), cells=(5, 10), features=(8,), lime={"num_samples": 20}
    )
    path = study(classifier, tmp_path / "x.jsonl", step_ll(0.05), lime)
    known = source(path, classifier, 9)
    for row, image in replay(known, [0, 7], features=8).items():
        clean, attacked = image.areas
        union = (clean | attacked).sum()
        overlap = (clean & attacked).sum() / union if union else 1.0
        assert overlap == pytest.approx(known.study.iou_clean[row, 0], abs=1e-3)
    moved = dataclasses.replace(known.study, iou_clean=known.study.iou_clean - 0.5)
    with pytest.raises(ValueError, match="LIME's areas overlap differently .* with scikit-image"):
        replay(dataclasses.replace(known, study=moved), [0], features=8)
    content = make_gallery(9, [known], tmp_path / "aad_fig_9.png")
    assert content["panels"] % 3 == 0


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
    def shifted(start):
        return opened(start + 1)

    known = Source(read_study(records), classifier, shifted)
    with pytest.raises(ValueError, match="another label"):
        replay(known, list(range(20)))


def test_arguments_are_refused(records, classifier, tmp_path):
    known = source(records, classifier)
    with pytest.raises(ValueError, match="figure must be one of 1, 2, 3"):
        make_gallery(4, [known], tmp_path / "x.png")
    with pytest.raises(ValueError, match="must be a .png file"):
        make_gallery(1, [known], tmp_path / "x.jpg")
    assert list(tmp_path.iterdir()) == []
