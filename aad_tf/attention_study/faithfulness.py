"""Faithfulness in an attention study: whether maps show what the network uses.

With `Options(faithfulness=Faithfulness())` a study applies the tests of
`aad_tf.attention.faithfulness` to the maps of every round, and to two baseline maps that do not
depend on the network. The original and the attacked versions of an image share baseline maps and
random draws. LIME's maps are measured by deletion and insertion alone: the other tests compute many
new maps, which would take thousands of passes of the network for each image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats

from aad_tf.attention.faithfulness import (
    NO_LAYER,
    ClassifierMaps,
    Fill,
    center_map,
    check_fill,
    check_radius,
    deletion,
    insertion,
    max_sensitivity,
    random_maps,
    randomization_check,
    weighted_layers,
)
from aad_tf.attention.grad_cam import grad_cam
from aad_tf.attention.grad_cam_plus_plus import grad_cam_plus_plus
from aad_tf.attention_study import measures
from aad_tf.attention_study.inputs import Batch
from aad_tf.attention_study.network_pass import Round
from aad_tf.classifier import Classifier
from aad_tf.utils.checks import check_count

BASELINES = ("random", "center")
"""Maps without information: `random_maps` on the grid of the attention layer, and `center_map`."""
_DECIMALS = 6
# Maps that cost one pass each, and can be made again for each draw and each randomised layer.
_MAP_FUNCTIONS: Mapping[str, ClassifierMaps] = {
    "grad_cam": grad_cam,
    "grad_cam_plus_plus": grad_cam_plus_plus,
}


@dataclass(frozen=True)
class Faithfulness:
    """Settings of the tests of whether attention maps show what the network uses.

    In deletion and insertion, the class's probability is recorded while the pixels of highest
    attention are removed from the image, or added to an empty one. Max-sensitivity is the largest
    relative change of a map under small changes of the image. The randomisation check compares maps
    with those of the network whose layers are randomised one after the other.

    Max-sensitivity and the randomisation of layers are not measured for LIME: 11 maps of 1,000
    samples would take 11,000 passes for each image and round. On a few images, use
    `aad_tf.attention.max_sensitivity` and `randomization_check`.

    Attributes:
        num_steps: number of steps in which deletion and insertion exchange pixels.
        fill: what deletion turns pixels into: `"mean"`, the mean colour of the image; `"blur"`,
            the blurred image; or a colour in the unit of the images, one number or one per channel.
        start: the image to which insertion adds pixels, given like `fill`.
        radius: radius of the l-inf ball of max-sensitivity, in the unit of the images; None for
            0.02 times the width of the pixel range.
        num_draws: number of random images around each image in max-sensitivity.
        randomized_images: the randomisation check is made for images whose index is below this
            number; 0 for none.

    Raises:
        TypeError: numbers that are not integers.
        ValueError: numbers below 1, or negative `randomized_images`.
    """

    num_steps: int = 20
    fill: Fill = "mean"
    start: Fill = "blur"
    radius: float | None = None
    num_draws: int = 10
    randomized_images: int = 100

    def __post_init__(self) -> None:
        for name, least in (("num_steps", 1), ("num_draws", 1), ("randomized_images", 0)):
            object.__setattr__(self, name, check_count(getattr(self, name), name, least))

    def facts(self, classifier: Classifier) -> dict[str, Any]:
        """Checks the settings for a classifier and returns them for the summary of a study.

        Args:
            classifier: the network, whose pixel range is used.

        Returns:
            The attributes by name; `radius` is a number also where it was None.

        Raises:
            TypeError: a radius that is no number.
            ValueError: fill or radius outside of the pixel range.
        """
        for name in ("fill", "start"):
            check_fill(getattr(self, name), classifier, name)
        return {**vars(self), "radius": check_radius(self.radius, classifier)}


class FaithfulnessMeasures:
    """Tests, batch by batch, whether attention maps show what the network uses.

    The tests are deletion and insertion of pixels, max-sensitivity, and randomisation of layers.

    Args:
        classifier: the network.
        methods: methods of attention maps: `"grad_cam"`, `"grad_cam_plus_plus"`, `"lime"`.
        settings: settings of the tests.
        seed: seed of random maps and draws; those of an image depend on it and the image's index.

    Attributes:
        layers: names of the layers whose weights are randomised, `"none"` first; empty if the
            randomisation is left out.

    Raises:
        TypeError: the randomisation is asked for, and the network is an exported one.
    """

    def __init__(
        self,
        classifier: Classifier,
        methods: Sequence[str],
        settings: Faithfulness,
        seed: int,
    ) -> None:
        self._classifier, self._methods = classifier, methods
        self._settings, self._seed = settings, seed
        self._map_functions = {
            method: _MAP_FUNCTIONS[method] for method in methods if method in _MAP_FUNCTIONS
        }
        self._randomized_images = settings.randomized_images if self._map_functions else 0
        randomized = weighted_layers(classifier) if self._randomized_images else []
        self.layers = [NO_LAYER, *(name for name, _ in randomized)] if randomized else []

    def columns(
        self, batch: Batch, rounds: Sequence[Round], lime_found: Sequence[Any], by_label: bool
    ) -> dict[str, Any]:
        """Tests for the maps of a batch whether they show what the network uses.

        Args:
            batch: the original images.
            rounds: images and maps before the attack and after each of its iterations.
            lime_found: one `LimeExplanation` per round; empty without LIME.
            by_label: True if maps explain the true label, False for the prediction of each round.

        Returns:
            `faithfulness`: by method, and for the maps without information `"random"` and
                `"center"`, arrays `[rounds, batch]`: `deletion` and `insertion`, areas in [0, 1]
                under the curves of the class's probability while pixels of highest attention are
                removed or added; `deletion_curve` and `insertion_curve`, the curves with 8 bits per
                step as base64 text; and, of Grad-CAM and Grad-CAM++, `max_sensitivity`, the largest
                relative change of the map under small changes of the image.
            `randomization`, if the batch has images for which it is wanted: by method, arrays
                `[layers, batch]` of `rank_correlation`, in [-1, 1], and `iou`, in [0, 1], of the
                map with that of the network whose layers up to this one are randomised.
        """
        labels = batch.labels.numpy()
        start = self._seed + batch.first_index
        seeds = range(start, start + len(labels))
        found = []
        for number, step in enumerate(rounds):
            class_ids = labels if by_label else step.explanation.prediction
            maps = self._pixel_maps(step, lime_found[number] if lime_found else None, seeds)
            found.append(self._round(step.images, maps, class_ids, seeds))
        columns: dict[str, Any] = {"faithfulness": _stacked(found)}
        if batch.first_index < self._randomized_images:
            class_ids = labels if by_label else rounds[0].explanation.prediction
            columns["randomization"] = {
                method: self._randomized(function, batch, class_ids)
                for method, function in self._map_functions.items()
            }
        return columns

    def leave_out_later_images(self, records: Iterable[dict[str, Any]]) -> None:
        """Removes `randomization` from the records of images for which it is not wanted.

        These are the images whose index is not below the setting `randomized_images`.

        Args:
            records: records of a batch, which are changed in place.
        """
        for record in records:
            if record["index"] >= self._randomized_images:
                record.pop("randomization", None)

    def _pixel_maps(
        self, step: Round, explained: Any, seeds: Sequence[int]
    ) -> dict[str, np.ndarray]:
        """The maps of all methods and baselines, in the order of their pixels."""
        size = step.images.shape[1:3]
        grid = step.explanation.grad_cam.shape[1:]
        maps = {}
        for method in self._methods:
            if method == "lime":
                maps[method] = explained.map()
            else:
                signed = getattr(step.explanation, method)
                maps[method] = measures.ranked_pixels(signed, size)
        maps["random"] = random_maps(seeds, grid)
        maps["center"] = np.repeat(center_map(size)[np.newaxis], len(seeds), axis=0)
        return maps

    def _round(
        self, images: Any, maps: Mapping[str, np.ndarray], class_ids: Any, seeds: Sequence[int]
    ) -> dict[str, dict[str, Any]]:
        settings, classifier = self._settings, self._classifier
        columns: dict[str, dict[str, Any]] = {}
        for name, ranked in maps.items():
            arguments = (classifier, images, ranked, class_ids)
            steps = settings.num_steps
            removed = deletion(*arguments, num_steps=steps, fill=settings.fill)
            shown = insertion(*arguments, num_steps=steps, start=settings.start)
            columns[name] = {
                "deletion": removed.area,
                "insertion": shown.area,
                "deletion_curve": measures.as_text(255 * removed.probabilities),
                "insertion_curve": measures.as_text(255 * shown.probabilities),
            }
        for method, function in self._map_functions.items():
            columns[method]["max_sensitivity"] = max_sensitivity(
                function,
                classifier,
                images,
                class_ids,
                radius=settings.radius,
                num_draws=settings.num_draws,
                seed=seeds,
            )
        return columns

    def _randomized(
        self, function: ClassifierMaps, batch: Batch, class_ids: Any
    ) -> dict[str, np.ndarray]:
        steps = randomization_check(
            function, self._classifier, batch.images, class_ids, seed=self._seed
        )
        return {
            name: np.stack([getattr(step, name) for step in steps])
            for name in ("rank_correlation", "iou")
        }


def _stacked(rounds: Sequence[Any]) -> Any:
    """A nested mapping for each round as one mapping of arrays `[rounds, ...]`."""
    if not isinstance(rounds[0], Mapping):
        return np.stack(rounds)
    return {name: _stacked([each[name] for each in rounds]) for name in rounds[0]}


class FaithfulnessMeans:
    """Means over the records of a study of the measures of whether maps show what the network uses.

    These are deletion, insertion, max-sensitivity and the randomisation of layers. Records are
    added one after the other; memory does not grow with their number.

    Args:
        settings: settings of faithfulness, as the summary of the study holds them; None if it is
            not measured, so that nothing is counted.
    """

    def __init__(self, settings: Mapping[str, Any] | None) -> None:
        self._settings = settings
        self._sums: dict[tuple[str, ...], np.ndarray] = {}

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Adds records to the means; without settings of faithfulness nothing is done.

        Args:
            records: records of the study, dictionaries with `faithfulness` and perhaps
                `randomization`.
        """
        if self._settings is None:
            return
        for record in records:
            for method, columns in record["faithfulness"].items():
                for name in ("deletion", "insertion", "max_sensitivity"):
                    if name in columns:
                        values = np.array(columns[name], np.float64)
                        self._count(("faithfulness", method, name), values)
                        change = values[1:] - values[0]
                        self._count(("faithfulness", method, f"{name}_change"), change)
            for method, columns in record.get("randomization", {}).items():
                for name, values in columns.items():
                    self._count(("randomization", method, name), np.array(values, np.float64))

    def as_dict(self) -> dict[str, Any]:
        """Returns the means for the summary of a study.

        Returns:
            An empty dictionary if faithfulness was not measured; else
            `faithfulness`: by map and measure, a list over rounds, the original image first; and as
                `<measure>_change`, the mean difference of each later round from the original image.
            `randomization`: by method and measure, a list over the summary's `randomized_layers`.
            Each entry is a dictionary with `mean`, `interval` (95 %, Student's t; None for fewer
            than two values) and `count`, the number of values that are not NaN.
        """
        found: dict[str, Any] = {}
        for (part, method, name), sums in self._sums.items():
            entries = [_mean(*column) for column in sums.T]
            found.setdefault(part, {}).setdefault(method, {})[name] = entries
        return found

    def _count(self, path: tuple[str, ...], values: np.ndarray) -> None:
        known = ~np.isnan(values)
        values = np.where(known, values, 0.0)
        self._sums[path] = self._sums.get(path, 0.0) + np.stack([known, values, values**2])


