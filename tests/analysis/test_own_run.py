"""A run of the reader beside the paper's row."""

from __future__ import annotations

import dataclasses
import json

import pytest
from absl import flags
from absl.testing import flagsaver

from aad_tf import configs, evaluation
from aad_tf.training import train
from analysis import report, table_5, table_5_rows
from analysis.records import read_own_run
from eval.inputs import NamedImages, open_network, open_part
from tests.training.short_runs import SMALL
from train.configs import digits
from train.configs.mnist import ATTACKS

FGSM, IFGSM, STEP_LL, PGD_30, PGD_100 = ATTACKS
CONFIG = {
    **configs.to_dict(digits.PRESETS["aad_step_ll"]),
    "name": "aad_step_ll",
    "dataset": "mnist",
    "epochs": 2,
}


def files(results, name):
    return results / "robustness" / f"{name}.jsonl.gz"


def command(*arguments):
    """Runs `python -m analysis.report` with these arguments, in this process."""
    with flagsaver.flagsaver():
        report.main(flags.FLAGS(["report", *arguments]))


def own_rows(text):
    """Cells of the first table of a page."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:4]]


def test_a_row_of_the_papers_is_set_beside_it(results, record):
    data = {"name": "mnist", "split": "test"}
    outcomes = {FGSM: "+++++xxx!!", "fgsm(epsilon=0.05)": "++++++xx!!"}
    record("mine", outcomes, config=CONFIG, data=data, success="any_iterate", warnings=["masked."])
    text = report.own_report(files(results, "mine"))
    ours, paper = own_rows(text)
    assert ours[:6] == [
        *(
            "AAD with StepLL [losses balanced, 2 of 5 epochs]",
            "ours",
            "1",
            "10",
            "80.0 [49.0, 94.3]",
        ),
        "50.0 [23.7, 76.3]",
    ]
    assert ours[6] == "not run" and paper[4:6] == ["99.03", "98.69"]
    assert "| FGSM | l∞ | 0.15 | 38.25 | 1 × 0.15 | clean image | 1 | true label |" in text
    assert "fgsm(epsilon=0.05) | 1 | 10 | 60.0" in text
    assert "AAD with StepLL [losses balanced, 2 of 5 epochs]: masked." in text
    assert not (results / "tables").exists()


def test_a_network_that_is_no_row_of_the_papers_shows_the_attacks_that_were_run(results, record):
    record("mine", {"fgsm(epsilon=0.3)": "+x"}, data={"name": "fashion_mnist"})
    text = report.own_report(files(results, "mine"))
    (ours,) = own_rows(text)[:1]
    assert ours == ["unnamed network", "ours", "1", "2", "100.0 [34.2, 100.0]", "50.0 [9.5, 90.5]"]
    assert "The paper has no such row." in text


def test_attacks_by_transfer_are_named_and_clean_accuracy_is_shown(results, record, change):
    record("mine", {"fgsm(epsilon=0.3)": "++x!"}, success="any_iterate")
    with change("mine") as summary:
        summary["attacks"][0]["threat_model"]["access"] = "transfer"
    text = report.own_report(files(results, "mine"))
    (ours,) = own_rows(text)[:1]
    assert ours == ["unnamed network", "ours", "1", "4", "75.0 [30.1, 95.4]"]
    assert "Attacks by transfer are not shown here: `fgsm(epsilon=0.3)`." in text
    assert text.startswith("# unnamed network, beside AAD Table 5\n")
    assert "Accuracy in percent on the images evaluated, white box" in text


def test_a_model_directory_of_another_training_is_refused(results, record, tmp_path):
    record("mine", {FGSM: "+x"}, config=CONFIG, data={"name": "mnist"})
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "seed": 7}))
    with pytest.raises(ValueError, match="another training .* differs in: seed"):
        read_own_run(files(results, "mine"), tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no config.json"):
        read_own_run(files(results, "mine"), results)


def test_what_does_not_go_together_is_named(tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match=r"no .*mine\.summary\.json, which eval.robustness"):
        report.own_report(tmp_path / "mine.jsonl.gz")
    with pytest.raises(SystemExit, match="2"):
        command(f"--output={tmp_path / 'mine.md'}")
    assert "--model_dir and --output go with --records" in capsys.readouterr().err


def test_from_training_to_the_table(tmp_path, capsys):
    """What the commands of the README do, on the digits."""
    model_dir, records = tmp_path / "runs" / "mine", tmp_path / "runs" / "mine.jsonl.gz"
    preset = dataclasses.replace(digits.PRESETS["step_ll"], name="step_ll", epochs=1, **SMALL)
    train(preset, str(model_dir))
    network = open_network(model_dir=str(model_dir))
    dataset = open_part(NamedImages("digits"), network.classifier, 20, limit=40)
    found = evaluation.evaluate_robustness(
        network.classifier,
        dataset.batches,
        ATTACKS[:2],
        output=records,
        description={"model": network.description, "dataset": dataset.description},
    )
    output = tmp_path / "mine.md"
    capsys.readouterr()
    command(f"--records={records}", f"--model_dir={model_dir}", f"--output={output}")
    assert capsys.readouterr().out.strip() == str(output)
    text = output.read_text(encoding="utf-8")
    (ours,) = own_rows(text)[:1]
    assert ours[0] == "Adv. train with StepLL [first 40 of test, 1 of 8 epochs]"
    assert ours[5].startswith(f"{100 * found.robust_accuracy('fgsm(epsilon=0.15)'):.1f} [")
    assert "| FGSM | l∞ | 0.15 | 38.25 |" in text
    assert "| step_ll | step_ll(epsilon=0.15) and clean images | 1 | 50 |" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.md", "runs"]
    command(f"--records={records}")
    assert table_5.accuracies(table_5_rows.of_run(read_own_run(records))).markdown() in (
        capsys.readouterr().out
    )
