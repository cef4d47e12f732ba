"""The page of findings, from files of records."""

from __future__ import annotations

import numpy as np
import pytest

from aad_tf.attacks import a3, step_ll
from aad_tf.metrics import Interval
from analysis.attention import findings, statements, statements_boxes
from analysis.attention.finding import NOT_SEEN, Finding, findings_table, of_groups, of_number
from analysis.attention.intervals import Estimate, Groups
from analysis.attention.null import box_null
from analysis.findings import CONFIRMED, CONTRADICTED, UNDECIDED
from tests.analysis.attention.columns import run_of, simulated

WORDS = ("lower", "higher", "neither")
STEP = 4 / 255
ALL = ("grad_cam", "grad_cam_plus_plus", "lime")


def _estimate(value, low, high, count=100):
    return Estimate(value, Interval(low, high), count)


@pytest.mark.parametrize(
    ("estimate", "word", "verdict"),
    [
        (_estimate(-0.2, -0.3, -0.1), "lower", CONFIRMED),
        (_estimate(0.2, 0.1, 0.3), "higher", CONTRADICTED),
        (_estimate(0.2, -0.1, 0.3), "neither", UNDECIDED),
        (_estimate(0.2, 0.1, 0.3, count=3), "neither", UNDECIDED),
    ],
)
def test_a_sentence_says_no_more_than_its_interval(estimate, word, verdict):
    found = of_number(estimate, "It is {}", WORDS, "it is lower", -1)
    assert (found.sentence, found.verdict) == (f"It is {word}.", verdict)


def test_nothing_to_compare_is_not_seen():
    found = of_number(Estimate(None, None, 0), "It is {}", WORDS, "it is lower", -1)
    assert found.verdict == NOT_SEEN
    assert found.sentence == "Nothing to compare: It is …."


def test_means_stand_in_the_sentence():
    groups = Groups(_estimate(0.4, 0, 1), _estimate(0.6, 0, 1), _estimate(-0.2, -0.3, -0.1))
    assert of_groups(groups, "It is {}", WORDS, "").sentence == "It is lower: 0.400 against 0.600."


def test_a_row_holds_number_interval_count_claim_and_verdict():
    found = [
        of_number(_estimate(-0.2, -0.3, -0.1), "It is {}", WORDS, "it is", -1, paper=-0.054),
        Finding("Half at 0.5.", "", Estimate(0.5, None, 7)),
    ]
    assert findings_table(found).rows == (
        (
            "1",
            "It is lower.",
            "-0.200 [-0.300, -0.100]",
            "100",
            "it is",
            "-0.054",
            "confirmed; larger than the paper's",
        ),
        ("2", "Half at 0.5.", "0.500", "7", "–", "–", "–"),
    )


def test_confidence_alone_explains_what_matching_takes_away():
    run = simulated(2000)
    found = statements_boxes.of_boxes(run, box_null(run))[4:]
    raw, pairs, regression, low, low_pairs, low_regression = found[:6]
    assert raw.verdict == low.verdict == CONFIRMED
    assert raw.sentence.startswith("Clean attention overlaps the box less where")
    assert raw.claim.paper_text() == "-0.054"
    assert pairs.verdict == regression.verdict == UNDECIDED
    assert low_pairs.verdict == low_regression.verdict == UNDECIDED
    assert low.sentence.startswith("The attack succeeds more often on images of IoU < 0.5")
    assert low.claim.paper_text() == "+0.103"
    assert "box about as much" in pairs.sentence


def test_findings_follow_from_the_records_whatever_they_hold():
    few = run_of([[0, 1], [0, 0]])
    found = statements_boxes.of_boxes(few, box_null(few)) + statements.of_drift(few)
    found += statements.of_scatter(few) + statements.of_methods(few)
    # One image in a group decides nothing.
    assert {finding.verdict for finding in found} <= {UNDECIDED, NOT_SEEN, "–"}


def _records(record, *, rounds, methods=("grad_cam",), images=24, shift=0):
    generator = np.random.default_rng(shift)
    made = []
    for index in range(images):
        flip = 1 + (index + shift) % 3
        prediction = [0] + [int(k >= flip) for k in range(1, rounds + 1)]
        iou = [round(0.9 - 0.2 * k * (1 + (flip == 1)) / 2, 3) for k in range(1, rounds + 1)]
        maps = generator.integers(0, 256, (rounds + 1, 8, 8), dtype=np.uint8)
        made.append(
            record(
                index,
                prediction,
                confidence=0.3 + 0.02 * index,
                box=(0.0, 0.0, 0.5, 0.25 + 0.02 * (index % 20)),
                iou_box=0.2 + 0.1 * flip,
                iou_clean=iou,
                methods=methods,
                maps={method: maps for method in methods},
            )
        )
    return made


@pytest.fixture
def studied(record, write, results):
    """A network under every attack, and a second one under one."""
    name = "tiny_imagenet_boxes_{}_{}_{}"
    for split in ("test", "validation"):
        stem = name.format("clean", split, "step_ll")
        write(stem, _records(record, rounds=3), split=split)
    plain = step_ll(STEP, num_steps=3)
    for role, sigma in (("step_ll_a3_plus", 10), ("step_ll_a3_minus", -10)):
        stem = name.format("clean", "test", role)
        write(stem, _records(record, rounds=3, shift=1), attack=a3(plain, sigma))
    write(name.format("clean", "test", "lime"), _records(record, rounds=1, methods=ALL))
    write(name.format("twin", "test", "step_ll"), _records(record, rounds=3), weights="4567")
    return results


