"""Losses of Eqs. 7-9 worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from aad_tf import losses
from aad_tf.attention import MatchingArea, TopCells
from aad_tf.losses import AADLosses
from tests.forked import Forked

LOG2 = np.log(2.0)


def softplus(value):
    return np.log1p(np.exp(value))


def test_soft_margin_by_hand():
    logits, labels = tf.constant([[0.0, 0.0, 0.0], [2.0, -1.0, 0.5]]), tf.constant([1, 0])
    # -log sigmoid(z) = log(1 + e^-z) for the label, -log(1 - sigmoid(z)) = log(1 + e^z) for the
    # others. First: three times log 2. Second: log(1 + e^-2) + log(1 + e^-1) + log(1 + e^0.5).
    sums = np.array([3 * LOG2, softplus(-2.0) + softplus(-1.0) + softplus(0.5)])
    np.testing.assert_allclose(losses.soft_margin(labels, logits, "sum"), sums, rtol=1e-6)
    np.testing.assert_allclose(losses.soft_margin(labels, logits), sums / 3, rtol=1e-6)
    # As numbers: 0.126928 + 0.313262 + 0.974077.
    np.testing.assert_allclose(sums[1], 1.414267, atol=1e-6)


def test_cross_entropy_by_hand():
    logits = tf.constant([[0.0, 0.0], [np.log(3.0), 0.0]], tf.float32)
    # Probabilities 1/2 and 3/4.
    expected = [np.log(2), np.log(4 / 3)]
    np.testing.assert_allclose(losses.cross_entropy(tf.constant([1, 0]), logits), expected, 1e-6)


DIFFERENCE = tf.constant([[[3.0, -4.0]], [[0.0, 0.0]]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("l1", 7.0),
        ("l2", 5.0),
        ("squared_sum", 25.0),
        ("squared_mean", 12.5),
        ("absolute_mean", 3.5),
    ],
)
def test_distances_by_hand(name, expected):
    assert len(losses.DISTANCES) == 5
    np.testing.assert_allclose(losses.DISTANCES[name](DIFFERENCE), [expected, 0.0])
    clean, adversarial = DIFFERENCE + 1.0, tf.ones_like(DIFFERENCE)
    np.testing.assert_allclose(losses.preservation(clean, adversarial, name), [expected, 0.0])


@pytest.mark.parametrize(
    ("distance", "expected"),
    [
        ("l2", -0.25 * np.sqrt(2)),
        ("squared_mean", -0.0625),
        (lambda difference: tf.reduce_max(difference, axis=-1), -0.25),
    ],
)
def test_rectification_by_hand(distance, expected):
    # Softmax (3/4, 1/4) against (1/2, 1/2): the difference is (1/4, -1/4).
    logits, masked = tf.constant([[np.log(3.0), 0.0]]), tf.constant([[5.0, 5.0]], tf.float64)
    values = losses.rectification(logits, masked, distance)
    np.testing.assert_allclose(values, [expected], rtol=1e-6)


def test_rectification_of_a_mask_that_hides_nothing_has_no_gradient():
    logits = tf.Variable([[1.0, 2.0, 3.0]])
    with tf.GradientTape() as tape:
        value = losses.rectification(logits, tf.identity(logits), "l2")
    assert value.numpy() == 0.0
    np.testing.assert_array_equal(tape.gradient(value, logits), [[0.0, 0.0, 0.0]])


def test_maps_of_unit_sum():
    maps = tf.constant([[[1.0, 3.0]], [[0.0, 0.0]]])
    np.testing.assert_allclose(losses.unit_sum(maps), [[[0.25, 0.75]], [[0.0, 0.0]]])


def test_half_precision_logits_are_raised_first():
    logits, labels = tf.constant([[2.0, -1.0]], tf.bfloat16), tf.constant([0])
    for values in (
        losses.soft_margin(labels, logits),
        losses.cross_entropy(labels, logits),
        losses.rectification(logits, logits),
    ):
        assert values.dtype == tf.float32


PAPER = {"classification": "soft_margin", "rectification": "l2", "normalized_maps": False}
CODE = {
    "preservation": "squared_sum",
    "maps": "softmax_grad_cam",
    "threshold": "batch_mean",
    "normalized_maps": False,
    "full_size_maps": True,
    "preservation_over": "batch_sum",
}


@pytest.mark.parametrize(
    ("preset", "parts", "classification", "rectification", "preservation"),
    [
        # (log(1 + 1/3) + log 2) / 2 and log 4/3; the differences are (1/4, -1/4) and (1, -2).
        ("paper", PAPER, (np.log(4 / 3) + LOG2) / 2, -0.25 * np.sqrt(2), 3.0),
        ("reference_code", CODE, np.log(4 / 3), -0.0625, 5.0),
        ("balanced", {}, np.log(4 / 3), -0.0625, 3.0),
    ],
)
def test_presets_by_hand(preset, parts, classification, rectification, preservation):
    losses_of = AADLosses.preset(preset)
    assert losses_of == AADLosses(**parts)
    labels, logits = tf.constant([0]), tf.constant([[np.log(3.0), 0.0]], tf.float32)
    value = losses_of.classification_loss(labels, logits)
    np.testing.assert_allclose(value, [classification], rtol=1e-6)
    value = losses_of.rectification_loss(logits, tf.zeros((1, 2)))
    np.testing.assert_allclose(value, [rectification], rtol=1e-6)
    clean, adversarial = tf.constant([[[1.0, 2.0]]]), tf.constant([[[0.0, 4.0]]])
    value = losses_of.preservation_loss(clean, adversarial)
    np.testing.assert_allclose(value, [preservation])


def test_parts_can_be_exchanged():
    parts = AADLosses.preset("paper").replace(
        classification="soft_margin_sum", preservation=losses.absolute_mean, threshold=TopCells(3)
    )
    value = parts.classification_loss(tf.constant([0]), tf.zeros((1, 4)))
    np.testing.assert_allclose(value, [4 * LOG2], rtol=1e-6)
    maps = tf.constant([[[1.0, 2.0]]])
    np.testing.assert_allclose(parts.preservation_loss(maps, tf.zeros_like(maps)), [1.5])
    assert parts != AADLosses.preset("paper")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classification": "crossentropy"}, "Unknown classification loss .* mean 'cross_entropy'"),
        ({"rectification": "l3"}, "Unknown distance 'l3'. Did you mean 'l.' or 'l.'"),
        ({"preservation": "l0"}, "Unknown distance 'l0'"),
        ({"maps": "gradcam"}, "Unknown map 'gradcam'. Did you mean 'grad_cam'"),
        ({"threshold": "median"}, "Unknown threshold rule 'median'. Did you mean 'mean'"),
        (
            {"threshold": None},
            "threshold must be a number, the name of a rule or .*, got None",
        ),
        ({"threshold": float("nan")}, "threshold must be finite, got nan"),
        ({"threshold": MatchingArea(np.ones((4, 2, 2)))}, "MatchingArea belongs to the masks of"),
    ],
)
def test_unknown_parts(change, message):
    with pytest.raises((ValueError, TypeError), match=message):
        AADLosses(**change)


def test_unknown_names():
    with pytest.raises(ValueError, match="Unknown loss preset 'papper'. Did you mean 'paper'"):
        AADLosses.preset("papper")
    with pytest.raises(ValueError, match="reduction must be 'mean' or 'sum', got 'max'"):
        losses.soft_margin(tf.constant([0]), tf.zeros((1, 2)), "max")


def test_importing_leaves_tensorflow_unstarted(tmp_path):
    # Collective strategies, thread counts and devices must be set before TensorFlow starts.
    program = (
        "import tensorflow as tf, aad_tf.defenses, aad_tf.models, aad_tf.evaluation\n"
        "tf.config.threading.set_intra_op_parallelism_threads(1)"
    )
    code, printed = Forked(exec, (program, {}), {}, tmp_path / "log").end()
    assert code == 0, printed
