"""The papers' numbers: each contradiction that a note tells is one, and tables are whole."""

from __future__ import annotations

import pytest

from analysis.agrawal_values import TABLE_II, TABLE_III
from analysis.paper_values import (
    AAD_TABLES,
    LOW_IOU_IMAGES,
    RIGHT_IMAGES,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    TABLE_5,
    TABLE_6,
    TABLE_9,
    VALIDATION_IMAGES,
    PaperTable,
)


def test_every_table_of_the_first_paper_is_there():
    sources = {table.source.split(",")[0] for table in AAD_TABLES}
    assert sources == {f"AAD Table {number}" for number in range(1, 10)}


def test_both_tables_of_the_second_paper_cover_three_data_sets_and_two_attacks():
    for tables, columns in ((TABLE_II, 2), (TABLE_III, 7)):
        assert len(tables) == 6
        for table in tables:
            assert len(table.columns) == columns
            assert len(table.rows) == (7 if table.source.endswith("FGSM") else 3)


@pytest.mark.parametrize("table", [*AAD_TABLES, *TABLE_II, *TABLE_III], ids=lambda t: t.source)
def test_values_lie_in_the_range_of_their_unit(table):
    for values in table.rows.values():
        for column, value in zip(table.columns, values, strict=True):
            unit = "IoU" in column or "confidence" in column
            assert 0 <= value <= (1 if unit else 100), (table.source, column, value)


def test_value_of_a_cell():
    assert TABLE_5["mnist"].value("Madry et al.", "PGD100") == 88.37


def test_an_unknown_cell_names_those_there_are():
    with pytest.raises(KeyError, match="clean model.*PGD30"):
        TABLE_5["mnist"].value("AAD with FGSM", "PGD30")


def test_a_row_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="row 'a': 1 values for 2 columns"):
        PaperTable("AAD Table 0", "", ("x", "y"), {"a": (1.0,)})


def test_shares_of_success_and_failure_add_up_but_for_round_1_of_table_4():
    for table in (TABLE_1, TABLE_2, TABLE_4):
        for name in table.rows:
            percents = [c for c in table.columns if c.endswith("percent")]
            total = sum(table.value(name, column) for column in percents)
            whole = (table, name) != (TABLE_4, "1")
            assert (abs(total - 100) < 0.05) == whole, (table.source, name, total)


def test_notes_of_table_5_are_true_of_its_numbers():
    mnist, cifar10, imagenet = (TABLE_5[name] for name in ("mnist", "cifar10", "imagenet2012"))
    for row in ("Madry et al.", "AAD with PGD"):
        assert mnist.value(row, "StepLL") < mnist.value(row, "PGD30")
    assert mnist.value("AAD with PGD", "IFGSM") < mnist.value("Madry et al.", "IFGSM")
    assert (
        cifar10.value("AAD with StepLL", "IFGSM")
        > 60
        > 1
        > cifar10.value("AAD with StepLL", "PGD20")
    )
    assert cifar10.value("clean model", "FGSM") > cifar10.value("clean model", "StepLL")
    assert imagenet.value("AAD with StepLL", "StepLL") < imagenet.value("Tramèr et al.", "StepLL")
    percent = round(100 * RIGHT_IMAGES / VALIDATION_IMAGES, 2)
    assert percent == 76.49 != imagenet.value("clean model", "original")


def test_table_2_gives_successes_more_confidence_and_table_1_agrees_on_how_many_fail():
    assert TABLE_2.value("IoU < 0.5", "succeeded confidence") > TABLE_2.value(
        "IoU < 0.5", "failed confidence"
    )
    assert TABLE_2.value("IoU < 0.5", "failed percent") == TABLE_4.value("1", "failed percent")
    assert LOW_IOU_IMAGES < RIGHT_IMAGES


