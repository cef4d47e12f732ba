"""The page of controls, on hand-written summaries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis import controls, strict_controls
from analysis.records import Results
from tests.analysis import preset_summaries
from train.configs import mnist_controls


def write(results: Path, preset: str, seed: int, primary: float, count: int = 2000) -> Path:
    """Writes a summary of a control, its accuracy under the attack that decides in percent."""
    accuracies = {
        text: primary if text == controls.PRIMARY else 50.0 for text in mnist_controls.ALL_ATTACKS
    }
    return preset_summaries.write(results / "controls", preset, seed, accuracies, count)


def test_every_preset_has_a_name_and_every_question_presets() -> None:
    assert set(controls.NAMES) == set(mnist_controls.PRESETS)
    for _, *pair, attack in controls.QUESTIONS:
        assert set(pair) <= set(controls.NAMES) and attack in mnist_controls.ATTACKS


def test_presets_differ_in_what_they_are_named_for() -> None:
    for name, preset in mnist_controls.PRESETS.items():
        defense = preset.defense
        if name.endswith("8_0_0"):
            with_losses = mnist_controls.PRESETS[name.removesuffix("_8_0_0")].defense
            assert with_losses.weights == (8.0, 4.0, 1.0) and defense.weights == (8.0, 0.0, 0.0)
            assert (with_losses.attack, with_losses.losses) == (defense.attack, defense.losses)
            assert with_losses.update_per_round == defense.update_per_round


def test_seeds_are_averaged_and_compared_pair_by_pair(tmp_path: Path) -> None:
    assert controls.files(Results(tmp_path)) == {}
    for seed, with_losses, without in ((0, 70.0, 60.0), (1, 72.0, 61.0), (2, 74.0, 65.0)):
        write(tmp_path, "aad", seed, with_losses)
        write(tmp_path, "aad_8_0_0", seed, without)
    found = controls.read(tmp_path)
    assert found["aad"].seeds == 3 and found["aad"].count == 2000
    row = controls.table(found).rows[0]
    assert row[:4] == (controls.NAMES["aad"], "3", "99.0 (99.0 to 99.0)", "72.0 (70.0 to 74.0)")
    # Differences 10, 11, 9: mean 10, standard error 1 / sqrt(3), t(0.975, 2) = 4.303.
    (answer,) = controls.answers(found)
    assert answer.estimate.percent(sign=True) == "+10.0 [+7.5, +12.5]"
    assert answer.verdict == "higher"
    page = controls.page(found)
    assert (
        "first 2,000 test images" in page
        and f"decides, fixed beforehand: {controls.PRIMARY}" in page
    )
    assert controls.files(Results(tmp_path)).keys() == {
        *("tables/controls_mnist.md", "tables/controls_mnist.csv", "figures/controls_mnist.png")
    }


def write_history(results: Path, name: str, *rows: str) -> None:
    columns = "epoch,val_attention_iou,val_attention_iou_empty,gradient_share_preservation,nothing"
    preset_summaries.write_history(results, name, columns, *rows)


def test_attention_of_trainings_stands_beside_accuracy(tmp_path: Path) -> None:
    """By hand: IoU 60 and 80 % after the last epoch, shares of 50 and 52 % over both epochs."""
    for seed, same, share in ((0, 0.6, 0.1), (1, 0.8, 0.14)):
        write(tmp_path, "aad", seed, 70.0 + seed)
        write_history(tmp_path, f"aad_seed_{seed}", "1,0.1,0.5,0.9,", f"2,{same},0.25,{share},")
    write(tmp_path, "step_ll", 0, 60.0)
    write_history(tmp_path, "step_ll_seed_0", "2,0.7,0,,")
    write(tmp_path, "pairing", 0, 50.0)
    write_history(tmp_path, "pairing_seed_0", "2,0.5,0,,")
    write(tmp_path, "fgsm", 0, 40.0)
    # Without an area anywhere there is no IoU.
    write_history(tmp_path, "fgsm_seed_0", "2,0,1,,")
    write(tmp_path, "trades", 0, 40.0)
    found = controls.read(tmp_path)
    assert found["aad"].last_epoch("val_attention_iou") == {0: 0.6, 1: 0.8}
    assert "nothing" not in found["aad"].history and not found["trades"].history
    rows = {row[0]: row[1:] for row in controls.measures(found).rows}
    assert rows[controls.NAMES["aad"]] == (
        *("2", "70.0 (60.0 to 80.0)", "25.0 (25.0 to 25.0)", "–", "–"),
        *("–", "–", "51.0 (50.0 to 52.0)"),
    )
    assert rows[controls.NAMES["step_ll"]] == ("1", "70.0", "0.0", "–", "–", "–", "–", "–")
    assert len(rows) == 4
    lines = controls.attention_picture(found).axes[0].get_lines()
    drawn = [
        (line.get_xydata().tolist(), line.get_markerfacecolor() == line.get_color())
        for line in lines
    ]
    assert drawn == [
        ([[60.0, 70.0], [80.0, 71.0]], True),
        ([[70.0, 60.0]], False),
        ([[50.0, 50.0]], True),
    ]
    assert "## Attention" in controls.page(found)
    assert "figures/controls_mnist_attention.png" in controls.files(Results(tmp_path))


def test_rounds_of_step_ll_have_a_table(tmp_path: Path) -> None:
    write(tmp_path, "aad", 0, 70.0)
    table = controls.by_round(controls.read(tmp_path))
    assert table.columns[1:4] == ("1 round", "2 rounds, anew", "3 rounds, anew")
    assert table.columns[-1] == "4 rounds, kept"
    assert table.rows == ((controls.NAMES["aad"], *["50.0"] * 7),)
    assert "## By rounds of StepLL" in controls.page(controls.read(tmp_path))


def test_the_strongest_attacks_stand_network_by_network(tmp_path: Path) -> None:
    strict = tmp_path / "controls_strict"
    for seed, name in ((1, "aad_8_0_0"), (1, "aad"), (0, "aad")):
        preset_summaries.write_strict(strict, name, seed, "quick_cascade(epsilon=0.15)")
    found = strict_controls.read(tmp_path, "controls_strict", [*controls.NAMES])
    assert [(one.preset, one.seed) for one in found] == [("aad", 0), ("aad", 1), ("aad_8_0_0", 1)]
    row = strict_controls.table(found, controls.NAMES).rows[0]
    assert row[1:] == ("0", "0.15", "1,000", "99.0", "80.0", "78.5", "7")
    write(tmp_path, "aad", 0, 70.0)
    text = controls.files(Results(tmp_path))["tables/controls_mnist.md"]
    assert "## Under the strongest attacks" in text
    preset_summaries.write(strict, "fgsm", 0, {"fgsm(epsilon=0.15)": 80.0})
    with pytest.raises(ValueError, match="no evaluation of a preset .* adaptive attacks"):
        strict_controls.read(tmp_path, "controls_strict", [*controls.NAMES])


def test_one_seed_gives_no_verdict(tmp_path: Path) -> None:
    write(tmp_path, "one_round", 0, 70.0)
    write(tmp_path, "one_round_8_0_0", 0, 60.0)
    (answer,) = controls.answers(controls.read(tmp_path))
    assert answer.line().endswith("`one_round_8_0_0`: +10.0, paper –: one run each, no verdict")


def test_the_seeds_that_are_compared_are_named_in_every_column(tmp_path: Path) -> None:
    for seed, primary in enumerate((70.0, 72.0, 74.0)):
        write(tmp_path, "aad", seed, primary)
    for seed in range(3):
        write(tmp_path, "aad_8_0_0", seed, 71.0)
    write(tmp_path, "step_ll", 1, 60.0)
    found = controls.read(tmp_path)
    alone = controls.answers(found)[1].line()
    assert "`aad` less `step_ll`, seed 1 alone: +12.0, paper –: one run each" in alone
    both, one = controls.every_column(found).rows
    assert controls.every_column(found).columns[2:4] == ("clean", controls.PRIMARY)
    # Differences -1, 1, 3: 1 -+ 4.303 * 2 / sqrt(3).
    assert both[:4] == (
        *("`aad` less `aad_8_0_0`", "0, 1, 2", "+0.0 [+0.0, +0.0], equivalent"),
        "+1.0 [-4.0, +6.0], undecided",
    )
    assert one[:4] == ("`aad` less `step_ll`", "1", "+0.0", "+12.0")


def test_a_column_that_rests_on_fewer_seeds_names_them(tmp_path: Path) -> None:
    for seed in range(3):
        write(tmp_path, "aad", seed, 72.0)
        if seed:
            write(tmp_path, "aad_8_0_0", seed, 71.0)
        else:
            accuracies = {controls.PRIMARY: 71.0}
            preset_summaries.write(tmp_path / "controls", "aad_8_0_0", seed, accuracies)
    (row,) = controls.every_column(controls.read(tmp_path)).rows
    assert row[1:4] == (
        "0, 1, 2",
        "+0.0 [+0.0, +0.0], equivalent",
        "+1.0 [+1.0, +1.0], higher",
    )
    # Too few seeds are shared to compare pair by pair.
    assert set(row[4:]) == {"+0.0 (seeds 0, 1, 2 against 1, 2)"}


def test_the_page_says_how_the_networks_were_trained_and_what_was_flagged(tmp_path: Path) -> None:
    write(tmp_path, "aad", 0, 70.0)
    assert "How long training took is not recorded." in controls.page(controls.read(tmp_path))
    for seed, commit in ((0, "b" * 40), (1, "a" * 40)):
        path = write(tmp_path, "aad", seed, 70.0)
        summary = json.loads(path.read_text())
        finding = {"name": "silent_success", "status": "flagged", "measured": "1 of 9 images"}
        finding |= {"value": 0.1, "threshold": 0.0, "run_next": "auto_attack"}
        summary["diagnostics"] = {"first_batch": [], "outcomes": [finding]}
        path.write_text(json.dumps(summary))
        start = {"command": f"train {seed}", "git_commit": commit, "utc": f"2026-01-0{seed + 1}"}
        run = preset_summaries.write_history(tmp_path, f"aad_seed_{seed}", "epoch", "1")
        (run / "run.json").write_text(json.dumps({"seconds": 5400, "starts": [start]}))
    write(tmp_path, "fgsm", 0, 70.0)
    page = controls.page(controls.read(tmp_path))
    assert (
        "2 of 3 trainings are recorded in `results/runs`: 3.0 hours in all, in mixed_bfloat16, at "
        "commits from bbbbbbb to aaaaaaa, each by a command such as `train 0`."
    ) in page
    assert "- Flagged, `silent_success` (`aad`, seeds 0, 1): 1 of 9 images" in page
    assert "- Diagnostics were not computed (`fgsm`, seed 0)" in page


def test_a_recorded_command_of_another_name_says_what_the_preset_is_called_now(
    tmp_path: Path,
) -> None:
    write(tmp_path, "aad_float32", 0, 70.0)
    run = preset_summaries.write_history(tmp_path, "aad_float32_seed_0", "epoch", "1")
    for recorded, said in (
        ("aad", ", whose preset is now called `aad_float32`"),
        ("aad_float32", ""),
    ):
        command = f"python -m train.main --config=train/configs/mnist_controls.py:{recorded} --x"
        start = {"command": command, "git_commit": "b" * 40, "utc": "2026-01-01"}
        (run / "run.json").write_text(json.dumps({"seconds": 5400, "starts": [start]}))
        page = controls.page(controls.read(tmp_path))
        assert f"each by a command such as `{command}`{said}." in page


@pytest.mark.parametrize(
    "change", [{"learning_rate_schedule": "cosine"}, {"augmentation": "flip"}, {"epochs": 1}]
)
def test_a_training_that_differs_from_its_preset_is_refused(change, tmp_path: Path) -> None:
    accuracies = dict.fromkeys(mnist_controls.ALL_ATTACKS, 50.0)
    preset_summaries.write(tmp_path / "controls", "aad", 0, accuracies, changes=change)
    with pytest.raises(ValueError, match=f"trained otherwise .* differs in {next(iter(change))}"):
        controls.read(tmp_path)


def test_what_cannot_stand_side_by_side_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "aad", 0, 70.0)
    other = write(tmp_path, "aad", 1, 70.0, count=1000)
    with pytest.raises(ValueError, match="of the same images"):
        controls.read(tmp_path)
    other.unlink()
    write(tmp_path, "aad", 0, 70.0).rename(tmp_path / "controls" / "again.summary.json")
    write(tmp_path, "aad", 0, 70.0)
    with pytest.raises(ValueError, match="two evaluations of aad with seed 0"):
        controls.read(tmp_path)
    (tmp_path / "controls" / "again.summary.json").unlink()
    write(tmp_path, "unknown", 0, 70.0)
    with pytest.raises(
        ValueError, match="of the preset 'unknown', which is none of those that belong in controls"
    ):
        controls.read(tmp_path)


def test_a_preset_that_was_renamed_is_known_by_how_it_trains(tmp_path: Path) -> None:
    """What is called `aad` today is trained in bfloat16; it was float32 under the same name."""
    accuracies = {controls.PRIMARY: 71.0}
    directory = tmp_path / "controls"
    path = preset_summaries.write(directory, "aad", 0, accuracies, changes={"precision": "float32"})
    path.rename(path.with_name("aad_float32_seed_0.summary.json"))
    preset_summaries.write(directory, "aad", 0, {controls.PRIMARY: 73.0})
    found = controls.read(tmp_path)
    assert {name: one.accuracies[controls.PRIMARY] for name, one in found.items()} == {
        "aad": {0: 0.73},
        "aad_float32": {0: 0.71},
    }
