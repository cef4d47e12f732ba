"""Plots: what is drawn under which label, the same each time, and on few images."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.attention import plots
from analysis.attention.table_9 import Aligned, Variant, common_images
from analysis.plots import png
from tests.analysis.attention.columns import run_of, simulated

OF_ONE_RUN = (
    plots.iou_distributions,
    plots.iou_rounds,
    plots.success_by_iou,
    plots.scatter_over_rounds,
)
SUCCEEDED, FAILED = "attack succeeded", "attack failed"


def lines(axes):
    """x and y of each labelled line, the middle of an error bar included, by label."""
    bars = {container.get_label(): container.lines[0] for container in axes.containers}
    named = {line.get_label(): line for line in axes.lines} | bars
    return {
        label: (np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float))
        for label, line in named.items()
        if line is not None and not label.startswith("_")
    }


@pytest.fixture(scope="module")
def run():
    """Three successful attacks, two failed ones and an image misclassified when clean."""
    return run_of(
        [[0, 1, 1], [0, 1, 1], [0, 1, 1], [0, 0, 0], [0, 0, 0], [1, 1, 1]],
        iou_box=[0.1, 0.2, 0.3, 0.8, 0.9, 0.0],
        iou_clean=[[0.2, 0.1], [0.2, 0.1], [0.2, 0.1], [0.7, 0.6], [0.7, 0.6], [0.0, 0.0]],
        grad_cam__entropy=[[0.5, 0.3, 0.2]] * 3 + [[0.5, 0.6, 0.8]] * 2 + [[0.0] * 3],
        grad_cam__centroid=[[[0.5, 0.5], [0.5, 0.9], [0.5, 0.9]]] * 3
        + [[[0.5, 0.5], [0.5, 0.6], [0.5, 0.6]]] * 2
        + [[[0.0, 0.0]] * 3],
    )


def test_scatter_of_successful_and_failed_attacks_stands_under_its_own_label(run):
    entropy, shift = plots.scatter_over_rounds(run).axes
    drawn = lines(entropy)
    np.testing.assert_allclose(drawn[SUCCEEDED][1], [-0.2, -0.3])
    np.testing.assert_allclose(drawn[FAILED][1], [0.1, 0.3])
    drawn = lines(shift)
    np.testing.assert_allclose(drawn[SUCCEEDED][1], [0.4, 0.4])
    np.testing.assert_allclose(drawn[FAILED][1], [0.1, 0.1])


def test_iou_over_rounds_stands_under_its_own_label(run):
    (axes,) = plots.iou_rounds(run).axes
    drawn = lines(axes)
    np.testing.assert_allclose(drawn[SUCCEEDED][1], [0.2, 0.1])
    np.testing.assert_allclose(drawn[FAILED][1], [0.7, 0.6])
    # 10 of 64 cells, twice at random.
    np.testing.assert_allclose(drawn["chance: random cells"][1], 0.088, atol=1e-3)


def test_distributions_stand_under_their_own_label(run):
    box, clean = plots.iou_distributions(run).axes
    means = {
        label.split(", mean ")[0]: x[0] for label, (x, _) in lines(box).items() if "mean" in label
    }
    assert means == pytest.approx({SUCCEEDED: 0.2, FAILED: 0.85})
    labels = [label for label in lines(clean) if "mean" in label]
    assert labels == [
        f"{SUCCEEDED}, mean 0.20 [0.20, 0.20]",
        f"{FAILED}, mean 0.70 [0.70, 0.70]",
    ]


def test_success_falls_with_iou_over_all_images(run):
    everything, by_confidence = plots.success_by_iou(run).axes
    x, y = lines(everything)["all images"]
    np.testing.assert_allclose(x, [0.1, 0.2, 0.3, 0.8, 0.9])
    np.testing.assert_allclose(y, [100, 100, 100, 0, 0])
    assert [label.split()[0] for label in lines(by_confidence)] == ["low", "middle", "high"]


def test_a_plot_is_the_same_each_time():
    run = simulated(120, rounds=2)
    data = png(plots.scatter_over_rounds(run))
    assert data.startswith(b"\x89PNG") and data == png(plots.scatter_over_rounds(run))


@pytest.mark.parametrize("plot", OF_ONE_RUN, ids=lambda plot: plot.__name__)
@pytest.mark.parametrize("prediction", [[[0, 1]], [[0, 0], [0, 0]], [[1, 1]]], ids=str)
def test_groups_without_images_are_left_out(plot, prediction):
    figure = plot(run_of(prediction))
    labels = {label for axes in figure.axes for label in lines(axes)}
    if not any(row[0] == 0 and row[1] == 1 for row in prediction):
        assert not [label for label in labels if label.startswith(SUCCEEDED)]
    if not any(row == [0, 0] for row in prediction):
        assert not [label for label in labels if label.startswith(FAILED)]


def test_augmented_attacks_have_a_panel_each():
    plain, more = simulated(60, rounds=3), simulated(60, rounds=3, seed=1)
    one, other = common_images([plain, more])
    iou = one.iou_clean()[:, 2]
    first = Variant("StepLL", one, one.failed(3), iou)
    second = Variant("StepLL + A3 (σ 10)", other, other.failed(3), other.iou_clean()[:, 2])
    variants = {"StepLL": (first, second, None), "FGSM": (first, None, second)}
    left, middle = plots.augmented(Aligned(variants, plain)).axes
    assert left.get_title().startswith("StepLL") and middle.get_title().startswith("FGSM")
    x, y = lines(left)["StepLL + A3 (σ 10)"]
    assert x[2] == pytest.approx(second.iou.mean())
    assert y[2] == pytest.approx(100 * second.kept.mean())