def test_one_round_of_table_6_lies_below_plain_step_ll_training_of_table_5():
    trained, aad = "Adv. train with StepLL", "AAD with StepLL"
    for column in ("original", "StepLL"):
        assert TABLE_6.value("1", column) < TABLE_5["cifar10"].value(trained, column)
        assert TABLE_5["cifar10"].value(trained, column) < TABLE_5["cifar10"].value(aad, column)
    gap = TABLE_6.value("2", "StepLL") - TABLE_6.value("2", "Iter-LL")
    assert 5 < gap < 5.1 and TABLE_6.value("1", "Iter-LL") == 6.0
    assert TABLE_5["cifar10"].value(aad, "PGD20") == 0.36


def test_round_1_of_table_4_lies_between_5_and_10_cells_of_table_3_near_8():
    for group in ("succeeded IoU", "failed IoU"):
        five, ten = (TABLE_3.value(cells, group) for cells in ("5", "10"))
        cells = 5 + 5 * (TABLE_4.value("1", group) - five) / (ten - five)
        assert 7.5 < cells < 8.5


def test_the_targeted_attack_is_the_stronger_one_of_table_9():
    assert TABLE_9.value("StepLL", "without A3") < TABLE_9.value("FGSM", "without A3")


def test_two_rounds_of_table_6_are_the_row_of_table_5():
    row = "AAD with StepLL"
    for column in ("original", "StepLL"):
        assert TABLE_6.value("2", column) == TABLE_5["cifar10"].value(row, column)


def test_sources_of_table_iii_repeat_table_ii_as_named():
    for white_box, transfer in zip(TABLE_II, TABLE_III, strict=True):
        for row, (resnet, cbam) in white_box.rows.items():
            assert transfer.value(row, "source Resnet-50") == resnet
            assert transfer.value(row, "source CBAM+Resnet-50") == cbam


def test_clean_targets_of_table_iii_disagree_with_table_ii_on_cifar10_alone():
    differing = set()
    for white_box, transfer in zip(TABLE_II, TABLE_III, strict=True):
        if white_box.source.endswith("FGSM"):
            resnet, cbam = white_box.rows["0"]
            targets = {
                "target CBAM+Resnet-50 of Resnet-50": cbam,
                "target Resnet-50 of CBAM+Resnet-50": resnet,
            }
            if any(transfer.value("0", column) != value for column, value in targets.items()):
                differing.add(white_box.source)
    assert differing == {"Agrawal Table II, CIFAR-10, FGSM"}


def test_notes_on_the_second_paper_are_true_of_its_numbers():
    tables = {table.source.removeprefix("Agrawal Table "): table for table in TABLE_II + TABLE_III}
    cbam = "CBAM+Resnet-50"
    fgsm, pgd = (tables[f"II, CIFAR-10, {attack}"] for attack in ("FGSM", "PGD"))
    assert (fgsm.value("0.05", cbam), fgsm.value("0.3", cbam)) == (0.37, 6.85)
    assert (pgd.value("5", "Resnet-50"), pgd.value("5", cbam)) == (99.98, 100.0)
    sources = ("source Resnet-50", f"source {cbam}", "source VGG-16")
    last = {
        (name, column): tables[f"III, {name}, PGD"].value("20", column)
        for name in ("CIFAR-10", "CIFAR-100", "Fashion MNIST")
        for column in sources
    }
    short = {key: value for key, value in last.items() if value < 100}
    assert short == {
        ("CIFAR-100", f"source {cbam}"): 97.16,
        ("CIFAR-100", "source VGG-16"): 95.99,
        ("Fashion MNIST", "source VGG-16"): 90.55,
    }
    stuck = [row[4] for row in tables["III, Fashion MNIST, PGD"].rows.values()]
    assert stuck == [90.51, 90.55, 90.55]
    # Near chance in the white box: 10 classes, and 100.
    for name, most in (("CIFAR-10", 12), ("CIFAR-100", 3), ("Fashion MNIST", 8)):
        table = tables[f"II, {name}, FGSM"]
        assert max(max(table.rows[row]) for row in ("0.15", "0.2", "0.25", "0.3")) < most
