"""Studies: what is left to do and in which order, resuming, and one run with real processes."""

from __future__ import annotations

import dataclasses
import json
import re
import signal
from collections import Counter
from pathlib import Path

import pytest
from absl import flags
from ml_collections import config_flags

from aad_tf import configs
from aad_tf.attacks import parse_attack
from aad_tf.model_directory import NETWORK, ModelDirectoryError, load_network
from tests.binaries.many_runs import ROOT, run_many, stopped_after, stopped_once
from train.configs import digits
from train.studies.planning import (
    DONE,
    ELSEWHERE,
    NOT_NEEDED,
    TO_DO,
    absent_data,
    is_to_be_recorded,
    listing,
    plan,
)
from train.studies.study import Evaluation, Study, Training, available, load

DIGITS = "train/configs/digits.py:clean"
# Of one start of a study, whose programs import TensorFlow anew, beside other work, in seconds.
LONGEST = 600
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


def trained(places, name, training=STUDY.trainings[0], recorded=True, runs_dir="runs"):
    if recorded:
        trained((places[1], None), f"runs/{name}", training, False, runs_dir)
    directory = Path(places[0], name)
    directory.mkdir(parents=True)
    config = configs.to_dict(training.experiment(runs_dir))
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


@pytest.mark.parametrize("said_by", ["preset", "study"])
def test_results_without_an_attack_that_is_asked_for_are_refused(places, said_by):
    """A further attack, or another spelling, does no harm."""
    texts = digits.PRESETS["clean"].evaluation_attacks
    options = {"attacks": ";".join(texts)} if said_by == "study" else {}
    one = dataclasses.replace(STUDY.evaluations[0], options=options)
    study = Study("nothing", STUDY.trainings[:1], (one,))
    wanted = [*map(parse_attack, texts)]
    assert wanted[0] == parse_attack("fgsm(0.15)")
    wanted[0] = parse_attack("fgsm(0.15)")
    evaluated(places, "robustness/of_one.jsonl.gz")
    path = Path(places[1], "robustness", "of_one.summary.json")

    def under(*attacks):
        entries = [{"attack": one.name, "threat_model": one.threat_model()} for one in attacks]
        command = f"python -m eval.robustness '--attacks={';'.join(one.name for one in attacks)}'"
        contents = {"attacks": entries, "provenance": {"command": command}}
        path.write_text(json.dumps(contents))
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


def test_networks_that_are_evaluated_together_stay_together(places):
    """With as many machines as seeds, each makes all records of one seed by itself."""
    study = load("agrawal_cifar10")
    for number in (1, 2, 3):
        cells = plan(study, *places, shard=(number, 3))
        mine = [cell.name for cell in cells if cell.state == TO_DO]
        others = [one for one in study.trainings if one.name not in mine]
        assert {one.options.get("config.seed", "0") for one in others} == {*"012"} - {
            str(number - 1)
        }
        assert f"cifar10_seed_{number - 1}" in mine and len(mine) == 3 + 9


# The ensemble starts from one network and attacks both, and stands before them here.
BOXES = "train/configs/tiny_imagenet_boxes.py"
CLEAN, NARROW, ENSEMBLE = (
    Training(f"tiny_imagenet_boxes_{preset}", f"{BOXES}:{preset}")
    for preset in ("clean", "narrow", "ensemble")
)
DEPENDENT = Study(
    "nothing",
    (ENSEMBLE, CLEAN, NARROW),
    (
        Evaluation("robustness/of_ensemble.jsonl.gz", (ENSEMBLE.name,)),
        Evaluation("robustness/of_clean.jsonl.gz", (CLEAN.name,)),
    ),
)


