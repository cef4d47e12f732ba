"""Table 9 of five images under attacks with and without A3, every number by hand."""

from __future__ import annotations

import pytest

from aad_tf.attacks import a3, ifgsm, step_ll
from analysis.attention import detection
from analysis.attention.run import load_run
from analysis.attention.table_9 import table_9

PLAIN = step_ll(4 / 255, num_steps=3)
PLUS, MINUS = a3(PLAIN, 10), a3(PLAIN, -10)


@pytest.fixture
def make(write, record):
    """Records a run: outcome and IoU after round 3 of each image, image 4 being wrong."""

    def write_run(role, attack, fooled, ious, **options):
        rounds = attack.num_steps
        after = [1.0] * (rounds - 3)
        records = [
            record(i, [0, 0, 0, int(i in fooled)] + [0] * (rounds - 3),
                   iou_clean=[1.0, 1.0, iou, *after])
            for i, iou in enumerate(ious)
        ] + [record(4, [1] * (rounds + 1), iou_clean=0.0)]  # fmt: skip
        return load_run(write(f"d_clean_test_{role}", records, attack=attack, **options))

    return write_run


@pytest.fixture
def runs(make):
    """Plain StepLL has a fourth round, which Table 9 does not look at."""
    return {
        "step_ll": make("step_ll", step_ll(4 / 255, num_steps=4), {0, 1}, [0.2, 0.4, 0.6, 0.8]),
        "step_ll_a3_plus": make("step_ll_a3_plus", PLUS, {0, 1, 2}, [0.1, 0.3, 0.5, 0.7]),
        "step_ll_a3_minus": make("step_ll_a3_minus", MINUS, {0}, [0.9] * 4),
    }


def test_accuracy_and_iou_by_hand(runs):
    rows = table_9(runs, "d", "clean").texts[0][1].rows
    assert [row[:3] for row in rows if row[1] == "ours"] == [
        ("StepLL", "ours", "4"),
        ("StepLL + A3 (σ 10)", "ours", "4"),
        ("StepLL + A3 (σ -10)", "ours", "4"),
    ]
    plain, paper, plus, paper_plus, minus = rows
    assert [cell.split()[0] for cell in plain[3:]] == ["50.0", "–", "0.500", "–"]
    assert [cell.split()[0] for cell in plus[3:]] == ["25.0", "-25.0", "0.400", "-0.100"]
    assert [cell.split()[0] for cell in minus[3:]] == ["75.0", "+25.0", "0.900", "+0.400"]
    assert (paper[3], paper_plus[3:5]) == ("3.8", ("3.3", "-0.5"))


def test_differences_are_paired(runs):
    claims = {c.statement: c for c in table_9(runs, "d", "clean").claims}
    moved = claims["IoU clean-adversarial, StepLL + A3 (σ 10) - StepLL"]
    # 0.1 on every image: no spread, although the images differ.
    assert moved.ours_text() == "-0.100 [-0.100, -0.100]"
    assert moved.paper_text() == "below 0"
    assert claims["accuracy, StepLL + A3 (σ 10) - StepLL"].paper_text() == "-0.5"
    assert claims["accuracy, StepLL + A3 (σ -10) - StepLL"].paper_text() == "–"


def test_drift_as_a_sign_of_success_by_hand(runs):
    table = table_9(runs, "d", "clean")
    rows = {row[0]: row for row in table.texts[1][1].rows}
    # Drift of the plain attack: 0.8, 0.6 where it fools, 0.4, 0.2 where not.
    assert rows["StepLL"][2] == "2 / 2" and rows["StepLL"][5] == "1.000 [1.000, 1.000]"
    # 0.1 everywhere under sigma -10: nothing to tell.
    assert rows["StepLL + A3 (σ -10)"][5] == "0.500 [0.500, 0.500]"
    gap = {c.statement: c for c in table.claims}[
        "IoU where StepLL + A3 (σ -10) fools - IoU where StepLL fails"
    ]
    assert gap.difference.value == pytest.approx(0.9 - (0.6 + 0.8) / 2)
    assert gap.verdict == "undecided"  # one image fooled
    assert detection.NOTE in table.notes


def test_every_attack_is_described(runs):
    text = table_9(runs, "d", "clean").page()
    assert text.count("Attack: ") == 3
    assert text.count("3 of 4") + text.count("3 of 3") == 3
    assert "attention-augmented (A3) with σ -10" in text
    assert "total ε 0.0471 in [0, 1] = 12/255" in text


def test_what_was_not_run_says_so(runs):
    del runs["step_ll_a3_plus"]
    rows = table_9(runs, "d", "clean").texts[0][1].rows
    assert ("StepLL, A3, σ above 0", "not run", *["–"] * 5) in rows
    assert not [row for row in rows if row[0].startswith("FGSM")]


def test_no_table_without_a_pair_or_three_rounds(runs, make, write, record):
    assert table_9({}, "d", "clean") is None
    assert table_9({"step_ll": runs["step_ll"]}, "d", "clean") is None
    short = load_run(write("d_clean_test_step_ll", [record(0, [0, 1])]))
    assert table_9({**runs, "step_ll": short}, "d", "clean") is None


def test_only_images_of_all_runs_are_compared(runs, write, record):
    records = [record(i, [0, 0, 0, 0], iou_clean=0.5) for i in (1, 3)]
    fewer = load_run(write("d_clean_test_step_ll_a3_minus", records, attack=MINUS))
    rows = table_9({**runs, "step_ll_a3_minus": fewer}, "d", "clean").texts[0][1].rows
    assert {row[2] for row in rows if row[1] == "ours"} == {"2"}
    # Of images 1 and 3 the plain attack fools the first.
    assert rows[0][3].startswith("50.0") and rows[0][5].startswith("0.600")


def test_no_image_in_common_is_refused(runs, write, record):
    run = load_run(write("d_clean_test_step_ll_a3_minus", [record(77, [0] * 4)], attack=MINUS))
    with pytest.raises(ValueError, match="No image is right in all runs"):
        table_9({**runs, "step_ll_a3_minus": run}, "d", "clean")


@pytest.mark.parametrize(
    ("attack", "options", "message"),
    [
        (PLUS, {"weights": "beef"}, "another network.*'beef', not '0123'"),
        (PLUS, {"dataset": {"fingerprint": "9"}}, "another copy of the data"),
        (MINUS, {}, "has sigma -10.0; its file's name says sigma above 0"),
        (PLAIN, {}, "has sigma None; its file's name says sigma above 0"),
        (a3(step_ll(8 / 255, num_steps=3), 10), {}, "step_size .* cannot be compared"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(runs, make, attack, options, message):
    runs["step_ll_a3_plus"] = make("step_ll_a3_plus", attack, {0}, [0.5] * 4, **options)
    with pytest.raises(ValueError, match=message):
        table_9(runs, "d", "clean")


def test_a_projected_attack_is_compared_within_its_budget(make):
    plain = ifgsm(4 / 255, num_steps=3)
    runs = {
        "ifgsm": make("ifgsm", plain, {0}, [0.5] * 4),
        "ifgsm_a3_plus": make("ifgsm_a3_plus", a3(plain, 10), set(), [0.5] * 4),
    }
    table = table_9(runs, "d", "clean")
    assert "total ε 0.0157 in [0, 1] = 4/255 (projected into the budget)" in table.page()
    assert [row[3] for row in table.texts[0][1].rows if row[1] == "paper"] == ["13.6", "10.8"]
