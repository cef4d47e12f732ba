"""Success of an attack as a function of IoU, with confidence and box area held fixed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression

from aad_tf.records.columns import AttentionRecords
from analysis.attention.matched import COVARIATES, comparable, covariates, standardized
from analysis.statistics import DASH, Estimate, estimate, multiplicities, resample
from analysis.tables import Table

_INVERSE_PENALTY = 1e4
_DRAWS_AT_ONCE = 50
_NEWTON_STEPS, _LARGEST_STEP, _CONVERGED = 12, 3.0, 1e-4


@dataclass(frozen=True)
class Regression:
    """Log odds of a successful attack for one standard deviation more of each covariate.

    Attributes:
        coefficients: by name: `IoU`, then `COVARIATES`; their counts are the images of the smaller
            group.
        alone: the coefficient of IoU without the others.
        counts: images, succeeded / failed.
    """

    coefficients: dict[str, Estimate]
    alone: Estimate
    counts: str


def regress(run: AttentionRecords, values: np.ndarray) -> Regression | None:
    """Logistic regression of success in round 1 on IoU, confidence and box area.

    Args:
        run: the records.
        values: the IoU, float `[n]`; or bool `[n]`, whether it is low, whose coefficient is then
            that of being low rather than of one standard deviation.

    Returns:
        Coefficients with bootstrap intervals (drawn within each group); None if a group has fewer
        than two images.
    """
    usable = comparable(run) & ~np.isnan(values)
    success = run.succeeded(1)[usable]
    if min(success.sum(), (~success).sum()) < 2:
        return None
    iou, yes = values[usable, np.newaxis], int(success.sum())
    smallest = min(yes, len(success) - yes)
    if values.dtype == bool:
        smallest = min(smallest, int(iou.sum()), int((~iou).sum()))
    else:
        iou = standardized(iou, iou)
    features = np.hstack([iou, covariates(run)[usable]])
    adjusted = _bootstrapped(features, success, smallest)
    return Regression(
        dict(zip(("IoU", *COVARIATES), adjusted, strict=True)),
        _bootstrapped(features[:, :1], success, smallest)[0],
        f"{yes:,} / {len(success) - yes:,}",
    )


def _bootstrapped(features: np.ndarray, success: np.ndarray, smallest: int) -> list[Estimate]:
    # Next to no penalty, but it keeps groups that can be told apart finite.
    model = LogisticRegression(C=_INVERSE_PENALTY, max_iter=1000, tol=1e-8)
    model.fit(features, success)
    start = np.concatenate([model.intercept_, model.coef_[0]])
    yes, no = np.flatnonzero(success), np.flatnonzero(~success)

    def coefficients(first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
        drawn = multiplicities(np.hstack([first, second]), len(success))
        return refit(features, success, drawn, start)[:, 1:].T

    groups = [yes.astype(np.float64), no.astype(np.float64)]
    draws = resample(groups, coefficients, batch=_DRAWS_AT_ONCE)
    return [
        estimate(value, column, smallest) for value, column in zip(start[1:], draws, strict=True)
    ]


def refit(
    features: np.ndarray, success: np.ndarray, counts: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """Fits the same regression to many resamples at once, by Newton's method.

    Args:
        features: `[n, covariates]`.
        success: bool `[n]`.
        counts: `[resamples, n]`, how often each image was drawn.
        start: `[1 + covariates]`, intercept and coefficients to begin with.

    Returns:
        `[resamples, 1 + covariates]`; NaN where it has not converged.
    """
    rows = np.hstack([np.ones((len(features), 1)), features])
    squares = (rows[:, :, np.newaxis] * rows[:, np.newaxis]).reshape(len(rows), -1)
    penalty = np.full(rows.shape[1], 1 / _INVERSE_PENALTY)
    penalty[0] = 0.0
    found = np.tile(start, (len(counts), 1))
    shape = (len(counts), rows.shape[1], rows.shape[1])
    for _ in range(_NEWTON_STEPS):
        # tanh is the logistic function without overflow.
        chance = 0.5 + 0.5 * np.tanh(0.5 * found @ rows.T)
        slope = (counts * (success - chance)) @ rows - penalty * found
        curvature = ((counts * chance * (1 - chance)) @ squares).reshape(shape) + np.diag(penalty)
        # The ridge of 1e-9 keeps a resample that has no unique answer solvable.
        curvature += 1e-9 * np.eye(shape[1])
        step = np.linalg.solve(curvature, slope[..., np.newaxis])[..., 0]
        found = found + np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
    found[np.abs(step).max(axis=1) > _CONVERGED] = np.nan
    return found


def coefficients_table(rows: dict[str, Regression]) -> Table:
    """Log odds of success for one standard deviation more, by name of the measure."""
    cells = []
    for name, found in rows.items():
        texts = [value.text(sign=True) for value in found.coefficients.values()]
        odds = found.coefficients["IoU"].value
        ratio = DASH if odds is None else f"{math.exp(odds):.2f}"
        cells.append((name, found.counts, found.alone.text(sign=True), *texts, ratio))
    heads = ("measure", "n", "measure alone", "measure", *COVARIATES)
    return Table((*heads, "odds ratio of the measure"), cells)
