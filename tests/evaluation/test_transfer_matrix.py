"""evaluate_transfer: images made once on each source and judged by all targets."""

from __future__ import annotations

import functools
import json

import keras
import numpy as np
import pytest

import aad_tf
from aad_tf import AdversarialModel
from aad_tf.attacks import AttackCascade, auto_attack, fgsm, ifgsm, pgd, step_ll
from aad_tf.classifier import Classifier
from aad_tf.evaluation import (
    Progress,
    evaluate_robustness,
    evaluate_transfer,
    format_transfer,
    journal_path,
    merge_shards,
    merge_transfer,
    shard_range,
)
from aad_tf.records import read_record_lines, read_summary
from tests.evaluation.attacked_networks import (
    RESTARTED,
    any_size_classifier,
    batches_of_sizes,
    brightness_classifier,
    gray_images,
    mean_network,
)
from tests.networks import small_network

layers = keras.layers
ATTACKS = [
    fgsm(0.05),
    fgsm(0.1),
    pgd(0.1, 0.04, 3, random_start=False),
    pgd(0.1, 0.04, 6, random_start=False),
    RESTARTED,
]


@functools.cache
def above(threshold: float) -> Classifier:
    """Class 1 where the gray level is above the threshold."""
    return mean_network([0.0], [[0.0, 4.0]], [0.0, -4.0 * threshold])


@functools.cache
def below(threshold: float) -> Classifier:
    """Class 1 where the gray level is below it: gradients lead the other way."""
    return mean_network([0.0], [[0.0, -4.0]], [0.0, 4.0 * threshold])


@pytest.fixture(scope="module")
def by_hand():
    """Five gray images under FGSM 0.1; the numbers in the tests are worked out by hand.

    clean                     0.30  0.42  0.48  0.57  0.90   labels 0 0 0 1 0
    made on a, b              0.40  0.52  0.58  0.47  1.00
    made on c                 0.20  0.32  0.38  0.67  0.80
    """
    networks = {"a": above(0.5), "b": above(0.45), "c": below(0.5)}
    data = (gray_images([0.3, 0.42, 0.48, 0.57, 0.9]), np.array([0, 0, 0, 1, 0]))
    return evaluate_transfer(networks, data, fgsm(0.1))


def entry(report, source: str, target: str, attack: str = "fgsm"):
    (found,) = (
        each
        for each in report.summary["transfer"]
        if (each["source"], each["target"], each["attack"]) == (source, target, attack)
    )
    return found


def test_accuracies_of_linear_networks_by_hand(by_hand):
    clean = {each["network"]: each["clean_accuracy"] for each in by_hand.summary["networks"]}
    assert clean == {"a": 4 / 5, "b": 3 / 5, "c": 1 / 5}
    expected = {
        **{("a", "a"): 1 / 5, ("a", "b"): 2 / 5, ("a", "c"): 4 / 5},
        **{("b", "a"): 1 / 5, ("b", "b"): 2 / 5, ("b", "c"): 4 / 5},
        **{("c", "a"): 4 / 5, ("c", "b"): 4 / 5, ("c", "c"): 1 / 5},
    }
    for (source, target), accuracy in expected.items():
        assert by_hand.accuracy(source, target, "fgsm") == accuracy
        found = entry(by_hand, source, target)
        assert found["access"] == ("white_box" if source == target else "transfer")
        assert found["clean_accuracy"] == clean[target]
    interval = entry(by_hand, "a", "b")["interval"]
    # Wilson of 2 / 5 by hand: (0.4 + 1.9207/5 -+ 1.96 sqrt(0.24/5 + 0.9604/25)) / (1 + 3.8415/5).
    assert (interval["low"], interval["high"]) == pytest.approx((0.1176, 0.7693), abs=1e-4)


def test_accuracies_on_what_source_and_target_get_right_by_hand(by_hand):
    # a and b are both right about 0.30, 0.42 and 0.57 when clean; b withstands two of a's images.
    both = entry(by_hand, "a", "b")["both_correct"]
    assert (both["correct"], both["count"], both["accuracy"]) == (2, 3, 2 / 3)
    assert entry(by_hand, "a", "a")["both_correct"]["count"] == 4
    nothing = {"accuracy": None, "correct": 0, "count": 0, "interval": None}
    assert entry(by_hand, "a", "c")["both_correct"] == nothing


