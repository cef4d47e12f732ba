"""[AAD Table 6]: CIFAR-10 by rounds of StepLL that AAD trains on, beside the same rounds without
attention losses.

Read from results/rounds/<network>.summary.json, evaluations of the presets of
`train/configs/cifar10_rounds.py`; `train.study --study=aad_table_6` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping

from aad_tf.utils.files import PathLike
from analysis import trained_presets
from analysis.paper_values import TABLE_6
from analysis.records import Results
from analysis.seeds import READING, SeedDifference
from analysis.tables import Table
from analysis.trained_presets import CLEAN, TrainedPreset
from train.configs import cifar10_rounds
from train.configs.cifar10_rounds import ITER_LL, ITER_LL_RELABELLED, PGD, ROUNDS, STEP_LL

STEM = "tables/aad_table_6"
_SMALL = "small_"
_WITHOUT = "_8_0_0"
_COLUMNS = {
    CLEAN: ("clean", "original"),
    STEP_LL: ("StepLL, ε 0.075", "StepLL"),
    ITER_LL: ("Iter-LL, ε 0.075, 3 steps, target kept", "Iter-LL"),
    ITER_LL_RELABELLED: ("Iter-LL, target chosen anew in each step", None),
    PGD: ("PGD, ε 0.05, 20 steps of 0.005", None),
}


def read(results_dir: PathLike) -> dict[str, TrainedPreset]:
    """The presets that were evaluated, by name: those of all epochs if any was, or the small ones.

    Args:
        results_dir: the directory that holds `rounds`.

    Raises:
        ValueError: what `trained_presets.read` refuses.
    """
    presets, attacks = cifar10_rounds.PRESETS, cifar10_rounds.ATTACKS
    found = trained_presets.read(results_dir, "rounds", presets, attacks)
    return {name: one for name, one in found.items() if not name.startswith(_SMALL)} or found


def table(found: Mapping[str, TrainedPreset]) -> Table:
    """For each number of rounds AAD, the same without attention losses, and the paper's values."""
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
    name = f"rounds_{rounds}{suffix}"
    return found.get(name) or found.get(f"{_SMALL}{name}")


def differences(found: Mapping[str, TrainedPreset]) -> list[SeedDifference]:
    """What attention losses add to each number of rounds, and what each further round adds."""
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


def page(found: Mapping[str, TrainedPreset]) -> str:
    """The table as a Markdown page."""
    count = next(iter(found.values())).count
    preset = cifar10_rounds.PRESETS[next(iter(found))]
    images = f"{preset.train_examples:,} images" if preset.train_examples else "all images"
    parts = [
        "# AAD Table 6: CIFAR-10 by rounds of StepLL in training",
        "Made by `python -m analysis.report` from `results/rounds`.",
        f"Accuracy in percent on the first {count:,} test images, white box, l∞, misclassified at "
        "any iterate, one restart; sizes are in [0, 1]. Means over seeds, and from the lowest to "
        "the highest in parentheses. 8 : 0 : 0 is trained on the same rounds without attention "
        f"losses. Trained on {images} for {preset.epochs} epochs; the paper has 200 of all images.",
        table(found).markdown(),
        "## Differences",
        READING,
        "\n".join(f"- {one.line()}" for one in differences(found)),
        "## Notes on the paper's values",
    ]
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in TABLE_6.notes)]) + "\n"


def files(results: Results) -> dict[str, str | bytes]:
    """The page, if any preset is on record, by path in the results directory."""
    found = read(results.root)
    if not found:
        return {}
    return {f"{STEM}.md": page(found), f"{STEM}.csv": table(found).csv()}


def readme(results: Results) -> str:
    """Nothing: the README speaks of the page in its own words."""
    return ""
