"""Does a successful attack scatter attention, [AAD Sec. 2.2]? Four measures of the maps."""

from __future__ import annotations

import numpy as np

from aad_tf.records.columns import AttentionRecords
from analysis.statistics import Groups, compare
from analysis.tables import Table

SHIFT = "centroid shift"
# By name: column of the records.
MEASURES = {
    "entropy": "entropy",
    "components": "components",
    "positive share": "positive",
    SHIFT: "centroid",
}


def change(run: AttentionRecords, measure: str, round_number: int) -> np.ndarray:
    """How a measure of Grad-CAM's maps changes from the clean to the attacked image.

    Args:
        run: the records.
        measure: one of `MEASURES`.
        round_number: number of attack iterations.

    Returns:
        float `[n]`: attacked minus clean; for the centroid the distance that it moves, in fractions
        of the image's height and width. NaN where a map is zero and the measure has no value.

    Raises:
        ValueError: unknown measure.
    """
    if measure not in MEASURES:
        raise ValueError(f"Unknown measure {measure!r}. Known: {', '.join(MEASURES)}.")
    if measure == SHIFT:
        centroid = run.centroid("grad_cam")
        return np.linalg.norm(centroid[:, round_number] - centroid[:, 0], axis=-1)
    values = run.measure("grad_cam", MEASURES[measure])
    return values[:, round_number] - values[:, 0]


def by_success(run: AttentionRecords, measure: str, round_number: int) -> tuple[Groups, str]:
    """Compares the change of a measure between successful (first) and failed attacks.

    Args:
        run: the records.
        measure: one of `MEASURES`.
        round_number: number of attack iterations.

    Returns:
        Mean changes, and as text how many images of each group have no value.
    """
    values = change(run, measure, round_number)
    first, second = values[run.succeeded(round_number)], values[run.failed(round_number)]
    lost = f"{int(np.isnan(first).sum())} / {int(np.isnan(second).sum())}"
    return compare(first, second, seed=10 * round_number, skip_nan=True), lost


def scatter_table(run: AttentionRecords) -> Table:
    """Makes the table of changes of every measure after each attack iteration, by success.

    Args:
        run: the records.

    Returns:
        A row for each measure in `MEASURES` and attack iteration, with means over images on which
        the attack succeeded and failed, and their difference.
    """
    rows = []
    for measure in MEASURES:
        for number in range(1, run.rounds + 1):
            groups, lost = by_success(run, measure, number)
            rows.append((measure, str(number), *groups.texts(), lost))
    heads = ("change of", "round", "succeeded", "failed", "difference", "left out (map of zeros)")
    return Table(heads, rows)