def test_targets_are_compared_by_hand(by_hand):
    found = {
        (each["attack"], each["source"], *each["targets"]): each
        for each in by_hand.summary["comparisons"]
    }
    assert len(found) == 3 + 3 * 3
    # On a's images a is right about 0.40 alone, c about the other four: 2 (1 + 5) / 2**5.
    pair = found["fgsm", "a", "a", "c"]
    assert (pair["only_first"], pair["only_second"], pair["p_value"]) == (1, 4, 0.375)
    assert pair["difference"] == pytest.approx(-3 / 5)
    assert -1 < pair["interval"]["low"] < -3 / 5 < pair["interval"]["high"] < 0.3
    # Clean, b is wrong about 0.48 and else as a.
    pair = found[None, None, "a", "b"]
    assert (pair["only_first"], pair["only_second"], pair["p_value"]) == (1, 0, 1.0)
    alike = found["fgsm", "c", "a", "b"]
    assert (alike["only_first"], alike["only_second"], alike["difference"]) == (0, 0, 0)


def test_records_hold_all_predictions_and_distances(by_hand):
    records = list(by_hand.records())
    assert [record["index"] for record in records] == [0, 1, 2, 3, 4]
    assert records[3] == {
        "index": 3,
        "label": 1,
        "clean": {"a": 1, "b": 1, "c": 0},
        "adversarial": {
            "a": {"fgsm": {"linf": 0.1, "predictions": {"a": 0, "b": 1, "c": 1}}},
            "b": {"fgsm": {"linf": 0.1, "predictions": {"a": 0, "b": 1, "c": 1}}},
            "c": {"fgsm": {"linf": 0.1, "predictions": {"a": 1, "b": 1, "c": 0}}},
        },
    }


def test_the_summary_names_threat_models_seeds_and_versions(by_hand):
    model = by_hand.summary["threat_models"]["fgsm"]
    assert (model["norm"], model["epsilon"], model["steps"]) == ("linf", 0.1, 1)
    assert model["epsilon_255"] == pytest.approx(25.5)
    evaluated = by_hand.summary["evaluated"]
    assert evaluated["seed"] == 0 and evaluated["networks"].keys() == {"a", "b", "c"}
    assert len(set(evaluated["networks"].values())) == 3
    assert by_hand.summary["provenance"]["versions"]["aad_tf"] == aad_tf.__version__
    assert json.loads(json.dumps(by_hand.summary)) == by_hand.summary


def test_the_table_says_what_the_summary_says(by_hand):
    text = format_transfer(by_hand.summary)
    rows = [line.split() for line in text.splitlines()]
    headings = ["attack", "source", "judged", "by", "a", "judged", "by", "b", "judged", "by", "c"]
    assert headings in rows
    (row,) = (row for row in rows if row[:2] == ["fgsm", "a"] and "n" not in row and "-" not in row)
    assert row[2] == "20.00%" and row[5].endswith("*") and row[6] == "40.00%"
    assert "66.67%" in text and "n = 3" in text and "-, n = 0" in text
    assert "total epsilon 0.1 = 25.5/255" in text and "0.38" in text
    # The source is attacked in a white box, which the comparison tells.
    assert "a* - c" in text and "b - c*" in text


def test_steps_of_one_size_are_told_by_the_total_they_reach():
    networks = {"a": above(0.5)}
    attacks = [pgd(0.2, 0.01, steps, random_start=False) for steps in (5, 10, 20)]
    report = evaluate_transfer(networks, (gray_images([0.2]), np.array([0])), attacks)
    totals = [each["epsilon"] for each in report.summary["threat_models"].values()]
    assert totals == pytest.approx([0.05, 0.1, 0.2])
    with pytest.raises(ValueError, match="Several attacks are 'pgd'"):
        report.accuracy("a", "a", "pgd")
    (record,) = report.records()
    distances = [each["linf"] for each in record["adversarial"]["a"].values()]
    assert distances == pytest.approx([0.05, 0.1, 0.2])


@pytest.fixture(scope="module")
def networks(random_network) -> dict[str, Classifier]:
    """The network whose labels the examples have, and another one."""
    keras.utils.set_random_seed(7)
    other = keras.models.clone_model(random_network.model)
    return {"own": random_network, "other": Classifier.from_keras(other)}


@pytest.fixture
def run(networks, random_examples):
    """An evaluation of sixty examples; takes further options."""
    return functools.partial(evaluate_transfer, networks, random_examples, ATTACKS)


