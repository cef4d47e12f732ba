"""Figs. 2 to 7 of [Agrawal]: accuracy under FGSM and error under PGD, measured and printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aad_tf.plots import transfer_matrix
from analysis import plots
from analysis.agrawal.tables_1_3 import studied
from analysis.agrawal.transfers import (
    CBAM,
    FGSM,
    PGD,
    RESNET,
    STAND_INS,
    STRENGTHS,
    VGG,
    Seed,
    accuracy,
    heading,
    printed_accuracy,
)
from analysis.records import Results
from train.configs.agrawal import NETWORKS

# The paper's numbers: white box, transfer.
NUMBERS: Mapping[str, tuple[int, int]] = {
    "cifar10": (2, 5),
    "cifar100": (3, 6),
    "tiny_imagenet_100": (3, 6),
    "fashion_mnist": (4, 7),
}
Curve = tuple[str, str]


class _Panel(NamedTuple):
    """A panel: `remaining` shows the accuracy that PGD leaves, on a logarithmic axis."""

    title: str
    kind: str
    curves: tuple[Curve, ...]
    remaining: bool = False


_WHITE: tuple[Curve, ...] = ((RESNET, RESNET), (CBAM, CBAM))
_BETWEEN: tuple[Curve, ...] = ((RESNET, RESNET), (RESNET, CBAM), (CBAM, CBAM), (CBAM, RESNET))
_FROM_VGG: tuple[Curve, ...] = ((VGG, VGG), (VGG, RESNET), (VGG, CBAM))
# Okabe and Ito's colors for the network that judges, a marker for the one that images are made on.
_COLORS = {RESNET: "#0072B2", CBAM: "#D55E00", VGG: "#009E73"}
_LINEAR_BELOW, _TICKS = 0.1, (0, 0.05, 0.1, 1, 10, 100)
_MARKERS = {RESNET: "o", CBAM: "s", VGG: "^"}


def white_box(dataset: str, seeds: Sequence[Seed]) -> Figure:
    """[Agrawal Figs. 2 to 4]: (a) FGSM and (b) PGD, white box, on ResNet-50 without and with CBAM.

    Args:
        dataset: name of the data set.
        seeds: its transfer evaluations.

    Returns:
        The figure, with the paper's values beside the measured ones.
    """
    panels = (
        _Panel("a) FGSM", FGSM, _WHITE),
        _Panel("b) PGD, what it leaves (100 % − error)", PGD, _WHITE, remaining=True),
    )
    return _drawn(dataset, seeds, panels, f"White box, {heading(dataset)}")


def transfer(dataset: str, seeds: Sequence[Seed]) -> Figure:
    """[Agrawal Figs. 5 to 7]: transfer between ResNet-50 without and with CBAM, and from VGG-16.

    Args:
        dataset: name of the data set.
        seeds: its transfer evaluations.

    Returns:
        The figure, with the paper's values beside the measured ones.
    """
    panels = (
        _Panel("a) FGSM", FGSM, _BETWEEN),
        _Panel("b) FGSM, source VGG-16", FGSM, _FROM_VGG),
        _Panel("c) PGD", PGD, _BETWEEN),
        _Panel("d) PGD, source VGG-16", PGD, _FROM_VGG),
    )
    return _drawn(dataset, seeds, panels, f"Transfer, {heading(dataset)}")


def matrices(seeds: Sequence[Seed]) -> dict[str, Figure]:
    """Matrices of sources and targets of the first seed, beyond the paper's figures.

    Args:
        seeds: the transfer evaluations of one data set.

    Returns:
        The figure by the name of what it shows: `fgsm` of 0.05 and `pgd` of 5 iterations, the
        weakest attacks of the paper, which leave most to tell apart. Attacks that were not run are
        left out.
    """
    first = seeds[0]
    names = {kind: first.attack(kind, STRENGTHS[kind][0]) for kind in (FGSM, PGD)}
    return {kind: transfer_matrix(first.summary, name) for kind, name in names.items() if name}


def _drawn(
    dataset: str,
    seeds: Sequence[Seed],
    panels: Sequence[_Panel],
    title: str,
) -> Figure:
    lines = len(panels) // 2
    figure = plots.empty_figure(11, 1.2 + 3.7 * lines)
    figure.set_layout_engine("constrained", h_pad=0.1)
    shown: dict[str, Any] = {}
    for axes, panel in zip(figure.subplots(lines, 2).flat, panels, strict=True):
        for source, target in panel.curves:
            label = f"{NETWORKS[target]} on images of {NETWORKS[source]}"
            label = f"{NETWORKS[target]}, white box" if source == target else label
            if _curve(axes, dataset, seeds, panel, (source, target)):
                style = _style(source, target)
                shown[label] = Line2D([], [], ls=_dashes(source, target), **style)
        _label(axes, panel)
    paper = "paper: dotted, same marker, open" + (" (CIFAR-100)" if dataset in STAND_INS else "")
    shown[paper] = Line2D([], [], ls=":", color="0.4", marker="o", mfc="none", ms=6)
    figure.legend(
        list(shown.values()), list(shown), loc="outside lower center", ncols=3, fontsize=9
    )
    counts = f"{len(seeds)} seeds, mean and range" if len(seeds) > 1 else "one seed, 95 % bands"
    figure.suptitle(f"{title}: {counts}, {seeds[0].count:,} images each", fontsize=12)
    return figure


def _curve(axes: Axes, dataset: str, seeds: Sequence[Seed], panel: _Panel, curve: Curve) -> bool:
    """Ours as a line with a band, the paper's with open markers; False if ours was not run."""
    ours, printed = [], []
    for strength in (0.0, *STRENGTHS[panel.kind]):
        # The clean image is the same for both attacks; the paper prints it with FGSM.
        found = accuracy(seeds, *curve, panel.kind, strength)
        paper = printed_accuracy(dataset, *curve, panel.kind if strength else FGSM, strength)
        if panel.kind == PGD and not panel.remaining:
            found = found.complement()
            paper = None if paper is None else 1 - paper
        if found.mean is not None:
            single = found.seeds[0].interval
            low, high = min(found.values), max(found.values)
            if len(found.seeds) == 1 and single is not None:
                low, high = single
            ours.append((strength, 100 * found.mean, 100 * low, 100 * high))
        if paper is not None:
            printed.append((strength, 100 * paper))
    if not ours:
        return False
    style = _style(*curve)
    xs, means, lows, highs = zip(*ours, strict=True)
    axes.plot(xs, means, ls=_dashes(*curve), **style)
    axes.fill_between(xs, lows, highs, color=style["color"], alpha=0.18, lw=0)
    if printed:
        xs, values = zip(*printed, strict=True)
        # Open, and larger than ours, which often lie on top of them.
        axes.plot(xs, values, ls=":", lw=1, **{**style, "mfc": "none", "ms": 8})
    return True


