"""Security curves: the numbers that are drawn."""

from __future__ import annotations

import numpy as np
import pytest

from aad_tf.metrics import SecurityCurve
from aad_tf.plots import png_bytes, security_curves, training_curves


def test_a_curve_is_drawn_in_percent_with_its_band():
    curve = SecurityCurve(np.array([0.0, 0.1, 0.2, np.inf]), (0.3, 0.0, 0.15))
    figure = security_curves({"plain": curve, "other": curve}, unit="gray levels")
    (axes,) = figure.axes
    line = axes.get_lines()[0]
    # In the order of the budgets.
    np.testing.assert_allclose(line.get_xdata(), [0.0, 0.15, 0.3])
    np.testing.assert_allclose(line.get_ydata(), [75.0, 50.0, 25.0])
    band = axes.collections[0].get_paths()[0].vertices
    low, high = curve.intervals()[0]
    assert band[:, 1].min() == pytest.approx(100 * low)
    assert axes.get_xlabel() == "ε (l∞, gray levels)"
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts[0] == "plain (median distance 0.2)" and texts[1].startswith("other")
    assert png_bytes(figure).startswith(b"\x89PNG")


def test_no_curves_are_refused():
    with pytest.raises(ValueError, match="curves is empty"):
        security_curves({})


HISTORY = {
    "loss": [2.0, 1.0],
    "val_accuracy": [0.9, 0.95],
    "val_robust_accuracy_fgsm(epsilon=0.3)": [0.6, 0.8],
    "val_robust_accuracy_pgd(epsilon=0.3,step_size=0.1,num_steps=7)": [0.5, 0.0],
}


def drawn(figure):
    (axes,) = figure.axes
    return {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}


def test_accuracies_epoch_by_epoch(tmp_path):
    expected = {
        "clean": [90.0, 95.0],
        "fgsm(epsilon=0.3)": [60.0, 80.0],
        "pgd(epsilon=0.3,step_size=0.1,num_steps=7)": [50.0, 0.0],
    }
    figure = training_curves(HISTORY)
    found = drawn(figure)
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values)
    assert list(figure.axes[0].get_lines()[0].get_xdata()) == [1, 2]
    assert drawn(training_curves({"val_robust_accuracy": [0.5]})) == {"attacked": [50.0]}
    # As EpochHistory writes it, with a column that came later.
    path = tmp_path / "history.csv"
    path.write_text('epoch,val_accuracy,"val_robust_accuracy_pgd(0.1,0.1,1)"\n1,0.5,\n2,0.6,0.25\n')
    found = drawn(training_curves(path))
    assert found["clean"] == pytest.approx([50.0, 60.0])
    np.testing.assert_allclose(found["pgd(0.1,0.1,1)"], [np.nan, 25.0])


def test_a_history_without_validation_is_refused():
    with pytest.raises(ValueError, match="only loss: validate while you train"):
        training_curves({"loss": [1.0]})
