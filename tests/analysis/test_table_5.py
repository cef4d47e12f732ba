"""Table 5 from hand-written records with known answers, missing ones included."""

from __future__ import annotations

import csv
import io
import json

import pytest

from analysis import plots, table_5, table_5_text
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
TRAINING = {
    "config.json": {
        "epochs": 5,
        "batch_size": 100,
        "learning_rate": 0.001,
        "seed": 3,
        "defense": {
            "kind": "aad",
            "attack": "step_ll(epsilon=0.15, num_steps=2)",
            "weights": [8.0, 4.0, 1.0],
            "losses": "balanced",
            "loss_parts": {},
        },
    },
    "run.json": {
        "state": "finished",
        "seconds": 150.0,
        "starts": [{"cpu_cores": 2}],
        "dataset": {"source": "tfds mnist/3.0.1", "fingerprint": "abcd"},
    },
}


def csv_rows(table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table_5_text.csv_of(table))))


def test_without_records_every_row_of_the_paper_says_not_run(results):
    table = table_5.build(results, "mnist")
    assert tuple(row.name for row in table.rows) == PAPER_ROWS
    assert {cell.text() for row in table.rows for cell in row.cells} == {"not run"}
    assert not table.has_runs
    assert table.presets_not_run() == list(ROWS)
    assert table_5_text.training(table) is None
    assert table_5_text.further_attacks(table) is None
    assert table_5_text.warning_lines(table) == []


def test_a_row_shows_accuracy_interval_and_the_papers_value(results, record):
    # 8 of 10 right as they are, 5 of 10 under attack; Wilson's interval of 5 of 10 by hand:
    # (0.5 + 0.19207) / 1.38415 -+ sqrt(0.025 + 0.00960) * 1.95996 / 1.38415 = 0.2366, 0.7634.
    record("mnist_aad_step_ll", {FGSM: "+++++xxx!!"})
    row = table_5.build(results, "mnist").row("aad_step_ll")
    clean, fgsm, ifgsm, *_ = row.cells
    assert (clean.right, clean.count, clean.paper) == (8, 10, 99.03)
    assert (fgsm.right, fgsm.count, fgsm.paper) == (5, 10, 98.69)
    assert fgsm.text() == "50.0 [23.7, 76.3]"
    assert (ifgsm.text(), ifgsm.paper_text()) == ("not run", "98.13")


def test_clean_accuracy_comes_first_and_the_paper_stands_below(results, record):
    record("mnist_clean", {FGSM: "+x", PGD_30: "xx"})
    text = table_5_text.accuracies(table_5.build(results, "mnist"))
    assert text.columns[:5] == ("defence", "", "n", "clean", "FGSM (ε 0.15)")
    assert text.rows[0][:4] == ("clean model", "ours", "2", "100.0 [34.2, 100.0]")
    assert text.rows[1][:5] == ("", "paper", "", "99.24", "74.83")


def test_an_attack_of_another_budget_or_step_fills_no_column(results, record):
    near = "pgd(epsilon=0.3, step_size=0.02, num_steps=30)"
    restarts = "pgd(epsilon=0.3, step_size=0.01, num_steps=30, restarts=5)"
    record("mnist_clean", {"fgsm(epsilon=0.1)": "++", near: "+x", restarts: "xx"})
    table = table_5.build(results, "mnist")
    assert [cell.text() for cell in table.row("clean").cells[1:]] == ["not run"] * 5
    assert len(table.further_attacks()) == 3
    assert "restarts=5" in table_5_text.further_attacks(table).markdown()


def test_a_shorter_preset_stands_in_for_its_row_and_says_so(results, record):
    record("mnist_madry_short", {FGSM: "++"})
    table = table_5.build(results, "mnist")
    names = [row.name for row in table.rows]
    assert "Madry et al. (fewer PGD steps in training)" in names
    assert "Madry et al." not in names
    assert table.row("madry_short").cells[1].paper == 97.95
    assert "madry" in table.presets_not_run()


