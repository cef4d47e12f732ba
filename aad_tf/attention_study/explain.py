"""Computes the records of a batch in an attention study: runs the network, then measures maps."""

from __future__ import annotations

import importlib.metadata
import inspect
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from aad_tf.attacks import GradientSignAttack, as_attack
from aad_tf.attacks.iterative import refuse_l2
from aad_tf.attention import lime
from aad_tf.attention_study import measures
from aad_tf.attention_study.faithfulness import Faithfulness, FaithfulnessMeasures
from aad_tf.attention_study.inputs import Batch
from aad_tf.attention_study.network_pass import (
    EXPLAINED,
    Explanation,
    Round,
    compiled_explanation,
    follow,
)
from aad_tf.attention_study.records import batch_records
from aad_tf.classifier import Classifier
from aad_tf.utils.checks import check_choice, check_count

METHODS = ("grad_cam", "grad_cam_plus_plus", "lime")
CELLS = (5, 10, 20, 30)
"""Sizes of areas in cells, [AAD Table 3]; a study takes those that are smaller than its map."""
# Far from the seeds people choose, so that a repeat never draws the samples of another study.
_REPEAT_SEED_OFFSET = 1_000_003


@dataclass(frozen=True)
class Options:
    """What an attention study measures.

    A round is an iteration of the attack; round 0 is the original image.

    Attributes:
        methods: methods of attention maps, some of `"grad_cam"`, `"grad_cam_plus_plus"` and
            `"lime"`. LIME takes about a thousand times as long as the others.
        cells: numbers of highest cells whose overlap with those of the original image is measured,
            [AAD Table 3]. None for those of (5, 10, 20, 30) that are smaller than the number of
            cells of the map, or half of that number if none is.
        features: numbers of superpixels of highest weight that make up LIME's area, [AAD Tables 7
            and 8].
        explained: class that maps explain: the true `"label"`, as in the paper, or the
            `"prediction"` of each round.
        seed: int from 0 to 2**63 - 1, seed of the random start of the attack and of LIME's samples.
        keep_maps: methods whose maps are stored in the records, with 8 bits per cell.
        lime: arguments of `aad_tf.attention.lime` by name, such as `{"num_samples": 300}`:
            `num_samples`, `num_segments`, `batch_size`, `kernel_width`, `seed`, `segmentation` or
            `hide_color`.
        faithfulness: settings of the measures of whether maps show what the network uses; None
            does not measure it. With the default settings it takes about 200 passes of the network
            for each image and round, and for the first 100 images as many maps again as the network
            has layers. LIME is measured by deletion and insertion only, as max-sensitivity and the
            randomisation of layers would take thousands of passes per image. Use it with
            `explained="prediction"`: on images on which the attack succeeds, the probability of the
            label is near 0 from the start.

    Raises:
        TypeError: faithfulness of another type, `lime` options that JSON cannot hold, or numbers
            that are not integers.
        ValueError: no methods, an unknown name, empty `cells` or `features`, a number below 1, or a
            seed out of range.
    """

    methods: tuple[str, ...] = METHODS[:2]
    cells: tuple[int, ...] | None = None
    features: tuple[int, ...] = (8, 10)
    explained: str = "label"
    seed: int = 0
    keep_maps: tuple[str, ...] = ("grad_cam", "lime")
    lime: dict[str, Any] = field(default_factory=dict)
    faithfulness: Faithfulness | None = None

    def __post_init__(self) -> None:
        if not self.methods:
            raise ValueError(f"Choose at least one of the methods {', '.join(METHODS)}.")
        for method in (*self.methods, *self.keep_maps):
            check_choice(method, METHODS, "method")
        check_choice(self.explained, EXPLAINED, "explained")
        if not isinstance(self.faithfulness, Faithfulness | None):
            raise TypeError(
                f"faithfulness must be an aad_tf.attention_study.Faithfulness or None, got "
                f"{self.faithfulness!r}."
            )
        for name in ("cells", "features"):
            if getattr(self, name) is not None and len(getattr(self, name)) == 0:
                raise ValueError(
                    f"{name} is empty; give at least one number, e.g. Options({name}=(10,))."
                )
            if (counts := getattr(self, name)) is not None:
                what = "numbers of cells and features"
                counts = tuple(check_count(each, what) for each in counts)
                object.__setattr__(self, name, counts)
        object.__setattr__(self, "seed", check_count(self.seed, "seed", 0, 2**63 - 1))
        check_count(self.lime.get("seed", 0), "seed of lime", 0)
        try:
            json.dumps(self.lime)
        except TypeError as error:
            raise TypeError(
                f"lime options must be plain values, which go into the summary; got {self.lime}."
            ) from error


