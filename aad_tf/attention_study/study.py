"""Attention studies: attention maps of all images of a data set, before and under attack."""

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
from aad_tf.records.fingerprints import fingerprint, probe_logits
from aad_tf.records.journal import Journal, check_same_evaluation, finished_summary, journal_path
from aad_tf.records.progress import Progress, check_verbose, shown_progress
from aad_tf.utils.checks import check_count
from aad_tf.utils.files import PathLike, check_writable, write_json_atomically
from aad_tf.utils.provenance import provenance

__all__ = ["METHODS", "StudyReport", "study_attention"]


@dataclass(frozen=True)
class StudyReport:
    """A finished attention study.

    Attributes:
        summary: a dict that JSON can hold: `study`, its settings; `counts` of images; `accuracy` on
            the original images and after each iteration of the attack; means of faithfulness, if
            it was measured; `fingerprint` and `identity`, what was studied; and `provenance`,
            versions and hardware.
        output: path of the file of records.
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
    """Measures attention maps of all images of a data set before and after each attack iteration.

    The data set is read once, and memory does not grow with the number of images. One record per
    image is written to `output`, with predictions, maps, and their overlaps with boxes and with the
    map of the original image (`aad_tf.attention_study.records` explains all keys), and a summary
    beside it. While the study runs, records are kept in `<output>.partial`; called again after an
    interruption, it continues there, and its records equal those of a study that was not
    interrupted. If `output` is complete already, its report is returned.

    Args:
        classifier: the network; a Keras model is wrapped by `Classifier.from_keras`.
        dataset: a `tf.data.Dataset` or another iterable of batches, each a tuple
            `(images, labels)` or a dictionary with `image` and `label`, and `boxes` and
            `box_labels` if there are boxes, as `aad_tf.data.boxed_batches` returns them; or a pair
            of arrays. Or a function that takes the index of an example (`first_index` plus a
            multiple of `batch_size`) and returns such a data set that starts at it. The order of
            examples must be the same in every run.
        attack: gradient-sign attack without restarts, or its text.
        output: file of records; it is compressed if its name ends with ".gz".
        batch_size: largest number of examples in a batch; arrays are divided by it.
        options: methods and measures; None for the defaults of `Options`.
        first_index: index of the first example in its split; for a shard, where the shard begins.
        num_examples: number of examples to use; None for all. A generator without end needs it.
        shard: (number, count) if this is one of several parts that `merge_shards` merges later.
        description: description of network and data for the summary, ready for JSON. A resumed
            study must have the same entry `dataset`.
        class_names: one name per class, for tables and figures.
        progress: function that is called with a `Progress` after each batch.
        verbose: 1 shows progress on standard error, 0 does not; `"auto"` shows it in a terminal or
            notebook if `progress` is None.

    Returns:
        The report: summary, and path of the records.

    Raises:
        ImportError: LIME without scikit-image, unless the superpixels are given.
        TypeError: arguments of other types.
        ValueError: images, labels or boxes that are not valid, an attack with restarts, an output
            of another study, or logits that are NaN or infinite.
        OSError: the output cannot be written.

    Example:
        >>> batches = aad_tf.data.boxed_batches("tiny_imagenet_boxes", "test", 50)
        >>> study_attention(model, batches, step_ll(4 / 255, 3), output="x.jsonl", batch_size=50)

    [AAD Sec. 2, App. A]
    """
    batch_size = check_count(batch_size, "batch_size")
    first_index = check_count(first_index, "first_index", least=0)
    check_verbose(verbose)
    output = Path(output)
    check_writable(output)
    classifier = as_classifier(classifier)
    explainer = Explainer(classifier, attack, options or Options(), batch_size)
    source = BoxedSource(dataset, batch_size, first_index, num_examples)
    # As the summary will give it back.
    description = json.loads(json.dumps(dict(description or {})))
    known = fingerprint(
        classifier,
        logits=probe_logits(classifier, source.image_shape),
        dataset=description.get("dataset"),
        study=explainer.facts,
    )
    part = {"first_index": first_index, "shard": [*map(int, shard)] if shard else None}
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
