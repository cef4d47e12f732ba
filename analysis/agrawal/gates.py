"""Beyond [Agrawal]: the values of CBAM's gates, what they contribute, and Grad-CAM beside them.

The records are those of eval.gates, results/gates/<data set>_gates_seed_<number>.summary.json.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aad_tf.records import read_summary
from analysis import plots
from analysis.agrawal.transfers import RESNET, Seed, heading, paired, small_transfers, transfers
from analysis.records import Results, same_attack
from analysis.statistics import DASH, expected_random_iou, fraction
from analysis.tables import Table

STEM = "tables/agrawal_gates"
NUMBERS = f"{STEM}.csv"
_NAME = re.compile(r"(.+)_gates_seed_(\d+)\.summary\.json")
KINDS = ("channel", "spatial")
_VALUES = ("mean", "spread", "closed", "open", "between_images", "moved")
_AGREEMENT_FIELDS = ("rank_correlation", "rank_correlation_95", "iou", "iou_95")
# Okabe and Ito's colors, told apart in gray by their markers; shifted, so that bars do not overlap.
_LOOKS = (("channel", "#0072B2", "o", -0.12), ("spatial", "#D55E00", "s", 0.12))
_MEASURES = (
    ("rank_correlation", "rank correlation", "#009E73", "^", -0.12),
    ("iou", "IoU", "#CC79A7", "v", 0.12),
)
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
    "CBAM over ResNet-50, if there is any, comes from its layers and not from looking. {plain}"
)
_PLAIN = (
    "*ResNet-50*: the network without CBAM of the same seed, on the same images, attacked by its "
    "own gradients, from `results/transfer`; a dash where it was not run there."
)
_OPENNESS = (
    "Of all gate values on clean images, channels or places together: mean ± standard deviation, "
    "and the share below 0.01 or above 0.99, where a sigmoid has next to no gradient (*shut or "
    "open*); *from image to image*: standard deviation of one gate over images, root mean square "
    "over gates; *moved*: mean absolute change from the clean image under {attack}. The "
    "figure shows the same, all attacks and, in its last panel, where gates look; all numbers are "
    "in [{csv}](../{csv})."
)
_AGREEMENT = (
    "Spatial gate, averaged over the cells of the Grad-CAM map of the label, against that map: "
    "Spearman's rank correlation over the {cells} cells and IoU of the {area} of "
    "both (chance {chance:.3f}), means over clean images with Student's 95 % intervals; images "
    "with a constant map or gate are left out."
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


def worth(seed: Seed, plain: Sequence[Seed] = ()) -> Table:
    """Makes the table of accuracies of the network and of its copies with constant gates.

    A row for each copy, clean and under each attack: by its own gradients, on the adversarial
    images of the network as trained, and the difference from the network as trained; and a row for
    ResNet-50 without CBAM.

    Args:
        seed: an evaluation of gates.
        plain: transfer evaluations of the same seed, which hold ResNet-50.

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
        resnet = _of_resnet(seed, plain, attack)
        cells = (DASH, DASH, DASH)
        if resnet is not None:
            accuracy = fraction(int(resnet.sum()), len(resnet)).percent()
            cells = (accuracy, DASH, paired(resnet, as_trained).percent(sign=True))
        rows.append(("ResNet-50", attack or "none", *cells))
    heads = ("network", "attack", "own gradients", "trained network's images")
    return Table((*heads, "network − as trained"), rows, left=2)


def _of_resnet(seed: Seed, plain: Sequence[Seed], attack: str | None) -> np.ndarray | None:
    """Whether ResNet-50 classifies each image correctly under its own attack; None if not run."""
    wanted = None if attack is None else seed.summary["threat_models"][attack]
    for other in plain:
        names = [
            name
            for name, model in other.summary["threat_models"].items()
            if wanted is not None and same_attack(model, wanted)
        ]
        if wanted is not None and not names:
            continue
        right = other.judged(RESNET, RESNET, names[0] if names else None)
        count = len(seed.labels)
        # The first images of a split, of which the other evaluation has more or as many.
        if right is not None and np.array_equal(other.labels[:count], seed.labels):
            return right[:count]
    return None


def _judged(seed: Seed, source: str, target: str, attack: str | None) -> np.ndarray:
    right = seed.judged(source, target, attack)
    if right is None:
        raise ValueError(f"{seed.path} does not hold what {target} makes of images of {source}.")
    return right


