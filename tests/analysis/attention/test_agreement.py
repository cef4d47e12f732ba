"""Agreement of methods and of their conclusions, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.attention.agreement import agreement_table, conclusions
from analysis.statistics import expected_random_iou
from tests.analysis.attention.columns import run_of

METHODS = ("grad_cam", "grad_cam_plus_plus", "lime")


def three(**columns):
    return run_of([[0, 1], [0, 0], [1, 1]], methods=METHODS, **columns)


def test_every_pair_at_every_stage_over_images_right():
    run = three(
        **{
            "agreement__grad_cam|lime__rank_correlation": [[0.2, 0.1], [0.4, np.nan], [9, 9]],
            "agreement__grad_cam|lime__iou": [[0.3, 0.1], [0.5, 0.2], [9, 9]],
        }
    )
    rows = {(row[0], row[1]): row for row in agreement_table(run).rows}
    assert len(rows) == 3 * 2
    clean, attacked = (rows["Grad-CAM, LIME", stage] for stage in ("clean", "round 1"))
    assert [clean[2], *(cell.split()[0] for cell in clean[3:5])] == ["2", "0.300", "0.400"]
    # The map without differences has no rank correlation, but an IoU.
    assert attacked[2:4] == ("2", "0.100 [0.100, 0.100]")
    assert attacked[4].startswith("0.150")
    # By chance: ten of sixty-four cells.
    assert {row[5] for row in rows.values()} == {f"{expected_random_iou(64, 10, 10):.3f}"}


def test_conclusions_by_each_method():
    run = three(
        grad_cam__iou_box__equal_area=[[0.5, 0], [0.7, 0], [0, 0]],
        lime__iou_box__8=[[0.6, 0], [0.5, 0], [0, 0]],
        lime__iou_clean__10=[[0.1], [0.4], [0.9]],
    )
    found = {(c.method, c.measure, c.size): c.groups for c in conclusions(run)}
    assert list(found) == [
        ("grad_cam", "box", "equal_area"),
        ("grad_cam", "clean", "10"),
        ("grad_cam_plus_plus", "box", "equal_area"),
        ("grad_cam_plus_plus", "clean", "10"),
        ("lime", "box", "8"),
        ("lime", "box", "10"),
        ("lime", "clean", "8"),
        ("lime", "clean", "10"),
    ]
    assert found["grad_cam", "box", "equal_area"].difference.value == pytest.approx(-0.2)
    assert found["lime", "box", "8"].difference.value == pytest.approx(0.1)
    assert found["lime", "clean", "10"].difference.value == pytest.approx(-0.3)


def test_one_method_agrees_with_none():
    assert agreement_table(run_of([[0, 1]])).rows == ()