def _mean(count: float, total: float, squares: float) -> dict[str, Any]:
    """Mean and interval from a count, a sum and a sum of squares."""
    if not count:
        return {"mean": None, "interval": None, "count": 0}
    mean, interval = total / count, None
    if count > 1:
        variance = max(squares - total * mean, 0.0) / (count - 1)
        reach = scipy.stats.t.ppf(0.975, count - 1) * np.sqrt(variance / count)
        interval = [round(float(mean - reach), _DECIMALS), round(float(mean + reach), _DECIMALS)]
    return {"mean": round(float(mean), _DECIMALS), "interval": interval, "count": int(count)}


def format_faithfulness(summary: Mapping[str, Any]) -> str:
    """Formats the measures of whether maps show what the network uses, for the terminal.

    Args:
        summary: summary of an attention study.

    Returns:
        One line per method with the means of deletion, insertion and max-sensitivity on the
        original images and after the last iteration; an empty text if they were not measured.
    """
    lines = []
    for method, columns in summary.get("faithfulness", {}).items():
        parts = [
            f"{name.replace('_', '-')} {columns[name][0]['mean']:.3f} -> "
            f"{columns[name][-1]['mean']:.3f}"
            for name in ("deletion", "insertion", "max_sensitivity")
            if name in columns and columns[name][0]["count"] and columns[name][-1]["count"]
        ]
        lines.append(f"{method}, clean -> attacked: {', '.join(parts)}")
    return "\n".join(lines)