@pytest.fixture(scope="module")
def whole(networks, random_examples, tmp_path_factory):
    """The report of a run that was never interrupted, in batches of twenty."""
    path = tmp_path_factory.mktemp("whole") / "r.jsonl"
    return evaluate_transfer(networks, random_examples, ATTACKS, batch_size=20, output=path)


@pytest.mark.parametrize("source", ["own", "other"])
def test_images_that_the_target_gets_right_fare_as_in_evaluate_robustness(
    source, networks, random_examples, whole
):
    surrogate = None if source == "own" else networks["other"]
    expected = evaluate_robustness(
        networks["own"], random_examples, ATTACKS, success="last_iterate", surrogate=surrogate
    )
    records, compared = list(whole.records()), 0
    for one in expected.records():
        # With restarts one keeps what the target misclassifies, the other what the source does.
        if not one["clean_mistake"] and not (surrogate and one["attack"] == RESTARTED.name):
            found = records[one["index"]]["adversarial"][source][one["attack"]]
            assert found["predictions"]["own"] == one["adversarial_prediction"]
            assert found["linf"] == one["linf"]
            compared += 1
    assert compared > 50 * (len(ATTACKS) - 1)


def test_what_is_misclassified_is_attacked_too(whole, random_examples):
    mistakes = [each for each in whole.records() if each["clean"]["own"] != each["label"]]
    assert len(mistakes) == 6
    for record in mistakes:
        assert record["adversarial"]["own"]["fgsm(epsilon=0.1)"]["linf"] == pytest.approx(0.1)


@pytest.mark.parametrize("batches", ["in memory", "r.jsonl.gz"])
def test_records_in_memory_and_compressed_are_the_same(batches, run, whole, tmp_path):
    output = None if batches == "in memory" else tmp_path / batches
    report = run(batch_size=20, output=output)
    assert list(report.records()) == list(whole.records())
    for key in ("networks", "transfer", "comparisons"):
        assert report.summary[key] == whole.summary[key]


def test_a_run_killed_at_any_byte_ends_with_the_same_bytes(run, whole, tmp_path):
    def interrupt(state: Progress) -> None:
        if state.done >= 40:
            raise KeyboardInterrupt

    output = tmp_path / "r.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(batch_size=20, output=output, progress=interrupt)
    assert not output.exists()
    kept = journal_path(output).read_bytes()
    ends = np.flatnonzero(np.frombuffer(kept, np.uint8) == ord("\n")) + 1
    assert len(ends) == 1 + 40
    cuts = [5, ends[0] + 40, ends[3] - 1, ends[20], len(kept)]
    for cut in cuts:
        output.unlink(missing_ok=True)
        journal_path(output).write_bytes(kept[:cut])
        states: list[Progress] = []
        report = run(batch_size=20, output=output, progress=states.append)
        assert states[0].reused == max(0, kept[:cut].count(b"\n") - 1)
        assert states[-1][:2] == (60, 60)
        assert output.read_bytes() == whole.output.read_bytes(), cut
        assert report.summary["transfer"] == whole.summary["transfer"]
        assert not journal_path(output).exists()


def test_a_kill_between_records_and_summary_is_made_up_for(run, whole, tmp_path):
    output = tmp_path / "r.jsonl"
    run(batch_size=20, output=output)
    header = json.dumps({"fingerprint": read_summary(output, "transfer")["evaluated"]})
    journal_path(output).write_bytes(header.encode() + b"\n" + output.read_bytes())
    (tmp_path / "r.summary.json").unlink()
    assert run(batch_size=20, output=output).summary["transfer"] == whole.summary["transfer"]
    assert output.read_bytes() == whole.output.read_bytes()


def test_a_finished_run_is_read_back_and_another_one_refused(run, networks, whole):
    output, calls = whole.output, []
    again = run(batch_size=20, output=output, progress=calls.append)
    assert again.summary == whole.summary and not calls
    with pytest.raises(ValueError, match=r"differs in seed \(0 there, 1 asked for\)"):
        run(output=output, seed=1)
    with pytest.raises(ValueError, match="differs in .*targets"):
        run(output=output, targets="own")
    with pytest.raises(ValueError, match="it has no 'attacks'"):
        merge_shards([output], output.with_name("x.jsonl"))


