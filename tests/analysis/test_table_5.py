"""Table 5 from hand-written records with known answers, missing ones included."""

from __future__ import annotations

import csv
import dataclasses
import io
import json

import keras
import pytest

from aad_tf import attacks, configs, data
from aad_tf.attacks import parse_attack
from aad_tf.configs import to_dict
from aad_tf.evaluation import evaluate_robustness
from aad_tf.types import Bounds
from analysis import table_5, table_5_rows
from analysis.records import ResultRun, Results, same_attack
from analysis.training_configs import differing
from tests.networks import small_network
from train.configs import cifar10, imagenet2012, mnist, tiny_imagenet_boxes
from train.configs.mnist import ATTACKS
from train.configs.presets import ROWS

FGSM, IFGSM, STEP_LL, PGD_30, PGD_100 = ATTACKS
PAPER_ROWS = (
    "clean model",
    "Adv. train with FGSM",
    "Adv. train with StepLL",
    "Madry et al.",
    "AAD with PGD",
    "AAD with StepLL",
)


def test_without_records_every_row_of_the_paper_says_not_run(results):
    table = table_5_rows.build(results, "mnist")
    assert tuple(row.name for row in table.rows) == PAPER_ROWS
    assert {cell.text() for row in table.rows for cell in row.cells} == {"not run"}
    assert not table.has_runs
    reproducing = [preset for preset in ROWS if table_5_rows.paper_row(preset) in PAPER_ROWS]
    assert table.presets_not_run() == reproducing
    assert not {"nfgsm", "trades", "aad_step_ll_8_0_0"} & set(reproducing)
    assert table_5.training(table) is None
    assert table_5.further_attacks(table) is None
    assert table_5.warning_lines(table) == []


def test_a_row_shows_accuracy_interval_and_the_papers_value(results, record):
    # 8 of 10 correct as they are, 5 of 10 under attack; Wilson's interval of 5 of 10 by hand:
    # (0.5 + 0.19207) / 1.38415 -+ sqrt(0.025 + 0.00960) * 1.95996 / 1.38415 = 0.2366, 0.7634.
    record("mnist_aad_step_ll", {FGSM: "+++++xxx!!"})
    row = table_5_rows.build(results, "mnist").row("aad_step_ll")
    clean, fgsm, ifgsm, *_ = row.cells
    assert (clean.seeds, clean.paper) == ({0: table_5_rows.Measured(8, 10)}, 99.03)
    assert (fgsm.accuracies, fgsm.paper) == ({0: 0.5}, 98.69)
    assert fgsm.text() == "50.0 [23.7, 76.3]"
    assert (ifgsm.text(), ifgsm.paper_text()) == ("not run", "98.13")


def test_an_attack_of_another_budget_or_step_fills_no_column(results, record):
    near = "pgd(epsilon=0.3, step_size=0.02, num_steps=30)"
    restarts = "pgd(epsilon=0.3, step_size=0.01, num_steps=30, restarts=5)"
    record("mnist_clean", {"fgsm(epsilon=0.1)": "++", near: "+x", restarts: "xx"})
    table = table_5_rows.build(results, "mnist")
    assert [cell.text() for cell in table.row("clean").cells[1:]] == ["not run"] * 5
    further = table_5.further_attacks(table)
    assert len(further.rows) == 3 and "restarts=5" in further.markdown()


@pytest.mark.parametrize("module", [cifar10, imagenet2012], ids=["cifar10", "imagenet2012"])
def test_other_readings_of_the_paper_are_further_attacks(module, results, record):
    dataset = module.__name__.rpartition(".")[2]
    chosen = {text: "+x" for text in (*module.ATTACKS, *module.FURTHER_ATTACKS)}
    record(f"{dataset}_clean", chosen)
    table = table_5_rows.build(results, dataset)
    assert {found.count for cell in table.row("clean").cells for found in cell.seeds.values()} == {
        2
    }
    assert all(cell.seeds for cell in table.row("clean").cells)
    further = [line[1] for line in table_5.further_attacks(table).rows]
    assert further == [parse_attack(text).name for text in module.FURTHER_ATTACKS]