def _style(source: str, target: str) -> dict[str, Any]:
    return {"color": _COLORS[target], "marker": _MARKERS[source], "ms": 4, "clip_on": False}


def _dashes(source: str, target: str) -> str:
    return "-" if source == target else "--"


def _label(axes: Axes, panel: _Panel) -> None:
    axes.set_title(panel.title, fontsize=10)
    is_fgsm = panel.kind == FGSM
    axes.set_xlabel("ε (l∞, images in [0, 1])" if is_fgsm else "iterations of step 0.01")
    axes.set_ylabel("accuracy, %" if is_fgsm or panel.remaining else "error, %")
    axes.set_xlim(left=0)
    axes.set_xticks((0, *STRENGTHS[panel.kind]))
    if panel.remaining:
        # Linear from 0 to 0.1 %, where 2,000 images can tell two or three apart.
        axes.set_yscale("symlog", linthresh=_LINEAR_BELOW, linscale=0.6)
        axes.set_yticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
        axes.minorticks_off()
    axes.set_ylim(0, 100)
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)


def files(results: Results) -> dict[str, str | bytes]:
    """Contents of the figures of each data set, by path in the results directory."""
    made: dict[str, str | bytes] = {}
    for dataset, seeds in results.once(studied).items():
        for number, draw in zip(NUMBERS[dataset], (white_box, transfer), strict=True):
            made[f"figures/agrawal_fig_{number}_{dataset}.png"] = plots.png(draw(dataset, seeds))
        for kind, figure in matrices(seeds).items():
            made[f"figures/agrawal_matrix_{kind}_{dataset}.png"] = plots.png(figure)
    return made


def readme(results: Results) -> str:
    """Links to the figures, and a matrix for each data set."""
    shown = results.once(studied)
    links = [
        f"[{number}](results/figures/agrawal_fig_{number}_{dataset}.png)"
        for dataset in shown
        for number in NUMBERS[dataset]
    ]
    if not links:
        return ""
    pictures = [
        f"![Transfer, {dataset}](results/figures/agrawal_matrix_pgd_{dataset}.png)"
        for dataset, seeds in shown.items()
        if PGD in matrices(seeds)
    ]
    return "\n\n".join([f"Its figures: {', '.join(links)}.", *pictures])
