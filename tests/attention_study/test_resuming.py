"""A study that was interrupted writes the same bytes; records of another study are refused."""

from __future__ import annotations

import dataclasses
import itertools
import json

import pytest

from aad_tf import Classifier
from aad_tf.attacks import parse_attack, step_ll
from aad_tf.evaluation import journal_path
from aad_tf.records import summary_path
from tests.attention_study.conftest import mean_network
from tests.attention_study.studies import KilledError, kill_after, many, study


def odd_batches():
    """Batches of 4, 3, 1, 4, ... examples, as a generator."""
    examples, begin = many(size=37).get_single_element(), 0
    for size in itertools.cycle((4, 3, 1)):
        batch = {key: array[begin : begin + size] for key, array in examples.items()}
        begin += size
        yield batch
        if begin >= 37:
            return


DATA = {
    "dataset": many(),
    "opened anywhere": lambda start: many(start=start),
    "generator": lambda: many().as_numpy_iterator(),
    "odd batches": odd_batches,
}


@pytest.mark.parametrize("form", DATA)
def test_resumed_after_an_interruption_the_records_are_the_same_bytes(classifier, tmp_path, form):
    data = DATA[form]
    whole, cut = tmp_path / "whole.jsonl.gz", tmp_path / "cut.jsonl.gz"
    study(classifier, whole, data, batch_size=4)
    with pytest.raises(KilledError):
        study(classifier, cut, data, batch_size=4, progress=kill_after(12))
    assert not cut.exists()
    # What a kill in the middle of a write leaves: a batch in part, and half a line.
    journal = journal_path(cut)
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) >= 13
    journal.write_bytes(b"".join(lines[:11]) + lines[11][:30])
    seen = []
    report = study(
        classifier, cut, data, batch_size=4, progress=lambda state: seen.append(state.done)
    )
    assert cut.read_bytes() == whole.read_bytes()
    assert seen[0] == 12  # The rest of the batch that was written in part.
    assert report.summary["resumed_at"] == 10
    assert report.summary["counts"]["examples"] == 37
    assert not journal.exists()


def test_finished_study_is_read_back(classifier, tmp_path):
    output = tmp_path / "x.jsonl"
    first = study(classifier, output).summary
    before = output.stat().st_mtime_ns
    assert study(classifier, output).summary == first
    assert output.stat().st_mtime_ns == before


def test_records_of_another_network_are_refused(tmp_path):
    output = tmp_path / "x.jsonl"
    first, second = (Classifier.from_keras(mean_network(), "features") for _ in range(2))
    with pytest.raises(KilledError):
        study(first, output, progress=kill_after(2))
    second.model.layers[-1].kernel.assign_add([[0.1, 0.0], [0.0, 0.0]])
    with pytest.raises(ValueError, match="another evaluation, which differs in weights"):
        study(second, output)
    study(first, output)
    with pytest.raises(ValueError, match="differs in weights"):
        study(second, output)


def test_all_options_of_the_loss_tell_studies_apart(classifier, tmp_path):
    output = tmp_path / "x.jsonl"
    study(classifier, output)
    smoothed = step_ll(0.05, 2, label_smoothing=0.1)
    with pytest.raises(ValueError, match="differs in study.attack.parameters.objective.label_smoo"):
        study(classifier, output, attack=smoothed)


def test_a_summary_from_before_attacks_were_written_as_data_is_read(classifier, tmp_path):
    output = tmp_path / "x.jsonl"
    attack = parse_attack("step_ll(epsilon=0.05, num_steps=2)")
    summary = study(classifier, output, attack=attack).summary
    summary = json.loads(json.dumps(summary))
    for holder in (summary, summary["identity"], summary["fingerprint"]):
        del holder["study"]["attack"]["parameters"]
    for holder in (summary["identity"], summary["fingerprint"]):
        holder["objective"] = repr(attack.objective)
    summary_path(output).write_text(json.dumps(summary))
    assert study(classifier, output, attack=attack).summary == summary
    with pytest.raises(ValueError, match="study.attack.parameters.step_size .0.05 there"):
        study(classifier, output, attack=dataclasses.replace(attack, step_size=0.04))


def test_a_description_with_tuples_is_recognised(classifier, tmp_path):
    output = tmp_path / "x.jsonl"
    described = {"description": {"dataset": {"size": (4, 4)}}}
    first = study(classifier, output, **described).summary
    assert study(classifier, output, **described).summary == first