class Passes(NamedTuple):
    """The output of the network for a batch.

    A round is a batch under attack: round 0 is the original batch, round k the batch after k
    iterations of the attack.

    Attributes:
        rounds: one `Round` for each of them: images `[batch, H, W, C]`, and their predictions and
            attention maps as NumPy arrays.
        lime: one `LimeExplanation` per round; empty without LIME.
        lime_repeat: a `LimeExplanation` of the original images with other random samples, to
            measure how much LIME's areas vary; None without LIME.
        faithfulness: measures of whether maps show what the network uses, arrays
            `[rounds, batch, ...]` in nested mappings by method and name; empty if not measured.
    """

    rounds: list[Round]
    lime: Sequence[Any] = ()
    lime_repeat: Any = None
    faithfulness: Mapping[str, Any] = {}


class Explainer:
    """Attacks batches and measures their attention maps after each iteration of the attack.

    Args:
        classifier: the network.
        attack: gradient-sign attack without restarts, or its text.
        options: methods and measures.
        batch_size: largest number of examples per batch; recorded in `facts`, since rounding may
            depend on it.

    Attributes:
        classifier, attack, options, batch_size: the arguments; the attack as an object, `cells` of
            the options as numbers where they were None.
        facts: settings that identify the study, ready for JSON: attack, options, layer and sizes.
        layers: `{"randomized_layers": names}` for the summary, if faithfulness is measured, else
            empty.

    Raises:
        ImportError: LIME without scikit-image, unless the superpixels are given.
        TypeError: not a gradient-sign attack.
        ValueError: an attack with restarts, an attack in l2, an attack that keeps its best image,
            such as `apgd`, an unknown option of LIME, or `cells` not smaller than the number of
            cells of the map.
    """

    def __init__(
        self,
        classifier: Classifier,
        attack: GradientSignAttack | str,
        options: Options,
        batch_size: int,
    ) -> None:
        chosen: Any = as_attack(attack, classifier.bounds)
        if not isinstance(chosen, GradientSignAttack):
            raise TypeError(
                f"A study follows the iterations of one GradientSignAttack, so attack must be one "
                f"such as step_ll(4 / 255), got {chosen!r}."
            )
        attack = chosen
        refuse_l2(attack, "A study of attention")
        if attack.restarts > 1:
            raise ValueError("An attack with restarts has no one path to follow: use restarts=1.")
        if attack.keeps_best:
            raise ValueError(
                f"{attack.name} keeps the best image of its way, so its last round is not what it "
                f"finds. Study an attack that ends with its last round, such as pgd or step_ll."
            )
        self.classifier, self.attack = classifier, attack
        self.batch_size = batch_size
        grid = _grid(classifier)
        if options.cells is None:
            options = replace(options, cells=_fitting(grid))
        self.options = options
        self._cells = tuple(options.cells or ())
        if grid is not None:
            self._check_cells(grid)
        chosen = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(options).items()
        }
        if "lime" in options.methods:
            chosen["lime"] = _lime_facts(options.lime)
        # Summaries of studies without it are as they were before there was such an option.
        del chosen["faithfulness"]
        self.layers: dict[str, list[str]] = {}
        self._faithfulness: FaithfulnessMeasures | None = None
        if options.faithfulness is not None:
            chosen["faithfulness"] = options.faithfulness.facts(classifier)
            self._faithfulness = FaithfulnessMeasures(
                classifier, options.methods, options.faithfulness, options.seed
            )
            # Not among the facts: Keras numbers unnamed layers otherwise in every process.
            self.layers = {"randomized_layers": self._faithfulness.layers}
        self.facts = {
            "attack": attack.threat_model(classifier.bounds),
            "rounds": attack.num_steps,
            "attention_layer": classifier.attention_layer,
            "grid": None if grid is None else list(grid),
            "image_shape": list(classifier.input_shape),
            **chosen,
            "batch_size": batch_size,
        }

    def passes(self, batch: Batch) -> Passes:
        """Runs the network on a batch: attack, attention maps, LIME and faithfulness.

        Args:
            batch: images `[batch, H, W, C]` in the network's pixel range, labels `[batch]` and, if
                the data set has them, boxes of each image.

        Returns:
            For the original images and those after each iteration of the attack: predicted classes
            and probabilities `[batch]`, Grad-CAM and Grad-CAM++ maps `[batch, h, w]` and, where the
            study measures them, LIME's explanations and the faithfulness of the maps.
        """
        rounds = list(
            follow(
                self.classifier,
                self.attack,
                batch.images,
                batch.labels,
                self.options.explained,
                self.options.seed,
                batch.first_index,
            )
        )
        passes = Passes(rounds)
        if "lime" in self.options.methods:
            found = [self._lime(batch, step) for step in rounds]
            passes = Passes(rounds, found, self._lime(batch, rounds[0], _REPEAT_SEED_OFFSET))
        if self._faithfulness is None:
            return passes
        by_label = self.options.explained == "label"
        columns = self._faithfulness.columns(batch, rounds, passes.lime, by_label)
        return passes._replace(faithfulness=columns)

    def records(self, batch: Batch, passes: Passes) -> list[dict[str, Any]]:
        """Computes the records of a batch from its maps; the network is not run.

        Args:
            batch: images, labels and boxes.
            passes: what the method `passes` returned for this batch.

        Returns:
            One dictionary per image: `index`, `label`, `boxes`, `box_area`; lists over the original
            image and each iteration of the attack of `prediction`, `confidence` and
            `top_confidence`; by method `maps` and the measures of them, and their `agreement`; and,
            if it is measured, `faithfulness`. The module `aad_tf.attention_study.records` explains
            all keys.

        Raises:
            ValueError: the network returned NaN or infinity, or `cells` of the options are not
                smaller than the number of cells of the maps.
        """
        rounds = passes.rounds
        known: dict[str, Any] = {
            name: np.stack([getattr(step.explanation, name) for step in rounds])
            for name in ("prediction", "confidence", "top_confidence")
        }
        for round_number, step in enumerate(rounds):
            _refuse_non_finite(step.explanation, round_number, batch.first_index)
        grid = rounds[0].explanation.grad_cam.shape[1:]
        self._check_cells(grid)
        known |= self._map_columns(batch, passes, grid) | dict(passes.faithfulness)
        labels = batch.labels.numpy()
        records = batch_records(
            batch.first_index, labels, batch.boxes, measures.object_area(batch.masks), known
        )
        sizes = {"grid": list(grid)} if self.facts["grid"] is None else {}
        if self._faithfulness is not None:
            self._faithfulness.leave_out_later_images(records)
        return [{**record, **sizes} for record in records]

    def _check_cells(self, grid: tuple[int, int]) -> None:
        cells = grid[0] * grid[1]
        if max(self._cells) >= cells:
            raise ValueError(
                f"The attention layer {self.classifier.attention_layer!r} has {cells} cells, so "
                f"areas must be smaller; got cells={self._cells}. Choose others: "
                f"Options(cells=...), or --cells=... on the command line."
            )

    def _map_columns(self, batch: Batch, passes: Passes, grid: tuple[int, int]) -> dict[str, Any]:
        rounds, found = passes.rounds, passes.lime
        measured, signed = {}, {}
        for method in self.options.methods:
            if method == "lime":
                signed[method] = measures.lime_maps(found, grid)
                measured[method] = measures.lime_columns(
                    found, signed[method], batch.masks, self.options.features
                )
                measured[method]["iou_repeat"] = measures.lime_overlaps(
                    [found[0], passes.lime_repeat], self.options.features
                )
                continue
            signed[method] = np.stack([getattr(step.explanation, method) for step in rounds])
            measured[method] = measures.gradient_columns(signed[method], batch.masks, self._cells)
        for method in set(measured) - set(self.options.keep_maps):
            del measured[method]["map"]
        agreement = {
            f"{one}|{two}": measures.agreement_columns(signed[one], signed[two])
            for one, two in itertools.combinations(self.options.methods, 2)
        }
        return {"maps": measured, "agreement": agreement}

    def _lime(self, batch: Batch, step: Round, seed_offset: int = 0) -> Any:
        options = {"seed": self.options.seed, **self.options.lime}
        options["seed"] += seed_offset
        by_label = self.options.explained == "label"
        class_ids = batch.labels if by_label else step.explanation.prediction
        return lime(self.classifier, step.images, class_ids, **options)


