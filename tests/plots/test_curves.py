"""Security curves: the numbers that are drawn."""

from __future__ import annotations

import numpy as np
import pytest

from aad_tf.metrics import SecurityCurve
from aad_tf.plots import png_bytes, security_curves


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
