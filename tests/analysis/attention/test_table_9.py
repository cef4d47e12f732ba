"""Table 9 of five images under attacks with and without A3, every number by hand."""

from __future__ import annotations

import pytest

from aad_tf.attacks import a3, ifgsm, step_ll
from aad_tf.records.columns import read_attention_records
from analysis.attention.findings import StaleSentenceError, about_a3
from analysis.attention.table_9 import DRIFT_REMARK, align, table_9

PLAIN = step_ll(4 / 255, num_steps=3)
PLUS, MINUS = a3(PLAIN, 10), a3(PLAIN, -10)


@pytest.fixture
def make(write, record):
    """Records a run: outcome and IoU after round 3 of each image, and one misclassified."""

    def write_run(role, attack, misclassified, ious, **options):
        rounds = attack.num_steps
        after = [1.0] * (rounds - 3)
        records = [
            record(i, [0, 0, 0, int(i in misclassified)] + [0] * (rounds - 3),
                   iou_clean=[1.0, 1.0, iou, *after])
            for i, iou in enumerate(ious)
        ] + [record(99, [1] * (rounds + 1), iou_clean=0.0)]  # fmt: skip
        return read_attention_records(
            write(f"d_clean_test_{role}", records, attack=attack, **options)
        )

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
    rows = table_9(runs, "d", "clean").tables[0][1].rows
    ours = [row[0] for row in rows if row[1] == "ours"]
    assert ours == ["StepLL", "StepLL + A3 (σ 10)", "StepLL + A3 (σ -10)"]
    plain, paper, plus, paper_plus, minus = rows
    assert [cell.split()[0] for cell in plain[2:]] == ["50.0", "–", "0.500", "–"]
    assert [cell.split()[0] for cell in plus[2:]] == ["25.0", "-25.0", "0.400", "-0.100"]
    assert [cell.split()[0] for cell in minus[2:]] == ["75.0", "+25.0", "0.900", "+0.400"]
    assert (paper[2], paper_plus[2:4]) == ("3.8", ("3.3", "-0.5"))


def test_what_a3_adds_after_each_round_by_hand(runs):
    del runs["step_ll_a3_minus"]
    heading, table = table_9(runs, "d", "clean").tables[1]
    assert heading == "What A3 adds to the accuracy, round by round"
    rows = [(row[0], row[1], *(cell.split()[0] for cell in row[2:])) for row in table.rows]
    # All four are right until the third round, under which two are misclassified, with A3 three.
    assert rows == [
        ("StepLL", "1", "100.0", "+0.0", "–"),
        ("", "2", "100.0", "+0.0", "–"),
        ("", "3", "50.0", "-25.0", "–"),
    ]


def test_differences_are_paired(runs):
    findings = {c.statement: c for c in table_9(runs, "d", "clean").findings}
    moved = findings["IoU clean-adversarial, StepLL + A3 (σ 10) - StepLL"]
    # 0.1 on every image: no spread, although the images differ.
    assert moved.ours_text() == "-0.100 [-0.100, -0.100]"
    assert moved.paper_text() == "below 0"
    assert findings["accuracy, StepLL + A3 (σ 10) - StepLL"].paper_text() == "-0.5"
    assert findings["accuracy, StepLL + A3 (σ -10) - StepLL"].paper_text() == "–"


def test_an_attack_that_leaves_less_than_a3_could_take_is_near_its_floor(runs, make):
    assert not [note for note in table_9(runs, "d", "clean").remarks if "so near its end" in note]
    attack, everything = step_ll(4 / 255, num_steps=3), {0, 1, 2, 3}
    runs["step_ll"] = make("step_ll", attack, everything, [0.2, 0.4, 0.6, 0.8])
    table = table_9(runs, "d", "clean")
    (note,) = [note for note in table.remarks if "so near its end" in note]
    assert note.startswith("StepLL alone leaves 0.0 % here, less than the 0.5 points that A3 takes")
    statements = {finding.statement for finding in table.findings}
    assert "accuracy, StepLL + A3 (σ 10) - StepLL, near the floor" in statements
    assert "accuracy, StepLL + A3 (σ -10) - StepLL" in statements


def test_drift_as_a_sign_of_success_by_hand(runs):
    table = table_9(runs, "d", "clean")
    rows = {row[0]: row for row in table.tables[2][1].rows}
    # Drift of the plain attack: 0.8, 0.6 where it fools, 0.4, 0.2 where not.
    assert rows["StepLL"][2] == "2 / 2" and rows["StepLL"][5] == "1.000 [1.000, 1.000]"
    # 0.1 everywhere under sigma -10: nothing to tell.
    assert rows["StepLL + A3 (σ -10)"][5] == "0.500 [0.500, 0.500]"
    gap = {c.statement: c for c in table.findings}[
        "IoU where StepLL + A3 (σ -10) succeeds - IoU where StepLL fails"
    ]
    assert gap.estimate.value == pytest.approx(0.9 - (0.6 + 0.8) / 2)
    assert gap.verdict == "undecided"  # one image fooled
    assert DRIFT_REMARK in table.remarks


