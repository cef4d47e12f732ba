"""The page of findings: its sentences are held against the records."""

from __future__ import annotations

import numpy as np
import pytest

from aad_tf.attacks import a3, step_ll
from aad_tf.metrics import Interval
from analysis.attention import findings
from analysis.attention import findings_prose as prose
from analysis.attention.findings import StaleSentenceError, Studied, check_sentence
from analysis.findings import (
    ABOVE,
    BELOW,
    CONFIRMED,
    CONTRADICTED,
    NO_COMPARISON,
    UNDECIDED,
    Finding,
)
from analysis.records import Network, Results
from analysis.statistics import Estimate, Groups
from tests.analysis.attention.columns import run_of, simulated
from tests.attention_records import make_record, write_records

STEP = 4 / 255
ALL = ("grad_cam", "grad_cam_plus_plus", "lime")


def _estimate(value, low, high, count=100):
    return Estimate(value, Interval(low, high), count)


def _studied(run, name="mine"):
    """A subject made of columns alone."""
    dataset, _, network = name.rpartition("_")
    return Studied(Network(dataset, network, {}), run, [(name, run)])


def _written_about(run):
    return _studied(run, prose.WRITTEN_ABOUT)


@pytest.mark.parametrize(
    ("estimate", "side"),
    [
        (_estimate(-0.2, -0.3, -0.1), BELOW),
        (_estimate(0.2, 0.1, 0.3), ABOVE),
        (_estimate(0.2, -0.1, 0.3), UNDECIDED),
        (_estimate(0.2, 0.1, 0.3, count=3), UNDECIDED),
        (Estimate(None, None, 0), NO_COMPARISON),
    ],
)
def test_a_sentence_says_no_more_than_its_interval(estimate, side):
    for claimed in (BELOW, ABOVE, UNDECIDED):
        if claimed == side:
            check_sentence("It is so.", claimed, estimate)
        else:
            message = rf"'It is so\.' says {claimed} .* is {side}\. Rewrite the sentence"
            with pytest.raises(StaleSentenceError, match=message):
                check_sentence("It is so.", claimed, estimate)


def test_means_stand_in_the_sentence_and_both_counts_beside_it():
    first, second = _estimate(0.4, 0, 1, count=30), _estimate(0.6, 0, 1, count=20)
    groups = Groups(first, second, _estimate(-0.2, -0.3, -0.1, count=20))
    run = run_of([[0, 1]])
    found = _written_about(run).say(prose.CLEAN, groups, "it is so (Table 3)", -1, -0.187)
    assert found.statement == (
        "A successful attack leaves less of the clean attention in place: 0.400 against 0.600."
    )
    assert (found.counts, found.verdict, found.says) == ("30 / 20", CONFIRMED, "it is so (Table 3)")
    plain = _studied(run).say(prose.CLEAN, groups, "it is so", 1)
    assert plain.statement == (
        "IoU with the clean attention, succeeded - failed: 0.400 against 0.600."
    )
    assert plain.verdict == CONTRADICTED


def test_a_sentence_that_the_records_do_not_support_stops_the_page():
    # Confidence alone explains success here: the raw difference is there, unlike in the sentence.
    run = simulated(1000)
    with pytest.raises(StaleSentenceError, match="overlaps the box about as much .* is below"):
        findings.of_boxes(_written_about(run))
    with pytest.raises(StaleSentenceError, match="Attention loses entropy.*says below"):
        findings.of_scatter(_written_about(run))


def test_confidence_alone_explains_what_matching_takes_away():
    found = {
        f.statement.split(":")[0].rstrip("."): f
        for f in findings.of_boxes(_studied(simulated(1000)))
    }
    box = "IoU with the box, succeeded - failed"
    low = "Success at IoU < 0.5 - success on other images"
    pairs = ", among pairs alike in clean confidence and box area"
    assert found[box].verdict == found[low].verdict == CONFIRMED
    assert found[box].paper_text() == "-0.054" and found[low].paper_text() == "+0.103"
    assert found[box + pairs].verdict == found[low + pairs].verdict == UNDECIDED
    adjusted = [f.verdict for name, f in found.items() if name.startswith("Log odds")]
    assert adjusted == [UNDECIDED, UNDECIDED]


def test_findings_follow_from_the_records_whatever_they_hold():
    few = _studied(run_of([[0, 1], [0, 0]]))
    found = findings.of_boxes(few) + findings.of_drift(few)
    found += findings.of_scatter(few) + findings.of_methods(few, few.run)
    # One image in a group decides nothing.
    assert {finding.verdict for finding in found} <= {UNDECIDED, NO_COMPARISON, "–"}


