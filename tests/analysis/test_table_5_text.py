"""Table 5 as text and plot: threat models, training and warnings stand with the numbers."""

from __future__ import annotations

import csv
import io

import pytest

from analysis import plots, table_5, table_5_rows
from analysis.records import Results
from train.configs.mnist import ATTACKS

FGSM, IFGSM, STEP_LL, PGD_30, PGD_100 = ATTACKS
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
    return list(csv.DictReader(io.StringIO(table_5.csv_of(table))))


def test_clean_accuracy_comes_first_and_the_paper_stands_below(results, record):
    record("mnist_clean", {FGSM: "+x", PGD_30: "xx"})
    text = table_5.accuracies(table_5_rows.build(results, "mnist"))
    assert text.columns[:6] == ("defence", "", "seeds", "n", "clean", "FGSM (ε 0.15)")
    assert text.rows[0][:5] == ("clean model", "ours", "1", "2", "100.0 [34.2, 100.0]")
    assert text.rows[1][:6] == ("", "paper", "", "", "99.24", "74.83")


def test_threat_models_tell_budget_steps_labels_and_rule(results, record):
    record("mnist_clean", {FGSM: "++", STEP_LL: "++", PGD_30: "++"}, success="any_iterate")
    lines = {
        row[0]: row for row in table_5.threat_models(table_5_rows.build(results, "mnist")).rows
    }
    rule = "any iterate is misclassified"
    assert lines["FGSM"][1:] == (
        *("l∞", "0.15", "38.25", "1 × 0.15", "clean image", "1", "true label", rule),
    )
    assert lines["PGD30"][2:6] == ("0.3", "76.5", "30 × 0.01", "random")
    assert lines["StepLL"][7] == "the network's least likely class"
    assert lines["IFGSM"][8] == "–"


def test_rows_with_other_rules_of_success_get_a_line_each(results, record):
    record("mnist_clean", {FGSM: "++"}, success="any_iterate")
    record("mnist_fgsm", {FGSM: "++"}, success="last_iterate")
    rows = table_5.threat_models(table_5_rows.build(results, "mnist")).rows
    assert [(row[0], row[8]) for row in rows[:2]] == [
        ("FGSM (clean)", "any iterate is misclassified"),
        ("FGSM (fgsm)", "the last iterate is misclassified"),
    ]


def test_training_is_described_from_its_records(results, record):
    record("mnist_aad_step_ll", {FGSM: "++"}, training=TRAINING)
    (row,) = table_5.training(table_5_rows.build(results, "mnist")).rows
    assert row == (
        "aad_step_ll",
        "AAD: step_ll(epsilon=0.15, num_steps=2), losses balanced, 8:4:1, "
        "hidden pixels 0",  # As all hidden pixels were before they were a choice.
        *("5", "100", "0.001", "3", "2.5", "2", "tfds mnist/3.0.1 (abcd)"),
    )
    run = {**TRAINING["run.json"], "state": "running"}
    record("mnist_step_ll", {FGSM: "++"}, training={**TRAINING, "run.json": run})
    unfinished, _ = table_5.training(table_5_rows.build(results, "mnist")).rows
    assert unfinished[6] == "2.5 (unfinished)"


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
            "one update per round",
        ),
        (
            {
                **TRAINING["config.json"]["defense"],
                "fill": "0.5",
                "attention_noise": "shared",
                "warmup_steps": 550,
            },
            "AAD: step_ll(epsilon=0.15, num_steps=2), losses balanced, 8:4:1, hidden pixels 0.5, "
            "dropout masks shared, perturbations growing over 550 steps",
        ),
        (
            {
                "kind": "ensemble",
                "attack": "step_ll(epsilon=0.15)",
                "sources": ["runs/a", "runs/b"],
            },
            "step_ll(epsilon=0.15) of itself and of runs/a, runs/b, and clean images",
        ),
        ({"kind": "trades", "attack": "pgd(...)"}, "trades: pgd(...)"),
        (
            {"kind": "trades", "attack": "pgd(...)", "beta": 1.0, "warmup_steps": 9},
            "trades: pgd(...), beta 1, perturbations growing over 9 steps",
        ),
        (
            {"kind": "pairing", "attack": "pgd(...)", "pairing": [0.5, 1.0]},
            "pairing: pgd(...), weights 0.5 of logits and 1 of maps",
        ),
        ({}, "–"),
    ],
)
def test_defences_in_words(defense, words):
    assert table_5.trained_on(defense) == words