def test_a_data_set_that_ends_before_the_kept_records_is_refused(run, random_examples, tmp_path):
    output = tmp_path / "r.jsonl"

    def batches(count):
        return iter([tuple(part[:8] for part in random_examples)] * count)

    def stop(state: Progress) -> None:
        if state.done == 24:
            raise KeyboardInterrupt

    networks = run.args[0]
    with pytest.raises(KeyboardInterrupt):
        evaluate_transfer(networks, batches(4), fgsm(0.1), output=output, progress=stop)
    with pytest.raises(ValueError, match="reach beyond the 16 examples"):
        evaluate_transfer(networks, batches(2), fgsm(0.1), output=output)


def all_parts(networks, arrays, count, directory, **options):
    paths = []
    for number in range(1, count + 1):
        first, stop = shard_range(len(arrays[1]), 20, number, count)
        paths.append(directory / f"{number}.jsonl.gz")
        evaluate_transfer(
            networks,
            tuple(array[first:stop] for array in arrays),
            ATTACKS,
            batch_size=20,
            output=paths[-1],
            first_index=first,
            shard=(number, count),
            **options,
        )
    return paths


def test_parts_give_what_one_pass_gives(networks, random_examples, whole, tmp_path):
    parts = all_parts(networks, random_examples, 3, tmp_path)
    assert "Only shard 2/3" in format_transfer(read_summary(parts[1], "transfer"))
    merged = merge_transfer([parts[2], parts[0], parts[1]], tmp_path / "merged.jsonl")
    assert (tmp_path / "merged.jsonl").read_bytes() == whole.output.read_bytes()
    differs = ("provenance", "seconds", "images_per_second")
    for key in whole.summary.keys() - set(differs):
        assert merged[key] == whole.summary[key], key
    assert len(merged["provenance"]["shards"]) == 3
    # Recognised as the whole evaluation, so it is read back.
    again = evaluate_transfer(
        networks, random_examples, ATTACKS, batch_size=20, output=tmp_path / "merged.jsonl"
    )
    assert again.summary == merged


def test_damaged_and_missing_parts_are_refused(networks, random_examples, tmp_path):
    parts = all_parts(networks, random_examples, 2, tmp_path, sources="own", targets="other")
    with pytest.raises(ValueError, match="missing: 2"):
        merge_transfer(parts[:1], tmp_path / "x.jsonl")
    plain = tmp_path / "plain.jsonl"
    (tmp_path / "plain.summary.json").write_bytes((tmp_path / "2.summary.json").read_bytes())
    records = [json.dumps(each).encode() + b"\n" for each in read_record_lines(parts[1], ())]
    for damaged, message in (
        (records[:-1], "expected example 59, found the end"),
        (records[1:], "expected example 20, found 21"),
        ([*records, records[-1]], "more records than"),
    ):
        plain.write_bytes(b"".join(damaged))
        with pytest.raises(ValueError, match=message):
            merge_transfer([parts[0], plain], tmp_path / "x.jsonl")
        assert not (tmp_path / "x.jsonl").exists()


def test_sources_and_targets_are_chosen_by_name(networks, random_examples):
    report = evaluate_transfer(
        networks, random_examples, "fgsm(0.1)", sources="other", targets=["own"]
    )
    assert [(each["source"], each["target"]) for each in report.summary["transfer"]] == [
        ("other", "own")
    ]
    assert report.summary["comparisons"] == []
    assert "Targets compared" not in format_transfer(report.summary)
    assert next(report.records())["clean"].keys() == {"own", "other"}
    for asked, message in (
        (("none", "own", "fgsm"), "No source is named 'none'"),
        (("other", "other", "fgsm"), "No target is named 'other'.* Known: own"),
        (("other", "own", "pgd"), "No attack is named 'pgd'"),
    ):
        with pytest.raises(ValueError, match=message):
            report.accuracy(*asked)


def test_a_defence_and_a_keras_model_are_taken_too(networks, random_examples):
    model = networks["other"].model
    expected = evaluate_transfer(networks, random_examples, fgsm(0.1))
    for other in (model, AdversarialModel(model, attack=fgsm(0.1))):
        given = {"own": networks["own"].model, "other": other}
        report = evaluate_transfer(given, random_examples, fgsm(0.1))
        assert list(report.records()) == list(expected.records())


