"""The page of findings, from files of records."""

from __future__ import annotations

import numpy as np
import pytest

from aad_tf.attacks import a3, step_ll
from aad_tf.metrics import Interval
from analysis.attention import findings, statements
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
        ("1", "It is lower.", "-0.200 [-0.300, -0.100]", "100", "it is", "-0.054", CONFIRMED),
        ("2", "Half at 0.5.", "0.500", "7", "–", "–", "–"),
    )


def test_confidence_alone_explains_what_matching_takes_away():
    run = simulated(2000)
    raw, pairs, regression = statements.of_boxes(run, box_null(run))[:3]
    assert raw.verdict == CONFIRMED
    assert raw.sentence.startswith("Clean attention overlaps the box less where")
    assert raw.claim.paper_text() == "-0.054"
    assert pairs.verdict == regression.verdict == UNDECIDED
    assert "box about as much" in pairs.sentence


def test_findings_follow_from_the_records_whatever_they_hold():
    few = run_of([[0, 1], [0, 0]])
    found = statements.of_boxes(few, box_null(few)) + statements.of_drift(few)
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
    for title in ("Agreement of methods", "Other networks", "Matched on", "Labels flipped"):
        assert f"### {title}" in text
    for path in written[1:]:
        assert f"(figures/{path.name})" in text
    assert "nan" not in text.lower()


def test_the_count_of_verdicts_is_that_of_the_tables(studied):
    text = findings.generate(studied)[0].read_text()
    rows = [line for line in text.splitlines() if line.count("|") == 8 and line[2:3].isdigit()]
    confirmed = sum(line.endswith(f"| {CONFIRMED} |") for line in rows)
    assert f"{confirmed} {CONFIRMED}, " in text
    assert confirmed > 0


def test_without_records_nothing_is_written(results):
    assert findings.generate(results) == []
    assert not results.exists()
