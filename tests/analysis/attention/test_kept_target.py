"""Table 4 where success falls, beside the attack with its target kept."""

from __future__ import annotations

import pytest

from aad_tf.attacks import step_ll
from aad_tf.records.columns import read_attention_records
from analysis.attention.tables_3_4 import table_4


def _rounds(write, record, stem, wrong_in_2, attack=None):
    """40 images, 30 fooled in round 1; the first `wrong_in_2` in round 2."""
    records = [record(i, [0, int(i < 30), int(i < wrong_in_2)]) for i in range(40)]
    return read_attention_records(write(stem, records, attack=attack))


@pytest.mark.parametrize(
    ("kept_in_2", "conclusion"),
    [
        (38, "+20.0 [+7.5, +32.5] points ([that table](table_4_d_clean_kept_target.md)): choosing "
             "the target anew undoes part of what the round before had reached."),
        (30, "+0.0 [+0.0, +0.0] points ([that table](table_4_d_clean_kept_target.md))."),
    ],
)  # fmt: skip
def test_where_success_falls_table_4_points_to_the_kept_target(
    write, record, kept_in_2, conclusion
):
    run = _rounds(write, record, "d_clean_test_step_ll", 20)
    kept_attack = step_ll(4 / 255, num_steps=2, relabel=False)
    kept = _rounds(write, record, "d_clean_test_step_ll_kept_target", kept_in_2, kept_attack)
    (note,) = [n for n in table_4(run, "d", "clean", kept=kept).remarks if "Success falls" in n]
    assert "from round 1 to 2" in note and "75.0 % to 50.0 % of the 40 images of test" in note
    assert f"goes 75.0 % to {100 * kept_in_2 / 40:.1f} %" in note
    assert note.endswith(conclusion)
    assert not [n for n in table_4(run, "d", "clean").remarks if "Success falls" in n]


def test_where_success_rises_there_is_nothing_to_explain(write, record):
    run = _rounds(write, record, "d_clean_test_step_ll", 38)
    assert not [n for n in table_4(run, "d", "clean", kept=run).remarks if "Success falls" in n]