def test_networks_that_a_training_starts_from_or_attacks_come_first(places):
    cells = plan(DEPENDENT, *places)
    names = [CLEAN.name, "of_clean", NARROW.name, ENSEMBLE.name, "of_ensemble"]
    assert [cell.name for cell in cells] == names
    assert {cell.state for cell in cells} == {TO_DO}
    runs = places[0]
    assert cells[3].arguments[-2:] == (
        f"--config.initial_weights={runs}/{CLEAN.name}",
        f"--config.defense.sources=('{runs}/{CLEAN.name}', '{runs}/{NARROW.name}')",
    )
    assert len(ENSEMBLE.arguments("runs")) == 4 and len(CLEAN.arguments(runs)) == 4
    asked = plan(DEPENDENT, *places, only=["of_ensemble"])
    assert [cell.name for cell in asked] == [CLEAN.name, NARROW.name, ENSEMBLE.name, "of_ensemble"]
    trained(places, ENSEMBLE.name, ENSEMBLE, runs_dir="earlier/place")
    asked = plan(DEPENDENT, *places, only=["of_ensemble"])
    assert [cell.name for cell in asked] == [ENSEMBLE.name, "of_ensemble"]


@pytest.mark.parametrize(
    "training", [ENSEMBLE, load("aad_table_5_cifar10").trainings[-1]], ids=lambda one: one.name
)
def test_the_command_of_a_training_gives_its_config(training):
    values, words = flags.FlagValues(), training.arguments("other/runs")[1:]
    config_flags.DEFINE_config_file("config", flag_values=values, lock_config=True, sys_argv=words)
    flags.DEFINE_string("model_dir", None, "", flag_values=values)
    values(words)
    assert values.model_dir == f"other/runs/{training.name}"
    asked = configs.from_dict(values.config.to_dict())
    assert asked == training.experiment("other/runs")


def test_a_shard_waits_for_what_another_trains(places):
    first, second, third = (
        {cell.name: cell.state for cell in plan(DEPENDENT, *places, shard=(number, 3))}
        for number in (1, 2, 3)
    )
    waits = f"waits for {CLEAN.name}, {NARROW.name}"
    assert (first[ENSEMBLE.name], first["of_ensemble"]) == (waits, f"waits for {ENSEMBLE.name}")
    assert (second[CLEAN.name], second["of_clean"], second[NARROW.name]) == (
        *(TO_DO, TO_DO, ELSEWHERE),
    )
    assert third[NARROW.name] == TO_DO
    for one in (CLEAN, NARROW):
        trained(places, one.name, one)
    states = {cell.name: cell.state for cell in plan(DEPENDENT, *places, shard=(1, 3))}
    assert (states[ENSEMBLE.name], states["of_ensemble"]) == (TO_DO, TO_DO)


def test_a_training_from_a_network_that_nobody_trains_is_refused(places):
    study = Study("nothing", (ENSEMBLE, CLEAN), DEPENDENT.evaluations)
    with pytest.raises(ValueError, match=f"{ENSEMBLE.name} is trained from {NARROW.name}, which"):
        plan(study, *places)
    assert [cell.name for cell in plan(study, *places, only=["of_clean"])] == [
        *(CLEAN.name, "of_clean")
    ]
    trained(places, NARROW.name, NARROW)
    assert {cell.state for cell in plan(study, *places)} == {TO_DO}


def test_a_network_of_another_config_is_refused(places):
    trained(places, "two", STUDY.trainings[0])
    message = r"differs in seed \(0 there, 2 given\). Move it away, or give another --runs_dir"
    with pytest.raises(ModelDirectoryError, match=message):
        plan(STUDY, *places)


def test_fields_without_effect_on_a_network_may_differ_once_it_is_trained(places):
    trained(places, "one")
    path = Path(places[0], "one", "config.json")
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"name": "other", "checkpoint_steps": 5}))
    assert states(places)["one"] == DONE
    # Measures of attention have the same columns whatever was measured.
    path.write_text(json.dumps(config | {"monitor_examples": 5, "monitor_attack": "fgsm(0.1)"}))
    with pytest.raises(ModelDirectoryError, match="differs in monitor_attack .*monitor_examples"):
        plan(STUDY, *places)
    path.write_text(json.dumps(config | {"checkpoint_steps": 5}))
    Path(places[0], "one", NETWORK).unlink()
    with pytest.raises(ModelDirectoryError, match=r"checkpoint_steps \(5 there, .* --runs_dir"):
        plan(STUDY, *places)


