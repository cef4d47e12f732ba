"""Do the attention losses of AAD add robustness? Controls on MNIST, compared over seeds.

A control is a training that differs from another one in a single thing. The records are
results/controls/<network>.summary.json, evaluations of the presets of
`train/configs/mnist_controls.py`; `train.study --study=aad_controls_mnist` makes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from matplotlib.figure import Figure

from aad_tf.utils.files import PathLike
from analysis import plots, strict_controls, trained_attention, trained_presets, trust
from analysis.records import Results
from analysis.seeds import READING, SeedDifference
from analysis.statistics import DASH
from analysis.strict_controls import Strict
from analysis.tables import Table
from analysis.trained_presets import CLEAN, TrainedPreset
from train.configs import mnist_controls

PRIMARY, PRIMARY_OF_HALF = mnist_controls.ATTACKS[:2]
_COLUMNS = (CLEAN, *mnist_controls.ATTACKS, *mnist_controls.HALF_SIZES)
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
    "step_ll_two_rounds": "StepLL training on clean images and the second round",
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
    "aad_float32": "AAD, two rounds, 8 : 4 : 1, losses balanced, in float32",
    "aad_8_0_0_float32": "the same, 8 : 0 : 0",
    "step_ll_float32": "StepLL training, in float32",
}
# One round is a column of the table of accuracies, too.
_BY_ROUND = {"step_ll(epsilon=0.15)": "1 round"} | {
    attack: f"{rounds} rounds, {'anew' if relabel else 'kept'}"
    for (rounds, relabel), attack in mnist_controls.ROUNDS.items()
}
# (question, preset, preset it is compared with, the attack that decides).
QUESTIONS = (
    ("Do the attention losses add anything, losses balanced?", "aad", "aad_8_0_0", PRIMARY),
    ("The same, trained in float32?", "aad_float32", "aad_8_0_0_float32", PRIMARY),
    ("The same, losses as printed?", "paper", "paper_8_0_0", PRIMARY),
    (
        "The same, losses of the authors' code?",
        "reference_code",
        "reference_code_8_0_0",
        PRIMARY,
    ),
    ("The same, one round?", "one_round", "one_round_8_0_0", PRIMARY),
    ("The same, target kept?", "kept_target", "kept_target_8_0_0", PRIMARY),
    ("The same, PGD in training?", "aad_pgd", "aad_pgd_8_0_0", PRIMARY),
    (
        "The same, trained and attacked at half the size?",
        "half_size",
        "half_size_8_0_0",
        PRIMARY_OF_HALF,
    ),
    ("Does rectification alone add anything?", "aad_8_4_0", "aad_8_0_0", PRIMARY),
    ("Does preservation alone add anything?", "aad_8_0_1", "aad_8_0_0", PRIMARY),
    ("Is dropout's noise in the attention losses what counts?", "shared_dropout", "aad", PRIMARY),
    ("Do attention losses without dropout do as well?", "no_dropout", "aad", PRIMARY),
    ("Does the second round add anything?", "aad_8_0_0", "one_round_8_0_0", PRIMARY),
    (
        "Does it add more than one round of both sizes together?",
        "aad_8_0_0",
        "step_ll_double_size",
        PRIMARY,
    ),
    (
        "Do attacked images of twice the weight, those of both rounds, add anything?",
        "aad_8_0_0",
        "step_ll_two_rounds",
        PRIMARY,
    ),
    ("Does all of AAD add to StepLL training?", "aad", "step_ll", PRIMARY),
    ("Does it add to StepLL training that takes as long?", "aad", "step_ll_5_epochs", PRIMARY),
    ("Does it add to FGSM training?", "aad", "fgsm", PRIMARY),
    ("Does training in bfloat16 change AAD?", "aad", "aad_float32", PRIMARY),
    ("Does it change 8 : 0 : 0?", "aad_8_0_0", "aad_8_0_0_float32", PRIMARY),
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
    rows = [
        (
            NAMES[name],
            str(control.seeds),
            *map(control.cell, _COLUMNS),
        )
        for name, control in controls.items()
    ]
    return Table(("trained with", "seeds", *_COLUMNS), rows)


def measures(controls: Mapping[str, TrainedPreset]) -> Table:
    """What training did to attention, and how much of the gradient each loss had.

    Args:
        controls: what `read` returned.

    Returns:
        A row for each control whose training was measured, see `trained_attention.measures`.
    """
    return trained_attention.measures(controls, NAMES)


def answers(controls: Mapping[str, TrainedPreset]) -> list[SeedDifference]:
    """Answers the questions in `QUESTIONS` whose two presets were evaluated.

    Args:
        controls: what `read` returned.

    Returns:
        For each question the difference of the two presets' accuracies under the attack that
        decides it.
    """
    found = []
    for question, one, other, attack in _answered(controls):
        statement = f"{question} `{one.preset}` less `{other.preset}`"
        found.append(one.less(other, attack, statement))
    return found


def every_column(controls: Mapping[str, TrainedPreset]) -> Table:
    """Compares the presets of the questions on clean images and under every attack.

    Args:
        controls: what `read` returned.

    Returns:
        A row for each question whose two presets were evaluated: differences in points, of means
        over the named seeds; a column that rests on other seeds names them in the cell. Where there
        is a verdict, it and the 95 % interval follow.
    """
    rows = []
    for _, one, other, _ in _answered(controls):
        compared = [one.less(other, column, "") for column in _COLUMNS]
        seeds = compared[0].seeds_text()
        cells = (_cell(each, seeds) for each in compared)
        rows.append((f"`{one.preset}` less `{other.preset}`", seeds, *cells))
    return Table(("compared", "seeds", *_COLUMNS), rows, left=2)


def _cell(difference: SeedDifference, seeds: str) -> str:
    """A difference as text, with its seeds unless they are the given ones."""
    if not (difference.first and difference.second):
        return DASH
    own = difference.seeds_text()
    remark = f" (seed{'s' * (',' in own)} {own})" if own != seeds else ""
    return f"{difference.cell_text()}{remark}"


def _answered(
    controls: Mapping[str, TrainedPreset],
) -> Iterator[tuple[str, TrainedPreset, TrainedPreset, str]]:
    for question, preset, other, attack in QUESTIONS:
        if preset in controls and other in controls:
            yield question, controls[preset], controls[other], attack


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
        points = [100 * value for value in control.accuracies[PRIMARY].values()]
        axes.plot(points, [place] * len(points), "o", color="#0072B2", alpha=0.6)
        axes.plot([sum(points) / len(points)], [place], "|", color="#D55E00", ms=16, mew=2)
    axes.set_yticks(range(len(shown)), [NAMES[one.preset] for one in shown], fontsize=8)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    values = (100 * value for one in shown for value in one.accuracies[PRIMARY].values())
    axes.set_xlim(plots.span(values))
    axes.set_xlabel(f"accuracy, %, under\n{PRIMARY}:\neach seed, and their mean")
    axes.grid(axis="x", alpha=0.3)
    return figure


def attention_picture(controls: Mapping[str, TrainedPreset]) -> Figure:
    """Plots how alike attention is, clean and attacked, against accuracy under `PRIMARY`.

    Args:
        controls: what `read` returned.

    Returns:
        A point for each training, see `trained_attention.picture`.
    """
    return trained_attention.picture(controls, mnist_controls.PRESETS, PRIMARY)


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
        trained_presets.provenance(controls),
        table(controls).markdown(),
        "![Accuracy of each training](../figures/controls_mnist.png)",
        *trust.section(
            [*trained_presets.evaluations(controls), *strict_controls.evaluations(strict)]
        ),
        "## Answers",
        READING,
        "\n".join(f"- {answer.line()}" for answer in answers(controls)),
        "The same comparisons in every column, whatever decides:",
        every_column(controls).markdown(),
        *strict_controls.section(strict, NAMES),
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
    parts += trained_attention.section(
        controls, mnist_controls.PRESETS, NAMES, "controls_mnist_attention.png"
    )
    return "\n\n".join(parts) + "\n"


def files(results: Results) -> dict[str, str | bytes]:
    """Contents of page, CSV and picture by path in the results directory; empty without records."""
    controls = read(results.root)
    if not controls:
        return {}
    strict = strict_controls.read(results.root, "controls_strict", [*NAMES])
    found: dict[str, str | bytes] = {
        "tables/controls_mnist.md": page(controls, strict),
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
