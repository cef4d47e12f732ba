"""Does a successful attack scatter attention, [AAD Sec. 2.2]? Four measures of the maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aad_tf.records.columns import AttentionRecords
from analysis.attention.comparing import mean_difference
from analysis.attention.intervals import Groups

SHIFT = "centroid shift"
# By name: column of the records.
MEASURES = {
    "entropy": "entropy",
    "components": "components",
    "positive share": "positive",
    SHIFT: "centroid",
}
# Those that scattering makes larger.
SCATTER_GROWS = ("entropy", "components", SHIFT)


@dataclass(frozen=True)
class ScatterRow:
    """Change of one measure from the clean image to a round.

    Attributes:
        measure: one of `MEASURES`.
        round_number: the round.
        groups: mean change in successful (first) and failed attacks (second).
        lost: images left out because a map is all zero, in successful and failed attacks.
    """

    measure: str
    round_number: int
    groups: Groups
    lost: tuple[int, int]


def change(
    run: AttentionRecords, measure: str, round_number: int, method: str = "grad_cam"
) -> np.ndarray:
    """How a measure changes from the clean image to a round.

    Args:
        run: the records.
        measure: one of `MEASURES`.
        round_number: the round.
        method: whose maps.

    Returns:
        float `[n]`: the change; of the centroid its distance, in fractions of the picture's height
        and width. NaN where a map is all zero and the measure has no value.
    """
    if measure not in MEASURES:
        raise ValueError(f"Unknown measure {measure!r}. Known: {', '.join(MEASURES)}.")
    if measure == SHIFT:
        centroid = run.centroid(method)
        return np.linalg.norm(centroid[:, round_number] - centroid[:, 0], axis=-1)
    values = run.measure(method, MEASURES[measure])
    return values[:, round_number] - values[:, 0]


def rows(run: AttentionRecords, method: str = "grad_cam") -> list[ScatterRow]:
    """Every measure after every round, successful against failed attacks.

    Args:
        run: the records.
        method: whose maps.
    """
    found = []
    for measure in MEASURES:
        for k in range(1, run.rounds + 1):
            values = change(run, measure, k, method)
            parts = values[run.succeeded(k)], values[run.failed(k)]
            lost = (int(np.isnan(parts[0]).sum()), int(np.isnan(parts[1]).sum()))
            found.append(ScatterRow(measure, k, mean_difference(*parts, seed=10 * k), lost))
    return found
