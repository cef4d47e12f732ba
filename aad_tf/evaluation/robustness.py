"""Runs attacks over a whole data set: one record per example and attack, and a summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from aad_tf.attacks import Attack, attack_to_dict, recorded_parameters
from aad_tf.attacks.starts import checked_seed
from aad_tf.attacks.strength import comparisons
from aad_tf.classifier import Classifier
from aad_tf.evaluation import diagnostics as checks
from aad_tf.evaluation import inputs
from aad_tf.evaluation.example_log import ExampleLog
from aad_tf.evaluation.stream import AttackStream
from aad_tf.evaluation.summary import SUCCESS_RULES, looks_for_nearest, summarize
from aad_tf.records import read_records, summary_path
from aad_tf.records.fingerprints import (
    attention_index,
    fingerprint,
    probe_logits,
    weights_fingerprint,
)
from aad_tf.records.journal import check_same_evaluation, finished_summary
from aad_tf.records.progress import Progress, check_verbose, shown_progress
from aad_tf.records.shards import shard_facts
from aad_tf.types import Bounds
from aad_tf.utils.checks import check_choice, check_count, name_of_call
from aad_tf.utils.files import PathLike, check_writable, write_json_atomically
from aad_tf.utils.provenance import provenance


@dataclass(frozen=True)
class RobustnessReport:
    """What `evaluate_robustness` found.

    Attributes:
        summary: a dict that JSON can hold: `attacks`, a list with an entry per attack of its
            accuracies and its `threat_model`; `success_rule`; `warnings`; `diagnostics`, unless
            they were left out; `evaluated`, what was evaluated; and `provenance`, versions and
            hardware. `adaptive`, where adaptive attacks were run beside plain ones.
        output: file of the records, or None if they are in memory.

    Example:
        >>> report = evaluate_robustness(model, (images, labels), [fgsm(0.1), ifgsm(0.1)])
        >>> [entry["attack"] for entry in report.summary["attacks"]]
        ['fgsm', 'ifgsm']
    """

    summary: dict[str, Any]
    output: Path | None = None
    _records: tuple[dict[str, Any], ...] = ()

    def records(self) -> Iterator[dict[str, Any]]:
        """Yields one record per attack and example.

        They are sorted by attack, in the order of the evaluation, then by index of the example. If
        they are in a file, it is read anew at each call.

        Yields:
            Dicts with at least `index` of the example, `label`, name of the `attack`,
            `clean_prediction`, `adversarial_prediction`, `success` (misclassified under attack or
            when clean), `clean_mistake` (misclassified when clean), `steps` (iterations), `restart`
            and `linf` (largest difference of a pixel, in the unit of the images). The record of an
            attack in l2 also has `l2` (the l2 distance, in the same unit), that of a cascade
            `broken_by`, the name of the attack in it that got the image misclassified, or None.

        Raises:
            FileNotFoundError: the file of the records is not there any more.
            ValueError: the file is damaged.
        """
        return iter(self._records) if self.output is None else read_records(self.output)

    def robust_accuracy(self, attack: str) -> float:
        """Robust accuracy under the attack of that name.

        Args:
            attack: name of the attack. The part before its parameters, `fgsm` of
                `fgsm(epsilon=0.1)`, is enough if no other attack has the same.

        Returns:
            Fraction of all examples that are correct when clean and under the attack, in [0, 1].

        Raises:
            ValueError: no attack of that name was run, or several.
        """
        found = {entry["attack"]: entry["robust_accuracy"] for entry in self.summary["attacks"]}
        return found[name_of_call(attack, found)]


def evaluate_robustness(
    classifier: Classifier | keras.Model,
    dataset: Any,
    attacks: Sequence[Attack | str] | Attack | str,
    *,
    batch_size: int = 100,
    seed: int = 0,
    success: str = "any_iterate",
    output: PathLike | None = None,
    description: Mapping[str, Any] | None = None,
    first_index: int = 0,
    num_examples: int | None = None,
    shard: tuple[int, int] | None = None,
    surrogate: Classifier | keras.Model | None = None,
    transferred: Sequence[Attack | str] | Attack | str | None = None,
    diagnostics: bool = True,
    progress: Callable[[Progress], None] | None = None,
    verbose: int | str = "auto",
) -> RobustnessReport:
    """Measures accuracy under attacks, white box or transfer, over a whole data set.

    Every clean image is classified, and only those classified correctly are attacked. Each attack
    works on `batch_size` images at a time: an image leaves once it is misclassified, or has stayed
    correct through every iteration and restart, and the next image takes its place. All attacks
    share one pass over the data, and memory does not grow with the number of images. A batch with
    images of another size waits until those before it are finished, so data sorted by size are
    faster.

    A targeted attack (`pgd(..., target=3)`) continues until the target is predicted. Its robust
    accuracy still counts the images that stay correctly classified; `target_reached` in its entry
    of the summary is the fraction of attacked images that are classified as the target. Images
    whose label is the target are not attacked, and count as robust if they are correct when clean.

    In a cascade such as `auto_attack(8 / 255)` each attack gets the images that those before it
    left correct. Its records name the attack that got an image misclassified under `broken_by`, and
    `stages` in its entry of the summary has the robust accuracy after each attack.

    Of an attack that looks for the nearest misclassified image (`fab(None)`) the summary has the
    `median_distance`, and `security_curve` makes the accuracy within every budget of its records.

    Args:
        classifier: the network that is judged: a Classifier, a Keras model, which is wrapped by
            `Classifier.from_keras`, or a defence of this package.
        dataset: finite `tf.data.Dataset` of batches (images float `[batch, H, W, C]`, labels int
            `[batch]`), a `keras.utils.PyDataset`, any other iterable of such batches (a list, a
            generator, a `torch` DataLoader), a function that returns one, or a pair of arrays.
            Batches may be dicts of `image` and `label`; their size and that of their images may
            change. Sample weights are ignored: each image counts once. The order must be the same
            in every run: a resumed run reads the data from the start and skips what it has.
        attacks: one or several, also as text such as `"fgsm(epsilon=0.1)"`. Attacks of equal name
            are renamed by their parameters, as in `fgsm(epsilon=0.1)`.
        batch_size: how many images each attack works on at a time. It changes speed, and results
            only by float rounding.
        seed: int64, seed of the random starts, which depend on it, the example's index
            and the restart alone.
        success: `"any_iterate"` counts an example as misclassified if the image at a random start
            within the budget or after any iteration is; `"last_iterate"` classifies final images
            only, as most published tables do. The final image of `apgd`, `fab` and `square` is the
            best image they met: a misclassified one, if the network they follow misclassified any.
        output: file of records, compressed if it ends with ".gz"; the summary goes beside it.
            An interrupted run continues from `<output>.partial`, a finished one is read back. Of a
            float64 network the file then equals that of an uninterrupted run byte for byte. In
            float32 it does up to rounding, as with another `batch_size`: after the interruption
            other images share a batch, and an image next to a decision boundary may end on its
            other side.
        description: further facts on model and data, as JSON can hold them. It is part of the
            summary; an interrupted run continues only with an equal description.
        first_index: index of the first example in its data set; indices seed the random starts.
        num_examples: how many examples are evaluated, from the first one on; None for all. An
            endless data set needs it.
        shard: (number, count) if this is one of `count` parts of a data set, to be joined by
            `merge_shards`; `shard_range` gives the examples of a part.
        surrogate: another network whose gradients alone the attacks follow (transfer attacks); the
            classifier judges their images. It must take the same images and have the same classes.
            None for white-box attacks, which follow the classifier's own gradients.
        transferred: attacks that follow the surrogate, under names such as `transfer(pgd)`, while
            `attacks` follow the classifier. None: if there is a surrogate, `attacks` follow it.
        diagnostics: whether the summary lists signs that attacks failed although the network is not
            robust, such as vanishing gradients or success that still grows with the number of
            iterations; `aad_tf.evaluation.diagnostics` has the checks and their thresholds. They
            cost some passes of the network over at most 32 images, and change no record. A finished
            evaluation that is read back keeps the diagnostics that it has.
        progress: a function called with a `Progress` at the beginning and after each step.
        verbose: 1 shows progress on standard error, 0 does not; `"auto"` shows it in a terminal or
            notebook, unless there is a `progress`.

    Returns:
        The report; its `summary["attacks"]` has one entry per attack, in the order of attacks.

    Raises:
        TypeError: arguments of other types, images that are not floating point.
        ValueError: no attacks or one of them twice, sizes beyond the pixel range, an empty data
            set, images or labels out of range, a target that is no class, a seed beyond int64,
            fewer than `num_examples` examples, a surrogate that does not fit, `transferred` without
            one, a shard that does not exist, or an output that belongs to another evaluation.
        OSError: the output cannot be written.

    Example:
        >>> report = evaluate_robustness(model, (images, labels), [fgsm(0.1), ifgsm(0.1)])
        >>> report.robust_accuracy("fgsm")
        0.73
        >>> transfer = evaluate_robustness(model, dataset, fgsm(0.1), surrogate=other_model)
        >>> both = evaluate_robustness(
        ...     model, dataset, adaptive_attacks(0.1), surrogate=twin, transferred=apgd(0.1, 20)
        ... )
    """
    attacks, followers = inputs.check_attacks(attacks), None
    if transferred is not None:
        further = inputs.check_transferred(transferred, surrogate)
        attacks = inputs.check_attacks((*attacks, *further))
        followers = [attack.name for attack in attacks[-len(further) :]]
    check_count(batch_size, "batch_size")
    seed = checked_seed(seed)
    check_choice(success, SUCCESS_RULES, "success rule")
    output = None if output is None else Path(output)
    if output is not None:
        check_writable(output)
    check_verbose(verbose)
    classifier = inputs.as_classifier(classifier)
    for attack in attacks:
        attack.check_sizes(classifier.bounds, classifier.input_shape)
    attacks = tuple(attack.for_classes(classifier.num_classes) for attack in attacks)
    access: dict[str, Any] = {}
    if surrogate is not None:
        surrogate = inputs.as_surrogate(surrogate, classifier)
        access = {"surrogate": weights_fingerprint(surrogate)}
        access |= {} if followers is None else {"transferred": followers}
    batches = inputs.Batches(classifier, dataset, batch_size, num_examples, first_index)
    if output is not None:
        access["logits"] = probe_logits(classifier, batches.image_shape)
    if any(inputs.follows_attention(attack) for attack in attacks):
        networks = [each for each in (classifier, surrogate) if each is not None]
        access["attention_layer"] = [attention_index(each) for each in networks]
    evaluated = fingerprint(
        classifier,
        first_example=batches.first_example,
        num_examples=batches.num_examples,
        description=dict(description or {}),
        attacks={attack.name: attack_to_dict(attack) for attack in attacks},
        seed=seed,
        success=success,
        **access,
        **shard_facts(first_index, shard),
    )
    if output is not None and (summary := finished_summary(output, "attacks")) is not None:
        _check_finished(output, summary, {**evaluated, "num_examples": batches.count()})
        entries = {entry["attack"]: entry for entry in summary["attacks"]}
        # It may have been asked for in another order then.
        summary["attacks"] = [entries[attack.name] for attack in attacks]
        return RobustnessReport(summary, output)
    stream = AttackStream(classifier, attacks, batch_size, seed, success, surrogate, followers)
    nearest = [each.name for each in attacks if looks_for_nearest(each.threat_model())]
    names = [attack.name for attack in attacks]
    log = ExampleLog(names, first_index, output, evaluated, distances_of=nearest)
    try:
        with shown_progress(verbose, progress) as shown:
            stream.run(batches, log, shown)
        summary = _summary(stream, log, evaluated)
        if diagnostics:
            models = [entry["threat_model"] for entry in summary["attacks"]]
            # Where some attacks are white box, it is their gradients that matter.
            white = [attack for attack in attacks if attack.name not in stream.transferred]
            found = checks.of_first_batch(
                classifier,
                white or attacks,
                *batches.first(checks.FIRST_BATCH),
                log.counts,
                first_index=first_index,
                seed=seed,
                success=success,
                surrogate=None if white else surrogate,
            )
            outcomes = checks.of_outcomes(models, log.counts)
            summary["diagnostics"] = {"first_batch": [found], "outcomes": outcomes}
        return _finish(log, summary)
    finally:
        log.close()


def _check_finished(output: Path, summary: Mapping[str, Any], evaluated: Mapping[str, Any]) -> None:
    """Refuses the summary of a finished run of another evaluation."""
    # Every entry counts the examples, also where the data set could not tell their number before.
    found = {**summary.get("evaluated", {}), "num_examples": summary["attacks"][0]["count"]}
    models = [entry["threat_model"] for entry in summary["attacks"]]
    # Older summaries describe attacks by the text of a Python object.
    found["attacks"] = {model["attack"]: recorded_parameters(model) for model in models}
    check_same_evaluation(output, found, evaluated)


def _summary(stream: AttackStream, log: ExampleLog, evaluated: Mapping[str, Any]) -> dict[str, Any]:
    success, bounds = evaluated["success"], Bounds(*evaluated["bounds"])
    transfer: dict[str, Any] = {}
    if stream.surrogate is not None:
        name, weights = stream.surrogate.model.name, evaluated["surrogate"]
        transfer = {"access": "transfer", "surrogate": {"name": name, "weights": weights}}
    accesses = [
        transfer if attack.name in stream.transferred else {"access": "white_box"}
        for attack in stream.attacks
    ]
    # More steps fit a surrogate better, not the classifier: fewer successes mask nothing.
    white = [attack for attack in stream.attacks if attack.name not in stream.transferred]
    compared = comparisons(white, bounds)
    models = [
        {**attack.threat_model(bounds), "success": success, **access}
        for attack, access in zip(stream.attacks, accesses, strict=True)
    ]
    timings = [stream.timing(attack) for attack in stream.attacks]
    summary = {
        **summarize(models, timings, log.counts, SUCCESS_RULES[success], compared),
        "evaluated": dict(evaluated),
        "provenance": provenance(),
    }
    if "shard" in evaluated:
        # Parts are joined where only names of attacks are known.
        summary["comparisons"] = compared
    return summary


def _finish(log: ExampleLog, summary: dict[str, Any]) -> RobustnessReport:
    if log.output is None:
        return RobustnessReport(summary, None, tuple(log.sorted_records()))
    log.write_sorted()
    write_json_atomically(summary_path(log.output), summary)
    log.remove()
    return RobustnessReport(summary, log.output)
