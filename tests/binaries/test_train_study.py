"""Studies: what is left to do and in which order, resuming, and one run with real processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aad_tf import configs
from aad_tf.attacks import parse_attack
from aad_tf.model_directory import NETWORK, ModelDirectoryError
from tests.binaries.many_runs import run_many
from train.configs import digits
from train.studies.study import (
    DONE,
    ELSEWHERE,
    NOT_NEEDED,
    TO_DO,
    Evaluation,
    Study,
    Training,
    available,
    listing,
    load,
    plan,
)

DIGITS = "train/configs/digits.py:clean"
STUDY = Study(
    reference="nothing",
    trainings=(
        Training("one", DIGITS, minutes=90.0),
        Training("two", DIGITS, {"config.seed": "2"}, minutes=60.0),
    ),
    evaluations=(
        Evaluation("robustness/of_one.jsonl.gz", ("one",)),
        Evaluation("robustness/of_two.jsonl.gz", ("two",), {"limit": "9"}),
        Evaluation(
            "transfer/both.jsonl.gz", ("one", "two"), {"a": "{runs_dir}/x"}, "eval.transfer"
        ),
    ),
)


@pytest.fixture
def places(tmp_path):
    return str(tmp_path / "runs"), str(tmp_path / "results")


def trained(places, name, training=STUDY.trainings[0], recorded=True):
    if recorded:
        trained((places[1], None), f"runs/{name}", training, recorded=False)
    directory = Path(places[0], name)
    directory.mkdir(parents=True)
    config = configs.to_dict(training.experiment())
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "run.json").write_text('{"state": "finished"}')
    (directory / NETWORK).write_bytes(b"")


def evaluated(places, output, command=""):
    path = Path(places[1], output.replace(".jsonl.gz", ".summary.json"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"provenance": {"command": command}}))


def states(places, **options):
    return {cell.name: cell.state for cell in plan(STUDY, *places, **options)}


def test_each_evaluation_stands_behind_its_networks(places):
    cells = plan(STUDY, *places)
    assert [cell.name for cell in cells] == ["one", "of_one", "two", "of_two", "both"]
    assert {cell.state for cell in cells} == {TO_DO}
    assert cells[2].command == (
        f"python -m train.main --config={DIGITS} --model_dir={places[0]}/two --config.seed=2"
    )
    assert cells[3].arguments == (
        *("-m", "eval.robustness", f"--model_dir={places[0]}/two", "--limit=9"),
        f"--output={places[1]}/robustness/of_two.jsonl.gz",
    )
    assert f"--a={places[0]}/x" in cells[4].command and "model_dir=" not in cells[4].command
    text = listing(cells)
    assert "one: to do, about 90 minutes\n" in text
    assert text.endswith("0 done, 5 to do, 2 of them, about 2.5 hours of one CPU core")


def test_a_picture_is_described_beside_it_and_names_its_networks(places):
    options = {"model_dirs": "a={runs_dir}/one,b={runs_dir}/two"}
    picture = Evaluation("figures/p.png", ("one", "two"), options, "eval.attention_pictures")
    study = Study("nothing", STUDY.trainings, (picture,))
    *trainings, drawn = plan(study, *places)
    assert [cell.name for cell in trainings] == ["one", "two"]
    assert drawn.arguments == (
        *("-m", "eval.attention_pictures"),
        f"--model_dirs=a={places[0]}/one,b={places[0]}/two",
        f"--output={places[1]}/figures/p.png",
    )
    path = Path(places[1], "figures", "p.json")
    path.parent.mkdir(parents=True)
    path.write_text('{"networks": {"a": {}, "b": {}}}')
    assert [cell.state for cell in plan(study, *places)] == [NOT_NEEDED, NOT_NEEDED, DONE]
    path.write_text('{"networks": {"a": {}, "c": {}}}')
    with pytest.raises(ValueError, match="shows the networks a, c, this study draws a, b"):
        plan(study, *places)


def test_what_is_there_is_not_done_again(places):
    trained(places, "one")
    evaluated(places, "robustness/of_two.jsonl.gz")
    evaluated(places, "transfer/both.jsonl.gz")
    expected = {"one": DONE, "of_one": TO_DO, "two": NOT_NEEDED, "of_two": DONE, "both": DONE}
    assert states(places) == expected


@pytest.mark.parametrize(
    ("limit", "command", "said"),
    [
        ("9", "eval.robustness --limit=9 --output=a", ""),
        ("9", "eval.robustness --limit 9 '--attacks=fgsm(epsilon=0.1); fgsm(0.2)'", ""),
        ("9", "eval.merge_robustness a b", ""),
        ("9", "eval.robustness --limit=10", "evaluated with --limit=10, this study takes 9"),
        ("9", "eval.robustness", "evaluated with --limit=its default, this study takes 9"),
        ("", "eval.robustness --limit=9", "--limit=9, this study takes the default"),
    ],
)
def test_results_that_were_evaluated_otherwise_are_refused(places, limit, command, said):
    options = {"limit": limit} if limit else {}
    evaluation = Evaluation("robustness/of_one.jsonl.gz", ("one",), options)
    study = Study("nothing", STUDY.trainings[:1], (evaluation,))
    evaluated(places, evaluation.output, f"python -m {command}")
    if not said:
        assert [cell.state for cell in plan(study, *places)] == [NOT_NEEDED, DONE]
    else:
        with pytest.raises(ValueError, match=said):
            plan(study, *places)


def test_results_without_an_attack_of_the_preset_are_refused(places):
    """The preset names several attacks; a further one, or another spelling, does no harm."""
    study = Study("nothing", STUDY.trainings[:1], STUDY.evaluations[:1])
    wanted = [*map(parse_attack, digits.PRESETS["clean"].evaluation_attacks)]
    assert wanted[0] == parse_attack("fgsm(0.15)")
    wanted[0] = parse_attack("fgsm(0.15)")
    evaluated(places, "robustness/of_one.jsonl.gz")
    path = Path(places[1], "robustness", "of_one.summary.json")

    def under(*attacks):
        entries = [{"attack": one.name, "threat_model": one.threat_model()} for one in attacks]
        path.write_text(json.dumps({"attacks": entries}))
        return plan(study, *places)

    assert under(*wanted, parse_attack("fgsm(epsilon=0.01)"))[-1].state == DONE
    with pytest.raises(ValueError, match="was evaluated under .*, this study also takes"):
        under(*wanted[1:])


@pytest.mark.parametrize(
    ("only", "names"),
    [
        (["of_one"], ["one", "of_one"]),
        (["two"], ["one", "two", "of_two", "both"]),
        (["both"], ["one", "two", "both"]),
    ],
)
def test_only(places, only, names):
    assert list(states(places, only=only)) == names


def test_shards_deal_networks_out(places):
    first, second = (states(places, shard=(number, 2)) for number in (1, 2))
    assert (first["one"], first["of_one"], first["two"]) == (TO_DO, TO_DO, ELSEWHERE)
    assert (second["one"], second["two"], second["of_two"]) == (ELSEWHERE, TO_DO, TO_DO)
    # It goes with its first network, once the second is there.
    assert first["both"] == "waits for two" and second["both"] == "waits for one"
    trained(places, "two", STUDY.trainings[1])
    assert states(places, shard=(1, 2))["both"] == TO_DO


def test_a_network_of_another_config_is_refused(places):
    trained(places, "two", STUDY.trainings[0])
    with pytest.raises(ModelDirectoryError, match="seed"):
        plan(STUDY, *places)


@pytest.mark.parametrize("in_runs", [False, True])
def test_results_of_another_network_are_not_added_to(places, in_runs):
    evaluated(places, "robustness/of_one.jsonl.gz")
    if in_runs:
        trained(places, "one")
        Path(places[1], "runs", "one", "run.json").write_text('{"state": "finished", "seconds": 1}')
    message = (
        "of_one.jsonl.gz holds results of a one that is not the one of .*another --results_dir"
    )
    with pytest.raises(ValueError, match=message):
        plan(STUDY, *places)
    assert states(places, only=["of_two"]) == {"two": TO_DO, "of_two": TO_DO}


def test_mistakes_are_named(places):
    with pytest.raises(ValueError, match="Unknown cell of the study 'of_on'.*'of_one'"):
        plan(STUDY, *places, only=["of_on"])
    with pytest.raises(ValueError, match="Unknown study 'aad_table_5_mnst'.*'aad_table_5_mnist'"):
        load("aad_table_5_mnst")
    with pytest.raises(ValueError, match="twice in the study: one"):
        Study("", (Training("one", DIGITS), Training("one", DIGITS)), ())
    with pytest.raises(ValueError, match="Unknown network of of_one 'one'"):
        Study("", (), (STUDY.evaluations[0],))


@pytest.mark.parametrize("name", available())
def test_studies_are_complete(name, places):
    """Presets exist, and binaries have the flags of their commands."""
    study = load(name)
    assert study.reference
    for training in study.trainings:
        experiment = training.experiment()
        assert experiment.seed == int(training.options.get("config.seed", 0))
    for cell in plan(study, *places):
        assert cell.state == TO_DO
        source = Path(__file__).parents[2] / (cell.arguments[1].replace(".", "/") + ".py")
        text = source.read_text(encoding="utf-8") + "".join(
            path.read_text(encoding="utf-8") for path in source.parents[1].glob("eval/*_flags.py")
        )
        for argument in cell.arguments[2:]:
            flag = argument.removeprefix("--").partition("=")[0].partition(".")[0]
            assert f'"{flag}"' in text, (flag, source)


def test_seeds_of_the_cbam_study_are_evaluated_apart(places):
    study = load("agrawal_cifar10")
    seeds = {one.name: one.options.get("config.seed", "0") for one in study.trainings}
    assert sorted(seeds.values()) == sorted("012" * 3)
    for one in study.evaluations:
        assert len({seeds[name] for name in one.networks}) == 1
        assert one.binary != "eval.transfer" or f"_seed_{seeds[one.networks[0]]}." in one.output
    of_one = [name for name, seed in seeds.items() if seed == "1"]
    cells = plan(study, *places, only=of_one)
    assert sorted(cell.name for cell in cells if cell.kind == "train") == sorted(of_one)
    done = [cell.name for cell in cells if cell.kind == "evaluate"]
    assert {"cifar10_seed_1", "cifar10_gates_seed_1", *of_one} == set(done)


def test_only_the_number_of_classes_varies():
    many = load("agrawal_tiny_imagenet_100").trainings
    (tiny,) = [one for one in many if one.name.endswith("cbam_resnet50")]
    whole = configs.to_dict(tiny.experiment())
    differs = {"name", "reference", "budget", "dataset", "epochs", "warmup_epochs"}
    for training in load("agrawal_classes").trainings:
        if training.name.endswith("cbam_resnet50"):
            config = configs.to_dict(training.experiment())
            assert {key for key in config if config[key] != whole[key]} <= differs
            classes = int(config["dataset"].rpartition("_")[2])
            # As many updates, and as many of them to warm up, with pictures in proportion.
            assert config["epochs"] * classes == whole["epochs"] * 100
            assert config["warmup_epochs"] * classes == whole["warmup_epochs"] * 100


@pytest.mark.slow
def test_a_study_is_run_killed_and_finished(tmp_path):
    """Real processes: an evaluation that fails stops the study, the next run does what is left."""
    flags = ["--study=digits_quick", f"--runs_dir={tmp_path}/runs"]
    flags.append(f"--results_dir={tmp_path}/results")
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3"}
    # A directory in the place of the records is a mistake that the evaluation ends with.
    blocked = tmp_path / "results" / "robustness" / "digits_quick.jsonl.gz"
    blocked.mkdir(parents=True)
    (failed,) = run_many("train.study", [flags], environment)
    assert failed.code == 2 and "evaluate digits_quick ended with code 2" in failed.errors
    assert "Traceback" not in failed.errors
    record = tmp_path / "results" / "runs" / "digits_quick"
    assert {path.name for path in record.iterdir()} == {"config.json", "history.csv", "run.json"}
    blocked.rmdir()
    finished, listed = run_many("train.study", [flags, [*flags, "--dry_run"]], environment)
    assert finished.code == 0, finished.errors
    assert "train    digits_quick: done" in finished.errors
    assert "All is done." in finished.output
    summary = json.loads((blocked.parent / "digits_quick.summary.json").read_text())
    assert summary["attacks"][0]["count"] == 50
    assert "0 to do" in listed.errors