def layers(summary: Mapping[str, Any]) -> Table:
    """Makes the table of gates on clean images, and of their change: a row for each CBAM layer.

    Args:
        summary: the summary of an evaluation of gates.

    Returns:
        The table; the change is that under the last attack.
    """
    attacks = [*summary["threat_models"]]
    rows = []
    for layer, conditions in summary["gates"]["layers"].items():
        clean, attacked = conditions["clean"], conditions[attacks[-1]]
        cells = []
        for kind in KINDS:
            found = clean[kind]
            cells += [
                f"{found['mean']:.3f} ± {found['spread']:.3f}",
                f"{100 * (found['closed'] + found['open']):.1f}",
                f"{found['between_images']:.3f}",
                f"{attacked[kind]['moved']:.3f}",
            ]
        cells += [_interval(clean["agreement"][name]) for name in ("rank_correlation", "iou")]
        rows.append((layer, *cells))
    heads = ("", "shut or open, %", "from image to image", "moved")
    columns = [f"{kind} {head}".strip() for kind in KINDS for head in heads]
    return Table(("layer", *columns, "rank correlation", "IoU"), rows)


def numbers(found: Sequence[Seed]) -> Table:
    """Makes the table of all numbers by data set, seed, layer, images and kind of gate."""
    rows: list[Sequence[object]] = []
    for seed in found:
        for kind in KINDS:
            for layer, condition, values in _measured(seed.summary, kind):
                cells = [f"{values[name]:.6f}" for name in _VALUES]
                rows.append(
                    (seed.dataset, seed.number, layer, condition, kind, *cells, *[None] * 4)
                )
        for layer, condition, values in _measured(seed.summary, "agreement"):
            cells = []
            for name in ("rank_correlation", "iou"):
                cells += [
                    values[name]["mean"],
                    "" if values[name]["interval"] is None else _bounds(values[name]["interval"]),
                ]
            where = (seed.dataset, seed.number, layer, condition, "agreement")
            rows.append((*where, *[None] * len(_VALUES), *cells))
    heads = ("dataset", "seed", "layer", "images", "kind", *_VALUES)
    return Table((*heads, *_AGREEMENT_FIELDS), rows)


def figure(seed: Seed, chance: float) -> Figure:
    """Plots gates by layer: their values, their change under attack, and where they look.

    Args:
        seed: an evaluation of gates.
        chance: IoU of areas placed at random.

    Returns:
        The figure.
    """
    drawn = plots.empty_figure(11, 7.6)
    drawn.set_layout_engine("constrained", h_pad=0.1)
    values, varied, moved, looks = drawn.subplots(2, 2).flat
    names = [*seed.summary["gates"]["layers"]]
    places = np.arange(len(names))
    for kind, color, marker, shift in _LOOKS:
        clean = [found for _, images, found in _measured(seed.summary, kind) if images == "clean"]
        style: dict[str, Any] = {"color": color, "marker": marker, "ms": 4, "lw": 1}
        style |= {"label": f"{kind} gates"}
        means, spreads = ([each[name] for each in clean] for name in ("mean", "spread"))
        values.errorbar(places + shift, means, spreads, elinewidth=1, capsize=2, **style)
        varied.plot(places, [each["between_images"] for each in clean], **style)
        for attack, dashes in zip(seed.summary["threat_models"], ("--", "-", ":"), strict=False):
            found = [each for _, images, each in _measured(seed.summary, kind) if images == attack]
            label = f"{kind} gates, {_short(attack)}"
            moved.plot(
                places, [each["moved"] for each in found], **{**style, "label": label}, ls=dashes
            )
    for name, text, color, marker, shift in _MEASURES:
        _with_intervals(looks, seed, name, places + shift, color, marker, text)
    looks.axhline(chance, color="0.4", lw=1, ls=":", label="IoU by chance")
    looks.axhline(0, color="0.7", lw=0.8)
    titles = {
        values: "a) gate values, clean: mean ± s.d.",
        varied: "b) standard deviation of a gate from image to image",
        moved: "c) mean change under attack",
        looks: "d) spatial gate against Grad-CAM, clean: 95 % intervals",
    }
    for axes, title in titles.items():
        axes.set_title(title, fontsize=10)
        axes.set_xticks(places, [_place(name) for name in names], fontsize=8)
        axes.grid(color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8)
    values.set_ylim(0, 1)
    varied.set_ylim(bottom=0)
    moved.set_ylim(bottom=0)
    drawn.supxlabel("CBAM layer: block.unit", fontsize=10)
    drawn.suptitle(
        f"Gates of CBAM, {heading(seed.dataset)}, seed {seed.number}, {seed.count:,} images",
        fontsize=12,
    )
    return drawn


