"""The page on faithful maps: gains by hand, what is missing, and nothing without such records."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest

from analysis.attention import faithfulness
from analysis.attention.plots import faithfulness_curves
from analysis.records import Results
from tests.analysis.attention.test_plots import lines

SETTINGS = {
    "num_steps": 2,
    "fill": "mean",
    "start": 0.5,
    "radius": 0.02,
    "num_draws": 10,
}
# Clean and attacked, of two images: deletion and insertion.
AREAS = {
    "grad_cam": ([[0.2, 0.1], [0.4, 0.3]], [[0.9, 0.4], [0.7, 0.4]]),
    "lime": ([[0.3, 0.1], [0.4, 0.3]], [[0.8, 0.4], [0.7, 0.4]]),
    "random": ([[0.5, 0.3], [0.5, 0.3]], [[0.5, 0.3], [0.5, 0.2]]),
    "center": ([[0.5, 0.3], [0.5, 0.3]], [[0.6, 0.3], [0.5, 0.3]]),
}
TOP = [[1.0, 0.5], [0.8, 0.5]]


def text_of(levels) -> str:
    return base64.b64encode(bytes(levels)).decode()


def measured(image: int) -> dict:
    """One image's entry; curves fall from 255 or rise to it, half way for the attacked image."""
    entry = {}
    for name, (deletion, insertion) in AREAS.items():
        falling = [[255, 51 * (image + 1), 0], [102, 51, 0]]
        entry[name] = {
            "deletion": deletion[image],
            "insertion": insertion[image],
            "deletion_curve": [text_of(levels) for levels in falling],
            "insertion_curve": [text_of(levels[::-1]) for levels in falling],
        }
    entry["grad_cam"]["max_sensitivity"] = [0.1, None if image else 0.3]
    return entry


@pytest.fixture
def write_study(record, write):
    def written(role="faithfulness", explained="prediction", methods=("grad_cam",)):
        records = [
            {
                **record(image, [0, 1 - image], top_confidence=TOP[image], methods=methods),
                "faithfulness": measured(image),
            }
            for image in range(2)
        ]
        study = {"faithfulness": SETTINGS, "explained": explained}
        return write(f"tiny_imagenet_boxes_clean_test_{role}", records, study=study)

    return written


def rows_of(found) -> dict:
    return {tuple(names): groups for *names, groups in found}


def test_gains_by_hand(write_study, results):
    write_study()
    ((name, run),) = faithfulness.studies(Results(results))
    assert name == "tiny_imagenet_boxes_clean"
    found = rows_of(faithfulness.gains(run))
    deletion = found["all", "grad_cam", "deletion"]
    # (0.5 - 0.2) / 1.0 and (0.5 - 0.4) / 0.8; attacked (0.3 - 0.1) / 0.5 and 0.
    assert deletion.second.value == pytest.approx((0.3 + 0.125) / 2)
    assert deletion.first.value == pytest.approx((0.4 + 0.0) / 2)
    assert deletion.difference.value == pytest.approx((0.1 - 0.125) / 2)
    insertion = found["all", "grad_cam", "insertion"]
    assert insertion.second.value == pytest.approx((0.4 / 1.0 + 0.2 / 0.8) / 2)
    assert insertion.first.value == pytest.approx((0.2 + 0.4) / 2)
    # The attack succeeds on the first image and fails on the second.
    assert found["attack succeeded", "grad_cam", "deletion"].first.value == pytest.approx(0.4)
    assert found["attack failed", "center", "insertion"].first.value == pytest.approx(0.1 / 0.5)
    sensitivity = rows_of(faithfulness.areas(run))["all", "grad_cam", "max_sensitivity"]
    # The second image's map was zero under attack, so that it leaves the pair.
    assert sensitivity.difference.value == pytest.approx(0.2) and sensitivity.difference.count == 1


def test_gains_where_maps_explain_the_label(write_study, results):
    write_study(explained="label")
    ((_, run),) = faithfulness.studies(Results(results))
    gain = rows_of(faithfulness.gains(run))["all", "grad_cam", "deletion"]
    assert gain.second.value == pytest.approx((0.3 + 0.1) / 2)
    text = faithfulness.page("clean", run)
    assert "--explained=prediction" in text and "in units of the probability" not in text


def test_page_numbers_and_figure(write_study, results):
    write_study()
    write_study(role="step_ll")
    made = faithfulness.files(Results(results))
    stem = "attention_faithfulness_tiny_imagenet_boxes_clean"
    assert {Path(path).name for path in made} == {
        f"{name}.{suffix}" for name in (stem, f"{stem}_step_ll") for suffix in ("md", "csv", "png")
    }
    text = made[f"tables/{stem}.md"]
    assert "in units of the probability" in text and "replaced by the mean colour" in text
    assert "(into 0.5)" in text and "Maps explain the prediction." in text
    assert "| centred Gaussian | insertion | 2 | 0.550" in text
    assert f"../figures/{stem}.png" in text and f"figures/{stem}.png" in made
    assert "Randomised layers" not in text
    assert "area,all,grad_cam,max_sensitivity,change,0.2" in made[f"tables/{stem}.csv"]
    link = f"[tiny_imagenet_boxes_clean](results/tables/{stem}.md)"
    assert link in faithfulness.readme(Results(results))


def test_randomised_layers_come_from_the_summary(write_study, results):
    write_study()
    ((_, run),) = faithfulness.studies(Results(results))
    assert faithfulness.randomized(run) is None
    entry = {"mean": 1.0, "interval": None, "count": 1}
    less = {"mean": 0.25, "interval": [0.2, 0.3], "count": 9}
    none = {"mean": None, "interval": None, "count": 0}
    run.summaries[0]["randomized_layers"] = ["none", "logits"]
    run.summaries[0]["randomization"] = {
        "grad_cam": {"rank_correlation": [entry, less], "iou": [entry, none]}
    }
    assert faithfulness.randomized(run).rows == (
        ("none", "1.000", "1.000"),
        ("logits", "0.250 [0.200, 0.300]", "–"),
    )
    assert "Randomised layers" in faithfulness.page("clean", run)


def test_lime_has_no_sensitivity_and_no_randomised_layers(write_study, results):
    write_study(methods=("grad_cam", "lime"))
    ((_, run),) = faithfulness.studies(Results(results))
    rows = {(name, measure) for _, name, measure, _ in faithfulness.areas(run)}
    assert {("lime", "deletion"), ("lime", "insertion"), ("grad_cam", "max_sensitivity")} <= rows
    assert ("lime", "max_sensitivity") not in rows
    entries = [{"mean": 1.0, "interval": None, "count": 1}]
    run.summaries[0]["randomized_layers"] = ["none"]
    run.summaries[0]["randomization"] = {"grad_cam": {"rank_correlation": entries, "iou": entries}}
    assert faithfulness.randomized(run).rows == (("none", "1.000", "1.000"),)


def test_curves_are_means_over_images(write_study, results):
    write_study()
    ((_, run),) = faithfulness.studies(Results(results))
    removed, inserted = faithfulness_curves(run).axes
    x, y = lines(removed)["Grad-CAM, clean"]
    np.testing.assert_allclose(x, [0, 50, 100])
    np.testing.assert_allclose(y, [1, 0.3, 0])
    np.testing.assert_allclose(lines(inserted)["random maps, attacked"][1], [0, 0.2, 0.4])


def test_records_without_it_make_nothing(record, write, results):
    write("tiny_imagenet_boxes_clean_test_step_ll", [record(0, [0, 1])])
    found = Results(results)
    assert faithfulness.files(found) == {} and faithfulness.readme(found) == ""
