"""Robust accuracy against the budget, drawn."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from aad_tf.metrics import SecurityCurve


def security_curves(
    curves: Mapping[str, SecurityCurve], *, confidence: float = 0.95, unit: str = ""
) -> Figure:
    """Draws robust accuracy against the budget, with Wilson's intervals as bands.

    Args:
        curves: by the name that the legend gives, as `aad_tf.evaluation.security_curve` makes them,
            all in one unit; the legend adds the median distance.
        confidence: of the intervals, in (0, 1).
        unit: what the budgets are in, for the axis, e.g. `"gray levels"`.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: no curves, or a confidence out of range.

    Example:
        >>> figure = security_curves({"plain": plain_curve, "AAD": defended_curve})
    """
    if not curves:
        raise ValueError("curves is empty: give at least one, by its name.")
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
    axes.set(xlabel=f"ε (l∞{', ' + unit if unit else ''})", ylabel="robust accuracy (%)")
    axes.set_ylim(0, 100)
    axes.margins(x=0)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
