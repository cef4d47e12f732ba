"""The gates of CBAM over a data set: their values, clean and attacked, and what they contribute."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from aad_tf.attacks import Attack, IterativeAttack
from aad_tf.attacks.shared_work import attacked_by_each
from aad_tf.attacks.starts import checked_seed
from aad_tf.attention.gates import KINDS, Gates, NetworkGates, gate_agreement, hold_gates
from aad_tf.attention.grad_cam import grad_cam
from aad_tf.classifier import Classifier
from aad_tf.evaluation import inputs
from aad_tf.evaluation.transfer import TransferReport, evaluate_transfer
from aad_tf.metrics import mean_interval
from aad_tf.records.progress import Progress, check_verbose, shown_progress
from aad_tf.utils.files import PathLike, check_writable

CLOSED, OPEN = 0.01, 0.99
OWN = "own_gates"
HELD = {"channel_held": ("channel",), "spatial_held": ("spatial",), "both_held": KINDS}
CLEAN = "clean"
# A quarter of the cells of the attention map.
_AREA = 4


def evaluate_gates(
    network: Classifier | keras.Model,
    dataset: Any,
    reference: Any,
    attacks: Sequence[Attack | str] | Attack | str,
    *,
    batch_size: int = 100,
    seed: int = 0,
    output: PathLike | None = None,
    description: Mapping[str, Any] | None = None,
    num_examples: int | None = None,
    num_reference: int | None = None,
    verbose: int | str = "auto",
) -> TransferReport:
    """Measures CBAM's gates on clean and attacked images, and what the network loses without them.

    A gate is a factor in [0, 1] by which a CBAM layer multiplies a channel or a position of its
    features. The network is compared with three copies, in which the channel gates, the spatial
    gates or both are constants: their means over the reference images. Accuracy and robustness that
    a copy keeps do not come from attention to the image. Each of the four networks is attacked with
    its own gradients, and all judge the images of each other, as in `evaluate_transfer`.

    Args:
        network: a Classifier or Keras model with CBAM layers.
        dataset: batches of images `[batch, H, W, C]` and labels `[batch]`, or a pair of arrays; any
            form that `evaluate_robustness` takes and that can be read more than once.
        reference: images and labels in the same forms, from which the mean gates are taken:
            training or validation images, not those of `dataset`.
        attacks: one or several attacks, also as text such as `"fgsm(epsilon=2/255)"`; no cascades.
        batch_size: how many images are attacked at a time where the data set is arrays.
        seed: int64, seed of the random starts.
        output: file of records, one JSON line per image with the classes that the four networks
            predict, as `evaluate_transfer` writes them; the summary goes beside it. The network is
            named `own_gates` there, the copies `channel_held`, `spatial_held` and `both_held`. An
            interrupted run continues from `<output>.partial`; what is measured of the gates
            themselves, after all images are judged, begins anew. A finished run is read back.
        description: further facts for the summary, as JSON can hold them.
        num_examples: how many examples of the data set are used, from the first; None for all.
        num_reference: how many reference images are used, from the first; None for all.
        verbose: 1 shows progress on standard error, 0 does not; `"auto"` shows it in a terminal or
            notebook.

    Returns:
        The report of `evaluate_transfer`. Its summary has a further entry `gates`, a dict of
            `reference_examples`: number of reference images;
            `closed_below`, `open_above`: 0.01 and 0.99;
            `map_cells`, `area_cells`: cells of an attention map, and of an area within it, which is
                a quarter of the map;
            `layers`: by layer, then by `"clean"` or the attack's name, the measures of its gates.
        The measures are under `channel` and `spatial`, over all gates and images: `mean`, `spread`
        (standard deviation), the fractions `closed` and `open`, `between_images` (root of the mean
        variance of a gate over images), `moved` (mean absolute difference from the clean image) and
        `gates` (number of gates per image); and under `agreement`, of the spatial gates with the
        Grad-CAM map of the label, `rank_correlation` and `iou`, each with `mean`, `interval` (95 %,
        Student's t) and `count`.

    Raises:
        TypeError: arguments of other types, images that are not floating point.
        ValueError: a network without CBAM, no reference images, a data set that can be read only
            once, no attacks or one of them twice, a cascade, a seed beyond int64, or images
            or labels out of range.
        OSError: the output cannot be written.

    Example:
        >>> report = evaluate_gates(cbam, test_images, validation_images, "fgsm(epsilon=2/255)")
        >>> report.accuracy("both_held", "both_held", "fgsm")
        0.31

    [Agrawal Sec. III]
    """
    seed = checked_seed(seed)
    classifier = inputs.as_classifier(network)
    if output is not None:
        check_writable(output)
    if not callable(dataset) and iter(dataset) is dataset:
        raise ValueError(
            "The data set can be read only once, and the gates take two passes: give arrays, a "
            "tf.data.Dataset, or a list of batches."
        )
    model = getattr(classifier, "model", None)
    if model is None:
        raise ValueError("The network is no Keras model any more, so its gates cannot be held.")
    asked = inputs.check_attacks(attacks)
    check_verbose(verbose)
    gates = NetworkGates(model)
    held = inputs.Batches(classifier, reference, batch_size, num_reference)
    counted = _Counted(held)
    means = gates.means(counted)
    # Where the network leaves the size open, spatial gates that are held are those of one size.
    shape = held.first(1)[0].shape[1:]
    copies = {
        name: Classifier.from_keras(
            hold_gates(model, means, kinds),
            classifier.attention_layer,
            classifier.bounds,
            shape,
            classifier.output,
        )
        for name, kinds in HELD.items()
    }

    def measured() -> dict[str, Any]:
        chosen: list[Any] = [attack.for_classes(classifier.num_classes) for attack in asked]
        batches = inputs.Batches(classifier, dataset, batch_size, num_examples)
        with shown_progress(verbose) as shown:
            layers, cells = _measured(classifier, gates, batches, chosen, seed, shown)
        return {
            "gates": {
                "reference_examples": counted.count,
                "closed_below": CLOSED,
                "open_above": OPEN,
                "area_cells": _area_of(cells),
                "map_cells": cells,
                "layers": layers,
            }
        }

    return evaluate_transfer(
        {OWN: classifier, **copies},
        dataset,
        attacks,
        batch_size=batch_size,
        seed=seed,
        output=output,
        # The constants are no weights, by which an evaluation knows its networks.
        description={**(description or {}), "reference_images": counted.fingerprint},
        num_examples=num_examples,
        verbose=verbose,
        further=measured,
    )


class _Counted:
    """Images of batches, counted and hashed as they go by."""

    def __init__(self, batches: inputs.Batches) -> None:
        self._batches, self.count, self._digest = batches, 0, hashlib.sha256()

    def __iter__(self) -> Iterator[np.ndarray]:
        for _, images, _ in self._batches:
            self.count += len(images)
            self._digest.update(np.ascontiguousarray(images).tobytes())
            yield images

    @property
    def fingerprint(self) -> str:
        """A hash of the images that have gone by, 16 hexadecimal digits."""
        return self._digest.hexdigest()[:16]


def _area_of(cells: int) -> int:
    return max(1, cells // _AREA)


def _measured(
    classifier: Classifier,
    gates: NetworkGates,
    batches: inputs.Batches,
    attacks: Sequence[IterativeAttack],
    seed: int,
    progress: Callable[[Progress], None] | None,
) -> tuple[dict[str, Any], int]:
    """The entries of the summary for each layer and condition, and the cells of a map."""
    begin = time.perf_counter()
    conditions = (CLEAN, *(str(attack.name) for attack in attacks))
    measures = {(layer, name): _Measures() for layer in gates.names for name in conditions}
    cells = 0
    for start, images, labels in batches:
        given = tf.constant(images), tf.constant(labels)
        indices = np.arange(start, start + len(labels))
        clean = gates(given[0])
        shown = [(CLEAN, given[0])]
        shown += [
            (str(attack.name), attacked)
            for attack, attacked in attacked_by_each(classifier, attacks, *given, seed, indices)
        ]
        for name, pictures in shown:
            maps = grad_cam(classifier, pictures, given[1]).numpy()
            cells = int(np.prod(maps.shape[1:]))
            for layer, found in gates(pictures).items():
                measures[layer, name].add(found, clean[layer], maps)
        if progress is not None:
            done, seconds = start + len(labels), time.perf_counter() - begin
            progress(Progress(done, batches.num_examples, 0, seconds, "images", "their gates"))
    layers: dict[str, Any] = {layer: {} for layer in gates.names}
    for (layer, name), measured in measures.items():
        layers[layer][name] = measured.as_dict()
    return layers, cells


class _Measures:
    """What is known of one layer's gates under one condition; memory does not grow with images."""

    def __init__(self) -> None:
        self._gates = {kind: _GateSums() for kind in KINDS}
        self._agreement: dict[str, list[np.ndarray]] = {"rank_correlation": [], "iou": []}

    def add(self, gates: Gates, clean: Gates, maps: np.ndarray) -> None:
        """Adds a batch to the sums.

        Args:
            gates: the gates on the images of the batch.
            clean: the gates on the clean images that these were made from.
            maps: attention maps of the images of the batch, `[batch, h, w]`.
        """
        for kind, sums in self._gates.items():
            sums.add(*(np.asarray(getattr(each, kind), np.float64) for each in (gates, clean)))
        area = _area_of(int(np.prod(maps.shape[1:])))
        for name, values in gate_agreement(gates.spatial, maps, area)._asdict().items():
            self._agreement[name].append(values)

    def as_dict(self) -> dict[str, Any]:
        """What goes into the summary."""
        agreement = {
            name: _mean(np.concatenate(values)) for name, values in self._agreement.items()
        }
        return {
            **{kind: sums.as_dict() for kind, sums in self._gates.items()},
            "agreement": agreement,
        }


class _GateSums:
    """Sums over the images of one gate: a number for each channel, or for each place."""

    def __init__(self) -> None:
        self._count, self._closed, self._open, self._moved = 0, 0, 0, 0.0
        self._sum: Any = 0.0
        self._squares: Any = 0.0

    def add(self, values: np.ndarray, clean: np.ndarray) -> None:
        """Adds gates of a batch, `[batch, ...]` in [0, 1], and those of its clean images."""
        self._count += len(values)
        self._closed += int((values < CLOSED).sum())
        self._open += int((values > OPEN).sum())
        self._moved += float(np.abs(values - clean).sum())
        self._sum += values.sum(0)
        self._squares += (values**2).sum(0)

    def as_dict(self) -> dict[str, Any]:
        """Means over images and cells; see `evaluate_gates`."""
        means, squares = self._sum / self._count, self._squares / self._count
        numbers, mean = self._count * means.size, float(means.mean())
        found = {
            "mean": mean,
            "spread": float(np.sqrt(max(squares.mean() - mean**2, 0.0))),
            "between_images": float(np.sqrt(np.maximum(squares - means**2, 0.0).mean())),
            "closed": self._closed / numbers,
            "open": self._open / numbers,
            "moved": self._moved / numbers,
        }
        return {**{name: round(value, 6) for name, value in found.items()}, "gates": means.size}


def _mean(values: np.ndarray) -> dict[str, Any]:
    """Mean of what is not NaN, with Student's interval."""
    known = values[~np.isnan(values)]
    if not len(known):
        return {"mean": None, "interval": None, "count": 0}
    interval = mean_interval(known)
    return {
        "mean": round(float(known.mean()), 6),
        "interval": interval and [round(bound, 6) for bound in interval],
        "count": len(known),
    }


def format_gates(summary: Mapping[str, Any]) -> str:
    """The measures of gates as text to print.

    Args:
        summary: the summary of a report of `evaluate_gates`.

    Returns:
        One line for each CBAM layer and each of the clean images and the attacks, under a heading.

    Example:
        >>> report = evaluate_gates(cbam, test_images, validation_images, "fgsm(epsilon=2/255)")
        >>> print(format_gates(report.summary))
    """
    lines = [
        f"Gates: mean, fraction closed (< {CLOSED:g}) and open (> {OPEN:g}); copies are held at "
        f"their means over {summary['gates']['reference_examples']} reference images."
    ]
    for layer, conditions in summary["gates"]["layers"].items():
        for name, found in conditions.items():
            parts = [
                f"{kind} {found[kind]['mean']:.3f}, {found[kind]['closed']:.1%} closed, "
                f"{found[kind]['open']:.1%} open"
                for kind in KINDS
            ]
            lines.append(f"  {layer}, {name}: {'; '.join(parts)}")
    return "\n".join(lines)