def test_digits_have_no_values_in_the_paper(results, record):
    record("digits_clean", {FGSM: "++"})
    table = table_5.build(results, "digits")
    assert not table.row("clean").in_paper
    assert all(row[1] == "ours" for row in table_5_text.accuracies(table).rows)
    assert table.notes == ()


def test_part_of_the_test_set_is_named(results, record):
    data = {"name": "mnist", "split": "validation", "limit": 2}
    record("mnist_clean", {FGSM: "++"}, data=data)
    row = table_5.build(results, "mnist").row("clean")
    assert row.name == "clean model [first 2 of validation]"


def test_records_of_another_data_set_are_refused(results, record):
    record("mnist_clean", {FGSM: "++"}, data={"name": "digits"})
    with pytest.raises(ValueError, match="evaluated on digits, its name says mnist"):
        table_5.build(results, "mnist")


def test_a_broken_config_is_named(results, record):
    record("mnist_clean", {FGSM: "++"}, training={"config.json": {}})
    (results / "runs" / "mnist_clean" / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
        table_5.build(results, "mnist")


def test_an_unknown_data_set_is_refused(results):
    with pytest.raises(ValueError, match="dataset must be one of mnist, cifar10, digits"):
        table_5.build(results, "imagenet")


def test_threat_models_tell_budget_steps_labels_and_rule(results, record):
    record("mnist_clean", {FGSM: "++", STEP_LL: "++", PGD_30: "++"}, success="any_iterate")
    lines = {
        row[0]: row for row in table_5_text.threat_models(table_5.build(results, "mnist")).rows
    }
    rule = "any iterate is misclassified"
    assert lines["FGSM"][1:] == (
        *("l∞", "0.15", "38.25", "1 × 0.15", "clean image", "1", "true label", rule),
    )
    assert lines["PGD30"][2:6] == ("0.3", "76.5", "30 × 0.01", "random")
    assert lines["StepLL"][7] == "the network's least likely class"
    assert lines["IFGSM"][8] == "–"


def test_rows_judged_by_other_rules_get_a_line_each(results, record):
    record("mnist_clean", {FGSM: "++"}, success="any_iterate")
    record("mnist_fgsm", {FGSM: "++"}, success="last_iterate")
    rows = table_5_text.threat_models(table_5.build(results, "mnist")).rows
    assert [(row[0], row[8]) for row in rows[:2]] == [
        ("FGSM (clean)", "any iterate is misclassified"),
        ("FGSM (fgsm)", "the last iterate is misclassified"),
    ]


def test_training_is_told_from_its_records(results, record):
    record("mnist_aad_step_ll", {FGSM: "++"}, training=TRAINING)
    (row,) = table_5_text.training(table_5.build(results, "mnist")).rows
    assert row == (
        "aad_step_ll",
        "AAD: step_ll(epsilon=0.15, num_steps=2), losses balanced, 8:4:1",
        *("5", "100", "0.001", "3", "2.5", "2", "tfds mnist/3.0.1 (abcd)"),
    )


def test_an_unfinished_training_is_marked(results, record):
    run = {**TRAINING["run.json"], "state": "running"}
    record("mnist_aad_step_ll", {FGSM: "++"}, training={**TRAINING, "run.json": run})
    (row,) = table_5_text.training(table_5.build(results, "mnist")).rows
    assert row[6] == "2.5 (unfinished)"


@pytest.mark.parametrize(
    ("defense", "words"),
    [
        ({"kind": "none"}, "clean images"),
        ({"kind": "adversarial", "attack": "fgsm(0.1)"}, "fgsm(0.1) and clean images"),
        (
            {"kind": "adversarial", "attack": "pgd(...)", "replace_clean": True},
            "pgd(...) in place of clean images",
        ),
        (
            {
                **TRAINING["config.json"]["defense"],
                "loss_parts": {"rectification": "l2"},
                "update_per_round": True,
            },
            "AAD: step_ll(epsilon=0.15, num_steps=2), losses balanced, rectification l2, 8:4:1, "
            "one update a round",
        ),
        ({}, "–"),
    ],
)
def test_defences_in_words(defense, words):
    assert table_5_text.trained_on(defense) == words


def test_warnings_stand_beside_their_row(results, record):
    record("mnist_clean", {FGSM: "++"})
    assert table_5_text.warning_lines(table_5.build(results, "mnist")) == [
        "The evaluations found none."
    ]
    record("mnist_fgsm", {FGSM: "++"}, warnings=["pgd leaves more accuracy than fgsm."])
    assert table_5_text.warning_lines(table_5.build(results, "mnist")) == [
        "- Adv. train with FGSM: pgd leaves more accuracy than fgsm."
    ]


def test_csv_has_a_line_a_cell_with_its_threat_model(results, record):
    record("mnist_aad_step_ll", {FGSM: "+++++xxx!!"}, training=TRAINING)
    lines = csv_rows(table_5.build(results, "mnist"))
    assert len(lines) == 6 * 6
    (fgsm,) = (
        line for line in lines if (line["preset"], line["column"]) == ("aad_step_ll", "FGSM")
    )
    expected = {
        "attack": "fgsm(epsilon=0.15)",
        "status": "run",
        "paper_percent": "98.69",
        "ours_percent": "50.0000",
        "low_percent": "23.6593",
        "right": "5",
        "count": "10",
        "norm": "linf",
        "epsilon": "0.15",
        "epsilon_255": "38.25",
        "success": "last_iterate",
        "seed": "3",
        "epochs": "5",
        "training_seconds": "150.0",
        "data_source": "tfds mnist/3.0.1",
    }
    assert {key: fgsm[key] for key in expected} == expected
    missing = [line for line in lines if line["preset"] == "clean"]
    assert {(line["status"], line["ours_percent"]) for line in missing} == {("not run", "")}


def test_latex_holds_every_row(results, record):
    record("mnist_clean", {FGSM: "+x"})
    table = table_5.build(results, "mnist")
    text = table_5_text.accuracies(table).latex(table_5_text.caption(table), "tab:x")
    assert text.count(r"\\") == 1 + len(table_5_text.accuracies(table).rows)
    assert r"FGSM ($\varepsilon$ 0.15)" in text
    assert "%" not in text.replace(r"\%", "").replace("% Needs", "")


def test_plot_is_a_picture_of_every_column(results, record, tmp_path):
    record("mnist_clean", {FGSM: "+x", PGD_100: "xx"})
    path = tmp_path / "plot.png"
    plots.plot_table_5(table_5.build(results, "mnist"), path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.glob(".*")) == []


def test_summary_of_a_real_evaluation_is_understood(results):
    keras = pytest.importorskip("keras")
    from aad_tf import data
    from aad_tf.attacks import parse_attack
    from aad_tf.evaluation import evaluate_robustness

    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(2, 5, strides=4),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    (results / "robustness").mkdir(parents=True)
    output = results / "robustness" / "digits_clean.jsonl.gz"
    report = evaluate_robustness(
        network,
        data.evaluation_batches("digits", "test", 50, limit=50),
        [parse_attack(text) for text in (FGSM, STEP_LL)],
        output=output,
        description={"dataset": {"name": "digits", "split": "test", "limit": 50}},
    )
    table = table_5.build(results, "digits")
    row = table.row("clean")
    clean, fgsm, _, step_ll, *_ = row.cells
    assert row.name == "clean model [first 50 of test]"
    assert fgsm.share == report.robust_accuracy("fgsm(epsilon=0.15)")
    assert step_ll.share == report.robust_accuracy("step_ll(epsilon=0.15)")
    assert clean.share == report.summary["attacks"][0]["clean_accuracy"]
    assert fgsm.interval == pytest.approx(
        [report.summary["attacks"][0]["interval"][end] for end in ("low", "high")]
    )
    assert sum(row.run.robust["fgsm(epsilon=0.15)"].values()) == fgsm.right
    assert json.loads(output.with_name("digits_clean.summary.json").read_text())["attacks"]