def test_last_iterates_and_auto_attack_stand_below_any_iterate(results, record):
    record("mnist_clean", {FGSM: "++x!", PGD_30: "+xx!"}, success="any_iterate")
    record("mnist_clean_last_iterate", {FGSM: "++x!", PGD_30: "++x!"})
    record("mnist_clean_auto_attack", {"auto_attack(0.3)": "+x", "auto_attack(0.15)": "++"})
    record("mnist_fgsm", {FGSM: "++"})
    table = table_5_rows.build(results, "mnist")
    found = table_5.stricter(table)
    assert found.columns[-2:] == ("AutoAttack (ε 0.15)", "AutoAttack (ε 0.3)")
    shown = [[cell.split(" ")[0] for cell in row] for row in found.rows]
    assert [row[0] for row in found.rows] == ["clean model"] * 2
    assert shown[0][4:] == ["75.0", "50.0", "–", "–", "25.0", "–", "100.0", "50.0"]
    assert shown[1][4:] == ["75.0", "50.0", "–", "–", "50.0", "–", "–", "–"]
    assert table_5.STRICTER in table_5.page(table)
    assert table_5.further_attacks(table) is None


def test_a_further_evaluation_of_another_network_is_refused(results, record):
    record("mnist_clean", {FGSM: "++"}, weights="1")
    record("mnist_clean_auto_attack", {"auto_attack(0.3)": "++"}, weights="2")
    with pytest.raises(ValueError, match="other weights.*same model directory"):
        table_5_rows.build(results, "mnist")


def test_a_shorter_preset_stands_in_for_its_row_and_says_so(results, record):
    record("mnist_madry_short", {FGSM: "++"})
    table = table_5_rows.build(results, "mnist")
    names = [row.name for row in table.rows]
    assert "Madry et al. (fewer PGD steps in training)" in names
    assert "Madry et al." not in names
    assert table.row("madry_short").cells[1].paper == 97.95
    assert "madry" in table.presets_not_run()


def test_digits_have_no_values_in_the_paper(results, record):
    record("digits_clean", {FGSM: "++"})
    table = table_5_rows.build(results, "digits")
    assert not table.row("clean").in_paper
    assert all(row[1] == "ours" for row in table_5.accuracies(table).rows)
    assert table.notes == ()


def test_imagenet_has_published_networks_beside_the_papers_values(results, record):
    fgsm, _, step_ll = imagenet2012.ATTACKS
    own_rounds, half = "ifgsm(epsilon=0.45, num_steps=3)", "fgsm(epsilon=0.15)"
    config = configs.to_dict(imagenet2012.PRESETS["tramer_ens3"])
    outcomes = {fgsm: "+++x", step_ll: "++x!", own_rounds: "+xxx", half: "++++"}
    record("imagenet2012_tramer_ens3", outcomes, config={**config, "name": "tramer_ens3"})
    record("imagenet2012_ensemble", {fgsm: "++"})
    table = table_5_rows.build(results, "imagenet2012")
    rows = [row.name for row in table.rows]
    assert rows[0] == "clean model" and rows[-1] == "AAD with StepLL" and len(rows) == 4
    row = table.row("tramer_ens3")
    assert row.name == "Tramèr et al. (ens3_adv_inception_v3)"
    assert [cell.paper for cell in row.cells] == [75.97, 60.35, 10.88, 60.40]
    correct = [[found.correct for found in cell.seeds.values()] for cell in row.cells]
    assert correct == [[4], [3], [], [2]]
    further = table_5.further_attacks(table)
    assert [line[1] for line in further.rows] == [parse_attack(own_rounds).name, half]
    (training, _) = table_5.training(table).rows
    assert training[1] == "not trained: published weights"
    # Kurakin et al.'s network is no row of the paper.
    assert "tramer_ens4" in table.presets_not_run() and "kurakin" not in table.presets_not_run()