def _records(*, rounds, methods=("grad_cam",), images=24, shift=0):
    generator = np.random.default_rng(shift)
    made = []
    for index in range(images):
        flip = 1 + (index + shift) % 3
        prediction = [0] + [int(k >= flip) for k in range(1, rounds + 1)]
        iou = [round(0.9 - 0.2 * k * (1 + (flip == 1)) / 2, 3) for k in range(1, rounds + 1)]
        maps = generator.integers(0, 256, (rounds + 1, 8, 8), dtype=np.uint8)
        made.append(
            make_record(
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


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What is made of a network under every attack, and a second one under one."""
    results = tmp_path_factory.mktemp("results")

    def write(role, records, network="plain", split="test", **options):
        name = f"tiny_imagenet_boxes_{network}_{split}_{role}.jsonl.gz"
        write_records(results / "attention" / name, records, split=split, **options)

    for split in ("test", "validation"):
        write("step_ll", _records(rounds=3), split=split)
    plain = step_ll(STEP, num_steps=3)
    for role, sigma in (("step_ll_a3_plus", 10), ("step_ll_a3_minus", -10)):
        write(role, _records(rounds=3, shift=1), attack=a3(plain, sigma))
    write("lime", _records(rounds=1, methods=ALL))
    write("step_ll", _records(rounds=3), network="twin", weights="4567")
    return findings.files(Results(results))


def test_page_and_plots(made):
    name = "tiny_imagenet_boxes_plain"
    plots = ("iou_distributions", "success_by_iou", "iou_rounds", "scatter", "a3")
    assert list(made) == [
        "attention_findings.md",
        *(f"figures/attention_{plot}_{name}.png" for plot in plots),
    ]
    text = made["attention_findings.md"]
    for title in ("Agreement of methods", "Other networks", "Matched on", "Wrong labels by IoU"):
        assert f"### {title}" in text
    for path in list(made)[1:]:
        assert f"({path})" in text
    assert "nan" not in text.lower()
    assert "## Attacks augmented by attention (A3, Table 9)" in text
    assert "From a run of its own on the first 24 images of test and 1 round" in text
    # The sentences were written about another network.
    assert not [sentence for _, sentence in prose.SENTENCES.values() if sentence in text]


def test_what_the_paper_says_points_to_every_finding_once(made):
    text = made["attention_findings.md"].split("## The numbers behind")[0]
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
    decided = {key: value for key, value in verdicts.items() if key.isdigit() and value != "–"}
    assert pointed == decided and len(decided) > 15


def test_one_row_for_each_thing_the_paper_says():
    low = _estimate(-0.2, -0.3, -0.1)
    found = [
        Finding("A", low, -1, says="it is so (Table 1)"),
        Finding("Half at 0.5.", Estimate(0.5, None, 7), None),
        Finding("B", low, 1, says="it is so (Table 7)"),
        Finding("C", low, -1, says="it is so"),
    ]
    assert findings.summary(found).rows == (("it is so", "Table 1, Table 7", "1, 4", "3", "–"),)


def test_attention_is_held_against_the_centre_and_random_pixels():
    boxes = [(0.25, 0.25, 0.75, 0.75)] * 12 + [(0.0, 0.0, 1.0, 1.0)] * 12
    run = run_of([[0, i % 2] for i in range(24)], boxes=boxes, iou_box=[0.6] * 12 + [1.0] * 12)
    subject = _studied(run)
    found = {f.statement: f for f in findings.of_boxes(subject)[:4]}
    # A disc overlaps the square in the centre by 0.83, and 0.6 is less; a full box by 1, as ours.
    where = "IoU with the box, less that of centred disc, boxes under 50 % of the picture."
    small = found[where]
    assert small.verdict == CONTRADICTED and small.estimate.count == 12
    assert small.estimate.value == pytest.approx(0.6 - 0.83, abs=0.02)
    text = findings.introduction(subject)
    # Half of the boxes take 1, half 0.25, whose random IoU is 1 / 7.
    assert text.startswith("The boxes cover 62 % of a picture on average; as many pixels drawn at")
    assert "random reach an IoU of 0.571 with them" in text
    assert "The 12 boxes under 50 % of the picture cover 25 % of a picture on average" in text


def test_grad_cam_is_compared_with_tables_1_and_3_and_lime_with_7_and_8():
    run = run_of([[0, 1], [0, 0]], methods=ALL)
    found = findings.of_methods(_studied(run), run)
    says = [(f.says.split("(")[1], f.paper_text()) for f in found]
    gradient = [("Table 1)", "-0.054"), ("Table 3)", "-0.187")]
    lime = [("Table 7)", "-0.029"), ("Table 7)", "-0.032"), ("Table 8)", "-0.074")]
    assert says == [*gradient, *gradient, *lime, ("Table 8)", "-0.082")]
    assert "on the first 2 images of test and 1 round" in findings.which_images(run)
    later = findings.which_images(run.select(np.array([1])))
    assert "on the 1 images of test" in later


def test_half_the_labels_over_all_rounds_and_in_round_1():
    iou = [[1.0, 1.0], [0.0, 0.0], [1.0, 0.25]]
    run = run_of([[0, 0, 0], [0, 1, 1], [0, 0, 1]], iou_clean=iou)
    found = findings.of_drift(_studied(run))
    found = [f for f in found if f.statement.startswith("Half")]
    assert [f.statement.split(", ")[1] for f in found] == ["over 2 rounds together.", "in round 1."]
    assert [f.estimate.value for f in found] == pytest.approx([(0.25 + 1) / 2, 0.5])


def test_without_records_nothing_is_made(results):
    assert findings.files(Results(results)) == {}
    assert findings.readme(Results(results)) == ""