def test_a_white_box_that_is_weaker_than_transfer_is_warned_of():
    # Beyond its threshold c's gradient is that of a class that it never predicts: it leads away.
    data = (gray_images([0.45] * 20), np.zeros(20, int))
    misled = mean_network([0.0, -0.5], [[0.0, -1.0], [0.0, 60.0]], [0.0, 0.0])
    report = evaluate_transfer({"a": above(0.4), "misled": misled}, data, fgsm(0.1))
    assert report.accuracy("misled", "misled", "fgsm") == 1.0
    assert report.accuracy("a", "misled", "fgsm") == 0.0
    (warning,) = report.summary["warnings"]
    assert warning.startswith(
        "fgsm leaves misled more accuracy with its own gradients (100.0%) than with those of a "
        "(0.0%): its gradients may be masked"
    )
    assert f"Warning: {warning}" in format_transfer(report.summary)


def test_numbers_that_cannot_be_meant_are_warned_of():
    data = (gray_images([0.2, 0.3, 0.7, 0.8] * 5), np.array([0, 0, 1, 1] * 5))
    report = evaluate_transfer({"a": above(0.5), "c": below(0.5)}, data, fgsm(1e-4))
    chance, epsilon = report.summary["warnings"]
    assert chance.startswith("The clean accuracy of c, 0.0%") and "no better than chance" in chance
    assert "fgsm" in epsilon and "gray level" in epsilon
    assert evaluate_transfer({"a": above(0.5)}, data, fgsm(0.1)).summary["warnings"] == []


def test_a_target_leaves_images_of_its_class_alone():
    data = (gray_images([0.45, 0.55]), np.array([0, 1]))
    report = evaluate_transfer({"a": above(0.5), "b": above(0.4)}, data, fgsm(0.1, target=1))
    moved = [each["adversarial"]["a"]["fgsm"] for each in report.records()]
    assert [each["linf"] for each in moved] == [pytest.approx(0.1), 0.0]
    assert report.accuracy("a", "a", "fgsm") == 0.5
    assert "towards class 1" in format_transfer(report.summary)


def network_of(shape=(6, 6, 2), classes=5, dtype="float64", bounds=(0, 1)) -> Classifier:
    keras.utils.set_random_seed(3)
    network = [
        keras.Input(shape, dtype=dtype),
        layers.Conv2D(2, 3, dtype=dtype),
        layers.GlobalAveragePooling2D(dtype=dtype),
        layers.Dense(classes, dtype=dtype),
    ]
    return Classifier.from_keras(keras.Sequential(network), bounds=bounds)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: network_of(classes=3), "Network 'other' has 3 classes, network 'own' 5.*one data"),
        (lambda: network_of((9, 9, 2)), r"'other' takes .*\(9, 9, 2\), network 'own' of \(6, 6, 2"),
        (
            lambda: network_of(bounds=(0, 255)),
            r"'other' takes pixels in \(0.0, 255.0\), network 'o",
        ),
        (lambda: network_of(dtype="float32"), "'other' computes in float32, network 'own' in floa"),
        (lambda: "vgg16", "Network 'other': .*got str"),
        (lambda: small_network(final="sigmoid", shape=(6, 6, 2)), "Network 'other': .*sigmoid"),
    ],
)
def test_networks_that_do_not_belong_together_are_named(other, message, networks, random_examples):
    with pytest.raises((ValueError, TypeError), match=message):
        evaluate_transfer({"own": networks["own"], "other": other()}, random_examples, fgsm(0.1))


def test_a_network_left_out_need_not_fit(networks, random_examples):
    given = {**networks, "odd": network_of(classes=3)}
    evaluate_transfer(given, random_examples, fgsm(0.1), sources="own", targets=["own", "other"])


def test_the_advice_on_sizes_and_pixel_ranges_leads_to_right_numbers(random_examples):
    data = [random_examples[0], random_examples[1]]
    plain, gray_levels, larger = network_of(), network_of(bounds=(-1, 1)), network_of((9, 9, 2))
    given = {"own": plain, "other": gray_levels}
    with pytest.raises(ValueError) as error:
        evaluate_transfer(given, data, fgsm(0.1))
    given["other"] = followed(error, gray_levels.model)
    report = evaluate_transfer(given, data, fgsm(0.1))
    expected = gray_levels.predict_logits(2 * data[0] - 1).numpy().argmax(-1)
    assert [each["clean"]["other"] for each in report.records()] == expected.tolist()

    with pytest.raises(ValueError) as error:
        evaluate_transfer({"own": plain, "other": larger}, data, fgsm(0.1))
    given["other"] = Classifier.from_keras(followed(error, larger.model))
    report = evaluate_transfer(given, data, fgsm(0.1))
    resized = layers.Resizing(9, 9, dtype="float64")(data[0])
    expected = larger.predict_logits(resized).numpy().argmax(-1)
    assert [each["clean"]["other"] for each in report.records()] == expected.tolist()


