"""Beyond [Agrawal]: ResNet-50 with and without CBAM under APGD within small budgets.

At the paper's budgets networks without a defence keep next to no accuracy; here accuracies lie well
between 0 and 100 %. The records are those of eval.robustness,
results/robustness/<data set>_<network>[_seed_<number>][_strongest].jsonl.gz; those that end with
_strongest are of further attacks on the same network and on the first of the same images.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from aad_tf.metrics import SecurityCurve
from aad_tf.records import read_records
from analysis import plots
from analysis.agrawal.seeds import READING, OverSeeds, not_run, side
from analysis.agrawal.transfers import PAIR, RESNET, SHORT, STUDIED, VGG, heading, paired
from analysis.records import ResultRun, Results, read_run
from analysis.statistics import DASH, Estimate, fraction
from analysis.tables import Table
from train.configs.agrawal import NETWORKS

STEM = "agrawal_small_budgets"
# What the paper says of these budgets.
NOT_CLAIMED = "nothing"
_FILE = re.compile(
    rf"(.+?)_({'|'.join(sorted(NETWORKS, reverse=True))})(?:_seed_(\d+))?(_strongest)?"
)
# Distances are compared with budgets up to rounding in float32.
_ROUNDING = 1e-6
APGD, STRONGEST = "APGD", "APGD, targeted APGD and FAB"
# What the attacks of a study are, where none of them was run.
_ALL = {APGD: "0.5/255 to 8/255", STRONGEST: "0.5/255 to 2/255"}
# Blue, orange and green of Okabe and Ito, told apart in gray by their markers.
STYLES: Mapping[str, dict[str, Any]] = {
    RESNET: {"color": "#0072B2", "marker": "o"},
    PAIR[1]: {"color": "#D55E00", "marker": "s"},
    VGG: {"color": "#009E73", "marker": "^"},
}


@dataclass(frozen=True)
class Evaluated:
    """Robustness evaluations of the networks of one data set and seed.

    Attributes:
        dataset: e.g. `cifar10`.
        number: the seed.
        runs: the evaluations by the name of the network, e.g. `resnet50`.
        further: evaluations of the same networks under further attacks.
    """

    dataset: str
    number: int
    runs: Mapping[str, ResultRun]
    further: Mapping[str, ResultRun] = field(default_factory=dict)

    def attacks(self, network: str) -> dict[float, str]:
        """Names of the APGD attacks that a network was evaluated under, by epsilon times 255."""
        run = self.runs.get(network)
        return {
            round(entry["threat_model"]["epsilon_255"], 3): entry["attack"]
            for entry in (run.attacks if run else ())
            if entry["attack"].split("(")[0] == "apgd"
        }

    def further_budgets(self, network: str) -> set[float]:
        """Budgets, epsilon times 255, of the further attacks on a network."""
        run = self.further.get(network)
        return {
            round(entry["threat_model"]["epsilon_255"], 3)
            for entry in (run.attacks if run else ())
            if not _is_unbounded(entry)
        }

    def robust(self, network: str, budget: float, attacks: str = APGD) -> np.ndarray | None:
        """Tells which images stay correct under attack.

        Args:
            network: name of the network.
            budget: epsilon times 255, for images in [0, 1]; 0 for clean images.
            attacks: `APGD`, or `STRONGEST`: under APGD, under all further attacks within the
                budget, and with no misclassified image that FAB found within it.

        Returns:
            bool `[images]`, by index; None if that was not evaluated. With `STRONGEST` only the
            images of the further attacks.
        """
        right = self._robust_to_apgd(network, budget)
        if attacks == APGD or right is None:
            return right
        run = self.further.get(network)
        if run is None or (budget and budget not in self.further_budgets(network)):
            return None
        for entry in run.attacks:
            robust = run.robust[entry["attack"]]
            found = np.array([robust[index] for index in sorted(robust)])
            if _is_unbounded(entry):
                found = self._distances(run, entry) > budget / 255 + _ROUNDING
            right = right[: len(found)]
            if budget and (
                _is_unbounded(entry) or round(entry["threat_model"]["epsilon_255"], 3) == budget
            ):
                right = right & found
        return right

    def _robust_to_apgd(self, network: str, budget: float) -> np.ndarray | None:
        run, names = self.runs.get(network), self.attacks(network)
        if run is None or run.records is None or not names or (budget and budget not in names):
            return None
        if budget:
            outcomes = run.robust[names[budget]]
            return np.array([outcomes[index] for index in sorted(outcomes)])
        first = next(iter(names.values()))
        clean = {
            record["index"]: not record["clean_mistake"]
            for record in read_records(run.records)
            if record["attack"] == first
        }
        return np.array([clean[index] for index in sorted(clean)])

    def median_distance(self, network: str) -> float | None:
        """The median l-inf distance to the nearest misclassified image, found by `fab(None)`.

        Args:
            network: name of the network.

        Returns:
            The median over images that are correct when clean, in the unit of the images; None if
            the attack was not run.
        """
        for run in (self.runs.get(network), self.further.get(network)):
            for entry in run.attacks if run else ():
                if run is not None and run.records and _is_unbounded(entry):
                    return SecurityCurve(self._distances(run, entry), (0.0,)).median_distance
        return None

    @staticmethod
    def _distances(run: ResultRun, entry: Mapping[str, Any]) -> np.ndarray:
        """Distances to the nearest misclassified image, by index."""
        if run.records is None:
            raise FileNotFoundError(f"No records of {run.name}.")
        found = {
            record["index"]: _distance(record)
            for record in read_records(run.records)
            if record["attack"] == entry["attack"]
        }
        return np.array([found[index] for index in sorted(found)])


def _is_unbounded(entry: Mapping[str, Any]) -> bool:
    """Whether an attack looks for the nearest misclassified image at any distance."""
    model = entry["threat_model"]
    return bool(model.get("minimum_norm")) and model["parameters"].get("epsilon", 0) is None


def _distance(record: Mapping[str, Any]) -> float:
    """To the nearest misclassified image: 0 of a clean mistake, infinite where none was found."""
    if record["clean_mistake"]:
        return 0.0
    return float(record["linf"]) if record["success"] else math.inf


def evaluated(results: Results) -> dict[str, list[Evaluated]]:
    """Reads all evaluations under APGD.

    It is called through `results.once`, so that records are read once.

    Returns:
        By data set, the evaluations of each seed.

    Raises:
        ValueError: a network whose seed is not the one in its file's name, or further attacks on
            another network than that of the same name.
    """
    runs: dict[tuple[str, int, bool], dict[str, ResultRun]] = {}
    for path in sorted((results.root / "robustness").glob("*.summary.json")):
        parts = _FILE.fullmatch(path.name.removesuffix(".summary.json"))
        if parts is None:
            continue
        dataset, network, number = parts[1], parts[2], int(parts[3] or 0)
        run = read_run(results.root, dataset, path.name[len(dataset) + 1 : -len(".summary.json")])
        if run is not None:
            if (trained := run.config.get("seed", number)) != number:
                raise ValueError(f"{path} is of seed {trained}, its name says {number}.")
            runs.setdefault((dataset, number, bool(parts[4])), {})[network] = run
    found: dict[str, list[Evaluated]] = {}
    for (dataset, number, is_further), networks in sorted(runs.items()):
        if is_further:
            continue
        further = runs.get((dataset, number, True), {})
        for name, run in further.items():
            if name in networks and _weights(run) != _weights(networks[name]):
                raise ValueError(
                    f"{run.name}.summary.json is of a network with other weights than "
                    f"{networks[name].name}.summary.json beside it: evaluate both on the same one."
                )
        seed = Evaluated(dataset, number, networks, further)
        if any(seed.attacks(name) for name in networks):
            found.setdefault(dataset, []).append(seed)
    return found


def _weights(run: ResultRun) -> object:
    return run.summary.get("evaluated", {}).get("weights")


def budgets(seeds: Sequence[Evaluated], attacks: str = APGD) -> list[float]:
    """All budgets, epsilon times 255, within which any network was attacked; 0 first."""
    found = {
        size
        for seed in seeds
        for name in seed.runs
        for size in (seed.attacks(name) if attacks == APGD else seed.further_budgets(name))
    }
    return [0.0, *sorted(found)]


def accuracy(
    seeds: Sequence[Evaluated], network: str, budget: float, attacks: str = APGD
) -> OverSeeds:
    """Robust accuracy of a network within a budget, over seeds.

    Args:
        seeds: evaluations of one data set.
        network: name of the network.
        budget: epsilon times 255; 0 for clean images.
        attacks: `APGD` or `STRONGEST`.

    Returns:
        Fractions in [0, 1]; seeds that were not evaluated are left out.
    """
    found = (seed.robust(network, budget, attacks) for seed in seeds)
    return OverSeeds(
        tuple(
            Estimate(None, None, 0) if right is None else fraction(int(right.sum()), len(right))
            for right in found
        )
    )


def difference(
    seeds: Sequence[Evaluated],
    budget: float,
    pair: Sequence[str] = PAIR,
    attacks: str = APGD,
    both_right: bool = False,
) -> OverSeeds:
    """Robust accuracy of one network minus that of another, over seeds.

    Args:
        seeds: evaluations of one data set.
        budget: epsilon times 255; 0 for clean images.
        pair: names of both networks.
        attacks: `APGD` or `STRONGEST`.
        both_right: whether only images count that both networks classify correctly when clean.

    Returns:
        Differences in [-1, 1]; within a seed they are paired over the images.

    Raises:
        ValueError: networks of a seed that were evaluated on different numbers of images.
    """
    found = []
    for seed in seeds:
        one, other = (seed.robust(name, budget, attacks) for name in pair)
        if one is not None and other is not None:
            if len(one) != len(other):
                raise ValueError(
                    f"{' and '.join(pair)} of {seed.dataset}, seed {seed.number}, were evaluated "
                    f"on {len(one)} and {len(other)} images; evaluate them alike."
                )
            if both_right:
                clean = [seed.robust(name, 0.0, attacks) for name in pair]
                kept = np.all([right for right in clean if right is not None], axis=0)
                one, other = one[kept], other[kept]
            found.append(paired(one, other))
    return OverSeeds(tuple(found))


def table(seeds: Sequence[Evaluated], attacks: str = APGD) -> Table:
    """Makes the table of accuracies within each budget, and of ResNet-50's minus CBAM's.

    Args:
        seeds: evaluations of one data set.
        attacks: `APGD`, or `STRONGEST`, with the median distances.

    Returns:
        The table.
    """
    names = [name for name in NETWORKS if any(name in seed.runs for seed in seeds)]
    rows = []
    for budget in budgets(seeds, attacks):
        gap = difference(seeds, budget, attacks=attacks)
        cells = [accuracy(seeds, name, budget, attacks).percent() for name in names]
        word = side(gap) if budget else DASH
        rows.append((f"{budget:g}/255" if budget else "none", *cells, gap.of_each(), word))
    median = [_median(seeds, name) for name in names]
    if attacks == STRONGEST and any(text != DASH for text in median):
        rows.append(("median distance × 255", *median, DASH, DASH))
    heads = [NETWORKS[name] for name in names]
    return Table((f"{attacks} within", *heads, "ResNet-50 − CBAM, each seed", "ResNet-50 is"), rows)


def _median(seeds: Sequence[Evaluated], network: str) -> str:
    distances = [seed.median_distance(network) for seed in seeds]
    return " / ".join(f"{255 * each:.2f}" for each in distances if each is not None) or DASH


def claims(results: Results) -> list[tuple[str, ...]]:
    """Rows for the page of claims: ResNet-50's accuracy minus CBAM's within each budget."""
    rows: list[tuple[str, ...]] = []
    known = results.once(evaluated)
    for dataset in dict.fromkeys((*known, *STUDIED.values())):
        seeds = known.get(dataset, [])
        for attacks in (APGD, STRONGEST):
            found = [
                (budget, gap)
                for budget in budgets(seeds, attacks)[1:]
                if (gap := difference(seeds, budget, attacks=attacks)).seeds
            ]
            clean = ", ".join(
                f"{short} {each.mean_percent()}"
                for name, short in SHORT.items()
                if name in PAIR and (each := accuracy(seeds, name, 0.0, attacks)).seeds
            )
            if not found and dataset not in STUDIED.values():
                continue
            if not found:
                what = f"ResNet − CBAM; {attacks} within {_ALL[attacks]}"
                place = ("beyond the paper", NOT_CLAIMED, what, heading(dataset))
                rows.append((*place, *(DASH,) * 5, not_run(f"agrawal_{dataset}")))
            for budget, gap in found:
                what = f"ResNet − CBAM; {attacks} within {budget:g}/255"
                where = ("beyond the paper", NOT_CLAIMED, what, heading(dataset), clean or DASH)
                right = difference(seeds, budget, attacks=attacks, both_right=True).of_each()
                cells = (gap.of_each(), right, gap.over_seeds(), DASH, side(gap))
                rows.append((*where, *cells))
    return rows


def figure(dataset: str, seeds: Sequence[Evaluated]) -> Figure:
    """Plots accuracy against the budget: a thin line for each seed, a thick one for their mean.

    Args:
        dataset: name of the data set, for the title.
        seeds: its evaluations.

    Returns:
        The figure.
    """
    drawn = plots.empty_figure(6.4, 4.2)
    axes = drawn.subplots()
    sizes = budgets(seeds)
    for network, style in STYLES.items():
        found = [accuracy(seeds, network, size) for size in sizes]
        xs = [size for size, each in zip(sizes, found, strict=True) if each.mean is not None]
        means = [100 * each.mean for each in found if each.mean is not None]
        if not xs:
            continue
        axes.plot(xs, means, lw=2, clip_on=False, label=NETWORKS[network], **style)
        for seed in seeds:
            each = [accuracy([seed], network, size).mean for size in xs]
            if len(seeds) > 1 and None not in each:
                ys = [100 * value for value in each if value is not None]
                axes.plot(xs, ys, lw=0.8, alpha=0.6, color=style["color"])
        if len(seeds) == 1:
            shown = [each.seeds[0].interval for each in found if each.seeds]
            lows, highs = (
                [100 * each[end] for each in shown if each is not None] for end in (0, 1)
            )
            axes.fill_between(xs, lows, highs, color=style["color"], alpha=0.2, lw=0)
    axes.set_xscale("symlog", base=2, linthresh=0.5)
    axes.set_xticks(sizes, ["0", *(f"{size:g}/255" for size in sizes[1:])])
    axes.minorticks_off()
    axes.set_xlim(left=0)
    axes.set_ylim(0, 100)
    axes.set(xlabel="APGD within ε (l∞)", ylabel="accuracy, %")
    count = f"mean of {len(seeds)} seeds, thin: each" if len(seeds) > 1 else "one seed, 95 % bands"
    axes.set_title(f"{heading(dataset)}; {count}", fontsize=10)
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend()
    return drawn


def page(found: Mapping[str, Sequence[Evaluated]]) -> str:
    """The Markdown page on all data sets; `found` is what `evaluated` returned."""
    parts = [
        "# ResNet-50 and CBAM under small budgets",
        "Made by `python -m analysis.report` from `results/robustness`.",
        "Robust accuracy in percent, white box: correct without attack and under APGD (100 "
        "iterations, cross-entropy), at any iterate. One seed: 95 % Wilson interval over images; "
        "several: mean ± standard deviation over seeds. Accuracies are upper bounds: APGD with one "
        f"loss is no AutoAttack. *{STRONGEST}*: those of the images that also stay correct under "
        "APGD on the targeted DLR loss, and to which FAB finds no misclassified image within the "
        "budget, each with fewer steps and target classes than in AutoAttack; and the median "
        "distance, over images that are correct when clean, to the nearest misclassified one that "
        "FAB found. Where that table is missing, it was not run.",
        READING,
    ]
    for dataset, seeds in found.items():
        numbers = ", ".join(str(seed.number) for seed in seeds)
        counts = {run.attacks[0]["count"] for seed in seeds for run in seed.runs.values()}
        images = " or ".join(f"{count:,}" for count in sorted(counts))
        parts += [
            f"## {heading(dataset)}",
            f"Seeds: {numbers}; {images} test images.",
            table(seeds).markdown(),
            *_strongest(seeds),
            f"![Accuracy under APGD](../figures/{STEM}_{dataset}.png)",
        ]
    return "\n\n".join(parts) + "\n"


def _strongest(seeds: Sequence[Evaluated]) -> list[str]:
    """The table under all attacks, if any was run beside APGD, under a line on its images."""
    counts = {run.attacks[0]["count"] for seed in seeds for run in seed.further.values()}
    if not counts:
        return []
    images = " or ".join(f"{count:,}" for count in sorted(counts))
    return [f"The first {images} of them:", table(seeds, STRONGEST).markdown()]


def files(results: Results) -> dict[str, str | bytes]:
    """Contents of the page and of a figure per data set, by path in the results directory."""
    found = results.once(evaluated)
    if not found:
        return {}
    made: dict[str, str | bytes] = {f"tables/{STEM}.md": page(found)}
    for dataset, seeds in found.items():
        made[f"figures/{STEM}_{dataset}.png"] = plots.png(figure(dataset, seeds))
    return made


def readme(results: Results) -> str:
    """A link to the page."""
    if not results.once(evaluated):
        return ""
    link = f"[results/tables/{STEM}.md](results/tables/{STEM}.md)"
    return f"The same networks under APGD within 0.5/255 to 8/255: {link}."