def test_caption_describes_the_images_compared_and_every_attack(runs):
    text = table_9(runs, "d", "clean").page()
    assert "test 5 images (the published validation split), which every attack was run on" in text
    assert "the 4 of them that are right without attack (test 4; 80.0 %)" in text
    assert text.count("Attack: ") == 1 and "round 3 of 4" in text
    assert "The same attention-augmented (A3), σ 10 and -10." in text
    assert "total ε 0.0471 in [0, 1] = 12/255" in text


def test_what_was_not_run_says_so(runs):
    del runs["step_ll_a3_plus"]
    rows = table_9(runs, "d", "clean").tables[0][1].rows
    assert ("StepLL, A3, σ above 0", "not run", *["–"] * 4) in rows
    assert not [row for row in rows if row[0].startswith("FGSM")]


def test_no_table_without_a_pair_or_three_rounds(runs, make, write, record):
    assert table_9({}, "d", "clean") is None
    assert table_9({"step_ll": runs["step_ll"]}, "d", "clean") is None
    short = read_attention_records(write("d_clean_test_step_ll", [record(0, [0, 1])]))
    assert table_9({**runs, "step_ll": short}, "d", "clean") is None


def test_only_images_of_all_runs_are_compared(runs, write, record):
    def with_images(indices):
        records = [record(i, [0, 0, 0, 0], iou_clean=0.5) for i in indices]
        path = write("d_clean_test_step_ll_a3_minus", records, attack=MINUS)
        return {**runs, "step_ll_a3_minus": read_attention_records(path)}

    table = table_9(with_images((1, 3)), "d", "clean")
    rows = table.tables[0][1].rows
    # Of images 1 and 3 the plain attack changes the first.
    assert rows[0][2].startswith("50.0") and rows[0][4].startswith("0.600")
    assert {number[9] for number in table.numbers if number[4] == "percent"} == {2}
    assert "the 2 of them that are right without attack (test 2; 100.0 %)" in table.page()
    with pytest.raises(ValueError, match="No image is right in all runs"):
        table_9(with_images([77]), "d", "clean")


def test_headline_findings_come_first(runs):
    headlines = [finding.headline for finding in table_9(runs, "d", "clean").findings]
    assert headlines == sorted(headlines, reverse=True) and headlines[0] and not headlines[-1]


def test_what_is_said_of_a3_by_hand(runs):
    start, attacks = about_a3(align(runs), is_written_about=False)
    assert start.startswith("On the 4 images of test that every attack was run on, after 3 rounds")
    assert attacks.startswith("- StepLL, σ 10: accuracy -25.0 [")
    assert "IoU with the clean attention -0.100 [-0.100, -0.100]; σ -10: accuracy +25.0" in attacks


def a3_study(make, kept_by_fgsm):
    """All attacks on 40 images: A3 makes StepLL alone stronger, and holds attention at σ -10.

    Args:
        make: the fixture.
        kept_by_fgsm: images that FGSM with σ 10 misses.
    """
    plain, kept = step_ll(4 / 255, num_steps=3), step_ll(4 / 255, num_steps=3, relabel=False)
    attacks = {"step_ll": plain, "step_ll_kept_target": kept, "ifgsm": ifgsm(4 / 255, num_steps=3)}
    succeeds = {"step_ll": 30, "step_ll_kept_target": 5, "ifgsm": 40 - kept_by_fgsm}
    made = {}
    for role, attack in attacks.items():
        made[role] = make(role, attack, set(range(20)), [0.6] * 40)
        for ending, sigma, count, iou in (
            ("plus", 10, succeeds[role], 0.2),
            ("minus", -10, 5, 0.8),
        ):
            augmented = f"{role}_a3_{ending}"
            made[augmented] = make(augmented, a3(attack, sigma), set(range(count)), [iou] * 40)
    return align(made)


def test_sentences_on_a3_stand_where_the_records_support_them(make):
    sentences = about_a3(a3_study(make, kept_by_fgsm=35), is_written_about=True)[-1]
    assert "the attack is stronger under StepLL, and weaker under StepLL (target kept)" in sentences
    with pytest.raises(StaleSentenceError, match="scattering attention does not always .* below"):
        about_a3(a3_study(make, kept_by_fgsm=5), is_written_about=True)


def test_a_sentence_on_attacks_that_were_not_run_is_left_out(runs):
    # Of the three attacks that the sentences speak of, these records hold one.
    _, attacks = about_a3(align(runs), is_written_about=True)
    assert "σ -10" in attacks


@pytest.mark.parametrize(
    ("attack", "options", "message"),
    [
        (PLUS, {"weights": "beef"}, "another network.*'beef', not '0123'"),
        (PLUS, {"dataset": {"fingerprint": "9"}}, "another copy of the data"),
        (MINUS, {}, "has sigma -10.0; its file's name says sigma above 0"),
        (PLAIN, {}, "has sigma None; its file's name says sigma above 0"),
        (a3(step_ll(8 / 255, num_steps=3), 10), {}, "step_size .* cannot be compared"),
        (a3(step_ll(4 / 255, num_steps=3, relabel=False), 10), {}, "objective towards_first_least"),
        (PLUS, {"study": {"cells": [5, 20]}}, "No|cells"),
        (PLUS, {"study": {"explained": "prediction"}}, "explained prediction, .* label"),
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
    assert [row[2] for row in table.tables[0][1].rows if row[1] == "paper"] == ["13.6", "10.8"]