def _with_intervals(
    axes: Axes, seed: Seed, name: str, places: np.ndarray, color: str, marker: str, text: str
) -> None:
    """Means over clean images with their intervals; layers without a mean are left out."""
    found = [
        (place, values[name]["mean"], values[name]["interval"] or (values[name]["mean"],) * 2)
        for place, values in zip(
            places,
            (each for _, images, each in _measured(seed.summary, "agreement") if images == "clean"),
            strict=True,
        )
        if values[name]["mean"] is not None
    ]
    if found:
        xs, means, bounds = zip(*found, strict=True)
        ends = np.abs(np.array(bounds).T - np.array(means))
        looks: dict[str, Any] = {"color": color, "marker": marker, "ms": 4, "lw": 0}
        axes.errorbar(xs, means, ends, elinewidth=1, capsize=2, label=text, **looks)


def _short(attack: str) -> str:
    """An attack's name and size without its other arguments."""
    return re.sub(r",.*\)$", ")", attack)


def _place(layer: str) -> str:
    """`3.6` of `block3_6_cbam`; other names as they are."""
    parts = re.fullmatch(r"block(\d+)_(\d+)_cbam", layer)
    return layer if parts is None else f"{parts[1]}.{parts[2]}"


def _measured(summary: Mapping[str, Any], kind: str) -> Iterator[tuple[str, str, Any]]:
    for layer, conditions in summary["gates"]["layers"].items():
        for condition, found in conditions.items():
            yield layer, condition, found[kind]


def page(found: Sequence[Seed], plain: Sequence[Seed] = ()) -> str:
    """The Markdown page on all data sets and seeds.

    Args:
        found: what `gated` returned.
        plain: transfer evaluations, which hold ResNet-50 without CBAM.

    Returns:
        The page.
    """
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
        reference, split = gates["reference_examples"], described.get("split", "other")
        same = [one for one in plain if (one.dataset, one.number) == (each.dataset, each.number)]
        attack = f"`{[*each.summary['threat_models']][-1]}`"
        parts += [
            f"## {heading(each.dataset)}, seed {each.number}, {each.summary['count']:,} images",
            "### What gates are worth",
            _WORTH.format(reference=reference, split=split, plain=_PLAIN),
            worth(each, same).markdown(),
            "### How open they are, and where they look",
            _OPENNESS.format(attack=attack, csv=NUMBERS),
            _AGREEMENT.format(
                cells=cells,
                area="highest cell" if area == 1 else f"{area} highest cells",
                chance=_chance(each),
            ),
            f"![Gates by layer](../{_drawing(each)})",
            layers(each.summary).markdown(),
        ]
    return "\n\n".join(parts) + "\n"


def _chance(seed: Seed) -> float:
    """IoU of areas placed at random."""
    gates = seed.summary["gates"]
    return expected_random_iou(gates["map_cells"], gates["area_cells"], gates["area_cells"])


def _drawing(seed: Seed) -> str:
    return f"figures/agrawal_gates_{seed.dataset}_seed_{seed.number}.png"


def _bounds(interval: Sequence[float]) -> str:
    return f"{interval[0]:.6f} to {interval[1]:.6f}"


def _interval(entry: Mapping[str, Any]) -> str:
    if entry["mean"] is None:
        return DASH
    bounds = entry["interval"]
    shown = "" if bounds is None else f" [{bounds[0]:+.3f}, {bounds[1]:+.3f}]"
    return f"{entry['mean']:+.3f}{shown}"


def files(results: Results) -> dict[str, str | bytes]:
    """Contents of page, CSV and figures by path in the results directory; empty without records."""
    found = results.once(gated)
    if not found:
        return {}
    known = (*results.once(transfers).values(), *results.once(small_transfers).values())
    plain = [seed for seeds in known for seed in seeds]
    made: dict[str, str | bytes] = {
        f"{STEM}.md": page(found, plain),
        NUMBERS: numbers(found).csv(),
    }
    return made | {_drawing(seed): plots.png(figure(seed, _chance(seed))) for seed in found}


def readme(results: Results) -> str:
    """A link to the page."""
    if not results.once(gated):
        return ""
    return (
        f"What CBAM's gates are worth, and where they look: [results/{STEM}.md](results/{STEM}.md)."
    )
