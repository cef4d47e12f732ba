"""Robust accuracy against the budget, and accuracies epoch by epoch, drawn."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from aad_tf.metrics import SecurityCurve
from aad_tf.utils.norms import NORM_SIGNS

_ROBUST = "val_robust_accuracy"


def security_curves(
    curves: Mapping[str, SecurityCurve], *, confidence: float = 0.95, unit: str = ""
) -> Figure:
    """Draws robust accuracy against the budget, with Wilson's intervals as bands.

    Args:
        curves: `SecurityCurve` objects by their names, made by `aad_tf.evaluation.security_curve`
            or `bisected_curve`: robust accuracies for budgets in one norm and one unit. The
            legend shows the name and the median, over images, of the smallest budget at which an
            image is misclassified.
        confidence: confidence of the intervals, in (0, 1).
        unit: unit of the budgets, for the label of the axis, e.g. `"gray levels"`.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: no curves, curves in different norms, or a confidence out of range.

    Example:
        >>> figure = security_curves({"plain": plain_curve, "AAD": defended_curve})
    """
    if not curves:
        raise ValueError("curves is empty: give at least one, by its name.")
    norms = {curve.norm for curve in curves.values()}
    if len(norms) > 1:
        raise ValueError(
            f"curves are in the norms {' and '.join(sorted(norms))}, whose budgets cannot be "
            f"compared: draw those of each norm by themselves."
        )
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        points = sorted(
            zip(
                curve.epsilons,
                curve.robust_accuracies,
                curve.intervals(confidence),
                strict=True,
            )
        )
        epsilons, accuracies, intervals = zip(*points, strict=True)
        label = f"{name} (median distance {curve.median_distance:.3g})"
        (line,) = axes.plot(epsilons, [100 * each for each in accuracies], label=label)
        lows, highs = ([100 * each for each in bounds] for bounds in zip(*intervals, strict=True))
        axes.fill_between(epsilons, lows, highs, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set(
        xlabel=f"ε ({NORM_SIGNS[norms.pop()]}{', ' + unit if unit else ''})",
        ylabel="robust accuracy (%)",
    )
    axes.set_ylim(0, 100)
    axes.margins(x=0)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def training_curves(history: Mapping[str, Sequence[float]] | str | os.PathLike[str]) -> Figure:
    """Draws accuracy on validation examples epoch by epoch, clean and under attack.

    The curves show catastrophic overfitting (Wong et al. 2020): a network that is trained on
    single-step attacks may from one epoch to the next become robust against that step alone, so
    that accuracy under FGSM rises while accuracy under PGD falls to 0.

    Args:
        history: the dict `history` of what `fit` returned, lists of values in [0, 1] by the name of
            the log; or the path of the `history.csv` of a model directory. `val_accuracy` is drawn,
            and all logs that begin with `val_robust_accuracy`, as
            `aad_tf.callbacks.RobustAccuracy` adds them.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: there is none of these logs.
        OSError: the file cannot be read.

    Example:
        >>> figure = training_curves("runs/mnist_nfgsm/history.csv")
    """
    if isinstance(history, (str, os.PathLike)):
        history = _read_history(history)
    drawn = {
        name: values
        for name, values in history.items()
        if name == "val_accuracy" or name.startswith(_ROBUST)
    }
    if not drawn:
        raise ValueError(
            f"history holds neither val_accuracy nor {_ROBUST}..., only "
            f"{', '.join(history) or 'nothing'}: validate while you train, see "
            f"aad_tf.callbacks.RobustAccuracy."
        )
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, values in drawn.items():
        label = "clean" if name == "val_accuracy" else name.removeprefix(_ROBUST).lstrip("_")
        percent = [100 * each for each in values]
        axes.plot(range(1, len(values) + 1), percent, marker="o", label=label or "attacked")
    axes.set(xlabel="epoch", ylabel="accuracy on validation images (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(0, 100)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _read_history(path: str | os.PathLike[str]) -> dict[str, list[float]]:
    """Columns of a CSV file; NaN where a row has no value."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [float(row[name] or "nan") for row in rows] for name in names}