def followed(error, model: keras.Model):
    """What a message says to write in the place of a model."""
    text = str(error.value)
    begin = min(text.index(word) for word in ("Classifier.from_keras", "keras.Seq") if word in text)
    code = text[begin:].rstrip(".")
    return eval(code, {"keras": keras, "Classifier": Classifier, "model": model})


def test_a_network_of_any_size_is_taken_beside_one_of_a_fixed_size(random_examples):
    given = {"any": network_of((None, None, 2)), "fixed": network_of()}
    records = list(evaluate_transfer(given, random_examples, fgsm(0.1)).records())
    assert all(each["clean"]["any"] == each["clean"]["fixed"] for each in records)


def test_batches_of_images_of_several_sizes_are_taken():
    classifier = any_size_classifier()
    batches = batches_of_sizes(classifier, [(6, 6), (8, 7), (6, 6)])
    report = evaluate_transfer({"any": classifier}, batches, fgsm(0.1))
    expected = evaluate_robustness(classifier, batches, fgsm(0.1)).records()
    records = list(report.records())
    assert len(records) == 12
    for one in expected:
        found = records[one["index"]]["adversarial"]["any"]["fgsm"]["predictions"]["any"]
        assert one["clean_mistake"] or found == one["adversarial_prediction"]


@pytest.mark.parametrize("cascade", [auto_attack(0.1), "quick_cascade(0.1, num_steps=2)"])
def test_a_cascade_is_refused(cascade, run, networks, random_examples):
    with pytest.raises(
        ValueError, match="is a cascade: .* attacks=cascade.stages, or .*surrogate="
    ):
        evaluate_transfer(networks, random_examples, cascade)


def test_the_advice_on_cascades_works(networks, random_examples):
    data, cascade = [part[:8] for part in random_examples], AttackCascade(ATTACKS[1:3])
    report = evaluate_transfer(networks, data, cascade.stages)
    assert list(report.summary["threat_models"]) == ["fgsm", "pgd"]
    evaluate_robustness(networks["own"], data, cascade, surrogate=networks["other"])


@pytest.mark.parametrize(
    ("given", "options", "error", "message"),
    [
        ({}, {}, ValueError, "networks is empty"),
        ([brightness_classifier], {}, TypeError, "must be a mapping from names to networks"),
        ({"": None}, {}, TypeError, "texts that are not empty, got ''"),
        ({1: None}, {}, TypeError, "texts that are not empty, got 1"),
        ({"a": None}, {"sources": ["b"]}, ValueError, "sources names 'b'.* Known: a"),
        ({"cbam": None}, {"targets": "cbma"}, ValueError, "targets names 'cbma'.*mean 'cbam'"),
        ({"a": None}, {"sources": []}, ValueError, "sources is empty"),
        ({"a": None}, {"targets": ["a", "a"]}, ValueError, "targets names a more than once"),
        ({"a": None}, {"verbose": 3}, ValueError, "verbose must be"),
        ({"a": None}, {"batch_size": 0}, ValueError, "batch_size must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused(given, options, error, message):
    data = (gray_images([0.3]), np.array([0]))
    with pytest.raises(error, match=message):
        evaluate_transfer(given, data, fgsm(0.1), **options)


def test_attacks_and_outputs_are_checked_as_everywhere(networks, random_examples, tmp_path):
    for attacks, message in (
        ([], "attacks is empty"),
        ([fgsm(0.1), fgsm(0.1)], "more than once"),
        (fgsm(3.0), "epsilon"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate_transfer(networks, random_examples, attacks)
    (tmp_path / "r.jsonl").write_text("")
    with pytest.raises(FileExistsError, match="not its summary"):
        evaluate_transfer(networks, random_examples, step_ll(0.1), output=tmp_path / "r.jsonl")


def test_logits_that_are_not_finite_are_named(networks, random_examples):
    broken = keras.models.clone_model(networks["own"].model)
    broken.layers[-1].bias.assign(np.full(5, np.nan))
    with pytest.raises(ValueError, match="example 0, by network 'other'. Check its weights"):
        evaluate_transfer({"own": networks["own"], "other": broken}, random_examples, ifgsm(0.1))
