"""An interrupted run ends like an uninterrupted one; records of another run are left alone."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attacks import a3, fgsm, parse_attack
from aad_tf.classifier import Classifier
from aad_tf.evaluation import Progress, evaluate_robustness, journal_path
from aad_tf.records import read_records, read_summary
from aad_tf.records.fingerprints import probe_logits, same_logits
from aad_tf.records.journal import check_same_evaluation
from tests.evaluation.attacked_networks import PRESETS, RESTARTED
from tests.networks import random_images


def interrupt_after(done: int):
    def progress(state: Progress) -> None:
        if state.done >= done:
            raise KeyboardInterrupt

    return progress


ATTACKS = [PRESETS["ifgsm"], RESTARTED]


@pytest.fixture
def run(random_network, random_examples):
    """An evaluation of sixty examples under both attacks; takes further options."""
    return functools.partial(evaluate_robustness, random_network, random_examples, ATTACKS)


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz"])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(name, run, tmp_path):
    whole, cut = tmp_path / "whole" / name, tmp_path / "cut" / name
    run(batch_size=8, output=whole)
    with pytest.raises(KeyboardInterrupt):
        run(batch_size=8, output=cut, progress=interrupt_after(50))
    assert journal_path(cut).exists() and not cut.exists()
    states: list[Progress] = []
    report = run(batch_size=5, output=cut, progress=states.append)
    assert states[0].reused >= 50
    assert states[-1][:2] == (120, 120)
    assert cut.read_bytes() == whole.read_bytes()
    assert not journal_path(cut).exists()
    attacked = sum(entry["images_attacked"] for entry in report.summary["attacks"])
    assert 0 < attacked <= 120 - states[0].reused
    assert read_summary(cut) == report.summary
    assert [entry["robust_accuracy"] for entry in report.summary["attacks"]] == [
        entry["robust_accuracy"] for entry in read_summary(whole)["attacks"]
    ]


def test_records_on_disk_equal_records_in_memory_in_order(run, tmp_path):
    in_memory = run()
    on_disk = run(output=tmp_path / "r.jsonl")
    records = list(read_records(tmp_path / "r.jsonl"))
    assert records == list(in_memory.records()) == list(on_disk.records())
    order = [(["ifgsm", "pgd"].index(record["attack"]), record["index"]) for record in records]
    assert order == sorted(order) and len(order) == 120


def test_a_finished_run_is_read_back(run, tmp_path):
    path = tmp_path / "r.jsonl"
    first = run(output=path)
    calls: list[Progress] = []
    again = run(output=path, progress=calls.append)
    assert again.summary == first.summary and not calls
    with pytest.raises(ValueError, match=r"another evaluation, which differs in seed \(0 there, 1"):
        run(output=path, seed=1)
    (tmp_path / "r.summary.json").unlink()
    with pytest.raises(FileExistsError, match="not its summary r.summary.json"):
        run(output=path)


def test_another_attack_of_the_same_name_is_another_evaluation(
    random_network, random_examples, tmp_path
):
    finished, cut = tmp_path / "finished.jsonl", tmp_path / "cut.jsonl"
    data = [part[:5] for part in random_examples]
    evaluate_robustness(random_network, data, fgsm(0.1), output=finished)
    with pytest.raises(KeyboardInterrupt):
        evaluate_robustness(
            random_network, data, fgsm(0.1), output=cut, progress=interrupt_after(1)
        )
    for output in (finished, cut):
        with pytest.raises(ValueError, match=r"differs in attacks.fgsm.epsilon \(0.1 there, 0.2"):
            evaluate_robustness(random_network, data, fgsm(0.2), output=output)


def test_a_summary_from_before_attacks_were_written_as_data_is_read(
    random_network, random_examples, tmp_path
):
    path = tmp_path / "r.jsonl"
    data = [part[:5] for part in random_examples]
    attack = parse_attack("fgsm(epsilon=0.1)")
    evaluate_robustness(random_network, data, attack, output=path)
    summary = read_summary(path)
    del summary["attacks"][0]["threat_model"]["parameters"]
    summary["evaluated"]["attacks"] = {attack.name: repr(attack)}
    (tmp_path / "r.summary.json").write_text(json.dumps(summary))
    assert evaluate_robustness(random_network, data, attack, output=path).summary == summary
    other = dataclasses.replace(fgsm(0.2), name=attack.name)
    with pytest.raises(ValueError, match=r"differs in attacks.fgsm\(epsilon=0.1\).epsilon"):
        evaluate_robustness(random_network, data, other, output=path)


BATCHED = {
    "arrays": lambda arrays: arrays,
    "whole batches": lambda arrays: tf.data.Dataset.from_tensor_slices(arrays).batch(
        5, drop_remainder=True
    ),
    "a short last batch": lambda arrays: tf.data.Dataset.from_tensor_slices(arrays).batch(100),
}


@pytest.mark.parametrize("kind", BATCHED)
def test_a_longer_data_set_is_another_evaluation(kind, random_network, random_examples, tmp_path):
    path, batched = tmp_path / "r.jsonl", BATCHED[kind]
    attack = PRESETS["fgsm"]
    first = batched(tuple(part[:5] for part in random_examples))
    report = evaluate_robustness(random_network, first, attack, output=path)
    assert report.summary["attacks"][0]["count"] == 5
    again = evaluate_robustness(random_network, first, attack, output=path)
    assert again.summary == report.summary
    longer = batched(tuple(part[:20] for part in random_examples))
    with pytest.raises(ValueError, match=r"differs in num_examples \(5 there, 20 asked for\)"):
        evaluate_robustness(random_network, longer, attack, output=path)


def test_a_summary_from_before_examples_were_counted_is_read(
    random_network, random_examples, tmp_path
):
    path = tmp_path / "r.jsonl"
    evaluate_robustness(random_network, random_examples, PRESETS["fgsm"], output=path)
    summary = read_summary(path)
    assert summary["evaluated"].pop("num_examples") == 60
    (tmp_path / "r.summary.json").write_text(json.dumps(summary))
    again = evaluate_robustness(random_network, random_examples, PRESETS["fgsm"], output=path)
    assert again.summary == summary


def interrupted(run, output: Path) -> Path:
    with pytest.raises(KeyboardInterrupt):
        run(output=output, progress=interrupt_after(40))
    return journal_path(output)


@pytest.mark.parametrize("kept", [0, 5, -1, -30])
def test_a_line_cut_short_is_dropped(kept, run, tmp_path):
    journal = interrupted(run, tmp_path / "r.jsonl")
    content = journal.read_bytes()
    journal.write_bytes(content[: kept or len(content) // 2])
    report = run(output=tmp_path / "r.jsonl")
    expected = run()
    assert list(report.records()) == list(expected.records())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, r"seed \(0 there, 1 asked for\)"),
        ({"success": "last_iterate"}, "success"),
        ({"description": {"dataset": "other"}}, r"description.dataset \(None there, 'other'"),
        ({"attacks": [PRESETS["ifgsm"]]}, r"attacks.pgd"),
        ({"dataset": "reversed"}, "first_example"),
        ({"classifier": "other"}, "weights"),
    ],
)
def test_a_journal_of_another_evaluation_is_refused(
    changes, message, run, random_network, random_examples, tmp_path
):
    journal = interrupted(run, tmp_path / "r.jsonl")
    content = journal.read_bytes()
    arguments = {
        "classifier": random_network,
        "dataset": random_examples,
        "attacks": ATTACKS,
        **changes,
    }
    if arguments["dataset"] == "reversed":
        arguments["dataset"] = [part[::-1] for part in random_examples]
    if arguments["classifier"] == "other":
        other = keras.models.clone_model(random_network.model)
        arguments["classifier"] = Classifier.from_keras(other)
    with pytest.raises(ValueError, match=f"belongs to another evaluation, .*{message}"):
        evaluate_robustness(**arguments, output=tmp_path / "r.jsonl")
    assert journal.read_bytes() == content


def scaled(classifier: Classifier, factor: float) -> Classifier:
    """A network with the same weights, whose pixels are scaled by a factor before the first."""
    images = keras.Input(classifier.input_shape, dtype="float64")
    rescaled = keras.layers.Rescaling(factor, dtype="float64")(images)
    return Classifier.from_keras(keras.Model(images, classifier.model(rescaled)))


def test_a_network_of_equal_weights_that_uses_them_otherwise_is_another(
    random_network, random_examples, tmp_path
):
    """Its pixels are scaled otherwise, so that weights, image and labels alone are the same."""
    one, other = (scaled(random_network, factor) for factor in (1.0, 9.0))
    data = [part[:5] for part in random_examples]
    finished, cut = tmp_path / "finished.jsonl", tmp_path / "cut.jsonl"
    evaluate_robustness(one, data, fgsm(0.1), output=finished)
    with pytest.raises(KeyboardInterrupt):
        evaluate_robustness(one, data, fgsm(0.1), output=cut, progress=interrupt_after(1))
    for output in (finished, cut):
        with pytest.raises(ValueError, match="logits .of another network with the same weights"):
            evaluate_robustness(other, data, fgsm(0.1), output=output)
        assert evaluate_robustness(one, data, fgsm(0.1), output=output).summary["attacks"]


def test_the_attention_layer_matters_where_the_attack_follows_it(tmp_path):
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, name="first"),
            keras.layers.Conv2D(4, 3, name="second"),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )
    data = (random_images(4, (8, 8, 1)), np.array([0, 1, 2, 0]))
    first, second = (Classifier.from_keras(network, name) for name in ("first", "second"))
    plain, augmented = tmp_path / "plain.jsonl", tmp_path / "augmented.jsonl"
    attack = a3(fgsm(0.1), sigma=1.0)
    for output, attacks in ((plain, fgsm(0.1)), (augmented, attack)):
        evaluate_robustness(first, data, attacks, output=output)
    evaluate_robustness(second, data, fgsm(0.1), output=plain)
    with pytest.raises(ValueError, match=r"attention_layer \(\[1\] there, \[2\] asked for"):
        evaluate_robustness(second, data, attack, output=augmented)


def test_evaluations_from_before_networks_were_known_by_their_logits_are_read(
    random_network, random_examples, tmp_path
):
    path = tmp_path / "r.jsonl"
    data = [part[:5] for part in random_examples]
    evaluate_robustness(random_network, data, fgsm(0.1), output=path)
    summary = read_summary(path)
    assert len(summary["evaluated"].pop("logits")) == random_network.num_classes
    (tmp_path / "r.summary.json").write_text(json.dumps(summary))
    assert evaluate_robustness(random_network, data, fgsm(0.1), output=path).summary == summary


def test_logits_are_alike_up_to_rounding_and_unknown_where_they_are_random():
    assert same_logits([1.0, -2.0], [1.09, -2.0])  # 5 % of 2 is 0.1.
    assert not same_logits([1.0, -2.0], [1.11, -2.0])
    assert not same_logits([1.0], [1.0, 0.0]) and same_logits([0.0], [0.0])
    noisy = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Lambda(lambda images: images + tf.random.normal(tf.shape(images))),
            keras.layers.Conv2D(2, 3),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )
    assert probe_logits(Classifier.from_keras(noisy), (4, 4, 1)) is None


def test_foreign_and_damaged_journals_are_refused_and_kept(run, tmp_path):
    output = tmp_path / "r.jsonl"
    journal = journal_path(output)
    for foreign in (b"notes of mine", b"notes\nof mine\n", b"[1]\n"):
        journal.write_bytes(foreign)
        with pytest.raises(ValueError, match="is not a journal"):
            run(output=output)
        assert journal.read_bytes() == foreign
    journal.unlink()
    lines = interrupted(run, output).read_bytes().splitlines(keepends=True)
    for damage in (b"?\n", b'{"index": 1}\n'):
        journal.write_bytes(b"".join([*lines[:3], damage, *lines[3:]]))
        with pytest.raises(ValueError, match="damaged at byte"):
            run(output=output)


def test_a_journal_in_use_is_refused(run, tmp_path):
    output = tmp_path / "r.jsonl"

    def start_another(progress: Progress) -> None:
        with pytest.raises(ValueError, match="Another process is writing"):
            run(output=output)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(output=output, progress=start_another)


def test_a_data_set_that_shrank_is_noticed(run, random_network, random_examples, tmp_path):
    output = tmp_path / "r.jsonl"
    interrupted(run, output)
    with pytest.raises(ValueError, match=r"differs in num_examples \(60 there, 20 asked"):
        evaluate_robustness(
            random_network, [part[:20] for part in random_examples], ATTACKS, output=output
        )


def test_an_output_that_cannot_be_written_is_refused_before_any_work(run, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Cannot write to"):
        run(output=tmp_path / "file" / "r")
    with pytest.raises(IsADirectoryError):
        run(output=tmp_path)


def test_another_attack_is_named_once_where_a_file_belongs_to_another_evaluation():
    there = {"attacks": {"fgsm(4)": {"epsilon": 4, "objective": {"kind": "label"}}}, "seed": 0}
    asked = {"attacks": {"fgsm(8)": {"epsilon": 8, "objective": {"kind": "label"}}}, "seed": 0}
    message = r"in attacks.fgsm\(4\) \(only there\); attacks.fgsm\(8\) \(only asked for\)\. Choose"
    with pytest.raises(ValueError, match=message):
        check_same_evaluation(Path("mine.jsonl"), there, asked)
    check_same_evaluation(Path("mine.jsonl"), {"seed": 0, "description": {}}, {"seed": 0})


def test_a_finished_run_is_read_back_in_the_order_asked_for(
    run, random_network, random_examples, tmp_path
):
    output = tmp_path / "r.jsonl"
    expected = run(output=output).summary["attacks"]
    before = output.read_bytes()
    found = evaluate_robustness(random_network, random_examples, ATTACKS[::-1], output=output)
    assert found.summary["attacks"] == expected[::-1]
    assert output.read_bytes() == before and read_summary(output)["attacks"] == expected


def test_a_summary_of_other_records_is_not_overwritten(run, tmp_path):
    run(output=tmp_path / "x.jsonl")
    before = (tmp_path / "x.summary.json").read_bytes()
    with pytest.raises(
        FileExistsError, match=r"x\.summary\.json, the summary of x\.jsonl\. Choose"
    ):
        run(output=tmp_path / "x.jsonl.gz")
    assert (tmp_path / "x.summary.json").read_bytes() == before
    # Whoever decompresses records beside the file keeps both.
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress((tmp_path / "x.jsonl").read_bytes()))
    assert run(output=tmp_path / "x.jsonl.gz").summary == run(output=tmp_path / "x.jsonl").summary
