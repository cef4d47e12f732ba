"""[AAD Table 6]: CIFAR-10 by the number of rounds of StepLL in AAD's training.

Beside each network stands one that was trained on the same rounds without attention losses. The
numbers come from `results/rounds/<network>.summary.json`, evaluations of the presets in
`train/configs/cifar10_rounds.py`. `train.study --study=aad_table_6` trains and evaluates them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aad_tf.utils.files import PathLike
from analysis import plots, strict_controls, trained_attention, trained_presets, trust
from analysis.paper_values import TABLE_6
from analysis.records import Results
from analysis.seeds import READING, SeedDifference
from analysis.strict_controls import Strict
from analysis.tables import Table
from analysis.trained_presets import CLEAN, TrainedPreset
from train.configs import cifar10_rounds
from train.configs.cifar10_rounds import (
    ITER_LL,
    ITER_LL_RELABELLED,
    PGD,
    PRIMARY,
    ROUNDS,
    STEP_LL,
    TWO_ROUNDS,
)

STEM = "tables/aad_table_6"
_PICTURE = "aad_table_6_attention"
_WITHOUT = "_8_0_0"
_COLUMNS = {
    CLEAN: ("clean", "original"),
    STEP_LL: ("StepLL, ε 0.075", "StepLL"),
    ITER_LL: ("Iter-LL, ε 0.075, 3 steps, target kept", "Iter-LL"),
    ITER_LL_RELABELLED: ("Iter-LL, target chosen anew in each step", None),
    TWO_ROUNDS: ("StepLL, two rounds of 0.075", None),
    PGD: ("PGD, ε 0.05, 20 steps of 0.005", None),
    PRIMARY: ("PGD, ε 0.075, 40 steps of 0.005, 5 restarts", None),
}


def read(results_dir: PathLike) -> dict[str, TrainedPreset]:
    """Reads the evaluations of the presets by rounds.

    Args:
        results_dir: directory of results, which holds the directory `rounds`.

    Returns:
        The presets that were evaluated, by name. Presets that begin with `small_` are included
        only if no other was evaluated.

    Raises:
        ValueError: a file is not a summary of one of these presets as they are defined, or its
            evaluation differs from the others in the rule of success or the number of images.
    """
    presets, attacks = cifar10_rounds.PRESETS, cifar10_rounds.ATTACKS
    found = trained_presets.read(results_dir, "rounds", presets, attacks)
    return trained_presets.without_small(found)


def table(found: Mapping[str, TrainedPreset]) -> Table:
    """Makes the table of accuracies by number of rounds.

    Args:
        found: what `read` returned.

    Returns:
        For each number of rounds a row of AAD, a row without attention losses (each only if it
        was evaluated) and a row with the paper's values.
    """
    rows = []
    for rounds in ROUNDS:
        for suffix, weights in (("", "8 : 4 : 1"), (_WITHOUT, "8 : 0 : 0")):
            one = _of(found, rounds, suffix)
            if one is not None:
                cells = (one.cell(column) for column in _COLUMNS)
                rows.append((str(rounds), weights, str(one.seeds), *cells))
        printed = [
            f"{TABLE_6.value(str(rounds), column):.1f}" if column else ""
            for _, column in _COLUMNS.values()
        ]
        rows.append((str(rounds), "8 : 4 : 1, paper", "", *printed))
    heads = ("rounds", "weights", "seeds", *(heading for heading, _ in _COLUMNS.values()))
    return Table(heads, rows, left=2)


def _of(found: Mapping[str, TrainedPreset], rounds: int, suffix: str = "") -> TrainedPreset | None:
    return trained_presets.preset_or_small(found, f"rounds_{rounds}{suffix}")


def differences(found: Mapping[str, TrainedPreset]) -> list[SeedDifference]:
    """Computes what the attention losses add to accuracy, and what each further round adds.

    Args:
        found: what `read` returned.

    Returns:
        Differences of accuracy on clean images and under each attack. A difference is left out
        unless both of its presets were evaluated.
    """
    compared = []
    for rounds in ROUNDS:
        one, former = _of(found, rounds), _of(found, rounds - 1)
        without = _of(found, rounds, _WITHOUT)
        for column, (heading, printed) in _COLUMNS.items():
            if one and without:
                statement = f"attention losses, {rounds} rounds, {heading}"
                compared.append(one.less(without, column, statement))
            if one and former:
                statement = f"round {rounds} added, {heading}"
                compared.append(one.less(former, column, statement, _printed(rounds, printed)))
    return compared


def _printed(rounds: int, column: str | None) -> float | None:
    """What the paper gains by the last of so many rounds, in [-1, 1]."""
    if column is None:
        return None
    with_it, without = (TABLE_6.value(str(row), column) for row in (rounds, rounds - 1))
    return (with_it - without) / 100


def page(found: Mapping[str, TrainedPreset], strict: Sequence[Strict] = ()) -> str:
    """Makes the Markdown page with the table, the differences and notes on the paper's values.

    Args:
        found: what `read` returned, with at least one preset.
        strict: what `strict_controls.read` returned.

    Returns:
        The text of the page.
    """
    parts = [
        "# AAD Table 6: CIFAR-10 by rounds of StepLL in training",
        "Made by `python -m analysis.report` from `results/rounds`.",
        f"{trained_presets.reading(found, cifar10_rounds.PRESETS)} 8 : 0 : 0 is trained on the "
        "same rounds without attention losses. What decides, fixed beforehand, is the last column.",
        trained_presets.provenance(found),
        table(found).markdown(),
        *trust.section([*trained_presets.evaluations(found), *strict_controls.evaluations(strict)]),
        "## Differences",
        READING,
        "\n".join(f"- {one.line()}" for one in differences(found)),
        *strict_controls.section(strict, {}),
        *trained_attention.section(found, cifar10_rounds.PRESETS, {}, f"{_PICTURE}.png"),
        "## Notes on the paper's values",
    ]
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in TABLE_6.notes)]) + "\n"


def files(results: Results) -> dict[str, str | bytes]:
    """Contents of page, CSV and picture by path in the results directory; empty without records."""
    found = read(results.root)
    if not found:
        return {}
    strict = strict_controls.read(results.root, "rounds_strict", [*cifar10_rounds.PRESETS])
    made: dict[str, str | bytes] = {
        f"{STEM}.md": page(found, strict),
        f"{STEM}.csv": table(found).csv(),
    }
    if trained_attention.measures(found, {}).rows:
        drawn = trained_attention.picture(found, cifar10_rounds.PRESETS, PRIMARY)
        made[f"figures/{_PICTURE}.png"] = plots.png(drawn)
    return made


def readme(results: Results) -> str:
    """An empty text: the README describes this page in hand-written text."""
    return ""
