"""Follows what a network looks at, image by image, while an attack goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from aad_tf.attacks import GradientSignAttack, recorded_parameters
from aad_tf.attention_study.explain import METHODS, Explainer, Options
from aad_tf.attention_study.inputs import BoxedSource
from aad_tf.attention_study.records import Counts, is_record
from aad_tf.classifier import Classifier
from aad_tf.evaluation.inputs import as_classifier
from aad_tf.records import summary_path, write_record_lines
from aad_tf.records.fingerprints import fingerprint
from aad_tf.records.journal import Journal, check_same_evaluation, finished_summary, journal_path
from aad_tf.records.progress import Progress, check_verbose, shown_progress
from aad_tf.utils.checks import check_count
from aad_tf.utils.files import PathLike, check_writable, write_json_atomically
from aad_tf.utils.provenance import provenance

__all__ = ["METHODS", "StudyReport", "study_attention"]


@dataclass(frozen=True)
class StudyReport:
    """A finished study.

    Attributes:
        summary: what was studied, counts, where it came from.
        output: file of records.
    """

    summary: dict[str, Any]
    output: Path


def study_attention(
    classifier: Classifier | keras.Model,
    dataset: Any,
    attack: GradientSignAttack | str,
    *,
    output: PathLike,
    batch_size: int,
    options: Options | None = None,
    first_index: int = 0,
    num_examples: int | None = None,
    shard: tuple[int, int] | None = None,
    description: Mapping[str, Any] | None = None,
    class_names: Sequence[str] = (),
    progress: Callable[[Progress], None] | None = None,
    verbose: int | str = "auto",
) -> StudyReport:
    """Explains every image of a data set as it is and after each round of an attack.

    One pass; memory does not grow with the number of images. One record per image goes to `output`,
    see `aad_tf.attention_study.records`, and a summary beside it. An interrupted study continues
    from `<output>.partial`, batch by batch, with the records of one that was never interrupted.

    Args:
        classifier: the network; a Keras model is wrapped by `Classifier.from_keras`.
        dataset: any data set that `aad_tf.evaluate_robustness` takes: batches `(images, labels)`
            or dictionaries of `image` and `label` as a `tf.data.Dataset` or another iterable, or
            arrays. Boxes are welcome: dictionaries with `boxes` and `box_labels`, as
            `aad_tf.data.boxed_batches` and `aad_tf.data.from_tuples` give them. Or a function that
            opens one at an index; see `BoxedSource`. Batches may have images of different sizes
            where the network takes them. The order must be the same in every run.
        attack: gradient-sign attack without restarts, or its text.
        output: file of records, compressed if its name ends with ".gz".
        batch_size: examples in a batch, at most; arrays are cut by it.
        options: methods and measures.
        first_index: index of the first example in its split; of a shard, where it begins.
        num_examples: only so many examples, from the first one on; an endless generator needs it,
            else it only helps to tell the remaining time.
        shard: (number, count) if this is one of several parts, to be merged by `merge_shards`.
        description: what network and data are, ready for JSON; `dataset` is part of what must
            agree for records to belong together.
        class_names: one name per class, for tables and figures.
        progress: called with a `Progress` after each batch.
        verbose: 1 shows progress on standard error, 0 does not; `"auto"` shows it in a terminal or
            notebook, unless there is a `progress`.

    Returns:
        The report.

    Raises:
        TypeError: arguments of other types.
        ValueError: boxes or images that cannot be, an attack with restarts, an output of another
            study, logits that are not finite.
        OSError: the output cannot be written.

    Example:
        >>> batches = aad_tf.data.boxed_batches("tiny_imagenet_boxes", "test", 50)
        >>> study_attention(model, batches, step_ll(4 / 255, 3), output="x.jsonl", batch_size=50)

    [AAD Sec. 2, App. A]
    """
    check_count(batch_size, "batch_size")
    check_verbose(verbose)
    output = Path(output)
    check_writable(output)
    classifier = as_classifier(classifier)
    explainer = Explainer(classifier, attack, options or Options(), batch_size)
    source = BoxedSource(dataset, batch_size, first_index, num_examples)
    # As the summary will give it back.
    description = json.loads(json.dumps(dict(description or {})))
    known = fingerprint(classifier, dataset=description.get("dataset"), study=explainer.facts)
    part = {"first_index": first_index, "shard": list(shard) if shard else None}
    identity = {**known, **part, "first_example": source.first_example}
    if (summary := finished_summary(output, "study")) is not None:
        _check_finished(output, summary, identity)
        return StudyReport(summary, output)
    journal = Journal(journal_path(output), identity, is_record)
    try:
        with shown_progress(verbose, progress) as shown:
            found = _study(explainer, source, journal, first_index, num_examples, shown)
        summary = {
            "study": explainer.facts,
            "identity": identity,
            "fingerprint": known,
            "description": description,
            "class_names": list(class_names),
            **explainer.layers,
            **found,
            "shard": part["shard"],
            "provenance": provenance(),
        }
        write_record_lines(output, journal.lines())
        write_json_atomically(summary_path(output), summary)
        journal.remove()
        return StudyReport(summary, output)
    finally:
        journal.close()


def _check_finished(output: Path, summary: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Refuses the summary of a finished study that is another one than asked for."""
    found = dict(summary.get("identity", {}))
    if "study" in found:
        # Older summaries name the attack, and hold the text of a Python object for its objective.
        found.pop("objective", None)
        attack = found["study"]["attack"]
        attack = {**attack, "parameters": recorded_parameters(attack)}
        found["study"] = {**found["study"], "attack": attack}
    check_same_evaluation(output, found, identity)


def _study(
    explainer: Explainer,
    source: BoxedSource,
    journal: Journal,
    first_index: int,
    num_examples: int | None,
    progress: Callable[[Progress], None] | None,
) -> dict[str, Any]:
    """Studies the batches that the journal does not hold yet; counts and rates for the summary."""
    counts = Counts(explainer.facts)
    counts.add(journal.consecutive(first_index))
    reused, seconds, began = counts.examples, 0.0, time.monotonic()
    for records in _measured(explainer, source, reused):
        # Of a batch that was written in part, what is there already.
        records = [each for each in records if each["index"] >= first_index + counts.examples]
        journal.append(records)
        counts.add(records)
        seconds = time.monotonic() - began
        if progress is not None:
            progress(Progress(counts.examples, num_examples, reused, seconds, "images"))
    fresh = counts.examples - reused
    return {
        "counts": counts.as_dict(),
        "accuracy": counts.accuracy(),
        **counts.faithfulness.as_dict(),
        "resumed_at": reused,
        "seconds": round(seconds, 2),
        "examples_per_second": round(fresh / seconds, 2) if seconds else None,
        "range": [first_index, first_index + counts.examples],
    }


def _measured(
    explainer: Explainer, source: BoxedSource, done: int
) -> Iterator[list[dict[str, Any]]]:
    """Records batch by batch; one batch is measured while the network works on the next."""
    waiting: Future[list[dict[str, Any]]] | None = None
    with ThreadPoolExecutor(1, "measure") as measuring:
        for batch in source.batches(explainer.classifier, done):
            passes = explainer.passes(batch)
            if waiting is not None:
                yield waiting.result()
            waiting = measuring.submit(explainer.records, batch, passes)
        if waiting is not None:
            yield waiting.result()
