"""Do the attention losses of AAD add robustness? Controls on MNIST, compared over seeds.

A control is a training that differs from another one in a single thing. The records are
results/controls/<network>.summary.json, evaluations of the presets of
`train/configs/mnist_controls.py`; `train.study --study=aad_controls_mnist` makes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from matplotlib.figure import Figure

from aad_tf.utils.files import PathLike
from analysis import plots, strict_controls, trained_presets
from analysis.records import Results
from analysis.seeds import READING, SeedDifference
from analysis.strict_controls import Strict
from analysis.tables import Table
from analysis.trained_presets import CLEAN, TrainedPreset
from train.configs import mnist_controls

PRIMARY, PRIMARY_OF_HALF = mnist_controls.ATTACKS[:2]
# What each preset is, in the order of the table.
NAMES = {
    "aad": "AAD, two rounds, 8 : 4 : 1, losses balanced",
    "aad_8_0_0": "the same, 8 : 0 : 0",
    "paper": "AAD, two rounds, 8 : 4 : 1, losses as printed",
    "paper_8_0_0": "the same, 8 : 0 : 0",
    "reference_code": "AAD, two rounds, 8 : 4 : 1, losses of the authors' code",
    "reference_code_8_0_0": "the same, 8 : 0 : 0",
    "aad_8_4_0": "AAD, two rounds, 8 : 4 : 0",
    "aad_8_0_1": "AAD, two rounds, 8 : 0 : 1",
    "shared_dropout": "AAD, two rounds, 8 : 4 : 1, dropout masks shared between passes",
    "no_dropout": "AAD, two rounds, 8 : 4 : 1, attention losses without dropout",
    "kept_target": "AAD, two rounds, 8 : 4 : 1, target kept",
    "kept_target_8_0_0": "the same, 8 : 0 : 0",
    "one_round": "AAD, one round, 8 : 4 : 1",
    "one_round_8_0_0": "the same, 8 : 0 : 0",
    "half_size": "AAD, two rounds of half the size, 8 : 4 : 1",
    "half_size_8_0_0": "the same, 8 : 0 : 0",
    "step_ll": "StepLL training",
    "step_ll_double_size": "StepLL training, ε 0.3",
    "step_ll_5_epochs": "StepLL training, 5 epochs",
    "aad_pgd": "AAD with PGD, 8 : 4 : 1",
    "aad_pgd_8_0_0": "the same, 8 : 0 : 0",
    "clean": "clean images alone",
    "fgsm": "FGSM training",
    "rs_fgsm": "RS-FGSM, trained for ε 0.3",
    "nfgsm": "N-FGSM, trained for ε 0.3",
    "trades": "TRADES, trained for ε 0.3",
    "pairing": "logit and attention pairing, trained for ε 0.3",
    "pgd": "PGD training, ε 0.3",
}
_IOU = "val_attention_iou"
# Columns of the trainings' histories, and what they are: after the last epoch, and over all.
_MEASURES = {
    _IOU: "IoU of clean and attacked areas",
    f"{_IOU}_empty": "left out: no area",
    f"{_IOU}_zero_clean": "zero maps, clean",
    f"{_IOU}_zero_attacked": "zero maps, attacked",
}
_SHARES = {
    "gradient_share_classification": "gradient of L_c",
    "gradient_share_rectification": "of L_r",
    "gradient_share_preservation": "of L_p",
}
# One round is a column of the table of accuracies, too.
_BY_ROUND = {"step_ll(epsilon=0.15)": "1 round"} | {
    attack: f"{rounds} rounds, {'anew' if relabel else 'kept'}"
    for (rounds, relabel), attack in mnist_controls.ROUNDS.items()
}
# (question, preset, preset it is compared with, the attack that decides).
QUESTIONS = (
    ("Do the attention losses add anything, losses balanced?", "aad", "aad_8_0_0", PRIMARY),
    ("... losses as printed?", "paper", "paper_8_0_0", PRIMARY),
    ("... losses of the authors' code?", "reference_code", "reference_code_8_0_0", PRIMARY),
    ("... with one round?", "one_round", "one_round_8_0_0", PRIMARY),
    ("... with the target kept?", "kept_target", "kept_target_8_0_0", PRIMARY),
    ("... with PGD?", "aad_pgd", "aad_pgd_8_0_0", PRIMARY),
    (
        "... at half the size, attacked within half?",
        "half_size",
        "half_size_8_0_0",
        PRIMARY_OF_HALF,
    ),
    ("Rectification alone?", "aad_8_4_0", "aad_8_0_0", PRIMARY),
    ("Preservation alone?", "aad_8_0_1", "aad_8_0_0", PRIMARY),
    ("Is dropout's noise in the attention losses what counts?", "shared_dropout", "aad", PRIMARY),
    ("... left out altogether?", "no_dropout", "aad", PRIMARY),
    ("Does the second round add anything?", "aad_8_0_0", "one_round_8_0_0", PRIMARY),
    (
        "... more than one round of both sizes together?",
        "aad_8_0_0",
        "step_ll_double_size",
        PRIMARY,
    ),
    ("Does all of AAD add to StepLL training?", "aad", "step_ll", PRIMARY),
    ("... that takes as long?", "aad", "step_ll_5_epochs", PRIMARY),
    ("... to FGSM training?", "aad", "fgsm", PRIMARY),
)


def read(results_dir: PathLike) -> dict[str, TrainedPreset]:
    """Reads the evaluations of the control presets.

    Args:
        results_dir: directory of results, which holds the directory `controls`.

    Returns:
        The controls that were evaluated, by preset, in the order of `NAMES`.

    Raises:
        ValueError: a file is not a summary of one of these presets as they are defined, or its
            evaluation differs from the others in the rule of success or the number of images.
    """
    ordered = {name: mnist_controls.PRESETS[name] for name in NAMES}
    return trained_presets.read(results_dir, "controls", ordered, mnist_controls.ALL_ATTACKS)


def table(controls: Mapping[str, TrainedPreset]) -> Table:
    """Accuracies in percent of each control: means over seeds, and the range of several seeds.

    Args:
        controls: what `read` returned.

    Returns:
        A row for each control, a column for clean images and for each attack.
    """
    columns = (CLEAN, *mnist_controls.ATTACKS, *mnist_controls.HALF_SIZES)
    rows = [
        (
            NAMES[name],
            str(control.seeds),
            *map(control.cell, columns),
        )
        for name, control in controls.items()
    ]
    return Table(("trained with", "seeds", *columns), rows)


def measures(controls: Mapping[str, TrainedPreset]) -> Table:
    """What training did to attention, and how much of the gradient each loss had.

    Args:
        controls: what `read` returned.

    Returns:
        A row for each control whose training was measured, in percent: means over seeds, and the
        range of several seeds.
    """
    rows = [
        (
            NAMES[name],
            str(len(control.last_epoch(_IOU))),
            *map(control.last_epoch_cell, _MEASURES),
            *map(control.mean_of_epochs_cell, _SHARES),
        )
        for name, control in controls.items()
        if control.last_epoch(_IOU)
    ]
    return Table(("trained with", "seeds", *_MEASURES.values(), *_SHARES.values()), rows)


def answers(controls: Mapping[str, TrainedPreset]) -> list[SeedDifference]:
    """Answers the questions in `QUESTIONS` whose two presets were evaluated.

    Args:
        controls: what `read` returned.

    Returns:
        For each question the difference of the two presets' accuracies under the attack that
        decides it.
    """
    found = []
    for question, preset, other, attack in QUESTIONS:
        if preset in controls and other in controls:
            statement = f"{question} `{preset}` less `{other}`"
            found.append(controls[preset].less(controls[other], attack, statement))
    return found


def by_round(controls: Mapping[str, TrainedPreset]) -> Table:
    """Accuracies in percent by the number of rounds of StepLL, [AAD Sec. 3.3].

    Args:
        controls: what `read` returned.

    Returns:
        A row for each control that was attacked so, with the least likely class as target, chosen
        anew before each round and kept from the first one on.
    """
    rows = [
        (NAMES[name], *map(control.cell, _BY_ROUND))
        for name, control in controls.items()
        if any(attack in control.accuracies for attack in mnist_controls.ROUNDS.values())
    ]
    return Table(("trained with", *_BY_ROUND.values()), rows)


def picture(controls: Mapping[str, TrainedPreset]) -> Figure:
    """Plots accuracies under the attack `PRIMARY`: a point for each seed, a line at their mean."""
    shown = [one for one in controls.values() if one.accuracies.get(PRIMARY)]
    figure = plots.empty_figure(9.0, 1.4 + 0.3 * len(shown))
    axes = figure.subplots()
    for place, control in enumerate(shown):
        values = [100 * value for value in control.accuracies[PRIMARY].values()]
        axes.plot(values, [place] * len(values), "o", color="#0072B2", alpha=0.6)
        axes.plot([sum(values) / len(values)], [place], "|", color="#D55E00", ms=16, mew=2)
    axes.set_yticks(range(len(shown)), [NAMES[one.preset] for one in shown], fontsize=8)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(_span(100 * value for one in shown for value in one.accuracies[PRIMARY].values()))
    axes.set_xlabel(f"accuracy, %, under\n{PRIMARY}:\neach seed, and their mean")
    axes.grid(axis="x", alpha=0.3)
    return figure


def _span(percent: Iterable[float]) -> tuple[float, float]:
    """Ends of an axis on which differences of a few points do not look like many."""
    values = list(percent)
    middle, half = (min(values) + max(values)) / 2, max(10.0, (max(values) - min(values)) / 2 + 2)
    low = max(0.0, min(middle - half, 100.0 - 2 * half))
    return low, min(100.0, low + 2 * half)


def attention_picture(controls: Mapping[str, TrainedPreset]) -> Figure:
    """Plots how alike attention is, clean and attacked, against accuracy under attack.

    Args:
        controls: what `read` returned.

    Returns:
        A point for each training: the mean IoU of clean and attacked attention areas after its last
        epoch, and accuracy under the attack `PRIMARY`. Points are filled where attention losses
        were on, and one of each control carries its preset's name.
    """
    figure = plots.empty_figure(8.0, 5.5)
    axes = figure.subplots()
    heights: list[float] = []
    for number, (name, control) in enumerate(controls.items()):
        robust, same = control.accuracies.get(PRIMARY, {}), control.last_epoch(_IOU)
        empty = control.last_epoch(f"{_IOU}_empty")
        # Of a network without any area, IoU is not known.
        seeds = [seed for seed in sorted(robust.keys() & same.keys()) if empty.get(seed, 0.0) < 1.0]
        if not seeds:
            continue
        places = [(100 * same[seed], 100 * robust[seed]) for seed in seeds]
        color, marker = plots.POINTS[number % len(plots.POINTS)]
        filled = _has_attention_losses(name)
        heights += [height for _, height in places]
        inside = color if filled else "none"
        axes.plot(*zip(*places, strict=True), marker, color=color, markerfacecolor=inside)
        axes.annotate(name, places[0], fontsize=7, xytext=(5, 3), textcoords="offset points")
    axes.set_xlim(0, 100)
    if heights:
        axes.set_ylim(_span(heights))
    axes.set_xlabel("mean IoU of clean and attacked attention areas, %")
    axes.set_ylabel(f"accuracy, %, under\n{PRIMARY}", fontsize=9)
    axes.set_title("Filled: trained with attention losses", fontsize=10)
    axes.grid(alpha=0.3)
    return figure


def _has_attention_losses(name: str) -> bool:
    defense = mnist_controls.PRESETS[name].defense
    losses = {"aad": defense.weights[1:], "pairing": defense.pairing[1:]}
    return any(losses.get(defense.kind, ()))


def page(controls: Mapping[str, TrainedPreset], strict: Sequence[Strict] = ()) -> str:
    """The controls as a Markdown page.

    Args:
        controls: what `read` returned, with at least one control.
        strict: what `strict_controls.read` returned.

    Returns:
        The text of the page.
    """
    count = next(iter(controls.values())).count
    parts = [
        "# Do the attention losses of AAD add robustness? MNIST, controls",
        "Made by `python -m analysis.report` from `results/controls`.",
        f"Trained for {mnist_controls.PRESETS['aad'].epochs} epochs, where the paper has 5, unless "
        "the name says otherwise; RS-FGSM and N-FGSM for half of their 10. "
        f"Accuracy in percent on the first {count:,} test images, white box, l∞, "
        f"misclassified at any iterate, one restart; sizes are in [0, 1]. Means over seeds, and "
        "from the lowest to the highest in parentheses. "
        f"What decides, fixed beforehand: {PRIMARY}; at half the size {PRIMARY_OF_HALF}.",
        table(controls).markdown(),
        "![Accuracy of each training](../figures/controls_mnist.png)",
        "## Answers",
        READING,
        "\n".join(f"- {answer.line()}" for answer in answers(controls)),
    ]
    if strict:
        parts += [
            "## Under the strongest attacks",
            strict_controls.READING,
            strict_controls.table(strict, NAMES).markdown(),
        ]
    rounds = by_round(controls)
    if rounds.rows:
        parts += [
            "## By rounds of StepLL",
            "Accuracy in percent under one to four rounds of size 0.15, which add up: towards the "
            "class that is least likely before each round (*anew*), or on the clean image "
            "(*kept*). AAD trains on the first two rounds, with the target chosen anew unless the "
            "name says otherwise. Where a further round leaves more images right, rounds undo "
            "each other.",
            rounds.markdown(),
        ]
    found = measures(controls)
    if found.rows:
        preset = mnist_controls.PRESETS["aad"]
        parts += [
            "## Attention",
            f"On {preset.monitor_examples} validation images, attacked by {preset.monitor_attack}, "
            "after the last epoch, in percent: mean IoU of the attention areas of an image and its "
            "attacked version; pairs without any area, which that mean leaves out; Grad-CAM maps "
            "that are zero everywhere, which an attention loss cannot change.",
            f"Of AAD also the share of each weighted loss in the gradient, by norms, in training "
            f"mode and under the attack of training, on {preset.batch_size} validation images: the "
            "mean over epochs, each at its end. A loss with hardly any share had hardly any effect "
            "on the weights then, whatever its own weight.",
            found.markdown(),
            "![Attention under attack and accuracy](../figures/controls_mnist_attention.png)",
        ]
    return "\n\n".join(parts) + "\n"


def files(results: Results) -> dict[str, str | bytes]:
    """Contents of page, CSV and picture by path in the results directory; empty without records."""
    controls = read(results.root)
    if not controls:
        return {}
    found: dict[str, str | bytes] = {
        "tables/controls_mnist.md": page(controls, strict_controls.read(results.root, [*NAMES])),
        "tables/controls_mnist.csv": table(controls).csv(),
        "figures/controls_mnist.png": plots.png(picture(controls)),
    }
    if measures(controls).rows:
        drawn = plots.png(attention_picture(controls))
        found["figures/controls_mnist_attention.png"] = drawn
    return found


def readme(results: Results) -> str:
    """An empty text: the README describes this page in hand-written text."""
    return ""