def _fitting(grid: tuple[int, int] | None) -> tuple[int, ...]:
    """The usual sizes of areas that are smaller than a map, if its size is known."""
    if grid is None:
        return CELLS
    cells = grid[0] * grid[1]
    return tuple(count for count in CELLS if count < cells) or (max(cells // 2, 1),)


def _grid(classifier: Classifier) -> tuple[int, int] | None:
    """Rows and columns of the attention layer; None where they depend on the size of an image."""
    outputs = compiled_explanation(classifier).get_concrete_function().structured_outputs
    rows, columns = outputs.grad_cam.shape[1:]
    return None if rows is None or columns is None else (int(rows), int(columns))


def _refuse_non_finite(explanation: Explanation, round_number: int, first_index: int) -> None:
    for values in explanation:
        finite = np.isfinite(values).reshape(len(values), -1).all(1)
        if not finite.all():
            raise ValueError(
                f"The network returned NaN or infinity for example "
                f"{first_index + int(np.argmin(finite))} after round {round_number} of the attack. "
                f"Check its weights."
            )


def _lime_facts(options: dict[str, Any]) -> dict[str, Any]:
    """All settings of LIME, defaults too, and the library that cuts its superpixels, if any.

    Raises:
        ImportError: superpixels that scikit-image cuts, without scikit-image.
        ValueError: an unknown option.
    """
    parameters = inspect.signature(lime).parameters
    defaults = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    for name in options:
        check_choice(name, defaults, "option of lime")
    known = {**defaults, **options}
    del known["seed"], known["batch_size"]
    if known["segmentation"] is not None and not isinstance(known["segmentation"], str):
        return known
    try:
        return {**known, "scikit_image": importlib.metadata.version("scikit-image")}
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError(
            "LIME needs scikit-image for its superpixels. Install it with: "
            "pip install 'aad_tf[lime]', or give the superpixels in "
            "Options(lime={'segmentation': ...})."
        ) from error
