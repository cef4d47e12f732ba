"""Differences between cards are said in sentences that name worker, field and values."""

from __future__ import annotations

from aad_tf.cluster import Cluster
from aad_tf.cluster.cards import differences, full_card

FOUR = Cluster(tuple(f"h{index}:1" for index in range(4)), 0, "the test")


def compare(*cards: dict[str, str], **advice: str) -> str:
    return differences(FOUR, dict(enumerate(cards)), advice)


def test_equal_cards_do_not_differ() -> None:
    assert compare({"a": "1", "b": "2"}, {"b": "2", "a": "1"}) == ""


def test_one_sentence_for_workers_that_differ_alike() -> None:
    assert compare({"a": "1"}, {"a": "2"}, {"a": "1"}, {"a": "2"}, a="Use 1.") == (
        "worker 1 (h1:1), worker 3 (h3:1) have a 2, worker 0 (h0:1) has 1. Use 1."
    )


def test_absent_and_empty_fields_are_told_apart() -> None:
    assert compare({"a": ""}, {}) == (
        "worker 1 (h1:1) has a not given, worker 0 (h0:1) has ''. Every worker must have the same."
    )
    assert "has b x, worker 0 (h0:1) has not given" in compare({}, {"b": "x"})


def test_long_values_and_many_differences_are_cut() -> None:
    many = {str(number): "x" for number in range(20)}
    text = compare({}, {"a": "y" * 300, **many})
    assert "a " + "y" * 200 + "...," in text
    assert text.count("Every worker") == 6
    assert text.endswith("There are 15 more differences.")


def test_a_different_number_of_workers_is_said_once() -> None:
    three = Cluster(FOUR.addresses[:3], 1, "the test")
    assert compare(full_card(FOUR, {}), full_card(three, {})) == (
        "worker 1 (h1:1) has number of workers 3, worker 0 (h0:1) has 4. Every worker must be "
        "given the same list of workers."
    )


def test_many_workers_are_counted() -> None:
    assert FOUR.names([1, 2, 3], limit=2) == "worker 1 (h1:1), worker 2 (h2:1) and 1 more"
