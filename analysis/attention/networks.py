"""The networks whose attention was studied: how they were trained, how accurate they are, and
whether those whose attention moves least under attack are the robust ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aad_tf.metrics import wilson_interval
from analysis import plots
from analysis.attention.caption import TOP_CELLS, total_epsilon
from analysis.records import ResultRun, Results, read_run
from analysis.statistics import DASH, Estimate, fraction, mean
from analysis.tables import Table

STEM = "attention_networks"
# Fewer networks show nothing of how attention and robustness go together.
FEWEST = 3


def read(results: Results) -> list[ResultRun]:
    """Reads the robustness records of the networks whose attention was studied.

    Args:
        results: the directory of results.

    Returns:
        Runs of the networks that have records of training and robustness.

    Raises:
        ValueError: a file that is no record, or that of a shard.
    """
    runs = [read_run(results.root, found.dataset, found.network) for found in results.networks]
    return [run for run in runs if run is not None and run.training]


def accuracies(networks: Sequence[ResultRun]) -> Table:
    """Makes the table of accuracies in percent, clean and under each attack, with intervals."""
    attacks = list(dict.fromkeys(entry["attack"] for n in networks for entry in n.attacks))
    rows = []
    for network in networks:
        entries = {entry["attack"]: entry for entry in network.attacks}
        count, clean = (network.attacks[0][key] for key in ("count", "clean_accuracy"))
        cells = [_percent(round(clean * count), count)]
        for attack in attacks:
            entry = entries.get(attack)
            robust = DASH if entry is None else _percent(entry["robust"], entry["count"])
            cells.append(robust)
        rows.append((network.name, f"{count:,}", *cells))
    return Table(("network", "n", "clean", *attacks), rows)


def _percent(hits: int, count: int) -> str:
    low, high = (100 * bound for bound in wilson_interval(hits, count))
    return f"{100 * hits / count:.1f} [{low:.1f}, {high:.1f}]"


def threat_models(networks: Sequence[ResultRun]) -> Table:
    """Makes the table of threat models, one row for each attack."""
    models = {entry["attack"]: entry["threat_model"] for n in networks for entry in n.attacks}
    rows = [
        (
            name,
            "l∞",
            f"{model['epsilon']:.4g}",
            f"{model['epsilon_255']:.4g}/255",
            _steps(model),
            str(model["restarts"]) if model["random_start"] else "no random start",
            model["objective"].replace("_", " "),
            model["success"].replace("_", " "),
        )
        for name, model in models.items()
    ]
    heads = ("attack", "norm", "ε in [0, 1]", "ε", "steps", "restarts", "loss", "misclassified at")
    return Table(heads, rows, left=2)


def _steps(model: Mapping[str, Any]) -> str:
    """Number and size of the steps of an attack; some choose their sizes themselves."""
    size = model["step_size"]
    return f"{model['steps']}" if size is None else f"{model['steps']} × {255 * size:.4g}/255"


def training(networks: Sequence[ResultRun]) -> Table:
    """Makes the table of training settings, one row for each network."""
    rows = [
        (
            network.name,
            network.config["model"],
            network.config["defense"]["attack"] or "none",
            network.config["defense"]["kind"],
            network.config["initial_weights"] or DASH,
            str(network.config["epochs"]),
            str(network.config["seed"]),
            f"{network.training['seconds'] / 60:.0f}",
        )
        for network in networks
    ]
    heads = ("network", "model", "attack in training", "defence", "started from", "epochs", "seed")
    return Table((*heads, "minutes"), rows, left=5)


def attention_kept(results: Results) -> tuple[dict[str, Estimate], str]:
    """How much of the clean attention area is kept after one iteration of StepLL, by network.

    Returns:
        By name of the network, the mean IoU of clean and attacked area of `TOP_CELLS` cells over
        correctly classified images; and a label that says so. Both are empty unless all networks
        were attacked with the same step size.
    """
    names = {network.name for network in results.once(read)}
    found, attacks = {}, set()
    for network in results.networks:
        run = network.load("step_ll") if network.name in names else None
        if run is not None and run.correct.any():
            found[network.name] = mean(run.iou_clean(size=TOP_CELLS)[run.correct, 0])
            attacks.add(f"{255 * total_epsilon(run.study['attack'], 1):.3g}/255")
    if len(attacks) != 1:
        return {}, ""
    return found, f"IoU of clean and attacked area, one round of StepLL {attacks.pop()}"


def figure(results: Results) -> plots.Figure | None:
    """Plots robust accuracy of networks against how much of the clean attention they keep.

    Returns:
        A figure with a panel for each attack that all networks were evaluated under, and a point
        for each network with 95 % intervals over images; None for fewer than `FEWEST` networks, or
        without such an attack.
    """
    kept, label = attention_kept(results)
    networks = [network for network in results.once(read) if network.name in kept]
    by_attack = [{entry["attack"]: entry for entry in n.attacks} for n in networks]
    shared = (
        [name for name in by_attack[0] if all(name in one for one in by_attack)] if kept else []
    )
    if len(networks) < FEWEST or not shared:
        return None
    panels = {}
    for attack in shared:
        entries = [one[attack] for one in by_attack]
        robust = [fraction(entry["robust"], entry["count"]) for entry in entries]
        panels[attack] = dict(zip((n.name for n in networks), robust, strict=True))
    title = f"Attention that stays put, and accuracy under attack ({len(networks)} networks)"
    return plots.by_network(title, kept, panels, label)


def page(networks: Sequence[ResultRun], drawn: bool = False) -> str:
    """The Markdown page on the networks.

    Args:
        networks: what `read` returned.
        drawn: whether `figure` made a plot, which the page then shows.

    Returns:
        The page.
    """
    plot = (
        f"Each point is one network, one training; so few tell no rule.\n\n"
        f"![Accuracy under attack by the IoU of clean and attacked attention]"
        f"(../figures/{STEM}.png)"
    )
    sources = sorted({network.training["dataset"]["source"] for network in networks})
    parts = [
        "# Networks of the attention study",
        "Made by `python -m analysis.report` from `results/robustness` and `results/runs`.",
        f"Accuracy in percent on the test split of {', '.join(sources)}, white box, with Wilson's "
        "95 % interval over images. One training run each; minutes are those of a machine that did "
        "other work too.",
        accuracies(networks).markdown(),
        *(["## Do networks whose attention stays put withstand attacks?", plot] if drawn else []),
        "## Threat models",
        threat_models(networks).markdown(),
        "## Training",
        training(networks).markdown(),
    ]
    return "\n\n".join(parts) + "\n"


def files(results: Results) -> dict[str, str | bytes]:
    """Contents of page, CSV, LaTeX and plot by path in the results directory."""
    studied = results.once(read)
    if not studied:
        return {}
    table = accuracies(studied)
    latex = table.latex("Accuracy in percent of the networks studied, white box", "tab:networks")
    stem, drawn = f"tables/{STEM}", figure(results)
    made = {f"{stem}.md": page(studied, drawn is not None), f"{stem}.csv": table.csv()}
    picture = {} if drawn is None else {f"figures/{STEM}.png": plots.png(drawn)}
    return {**made, f"{stem}.tex": latex, **picture}


def readme(results: Results) -> str:
    """A link to the page, if there is one."""
    if not results.once(read):
        return ""
    path = f"results/tables/{STEM}.md"
    return f"How these networks were trained, and their accuracies: [{path}]({path})."
