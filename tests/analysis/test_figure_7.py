"""[AAD Fig. 7], on hand-written summaries."""

from __future__ import annotations

from pathlib import Path

from analysis import figure_7
from analysis.records import Results
from tests.analysis import preset_summaries
from train.configs.cifar10_weights import ATTACKS, FULL, PANELS
from train.studies import aad_figure_7


def write(results: Path, preset: str, seed: int, accuracy: float) -> Path:
    accuracies = dict.fromkeys(ATTACKS, accuracy)
    return preset_summaries.write(results / "weights", preset, seed, accuracies)


def test_each_panel_changes_one_weight_and_holds_zero_and_the_paper_s() -> None:
    assert len(FULL) == sum(len(values) for values in PANELS.values()) - 2
    assert FULL["weights_8_0_1"].defense.weights == (8.0, 0.0, 1.0)
    assert FULL["weights_16_4_1"].defense.weights == (16.0, 4.0, 1.0)
    assert FULL["weights_8_4_1"].defense.weights == (8.0, 4.0, 1.0)
    # Two seeds of 8 : 4 : 1 and of each weight 0, one of the eight others.
    assert len(aad_figure_7.STUDY.trainings) == 4 * 2 + 8


def test_panels_share_the_ratio_of_the_paper(tmp_path: Path) -> None:
    assert figure_7.files(Results(tmp_path)) == {}
    for seed, whole, without in ((0, 60.0, 50.0), (1, 62.0, 50.0), (2, 61.0, 50.0)):
        write(tmp_path, "small_weights_8_4_1", seed, whole)
        write(tmp_path, "small_weights_8_0_1", seed, without)
    found = figure_7.read(tmp_path)
    rows = figure_7.table(found).rows
    assert [row[:2] for row in rows] == [
        ("alpha", "8 : 4 : 1"),
        ("beta", "8 : 0 : 1"),
        ("beta", "8 : 4 : 1"),
        ("gamma", "8 : 4 : 1"),
    ]
    assert rows[1][3:5] == ("99.0 (99.0 to 99.0)", "50.0 (50.0 to 50.0)")
    # Differences 10, 12, 11; t(0.975, 2) = 4.303, standard error 1 / sqrt(3).
    lines = {one.statement: one for one in figure_7.differences(found)}
    assert len(lines) == 1 + len(ATTACKS)
    added = lines[f"beta 4 instead of 0, {ATTACKS[0]}"]
    assert added.estimate.percent(sign=True) == "+11.0 [+8.5, +13.5]"
    curves = figure_7.picture(found).axes[1].get_lines()
    first = next(line for line in curves if line.get_label() == ATTACKS[0])
    assert first.get_xydata().tolist() == [[0.0, 50.0], [4.0, 61.0]]
    assert added.verdict == "higher" and "4 of 200 epochs" in added.sketch
    assert "10,000 images for 4 epochs" in figure_7.page(found)
    cascade = "quick_cascade(epsilon=0.075)"
    preset_summaries.write_strict(tmp_path / "weights_strict", "small_weights_8_0_1", 0, cascade)
    preset_summaries.write_history(
        tmp_path, "small_weights_8_4_1_seed_0", "epoch,val_attention_iou", "1,0.7"
    )
    made = figure_7.files(Results(tmp_path))
    page = str(made["tables/aad_figure_7.md"])
    assert "| small_weights_8_4_1 | 1 | 70.0 |" in page
    assert "| small_weights_8_0_1 | 0 | 0.075 | 1,000 | 99.0 | 80.0 | 78.5 | 7 |" in page
    assert "figures/aad_figure_7_attention.png" in made