def test_a_stand_in_for_imagenet_is_named_as_what_it_is(results, record):
    assert [table.dataset for table in table_5.tables(Results(results))] == ["mnist"]
    # Nor are static sources of ensemble training rows of it.
    fgsm = tiny_imagenet_boxes.ATTACKS[0]
    record("tiny_imagenet_boxes_narrow", {fgsm: "++"}, data={"name": "tiny_imagenet_boxes"})
    assert [table.dataset for table in table_5.tables(Results(results))] == ["mnist"]
    record("tiny_imagenet_boxes_ensemble", {fgsm: "+x"}, data={"name": "tiny_imagenet_boxes"})
    table = table_5.tables(Results(results))[-1]
    assert table.row("ensemble").name == "Tramèr et al. (trained here)"
    assert [cell.paper for cell in table.row("ensemble").cells] == [75.97, 60.35, 10.88, 60.40]
    assert [column.heading for column in table.columns[1:]] == [
        *("FGSM (ε 0.01569)", "IFGSM (ε 0.007843)", "StepLL (ε 0.01569)"),
    ]
    assert table.presets_not_run() == ["clean", "aad_step_ll"]
    page = table_5.page(table)
    assert "# AAD Table 5, 40 classes of Tiny ImageNet, in place of ImageNet2012" in page
    assert "The paper's values are of ImageNet2012, ours of 40 classes" in page
    assert "The paper's values are of ImageNet2012" in table_5.readme(Results(results))
    # A run of another network on the same data has its own attacks for columns.
    own = ResultRun("tiny_imagenet_boxes", "narrow", table.row("ensemble").runs[0].summary)
    assert [column.name for column in table_5_rows.of_run(own).columns] == ["original", fgsm]
    assert not table_5_rows.of_run(own).rows[0].in_paper


def test_part_of_the_test_set_is_named(results, record):
    data = {"name": "mnist", "split": "validation", "limit": 2}
    record("mnist_clean", {FGSM: "++"}, data=data)
    row = table_5_rows.build(results, "mnist").row("clean")
    assert row.name == "clean model [first 2 of validation]"


def test_records_of_another_data_set_are_refused(results, record):
    record("mnist_clean", {FGSM: "++"}, data={"name": "digits"})
    with pytest.raises(ValueError, match="evaluated on digits, its name says mnist"):
        table_5_rows.build(results, "mnist")


