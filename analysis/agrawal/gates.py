"""Beyond [Agrawal]: the values of CBAM's gates, what they contribute, and Grad-CAM beside them.

The records are those of eval.gates, results/gates/<data set>_gates_seed_<number>.summary.json.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from aad_tf.records import read_summary
from analysis.agrawal.transfers import Seed, heading, paired
from analysis.records import Results
from analysis.statistics import DASH, expected_random_iou, fraction
from analysis.tables import Table

STEM = "tables/agrawal_gates"
_NAME = re.compile(r"(.+)_gates_seed_(\d+)\.summary\.json")
# As eval.gates names the network itself.
OWN = "own_gates"
_COPIES = {
    OWN: "gates as trained",
    "channel_held": "channel gates held",
    "spatial_held": "spatial gates held",
    "both_held": "both held",
}
_WORTH = (
    "Copies of the network whose gates are held at their means over {reference:,} {split} images: "
    "what accuracy they keep does not need attention to the image. *Own gradients*: each network "
    "is attacked by its own gradients; *trained network's images*: it judges what was made on the "
    "network as trained. Difference: copy − network as trained, own gradients, with Newcombe's "
    "paired 95 % interval over images. If a copy is no less accurate and as robust, robustness of "
    "CBAM over ResNet-50, if there is any, comes from its layers and not from looking."
)
_OPENNESS = (
    "Of all gate values, images and channels or places together: mean and standard deviation, "
    "share below 0.01 and above 0.99, where a sigmoid has next to no gradient; *from image to "
    "image*: standard deviation of one gate over images, root mean square over gates; *moved*: "
    "mean absolute change from the clean image."
)
_AGREEMENT = (
    "Spatial gate, averaged over the cells of the Grad-CAM map of the label, against that map: "
    "Spearman's rank correlation over the {cells} cells and IoU of the {area} highest cells of "
    "both (chance {chance:.3f}), means over images with Student's 95 % intervals; images with a "
    "constant map or gate are left out."
)


def gated(results: Results) -> list[Seed]:
    """Reads all evaluations of gates.

    It is called through `results.once`, so that records are read once.

    Returns:
        One for each data set and seed.

    Raises:
        ValueError: a file whose name does not fit what it holds.
    """
    found = []
    for path in sorted((results.root / "gates").glob("*.summary.json")):
        parts, summary = _NAME.fullmatch(path.name), read_summary(path, "gates")
        dataset = summary["evaluated"].get("description", {}).get("dataset", {}).get("name", "")
        if parts is None or parts[1] != dataset:
            wanted = f"{dataset or '<data set>'}_gates_seed_<number>.summary.json"
            raise ValueError(f"{path} should be called {wanted}.")
        records = path.with_name(path.name.replace(".summary.json", ".jsonl.gz"))
        found.append(Seed(dataset, int(parts[2]), records, summary))
    return found


def worth(seed: Seed) -> Table:
    """Makes the table of accuracies of the network and of its copies with constant gates.

    A row for each copy, clean and under each attack: by its own gradients, on the adversarial
    images of the network as trained, and the difference from the network as trained.

    Returns:
        The table, in percent and percentage points.
    """
    rows = []
    for attack in (None, *seed.summary["threat_models"]):
        as_trained = _judged(seed, OWN, OWN, attack)
        for name, copy in _COPIES.items():
            own, given = (_judged(seed, source, name, attack) for source in (name, OWN))
            gap = DASH if name == OWN else paired(own, as_trained).percent(sign=True)
            shown = (fraction(int(each.sum()), len(each)).percent() for each in (own, given))
            rows.append((copy, attack or "none", *shown, gap))
    heads = ("network", "attack", "own gradients", "trained network's images")
    return Table((*heads, "copy − as trained"), rows, left=2)


def _judged(seed: Seed, source: str, target: str, attack: str | None) -> np.ndarray:
    right = seed.judged(source, target, attack)
    if right is None:
        raise ValueError(f"{seed.path} does not hold what {target} makes of images of {source}.")
    return right


def openness(summary: Mapping[str, Any], kind: str) -> Table:
    """Makes the table of gate values: a row for each CBAM layer, clean and under each attack.

    Args:
        summary: the summary of an evaluation of gates.
        kind: `channel` or `spatial`.

    Returns:
        The table: mean, fractions closed and open, variation between images, change under attack.
    """
    rows = [
        (
            layer,
            condition,
            f"{found['mean']:.3f} ± {found['spread']:.3f}",
            f"{100 * found['closed']:.1f}",
            f"{100 * found['open']:.1f}",
            f"{found['between_images']:.3f}",
            f"{found['moved']:.3f}" if condition != "clean" else DASH,
        )
        for layer, condition, found in _measured(summary, kind)
    ]
    heads = ("layer", "images", "mean ± s.d.", "% < 0.01", "% > 0.99")
    return Table((*heads, "from image to image", "moved"), rows, left=2)


def agreement(summary: Mapping[str, Any]) -> Table:
    """Makes the table of rank correlation and IoU of spatial gates with Grad-CAM maps.

    It has a row for each CBAM layer, clean and under each attack.

    Returns:
        The table, means with 95 % intervals.
    """
    rows = [
        (layer, condition, *(_interval(found[name]) for name in ("rank_correlation", "iou")))
        for layer, condition, found in _measured(summary, "agreement")
    ]
    return Table(("layer", "images", "rank correlation", "IoU"), rows, left=2)


def _measured(summary: Mapping[str, Any], kind: str) -> Iterator[tuple[str, str, Any]]:
    for layer, conditions in summary["gates"]["layers"].items():
        for condition, found in conditions.items():
            yield layer, condition, found[kind]


def page(found: Sequence[Seed]) -> str:
    """The Markdown page on all data sets and seeds; `found` is what `gated` returned."""
    parts = [
        "# CBAM's gates",
        "Made by `python -m analysis.report` from `results/gates`. Accuracies in percent on all "
        "images, with 95 % Wilson intervals; sizes of attacks in [0, 1]. One network each: what "
        "holds for one seed need not hold for another.",
    ]
    for each in found:
        gates = each.summary["gates"]
        cells, area = gates["map_cells"], gates["area_cells"]
        described = each.summary["evaluated"].get("description", {}).get("reference", {})
        reference = gates["reference_examples"]
        chance = expected_random_iou(cells, area, area)
        parts += [
            f"## {heading(each.dataset)}, seed {each.number}, {each.summary['count']:,} images",
            "### What gates are worth",
            _WORTH.format(reference=reference, split=described.get("split", "other")),
            worth(each).markdown(),
            "### How open they are",
            _OPENNESS,
            "Channel gates:",
            openness(each.summary, "channel").markdown(),
            "Spatial gates:",
            openness(each.summary, "spatial").markdown(),
            "### Where they look",
            _AGREEMENT.format(cells=cells, area=area, chance=chance),
            agreement(each.summary).markdown(),
        ]
    return "\n\n".join(parts) + "\n"


def _interval(entry: Mapping[str, Any]) -> str:
    if entry["mean"] is None:
        return DASH
    bounds = entry["interval"]
    shown = "" if bounds is None else f" [{bounds[0]:+.3f}, {bounds[1]:+.3f}]"
    return f"{entry['mean']:+.3f}{shown}"


def files(results: Results) -> dict[str, str | bytes]:
    """Contents of the page by path in the results directory; empty without records."""
    found = results.once(gated)
    return {f"{STEM}.md": page(found)} if found else {}


def readme(results: Results) -> str:
    """A link to the page."""
    if not results.once(gated):
        return ""
    return (
        f"What CBAM's gates are worth, and where they look: [results/{STEM}.md](results/{STEM}.md)."
    )
