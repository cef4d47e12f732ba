"""Plots: files that are whole, the same each time, and hold up on few images."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread

from analysis.attention import plots
from analysis.attention.aligned import Aligned, Variant, common_images
from tests.analysis.attention.columns import run_of, simulated

OF_ONE_RUN = (
    plots.plot_iou_distributions,
    plots.plot_iou_rounds,
    plots.plot_success_by_iou,
    plots.plot_scatter,
)


@pytest.mark.parametrize("plot", OF_ONE_RUN, ids=lambda plot: plot.__name__)
def test_a_plot_is_the_same_each_time_and_leaves_nothing_else(plot, tmp_path):
    run = simulated(120, rounds=2)
    plot(run, tmp_path / "a.png")
    plot(run, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]
    pixels = imread(tmp_path / "a.png")
    assert min(pixels.shape[:2]) > 300
    assert len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)) > 20


@pytest.mark.parametrize("plot", OF_ONE_RUN, ids=lambda plot: plot.__name__)
@pytest.mark.parametrize("prediction", [[[0, 1]], [[0, 0], [0, 0]], [[1, 1]]], ids=str)
def test_groups_without_images_are_left_out(plot, prediction, tmp_path):
    plot(run_of(prediction), tmp_path / "few.png")
    assert (tmp_path / "few.png").stat().st_size > 1000


def test_augmented_attacks_have_a_panel_each(tmp_path):
    plain, more = simulated(60, rounds=3), simulated(60, rounds=3, seed=1)
    right, other = common_images([plain, more])
    iou = right.iou_clean()[:, 2]
    first = Variant("StepLL", right, right.failed(3), iou)
    second = Variant("StepLL + A3 (σ 10)", other, other.failed(3), other.iou_clean()[:, 2])
    plots.plot_augmented(Aligned({"StepLL": (first, second, None)}, plain), tmp_path / "a.png")
    both = {"StepLL": (first, second, None), "FGSM": (first, None, second)}
    plots.plot_augmented(Aligned(both, plain), tmp_path / "b.png")
    narrow, wide = (imread(tmp_path / name).shape[1] for name in ("a.png", "b.png"))
    assert wide > 1.5 * narrow