def test_damaged_and_partial_records_are_refused(results, record):
    record("mnist_clean", {FGSM: "++"}, training={"config.json": {}})
    (results / "runs" / "mnist_clean" / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
        table_5_rows.build(results, "mnist")
    path = results / "robustness" / "mnist_clean.summary.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    summary["evaluated"]["shard"] = [1, 2]
    path.write_text(json.dumps(summary))
    with pytest.raises(ValueError, match="is a shard of an evaluation; merge its shards first"):
        table_5_rows.build(results, "mnist")
    with pytest.raises(ValueError, match="dataset must be one of mnist, cifar10, imagenet2012"):
        table_5_rows.build(results, "imagenet")


CONFIG = {
    "dataset": "mnist",
    "model": "lenet",
    "defense": {"kind": "none"},
    "learning_rate": 0.001,
    "batch_size": 100,
    "epochs": 5,
    "seed": 0,
}


def test_the_config_is_that_of_the_evaluated_network(results, record):
    record("mnist_clean", {FGSM: "++"}, config=CONFIG)
    assert table_5_rows.build(results, "mnist").row("clean").runs[0].config == CONFIG


def test_a_copy_of_another_training_is_refused(results, record):
    copy = {**CONFIG, "epochs": 50, "seed": 1, "budget": "not compared"}
    record("mnist_clean", {FGSM: "++"}, config=CONFIG, training={"config.json": copy})
    with pytest.raises(ValueError, match="another training.*differs in: epochs, seed"):
        table_5_rows.build(results, "mnist")


def test_seeds_of_a_preset_make_one_row(results, record):
    # 8, 6 and 7 of 10 correct under FGSM; PGD was run on two of the three seeds.
    record("mnist_aad_step_ll", {FGSM: "+" * 8 + "xx", PGD_30: "x" * 10}, config=CONFIG)
    for seed, correct in ((1, 6), (12, 7)):
        outcomes = {FGSM: "+" * correct + "x" * (10 - correct)}
        outcomes |= {PGD_30: "+" + "x" * 9} if seed == 1 else {}
        record(f"mnist_aad_step_ll_seed_{seed}", outcomes, config={**CONFIG, "seed": seed})
    # Further evaluations of a seed are no seed.
    record("mnist_aad_step_ll_seed_1_last_iterate", {FGSM: "+" * 10})
    table = table_5_rows.build(results, "mnist")
    row = table.row("aad_step_ll")
    assert list(row.runs) == [0, 1, 12]
    assert row.cells[1].accuracies == {0: 0.8, 1: 0.6, 12: 0.7}
    assert row.cells[1].text() == "70.0 (60.0 to 80.0)"
    assert row.cells[4].text() == "5.0 (0.0 to 10.0)"
    shown = next(cells for cells in table_5.accuracies(table).rows if cells[0] == row.name)
    assert shown[1:6] == ("ours", "3", "10", "100.0 (100.0 to 100.0)", "70.0 (60.0 to 80.0)")
    assert [cells[2] for cells in table_5.stricter(table).rows] == ["3", "1"]
    assert [cells[5] for cells in table_5.training(table).rows] == ["0", "1", "12"]
    fgsm = [
        line for line in csv_rows(table) if line["column"] == "FGSM" and line["status"] == "run"
    ]
    assert [(line["seed"], line["right"]) for line in fgsm] == [("0", "8"), ("1", "6"), ("12", "7")]


def test_columns_of_fewer_seeds_than_the_row_name_theirs(results, record):
    for seed, ending in ((0, ""), (1, "_seed_1"), (2, "_seed_2")):
        outcomes = {FGSM: "+x"} if seed == 1 else {FGSM: "+x", PGD_30: "+x"}
        options = {"config": {**CONFIG, "seed": seed}, "success": "any_iterate"}
        record(f"mnist_clean{ending}", outcomes, **options)
    record("mnist_clean_auto_attack", {"auto_attack(0.3)": "+x"}, config=CONFIG)
    table = table_5_rows.build(results, "mnist")
    row = table.row("clean")
    (shown,) = (
        cells for cells in table_5.accuracies(table).rows if cells[:2] == (row.name, "ours")
    )
    assert shown[4:6] == ("100.0 (100.0 to 100.0)", "50.0 (50.0 to 50.0)")
    assert shown[8] == "50.0 (50.0 to 50.0), seeds 0, 2"
    assert table_5.stricter(table).rows[0][-1] == "50.0 [9.5, 90.5], seed 0"


def csv_rows(table):
    return list(csv.DictReader(io.StringIO(table_5.csv_of(table))))


def test_seeds_that_differ_in_more_than_the_seed_are_refused(results, record):
    record("mnist_clean", {FGSM: "++"}, config=CONFIG)
    for change, named in (
        ({"epochs": 2}, "epochs"),
        ({"precision": "mixed_bfloat16"}, "precision"),
        ({"augmentation": "flip", "label_smoothing": 0.1}, "label_smoothing, augmentation"),
        ({"learning_rate_schedule": "cosine"}, "learning_rate_schedule"),
        ({"initial_weights": "runs/other"}, "initial_weights"),
        ({"train_examples": 100}, "train_examples"),
    ):
        record("mnist_clean_seed_1", {FGSM: "++"}, config={**CONFIG, "seed": 1, **change})
        with pytest.raises(ValueError, match=f"Seeds 0 and 1 of mnist_clean differ in {named} too"):
            table_5_rows.build(results, "mnist")
    # What computes nothing else may differ.
    alike = {"budget": "an hour", "checkpoint_steps": 7, "evaluation_attacks": [FGSM]}
    record("mnist_clean_seed_1", {FGSM: "++"}, config={**CONFIG, "seed": 1, **alike})
    assert len(table_5_rows.build(results, "mnist").row("clean").runs) == 2
    evaluated = {"config": {**CONFIG, "seed": 1}, "success": "any_iterate"}
    record("mnist_clean_seed_1", {FGSM: "++"}, **evaluated)
    with pytest.raises(ValueError, match="differ in success_rule too"):
        table_5_rows.build(results, "mnist")
    record("mnist_clean_seed_1", {FGSM: "++"}, config={**CONFIG, "seed": 2})
    with pytest.raises(ValueError, match="trained with seed 2, its name says 1"):
        table_5_rows.build(results, "mnist")
    record("mnist_clean_seed_0", {FGSM: "++"}, config=CONFIG)
    record("mnist_clean_seed_1", {FGSM: "++"}, config={**CONFIG, "seed": 1})
    with pytest.raises(ValueError, match="two runs of mnist_clean with seed 0"):
        table_5_rows.build(results, "mnist")


def record_seeds(record, name, outcomes, count, **options):
    for seed in range(count):
        record(f"{name}_seed_{seed}" if seed else name, outcomes, **options)


def test_rows_are_compared_in_every_column_over_their_seeds(results, record):
    high, low = "+" * 90 + "x" * 10, "+" * 50 + "x" * 50
    record_seeds(record, "mnist_aad_step_ll", {FGSM: high, IFGSM: low, STEP_LL: high}, 3)
    record_seeds(record, "mnist_step_ll", {FGSM: low, IFGSM: high, PGD_30: low, STEP_LL: low}, 3)
    table = table_5_rows.build(results, "mnist")
    found = table_5_rows.differences(table)
    assert {rows for rows, _ in found} == {"AAD with StepLL against Adv. train with StepLL"}
    # The paper has -0.2, +2.27, +15.04 and +1.41 there.
    assert [(one.statement, one.verdict_text()) for _, one in found] == [
        ("clean", "equivalent; smaller than the paper's"),
        ("FGSM (ε 0.15)", "higher; larger than the paper's"),
        ("IFGSM (ε 0.15)", "lower, against the paper's"),
        ("StepLL (ε 0.15)", "higher; larger than the paper's"),
    ]
    line = table_5.difference_lines(table)[2]
    expected = (
        "  - FGSM (ε 0.15): +40.0 [+40.0, +40.0], paper +2.3: higher; larger than the paper's"
    )
    assert line == expected


def test_one_run_of_each_row_decides_nothing(results, record):
    record("mnist_aad_step_ll", {FGSM: "+" * 90 + "x" * 10})
    record("mnist_step_ll", {FGSM: "+" * 50 + "x" * 50})
    *_, fgsm = table_5.difference_lines(table_5_rows.build(results, "mnist"))
    assert fgsm == "  - FGSM (ε 0.15): +40.0, paper +2.3: one run each, no verdict"


def test_a_row_trained_for_fewer_epochs_than_its_preset_decides_nothing(results, record):
    for seed in range(3):
        ending = f"_seed_{seed}" if seed else ""
        short = {**CONFIG, "epochs": 2, "seed": seed}
        record(f"mnist_aad_step_ll{ending}", {FGSM: "+" * 9 + "x"}, config=short)
        record(f"mnist_step_ll{ending}", {FGSM: "x" * 10}, config={**CONFIG, "seed": seed})
    found = table_5_rows.differences(table_5_rows.build(results, "mnist"))
    texts = {one.verdict_text() for _, one in found}
    assert texts == {"not trained alike (2 of 5 epochs against all), no verdict"}


def test_a_row_trained_on_fewer_images_than_its_preset_decides_nothing(results, record):
    few = {**CONFIG, "train_examples": 1000}
    for seed in range(3):
        ending = f"_seed_{seed}" if seed else ""
        record(f"mnist_aad_step_ll{ending}", {FGSM: "+" * 9 + "x"}, config={**few, "seed": seed})
        record(f"mnist_step_ll{ending}", {FGSM: "x" * 10}, config={**CONFIG, "seed": seed})
    table = table_5_rows.build(results, "mnist")
    texts = {one.verdict_text() for _, one in table_5_rows.differences(table)}
    assert texts == {"not trained alike (the first 1,000 training images against all), no verdict"}
    assert "[the first 1,000 training images]" in table.row("aad_step_ll").name


def test_every_row_of_aad_is_compared_with_itself_without_attention_losses():
    for module in (mnist, cifar10):
        for name, preset in module.PRESETS.items():
            if preset.defense.kind == "aad" and not name.endswith("_8_0_0"):
                without = module.PRESETS[f"{name}_8_0_0"]
                assert differing(to_dict(preset), to_dict(without)) == ["defense"]
                assert without.defense == dataclasses.replace(
                    preset.defense, weights=(8.0, 0.0, 0.0)
                )
                assert (name, f"{name}_8_0_0") in table_5_rows._COMPARED
                assert {name, f"{name}_8_0_0"} <= ROWS.keys()


def test_the_difference_that_attention_makes_has_no_value_in_the_paper(results, record):
    record_seeds(record, "mnist_aad_step_ll", {FGSM: "+" * 9 + "x"}, 3)
    record_seeds(record, "mnist_aad_step_ll_8_0_0", {FGSM: "+" * 8 + "xx"}, 3)
    (_, (rows, one)) = table_5_rows.differences(table_5_rows.build(results, "mnist"))
    assert rows == "AAD with StepLL against AAD 8:0:0 with StepLL"
    assert (one.verdict, one.paper) == ("higher", None)


def test_a_stand_in_is_compared_as_the_paper_compares_but_not_with_its_values(results, record):
    fgsm = tiny_imagenet_boxes.ATTACKS[0]
    for preset in ("aad_step_ll", "ensemble", "aad_step_ll_8_0_0"):
        record(f"tiny_imagenet_boxes_{preset}", {fgsm: "+x"}, data={"name": "tiny_imagenet_boxes"})
    found = table_5_rows.differences(table_5_rows.build(results, "tiny_imagenet_boxes"))
    assert [rows.partition(" against ")[2] for rows, _ in found[::2]] == [
        "Tramèr et al. (trained here)",
        "AAD 8:0:0 with StepLL",
    ]
    assert {one.paper for _, one in found} == {None}
    fgsm = imagenet2012.ATTACKS[0]
    for preset in ("aad_step_ll", "tramer_ens4", "kurakin"):
        record(f"imagenet2012_{preset}", {fgsm: "+x"})
    found = table_5_rows.differences(table_5_rows.build(results, "imagenet2012"))
    # The paper: 74.62 - 75.97 clean; it has no row of adversarial training with StepLL.
    assert [one.paper and round(100 * one.paper, 2) for _, one in found] == [
        *(-1.35, 1.41, None, None),
    ]


def test_the_authors_single_round_is_a_row_and_no_row_is_left_out_in_silence(results, record):
    fgsm = cifar10.ATTACKS[0]
    record("cifar10_aad_step_ll_reference_code_one_round", {fgsm: "++"})
    for name in ("clean_last_iterate", "clean", "step_ll_seed_2"):
        record(f"cifar10_{name}", {fgsm: "++"})
    # Of the study of CBAM, which has tables of its own.
    for name in ("resnet50", "cbam_resnet50_seed_1", "vgg16_strongest", "vgg16_seed_2_strongest"):
        record(f"cifar10_{name}", {fgsm: "++"})
    for stray in ("step_ll_seed_x", "resnet50_long"):
        record(f"cifar10_{stray}", {fgsm: "++"})
    table = table_5_rows.build(results, "cifar10")
    row = table.row("aad_step_ll_reference_code_one_round")
    assert row.name == "AAD with one round of StepLL (losses of the authors' code)"
    assert row.runs and not row.in_paper
    assert table.unmatched == ("cifar10_resnet50_long", "cifar10_step_ll_seed_x")
    strays = "`cifar10_resnet50_long`, `cifar10_step_ll_seed_x`"
    assert f"not shown here: {strays}." in table_5.page(table)


def test_notes_say_which_further_attacks_were_run(results, record):
    fgsm, further, *others = cifar10.ATTACKS[0], *cifar10.FURTHER_ATTACKS
    record("cifar10_clean", {fgsm: "++", further: "++"})
    page = table_5.page(table_5_rows.build(results, "cifar10"))
    not_run = ", ".join(f"`{parse_attack(text).name}`" for text in others)
    assert f"; evaluated: `{parse_attack(further).name}`; not run: {not_run}." in page
    assert "evaluated as further attack" not in page and "evaluated as a further" not in page


def test_nothing_to_compare_where_a_row_was_not_run(results, record):
    record("mnist_aad_step_ll", {FGSM: "++"})
    table = table_5_rows.build(results, "mnist")
    assert table_5_rows.differences(table) == []
    assert table_5.difference_lines(table)[0].startswith("Not decided yet")


def test_pgd_defences_are_compared_at_the_same_training_steps(results, record):
    for preset in ("aad_pgd_short", "madry"):
        record_seeds(record, f"mnist_{preset}", {PGD_30: "+" * 30}, 3)
    assert table_5_rows.differences(table_5_rows.build(results, "mnist")) == []
    record_seeds(record, "mnist_madry_short", {PGD_30: "x" * 30}, 3)
    _, (rows, difference) = table_5_rows.differences(table_5_rows.build(results, "mnist"))
    assert difference.verdict == "higher"
    assert "fewer PGD steps" in rows.split(" against ")[1]


def test_summary_of_a_real_evaluation_is_understood(results):
    network = small_network(keras.layers.Dense(10), shape=(28, 28, 1))
    (results / "robustness").mkdir(parents=True)
    output = results / "robustness" / "digits_clean.jsonl.gz"
    report = evaluate_robustness(
        network,
        data.evaluation_batches("digits", "test", 50, limit=50),
        [parse_attack(text) for text in (FGSM, STEP_LL)],
        output=output,
        description={"dataset": {"name": "digits", "split": "test", "limit": 50}},
    )
    table = table_5_rows.build(results, "digits")
    row = table.row("clean")
    clean, fgsm, _, step_ll, *_ = row.cells
    assert row.name == "clean model [first 50 of test]"
    assert fgsm.accuracy.value == report.robust_accuracy("fgsm(epsilon=0.15)")
    assert step_ll.accuracy.value == report.robust_accuracy("step_ll(epsilon=0.15)")
    assert clean.accuracy.value == report.summary["attacks"][0]["clean_accuracy"]
    assert fgsm.accuracy.interval == pytest.approx(
        [report.summary["attacks"][0]["interval"][end] for end in ("low", "high")]
    )
    assert json.loads(output.with_name("digits_clean.summary.json").read_text())["attacks"]


def test_sizes_of_attacks_are_fractions_of_the_pixel_range():
    column = attacks.fgsm(0.15).threat_model()
    twice_as_wide = Bounds(-1.0, 1.0)
    assert same_attack(attacks.fgsm(0.3).threat_model(twice_as_wide), column)
    assert not same_attack(attacks.fgsm(0.15).threat_model(twice_as_wide), column)
    cells = table_5._threat_cells(attacks.fgsm(0.3).threat_model(twice_as_wide))
    assert cells[1:4] == ("0.15", "38.25", "1 × 0.15")


def test_transfer_attacks_are_no_white_box_attacks():
    model = attacks.fgsm(0.1).threat_model()
    for access, count in (({}, 1), ({"access": "white_box"}, 1), ({"access": "transfer"}, 0)):
        summary = {"attacks": [{"attack": "fgsm", "threat_model": {**model, **access}}]}
        run = ResultRun("mnist", "fgsm", summary)
        assert len(run.attacks) == count and (run.entry(model) is not None) == count


def test_an_attack_on_smoothed_labels_is_another_attack():
    smoothed = attacks.fgsm(0.1, label_smoothing=0.3).threat_model()
    assert not same_attack(smoothed, attacks.fgsm(0.1).threat_model())


def test_rows_of_other_images_or_rules_are_not_compared(results, record):
    record("mnist_step_ll", {FGSM: "++"})
    record("mnist_aad_step_ll", {FGSM: "+x"}, success="any_iterate")
    table = table_5_rows.build(results, "mnist")
    assert table_5_rows.differences(table) == []
    (line,) = table_5.difference_lines(table)
    first, second = (table.row(preset).name for preset in ("aad_step_ll", "step_ll"))
    assert line == (
        f"- {first} against {second}: not compared, as they were evaluated on different images or "
        f"by different rules"
    )


@pytest.mark.parametrize(
    ("rule", "data", "images", "said"),
    [
        ("any_iterate", {"split": "test"}, "the test set,", "at any, which is stricter."),
        ("last_iterate", {"split": "test"}, "the test set,", "at the last, too."),
        ("any_iterate", {"split": "validation"}, "the test set, or on the part", "at any,"),
    ],
)
def test_a_page_says_on_which_images_and_by_which_rule(results, record, rule, data, images, said):
    record("mnist_clean", {FGSM: "+x"}, success=rule, data={"name": "mnist", **data})
    page = table_5.page(table_5_rows.build(results, "mnist"))
    assert f"Accuracy in percent on {images}" in page
    assert f"here an image counts as misclassified {said}" in page


def test_a_page_of_two_rules_leads_to_them(results, record):
    record("mnist_clean", {FGSM: "+x"}, success="any_iterate")
    record("mnist_fgsm", {FGSM: "+x"}, success="last_iterate")
    page = table_5.page(table_5_rows.build(results, "mnist"))
    assert "misclassified when the table of threat models says." in page