def test_results_of_another_config_are_refused(places):
    """Fields without effect on the network do not matter."""
    evaluated(places, "robustness/of_two.jsonl.gz")
    trained((places[1], None), "runs/two", STUDY.trainings[1], recorded=False)
    record = Path(places[1], "runs", "two", "config.json")
    config = json.loads(record.read_text())
    alike = {"reference": "other", "snapshot_epochs": 3, "steps_per_execution": 2}
    record.write_text(json.dumps(config | alike))
    assert states(places, only=["of_two"]) == {"two": NOT_NEEDED, "of_two": DONE}
    record.write_text(json.dumps(config | {"epochs": 1}))
    message = r"of_two.jsonl.gz holds results of a two of another config, .* epochs \(1 there, 8"
    with pytest.raises(ValueError, match=message):
        plan(STUDY, *places, only=["of_two"])


def test_unfinished_results_of_a_network_that_is_gone_are_refused(places):
    journal = Path(places[1], "robustness", "of_one.jsonl.gz.partial")
    journal.parent.mkdir(parents=True)
    journal.write_text("")
    with pytest.raises(ValueError, match="of_one.jsonl.gz.partial holds the first results of a on"):
        plan(STUDY, *places)
    trained(places, "one")
    assert states(places)["of_one"] == TO_DO
    journal.rename(journal.with_suffix(""))
    with pytest.raises(ValueError, match="of_one.jsonl.gz exists, but not its summary"):
        plan(STUDY, *places)


def test_all_that_would_hinder_a_study_is_told_at_once(places):
    trained(places, "one", STUDY.trainings[1])
    trained(places, "two", STUDY.trainings[0])
    evaluated(places, "robustness/of_two.jsonl.gz", "python -m eval.robustness --limit=10")
    with pytest.raises(ModelDirectoryError) as raised:
        plan(STUDY, *places)
    lines = str(raised.value).splitlines()
    assert [line.split(" holds ")[0].split(" was ")[0] for line in lines[:3]] == [
        *(f"{places[0]}/one", f"{places[0]}/two"),
        f"{places[1]}/robustness/of_two.summary.json",
    ]