def test_page_and_plots_are_written_once_and_alike(studied):
    written = findings.generate(studied)
    assert [path.name for path in written] == [
        "attention_findings.md",
        "attention_iou_distributions_tiny_imagenet_boxes_clean.png",
        "attention_success_by_iou_tiny_imagenet_boxes_clean.png",
        "attention_iou_rounds_tiny_imagenet_boxes_clean.png",
        "attention_scatter_tiny_imagenet_boxes_clean.png",
        "attention_a3_tiny_imagenet_boxes_clean.png",
    ]
    contents = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in findings.generate(studied)] == contents
    text = contents[0].decode()
    for title in ("Agreement of methods", "Other networks", "Matched on", "Wrong labels by IoU"):
        assert f"### {title}" in text
    for path in written[1:]:
        assert f"(figures/{path.name})" in text
    assert "nan" not in text.lower()
    assert "## Attacks augmented by attention (A3, Table 9)" in text
    assert "From a run of its own on the first 24 images of test and 1 round" in text


def test_what_the_paper_says_points_to_every_finding_once(studied):
    text = findings.generate(studied)[0].read_text().split("## The numbers behind")[0]
    numbered = [line.split("|") for line in text.splitlines() if line.count("|") == 8]
    verdicts = {row[1].strip(): row[7].split(";")[0].strip() for row in numbered[1:]}
    block = text.split("## What the paper says")[1].split("## Attention and the object")[0]
    head, _, *rows = [line.split("|")[1:-1] for line in block.splitlines() if line[:1] == "|"]
    pointed = {
        number: name.strip()
        for row in rows
        for name, cell in zip(head[2:], row[2:], strict=True)
        for number in cell.replace("–", "").replace(" ", "").split(",")
        if number
    }
    judged = {key: value for key, value in verdicts.items() if key.isdigit() and value != "–"}
    assert pointed == judged and len(judged) > 15


def test_one_row_for_each_thing_the_paper_says():
    low = _estimate(-0.2, -0.3, -0.1)
    found = [
        of_number(low, "A is {}", WORDS, "it is so (Table 1)", -1),
        Finding("Half at 0.5.", "", Estimate(0.5, None, 7)),
        of_number(low, "B is {}", WORDS, "it is so (Table 7)", 1),
        of_number(low, "C is {}", WORDS, "it is so", -1),
    ]
    assert findings.summary(found).rows == (("it is so", "Table 1, Table 7", "1, 4", "3", "–"),)


def test_attention_is_held_against_the_centre_and_random_pixels():
    boxes = [(0.25, 0.25, 0.75, 0.75)] * 12 + [(0.0, 0.0, 1.0, 1.0)] * 12
    run = run_of([[0, i % 2] for i in range(24)], boxes=boxes, iou_box=[0.6] * 12 + [1.0] * 12)
    chance = box_null(run)
    found = {f.sentence: f for f in statements_boxes.of_boxes(run, chance)[:4]}
    # A disc overlaps the square in the centre by 0.83, and 0.6 is less; a full box by 1, as ours.
    small = found[
        "At boxes under 50 % of the picture, attention overlaps the box less than a disc in the "
        "centre of the picture."
    ]
    assert small.verdict == CONTRADICTED and small.estimate.count == 12
    assert small.estimate.value == pytest.approx(0.6 - 0.83, abs=0.02)
    text = statements_boxes.introduction(run, chance)
    # Half of the boxes take 1, half 0.25, whose random IoU is 1 / 7.
    assert text.startswith("The boxes cover 62 % of a picture on average; as many pixels drawn at")
    assert "random reach an IoU of 0.571 with them" in text
    assert "The 12 boxes under 50 % of the picture cover 25 % of a picture on average" in text


def test_grad_cam_is_compared_with_tables_1_and_3_and_lime_with_7_and_8():
    run = run_of([[0, 1], [0, 0]], methods=ALL)
    says = [(f.says.split("(")[1], f.claim.paper_text()) for f in statements.of_methods(run)]
    gradient = [("Table 1)", "-0.054"), ("Table 3)", "-0.187")]
    lime = [("Table 7)", "-0.029"), ("Table 7)", "-0.032"), ("Table 8)", "-0.074")]
    assert says == [*gradient, *gradient, *lime, ("Table 8)", "-0.082")]
    assert "on the first 2 images of test and 1 round" in statements.which_images(run)
    later = statements.which_images(run.select(np.array([1])))
    assert "on the 1 images of test" in later


def test_half_the_labels_over_all_rounds_and_in_round_1():
    iou = [[1.0, 1.0], [0.0, 0.0], [1.0, 0.25]]
    run = run_of([[0, 0, 0], [0, 1, 1], [0, 0, 1]], iou_clean=iou)
    found = [f for f in statements.of_drift(run) if f.sentence.startswith("Half")]
    assert [f.sentence.split(", ")[1] for f in found] == ["over 2 rounds together.", "in round 1."]
    assert [f.estimate.value for f in found] == pytest.approx([(0.25 + 1) / 2, 0.5])


def test_without_records_nothing_is_written(results):
    assert findings.generate(results) == []
    assert not results.exists()