def test_warnings_stand_beside_their_row(results, record):
    record("mnist_clean", {FGSM: "++", IFGSM: "++"})
    table = table_5_rows.build(results, "mnist")
    assert table_5.warning_lines(table) == [
        "- No warnings.",
        "- Diagnostics were not computed (clean model): no check of the attacks there.",
    ]
    warned = {FGSM: "++", IFGSM: "++"}
    record("mnist_fgsm", warned, warnings=["pgd leaves more accuracy than fgsm."])
    record("mnist_fgsm_seed_1", warned, warnings=["the attack moved no image."])
    # The same network by its last iterates, too.
    record("mnist_fgsm_last_iterate", warned, warnings=["its gradient vanishes."])
    assert table_5.warning_lines(table_5_rows.build(results, "mnist"))[:3] == [
        "- Adv. train with FGSM, seed 0: pgd leaves more accuracy than fgsm.",
        "- Adv. train with FGSM, by the last iterate, seed 0: its gradient vanishes.",
        "- Adv. train with FGSM, seed 1: the attack moved no image.",
    ]


def test_where_no_attack_must_be_stronger_than_another_masking_was_not_looked_for(results, record):
    # IFGSM of three steps ought to be stronger than FGSM of one within the same budget; StepLL of
    # one step against it, or FGSM alone, tell nothing.
    record("mnist_clean", {FGSM: "++", STEP_LL: "++"})
    record("mnist_fgsm", {FGSM: "++", IFGSM: "++"})
    _, line, _ = table_5.warning_lines(table_5_rows.build(results, "mnist"))
    assert "nothing comparable was run" in line and line.endswith("(clean model).")


def test_rows_of_aad_name_their_losses(results, record):
    record("mnist_aad_step_ll", {FGSM: "++"}, training=TRAINING)
    record("mnist_step_ll", {FGSM: "++"})
    table = table_5_rows.build(results, "mnist")
    assert table.row("aad_step_ll").name == "AAD with StepLL [losses balanced]"
    assert table.row("step_ll").name == "Adv. train with StepLL"
    page = table_5.page(table)
    assert "Losses `balanced` are this package's own" in page
    assert "No row with `paper` or `reference_code` was run." in page
    defense = {**TRAINING["config.json"]["defense"], "losses": "paper"}
    config = {**TRAINING["config.json"], "defense": defense}
    record("mnist_aad_step_ll_paper", {FGSM: "++"}, training={**TRAINING, "config.json": config})
    remark, _ = table_5.losses_remark(table_5_rows.build(results, "mnist"))
    assert remark.endswith("No row with `reference_code` was run.")


def test_without_own_losses_there_is_nothing_to_remark(results, record):
    record("mnist_step_ll", {FGSM: "++"})
    assert table_5.losses_remark(table_5_rows.build(results, "mnist")) == []


def test_csv_has_a_line_per_cell_with_its_threat_model(results, record):
    record("mnist_aad_step_ll", {FGSM: "+++++xxx!!"}, training=TRAINING)
    lines = csv_rows(table_5_rows.build(results, "mnist"))
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
    table = table_5_rows.build(results, "mnist")
    text = table_5.files(Results(results))["tables/table_5_mnist.tex"]
    assert text.count(r"\\") == 1 + len(table_5.accuracies(table).rows)
    assert r"FGSM ($\varepsilon$ 0.15)" in text
    assert "%" not in text.replace(r"\%", "").replace("% Needs", "")


def test_plot_shows_ours_and_the_papers_in_every_column(results, record):
    record("mnist_clean", {FGSM: "+x", PGD_100: "xx"})
    figure = table_5.figure(table_5_rows.build(results, "mnist"))
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels][:2] == ["clean", "FGSM (ε 0.15)"]
    assert plots.png(figure).startswith(b"\x89PNG")
    # Of the row of the clean model: 1 of 2 under FGSM is ours, 74.83 the paper's.
    points = {line.get_label(): line for line in panels[1].lines if line.get_ydata()[0] == 0}
    assert points["paper"].get_xdata()[0] == 74.83
    (bars,) = [
        c for c in panels[1].containers if c.get_label() == "ours, 95 % interval or range of seeds"
    ]
    assert bars.lines[0].get_xdata()[0] == 50.0
