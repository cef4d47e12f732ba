"""Transfer evaluations: the numbers that are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from aad_tf.attacks import attack_call, fgsm, pgd
from aad_tf.evaluation.transfer_summary import TransferCounts, summarize_transfer
from aad_tf.plots import png_bytes, transfer_curves, transfer_matrix

ATTACKS = {
    attack_call(each): each
    for each in (
        *(fgsm(epsilon) for epsilon in (0.2, 0.1)),
        *(pgd(0.2, 0.05, steps, random_start=False) for steps in (2, 4)),
    )
}


def summary(sources=("a", "b"), targets=("a", "c")):
    """Of four images; under attack number n, n of them are right by all, and by c one more."""
    counts = TransferCounts(sources, targets, list(ATTACKS))
    for index in range(4):

        def predictions(number, index=index):
            return {target: int(index < number + (target == "c")) for target in targets}

        adversarial = {
            source: {
                name: {"predictions": predictions(number), "linf": 0.1}
                for number, name in enumerate(ATTACKS)
            }
            for source in sources
        }
        clean = {name: int(index != 0 or name != "c") for name in (*sources, *targets)}
        counts.add([{"index": index, "label": 1, "clean": clean, "adversarial": adversarial}])
    models = [{**attack.threat_model(), "attack": name} for name, attack in ATTACKS.items()]
    return summarize_transfer(models, counts)


def test_a_matrix_has_clean_accuracies_first_and_frames_white_boxes():
    name = list(ATTACKS)[1]
    figure = transfer_matrix(summary(), name)
    axes, colours = figure.axes
    drawn = [text.get_text() for text in axes.texts]
    assert drawn == ["100.0", "75.0", "25.0", "50.0", "25.0", "50.0"]
    np.testing.assert_allclose(axes.images[0].get_array(), np.reshape(drawn, (3, 2)).astype(float))
    assert [each.get_text() for each in axes.get_yticklabels()] == ["clean images", "a", "b"]
    assert [each.get_text() for each in axes.get_xticklabels()] == ["a", "c"]
    (frame,) = (each for each in axes.patches if isinstance(each, Rectangle))
    assert (round(frame.get_x()), round(frame.get_y())) == (0, 1)
    assert "total ε 0.1 = 25.5/255, 1 step" in figure.get_suptitle()
    assert "4 images; framed: white box" in figure.get_suptitle()
    assert colours.get_ylabel() == "accuracy (%)"
    assert png_bytes(figure).startswith(b"\x89PNG")
    without = transfer_matrix(summary(sources=["b"]), name)
    assert "framed" not in without.get_suptitle()


@pytest.mark.parametrize(
    ("attack", "against", "strengths", "label"),
    [
        # In the order of the strength, from the clean image on.
        ("fgsm", "epsilon", [0, 0.1, 0.2], "fgsm: total ε (l∞); iterations: 1"),
        ("pgd", "steps", [0, 2, 4], "pgd: iterations; total ε 0.1 to 0.2 (l∞)"),
        ("pgd", "epsilon", [0, 0.1, 0.2], "pgd: total ε (l∞); iterations: 2 to 4"),
    ],
)
def test_curves_have_a_panel_per_source_and_a_line_per_target(attack, against, strengths, label):
    figure = transfer_curves(summary(), attack, against)
    assert [axes.get_title() for axes in figure.axes] == ["made on a", "made on b"]
    values = {"fgsm": ([100, 25, 0], [75, 50, 25]), "pgd": ([100, 50, 75], [75, 75, 100])}[attack]
    for axes, dashed in zip(figure.axes, ("--", "-"), strict=True):
        lines = axes.get_lines()
        for line, expected in zip(lines, values, strict=True):
            np.testing.assert_allclose(line.get_xdata(), strengths)
            np.testing.assert_allclose(line.get_ydata(), expected)
        assert [line.get_linestyle() for line in lines] == [dashed, "-"]
    assert figure.get_supxlabel() == label
    (legend,) = figure.legends
    assert [each.get_text() for each in legend.get_texts()] == ["a", "c", "white box"]
    assert png_bytes(figure).startswith(b"\x89PNG")


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="Several attacks are 'fgsm'"):
        transfer_matrix(summary(), "fgsm")
    with pytest.raises(ValueError, match=r"No attack is named 'fgsn'.*Known: fgsm\("):
        transfer_matrix(summary(), "fgsn")
    with pytest.raises(ValueError, match="No attack is named 'apgd'"):
        transfer_curves(summary(), "apgd")
    with pytest.raises(ValueError, match="Unknown axis 'norm'"):
        transfer_curves(summary(), "fgsm", "norm")
    with pytest.raises(ValueError, match="have the same steps: .* or draw them against 'epsilon'"):
        transfer_curves(summary(), "fgsm", "steps")