def test_data_sets_that_are_absent_are_all_named(places, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", places[0])
    cells = plan(load("aad_attention_figures"), *places)
    absent = absent_data([*cells, *plan(STUDY, *places)])
    assert [text.split(" is not in ")[0] for text in absent] == [
        *("Data set 'mnist'", "Data set 'cifar10'")
    ]
    assert all("tfds build" in text for text in absent)
    assert absent_data([dataclasses.replace(cell, state=DONE) for cell in cells]) == []


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


def test_the_record_of_a_training_before_is_replaced_if_it_has_no_results(places):
    asked = ("digits_quick", *places)
    trained(places, "digits_quick")
    run, record = (Path(place, "digits_quick") for place in (places[0], Path(places[1], "runs")))
    assert is_to_be_recorded(*asked)
    for directory in (run, record):
        (directory / "history.csv").write_text("epoch\n")
    assert not is_to_be_recorded(*asked)
    (record / "run.json").write_text('{"state": "finished", "seconds": 1}')
    assert is_to_be_recorded(*asked)
    # Results, of any study, are of the training that is recorded.
    evaluated(places, "robustness/digits_quick.jsonl.gz")
    assert not is_to_be_recorded(*asked)


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
        source = ROOT / (cell.arguments[1].replace(".", "/") + ".py")
        text = source.read_text(encoding="utf-8") + "".join(
            path.read_text(encoding="utf-8") for path in source.parents[1].glob("eval/*_flags.py")
        )
        for argument in cell.arguments[2:]:
            flag = argument.removeprefix("--").partition("=")[0].partition(".")[0]
            assert f'"{flag}"' in text, (flag, source)


def test_the_worked_example_of_contributing_is_a_study(places):
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Adding a study")[1]
    (source,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    names: dict[str, Study] = {}
    exec(compile(source, "CONTRIBUTING.md", "exec"), names)
    cells = plan(names["STUDY"], *places)
    assert [(cell.kind, cell.name, cell.state) for cell in cells] == [
        (kind, f"digits_{preset}", TO_DO)
        for preset in ("fgsm", "aad_step_ll")
        for kind in ("train", "evaluate")
    ]


@pytest.mark.parametrize("dataset", ["mnist", "cifar10", "tiny_imagenet_boxes"])
def test_table_5_has_each_row_of_a_seed_before_the_next_seed(dataset):
    study = load(f"aad_table_5_{dataset}")
    seeds = [int(one.options.get("config.seed", 0)) for one in study.trainings]
    assert seeds == sorted(seeds)
    names = [one.name for one in study.trainings]
    for name, seed in zip(names, seeds, strict=True):
        assert name.endswith(f"_seed_{seed}") == (seed > 0)
        if "_aad_" in name and "_8_0_0" not in name:
            first, _, last = name.partition("_seed_")
            assert f"{first}_8_0_0" + (f"_seed_{last}" if last else "") in names
    by_network = Counter(one.networks[0] for one in study.evaluations)
    assert {*names} - {*by_network} <= {"tiny_imagenet_boxes_narrow"}
    assert {*by_network.values()} == {3}


def test_the_committed_records_of_attention_are_those_of_its_study(tmp_path):
    results = str(ROOT / "results")
    cells = plan(load("aad_attention"), str(tmp_path), results, ["tiny_imagenet_boxes_clean"])
    assert {cell.state for cell in cells} == {NOT_NEEDED, DONE} and len(cells) == 12


def test_seeds_of_the_cbam_study_are_evaluated_apart(places):
    study = load("agrawal_cifar10")
    seeds = {one.name: one.options.get("config.seed", "0") for one in study.trainings}
    assert sorted(seeds.values()) == sorted("012" * 3)
    for one in study.evaluations:
        assert len({seeds[name] for name in one.networks}) == 1
        assert one.binary != "eval.transfer" or f"_seed_{seeds[one.networks[0]]}." in one.output
        for attack in one.options.get("attacks", "").split(";"):
            parse_attack(attack)
    of_one = [name for name, seed in seeds.items() if seed == "1"]
    cells = plan(study, *places, only=of_one)
    assert sorted(cell.name for cell in cells if cell.kind == "train") == sorted(of_one)
    done = [cell.name for cell in cells if cell.kind == "evaluate"]
    together = ("cifar10_seed_1", "cifar10_small_budgets_seed_1", "cifar10_gates_seed_1")
    assert {*together, *of_one, *(f"{name}_strongest" for name in of_one)} == set(done)


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


def flags_of(root: Path) -> list[str]:
    return ["--study=digits_quick", f"--runs_dir={root}/runs", f"--results_dir={root}/results"]


def all_but_times(root: Path) -> dict[str, object]:
    """What a study leaves, without seconds, starts and commands."""
    results, network = root / "results", load_network(root / "runs" / "digits_quick")
    record = results / "runs" / "digits_quick"
    summary = json.loads((results / "robustness" / "digits_quick.summary.json").read_text())
    for entry in (summary, *summary["attacks"]):
        for key in [*entry]:
            if key in ("provenance", "images_attacked") or "second" in key:
                del entry[key]
    return {
        "records": (results / "robustness" / "digits_quick.jsonl.gz").read_bytes(),
        "summary": summary,
        "config": (record / "config.json").read_bytes(),
        "history": (record / "history.csv").read_bytes(),
        "weights": [weights.tobytes() for weights in network.get_weights()],
    }


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A study that was run to its end, but for an evaluation that failed at first."""
    root = tmp_path_factory.mktemp("study")
    # A directory in the place of the summary is a mistake that the evaluation ends with.
    blocked = root / "results" / "robustness" / "digits_quick.summary.json"
    blocked.mkdir(parents=True)
    # No other data set is there.
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "TFDS_DATA_DIR": str(root)}
    (failed,) = run_many("train.study", [flags_of(root)], environment, LONGEST)
    record = root / "results" / "runs" / "digits_quick"
    assert {path.name for path in record.iterdir()} == {"config.json", "history.csv", "run.json"}
    blocked.rmdir()
    digits = flags_of(root)
    mnist = ["--study=aad_table_5_mnist", f"--runs_dir={root}/mnist", digits[2]]
    commands = [[*digits, "--report"], [*digits, "--dry_run"], mnist, [*mnist, "--dry_run"]]
    return root, failed, *run_many("train.study", commands, environment, LONGEST)


@pytest.mark.slow
@pytest.mark.timeout(3 * LONGEST)
def test_a_study_whose_evaluation_failed_is_finished_and_reported(uninterrupted):
    root, failed, finished, listed, *_ = uninterrupted
    assert failed.code == 2 and "evaluate digits_quick ended with code 2" in failed.errors
    assert "Traceback" not in failed.errors
    assert finished.code == 0, finished.errors
    assert "train    digits_quick: done" in finished.errors
    page = root / "results" / "README.md"
    assert f"All is done. {page} shows the tables." in finished.output
    links = re.findall(r"\]\(([^)]+)\)", page.read_text())
    assert links and all((page.parent / link).is_file() for link in links)
    assert all_but_times(root)["summary"]["attacks"][1]["count"] == 100
    assert "0 to do" in listed.errors


@pytest.mark.slow
@pytest.mark.timeout(3 * LONGEST)
def test_a_study_without_its_data_set_begins_nothing(uninterrupted):
    root, *_, refused, listed = uninterrupted
    assert refused.code == 2 and listed.code == 0
    assert refused.errors.splitlines()[-1].startswith("error: Data set 'mnist' is not in ")
    assert "Nothing was run.\nData set 'mnist' is not in " in listed.output
    assert not (root / "mnist").exists()


@pytest.mark.slow
@pytest.mark.timeout(3 * LONGEST)
def test_a_study_that_was_stopped_twice_ends_like_an_uninterrupted_one(uninterrupted, tmp_path):
    """SIGTERM while it trains, and a kill of all its processes while it evaluates.

    The runner waits for both alike; what a training or evaluation by itself does at either signal
    is tested with its own program.
    """
    arguments, run = flags_of(tmp_path), tmp_path / "runs" / "digits_quick"
    journal = tmp_path / "results" / "robustness" / "digits_quick.jsonl.gz.partial"

    def is_saved() -> bool:
        return any(run.glob("checkpoints/*.index"))

    stopped = stopped_once(is_saved, signal.SIGTERM, "train.study", *arguments, seconds=LONGEST)
    assert stopped.code == 143, stopped.errors
    assert is_saved() and not (run / NETWORK).exists()
    killed = stopped_after(
        *(20, signal.SIGKILL, journal, "train.study"), *arguments, group=True, seconds=LONGEST
    )
    assert killed.code == -signal.SIGKILL, killed.errors
    assert 20 < journal.read_bytes().count(b"\n") < 201
    (finished,) = run_many("train.study", [arguments], seconds=LONGEST)
    assert finished.code == 0, finished.errors
    assert len(json.loads((run / "run.json").read_text())["starts"]) == 2
    assert all_but_times(tmp_path) == all_but_times(uninterrupted[0])
