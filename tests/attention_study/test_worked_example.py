"""Four images whose every number is worked out by hand; see conftest for network and images.

The label's channel holds 0.20, 0.21, ... 0.35 in some order (mean 0.275), the other one is flat.
StepLL with size 0.3 goes towards the class with the lower logit: first it takes 0.3 off the
label's channel (0.01 to 0.05 are left in five cells, mean 0.15/16 = 0.009375) and adds it to the
other one; then the label is the least likely class, and the second round adds 0.3 again (mean
0.309375). The last image is misclassified from the start, so its rounds come the other way round.
"""

from __future__ import annotations

import base64
import math

import numpy as np
import pytest

from aad_tf.attacks import step_ll
from aad_tf.attention_study import Options, study_attention
from aad_tf.attention_study.records import KEYS
from aad_tf.records import read_record_lines
from tests.attention_study.conftest import batches_of

OPTIONS = Options(cells=(4, 8), features=(2,), keep_maps=("grad_cam", "grad_cam_plus_plus"))
# Mean of the label's channel minus the other's of each image, as it is and after each round.
MARGINS = [
    [0.275 - 0.1, 0.009375 - 0.4, 0.309375 - 0.1],
    [0.275 - 0.2, 0.009375 - 0.5, 0.309375 - 0.2],
    [0.275 - 0.1, 0.009375 - 0.4, 0.309375 - 0.1],
    [0.275 - 0.5, 0.575 - 0.2, 0.275 - 0.5],
]


@pytest.fixture(scope="module")
def study(classifier, tmp_path_factory):
    output = tmp_path_factory.mktemp("study") / "records.jsonl.gz"
    report = study_attention(
        classifier, batches_of(), step_ll(0.3, 2), output=output, batch_size=2, options=OPTIONS
    )
    return report.summary, list(read_record_lines(output, KEYS))


def column(study, name, method="grad_cam"):
    return [record["maps"][method][name] for record in study[1]]


def test_labels_boxes_and_areas(study):
    _, records = study
    assert [record["index"] for record in records] == [0, 1, 2, 3]
    assert [record["label"] for record in records] == [0, 1, 0, 1]
    # The third image's box is of another class.
    assert [record["box_area"] for record in records] == [0.5, 0.25, None, 1.0]
    assert records[0]["boxes"] == [[0.0, 0.0, 1.0, 0.5]]
    assert records[2]["boxes"] == []


def test_predictions_and_confidences(study):
    for record, margins in zip(study[1], MARGINS, strict=True):
        expected = np.array([1 / (1 + math.exp(-10 * margin)) for margin in margins])
        np.testing.assert_allclose(record["confidence"], expected, atol=1e-4)
        np.testing.assert_allclose(
            record["top_confidence"], np.maximum(expected, 1 - expected), atol=1e-4
        )
        correct = [prediction == record["label"] for prediction in record["prediction"]]
        assert correct == [margin > 0 for margin in margins]


def test_counts_and_accuracies(study):
    summary, _ = study
    assert summary["counts"] == {
        "examples": 4,
        "right": 3,
        "without_box": 1,
        "right_without_box": 1,
    }
    assert summary["accuracy"] == [0.75, 0.25, 0.75]
    assert summary["range"] == [0, 4]
    assert summary["study"]["grid"] == [4, 4]
    assert summary["study"]["attack"]["epsilon"] == pytest.approx(0.6)


def test_iou_with_the_box_at_equal_area(study):
    # First image: the 8 highest cells are the right half, the box is the left one. Attacked, five
    # cells are above zero; of the tied rest the first three count, two of them in the box.
    assert column(study, "iou_box")[0]["equal_area"] == [0.0, pytest.approx(2 / 14, abs=1e-4)] + [
        pytest.approx(2 / 14, abs=1e-4)
    ]
    # Second: the 4 highest cells are the first row, the box is the upper left quarter.
    assert column(study, "iou_box")[1]["equal_area"] == pytest.approx([2 / 6] * 3, abs=1e-4)
    assert column(study, "iou_box")[2] is None
    assert column(study, "iou_box")[3]["equal_area"] == [1.0, 1.0, 1.0]


def test_iou_with_the_clean_map(study):
    found = column(study, "iou_clean")
    assert [list(entry) for entry in found] == [["4", "8"]] * 4
    assert [entry["4"] for entry in found] == [[1.0, 1.0]] * 4
    # Of 8 cells five stay. First image: of the three that join, (0, 2) was one of the clean 8.
    assert found[0]["8"] == pytest.approx([6 / 10] * 2, abs=1e-4)
    assert found[1]["8"] == [1.0, 1.0]
    assert found[2]["8"] == pytest.approx([5 / 11] * 2, abs=1e-4)
    assert found[3]["8"] == [1.0, 1.0]


def test_scatter_of_the_first_image(study):
    clean = np.arange(20, 36) / 440
    attacked = np.arange(1, 6) / 15
    entropies = [-(p * np.log(p)).sum() / math.log(16) for p in (clean, attacked)]
    assert column(study, "entropy")[0][:2] == pytest.approx(entropies, abs=1e-4)
    # Column sums 0.86, 1.02, 1.18, 1.34; row sums 1.04, 1.08, 1.12, 1.16; total 4.4.
    assert column(study, "centroid")[0][0] == pytest.approx([2.25 / 4.4, 2.4 / 4.4], abs=1e-4)
    # Attacked: 1 at (3, 2); 2, 3, 4, 5 down the last column.
    y = (1 * 3.5 + 2 * 0.5 + 3 * 1.5 + 4 * 2.5 + 5 * 3.5) / 15 / 4
    x = (1 * 2.5 + 14 * 3.5) / 15 / 4
    assert column(study, "centroid")[0][1] == pytest.approx([y, x], abs=1e-4)
    assert column(study, "components")[0] == [1, 1, 1]
    assert column(study, "positive")[0] == [1.0, 5 / 16, 1.0]


def test_maps(study):
    # Grad-CAM is 10/16 of the label's channel.
    assert column(study, "peak")[0] == pytest.approx([0.21875, 0.03125, 0.21875], abs=1e-4)
    attacked = np.frombuffer(base64.b64decode(column(study, "map")[0][1]), np.uint8)
    expected = np.zeros((4, 4), np.uint8)
    expected[:, 3] = [102, 153, 204, 255]  # 255 times 2, 3, 4, 5 fifths
    expected[3, 2] = 51
    np.testing.assert_array_equal(attacked.reshape(4, 4), expected)


def test_grad_cam_plus_plus_by_its_closed_form(study):
    """alpha = 1 / (2 + g sum(A)), weight = 16 alpha g, with g = 10/16 and sum(A) = 4.4."""
    weight = 16 * 0.625 / (2 + 0.625 * 4.4)
    assert column(study, "peak", "grad_cam_plus_plus")[0][0] == pytest.approx(
        0.35 * weight, abs=1e-4
    )
    for record in study[1]:
        assert record["agreement"]["grad_cam|grad_cam_plus_plus"] == {
            "rank_correlation": [1.0, 1.0, 1.0],
            "iou": [1.0, 1.0, 1.0],
        }
