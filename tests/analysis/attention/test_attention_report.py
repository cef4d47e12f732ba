"""The report on attention: files by name, tables for each network, README, nothing recorded."""

from __future__ import annotations

import json

import pytest

from aad_tf.attacks import a3, ifgsm, step_ll
from aad_tf.records import summary_path
from analysis import report
from analysis.records import find_networks

NAME = "tiny_imagenet_boxes_plain"
FRAME = f"{report.BEGIN}\n{report.END}\n"


@pytest.fixture
def readme(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(FRAME, encoding="utf-8")
    return path


@pytest.fixture
def study(write, record):
    """All roles but FGSM's on two splits of one network, and one run of another network."""
    plain = step_ll(4 / 255, num_steps=3)
    attacks = {"step_ll": plain, "step_ll_a3_plus": a3(plain, 10)}
    for split in ("test", "validation"):
        for role, attack in attacks.items():
            records = [record(i, [0, i % 2, 1, 1]) for i in range(4)]
            write(f"{NAME}_{split}_{role}", records, attack=attack, split=split)
    lime = [record(i, [0, i % 2], methods=("grad_cam", "lime")) for i in range(4)]
    write(f"{NAME}_test_lime", lime)
    write("tiny_imagenet_boxes_step_ll_test_step_ll", [record(0, [0, 1])], weights="77")


def test_files_are_found_by_network_and_role(study, results):
    clean, other = find_networks(results)
    assert (clean.name, other.network) == (NAME, "step_ll")
    assert sorted(clean.files) == ["lime", "step_ll", "step_ll_a3_plus"]
    assert len(clean.load("step_ll")) == 8
    assert clean.load("ifgsm") is None


def test_every_table_is_written_in_three_formats(study, results, readme):
    # That they come out the same each time is seen on the committed ones.
    written = {path.name for path in report.generate(results, readme)}
    for number in (1, 2, 3, 4, 7, 8, 9):
        for suffix in ("md", "csv", "tex"):
            assert f"table_{number}_{NAME}.{suffix}" in written
    assert "table_4_tiny_imagenet_boxes_step_ll.md" in written
    assert "table_9_tiny_imagenet_boxes_step_ll.md" not in written
    block = readme.read_text(encoding="utf-8")
    assert f"### Attention under attack, {NAME}" in block
    assert f"[3](results/tables/table_3_{NAME}.md)" in block
    assert "The same of tiny_imagenet_boxes_step_ll: tables [1](" in block


def test_without_records_the_tables_are_left_out(results, readme):
    written = [path.name for path in report.generate(results, readme)]
    assert not [name for name in written if name.startswith("table_1")]
    assert "AAD Tables 1 to 4 and 7 to 9: not run." in readme.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("stem", "message"),
    [
        ("other_clean_test_step_ll", "should be called tiny_imagenet_boxes_<network>_test_"),
        (f"{NAME}_validation_step_ll", "should be called"),
        (f"{NAME}_test_pgd", "where <attack> is one of step_ll"),
    ],
)
def test_a_name_that_does_not_fit_is_refused(results, write, record, stem, message):
    write(stem, [record(0, [0, 1])])
    with pytest.raises(ValueError, match=message):
        find_networks(results)


@pytest.mark.parametrize(("split", "role"), [("test", "lime"), ("validation", "step_ll")])
def test_splits_and_roles_of_one_network_share_its_weights(write, record, results, split, role):
    write(f"{NAME}_test_step_ll", [record(0, [0, 1])])
    write(f"{NAME}_{split}_{role}", [record(0, [0, 1])], split=split, weights="beef")
    with pytest.raises(ValueError, match=r"holds records of another network than .*: weights is"):
        find_networks(results)


@pytest.mark.parametrize(
    ("role", "attack", "message"),
    [
        ("step_ll", ifgsm(0.1), "expected the objective towards_least_likely, got away_from_label"),
        ("step_ll", step_ll(0.1, relabel=False), "got towards_first_least_likely"),
        ("step_ll_kept_target", step_ll(0.1), "the original image's .* got towards_least_likely"),
        ("ifgsm", step_ll(0.1), "expected the objective away_from_label"),
        ("step_ll_a3_plus", step_ll(0.1), r"a3\(towards_least_likely, sigma above 0\), got to"),
        ("step_ll_a3_minus", a3(step_ll(0.1), 10), r"sigma below 0\), got a3\(towards_least"),
        ("ifgsm_a3_plus", a3(step_ll(0.1), 10), r"expected the objective a3\(away_from_label"),
        ("lime", a3(step_ll(0.1), 10), r"expected the objective towards_least_likely, got a3\("),
    ],
)
def test_a_role_that_is_not_the_attacks_is_refused(write, record, results, role, attack, message):
    write(f"{NAME}_test_{role}", [record(0, [0] * (attack.num_steps + 1))], attack=attack)
    with pytest.raises(ValueError, match=message):
        find_networks(results)


def test_a_shard_is_refused(write, record, results):
    path = write(f"{NAME}_test_step_ll", [record(0, [0, 1])])
    summary = summary_path(path)
    contents = {**json.loads(summary.read_text(encoding="utf-8")), "shard": [1, 2]}
    summary.write_text(json.dumps(contents), encoding="utf-8")
    with pytest.raises(ValueError, match=r"is shard \[1, 2\] of a study; merge its shards"):
        find_networks(results)
