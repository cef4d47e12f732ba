"""Relations of an attack's success and IoU, with confidence and box area held fixed.

`regress` estimates how success depends on the IoU; `success_effects` how much further attention
moves in successful attacks, at equal confidence before the attack, and also after it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression

from aad_tf.records.columns import AttentionRecords
from analysis.attention.caption import TOP_CELLS
from analysis.attention.matched import COVARIATES, comparable, covariates, logit, standardized
from analysis.statistics import DASH, Estimate, estimate, multiplicities, resample
from analysis.tables import Table

_INVERSE_PENALTY = 1e4
_DRAWS_AT_ONCE = 50
# What is held fixed, and how many columns of `success_effects` that takes beside success.
ADJUSTED = {"nothing fixed": 0, "confidence before fixed": 1, "before and after fixed": 3}
_NEWTON_STEPS, _LARGEST_STEP, _CONVERGED, _EXACT = 12, 3.0, 1e-4, 1e-9


@dataclass(frozen=True)
class Regression:
    """A logistic regression of an attack's success.

    A coefficient is the change of the log odds of success per standard deviation of the covariate.

    Attributes:
        coefficients: by name: `IoU`, then `COVARIATES`; their counts are the numbers of images of
            the smaller group.
        alone: the coefficient of IoU in a regression without the other covariates.
        counts: numbers of images, succeeded / failed, as text.
    """

    coefficients: dict[str, Estimate]
    alone: Estimate
    counts: str


def regress(run: AttentionRecords, values: np.ndarray) -> Regression | None:
    """Logistic regression of success of the first attack iteration on IoU, confidence and box area.

    Args:
        run: the records.
        values: the IoU, float `[n]`; or bool `[n]`, whether it is low, whose coefficient is then
            the change of log odds from not low to low.

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
    """Fits the same logistic regression to many resamples at once, by Newton's method.

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
        if np.abs(step).max() < _EXACT:
            break
    found[np.abs(step).max(axis=1) > _CONVERGED] = np.nan
    return found


def coefficients_table(rows: dict[str, Regression]) -> Table:
    """Makes the table of coefficients of logistic regressions of the attack's success.

    Args:
        rows: regressions by name of the measure, such as the IoU with the box.

    Returns:
        A row for each measure: its coefficient alone, all coefficients of the joint regression with
        intervals, and the measure's odds ratio.
    """
    cells = []
    for name, found in rows.items():
        texts = [value.text(sign=True) for value in found.coefficients.values()]
        odds = found.coefficients["IoU"].value
        ratio = DASH if odds is None else f"{math.exp(odds):.2f}"
        cells.append((name, found.counts, found.alone.text(sign=True), *texts, ratio))
    heads = ("measure", "n", "measure alone", "measure", *COVARIATES)
    return Table((*heads, "odds ratio of the measure"), cells)


def success_effects(run: AttentionRecords, round_number: int) -> dict[str, Estimate]:
    """How much the IoU of clean and attacked areas differs between successful and failed attacks.

    These are three least-squares regressions over correctly classified images of the IoU at
    `TOP_CELLS` cells: on success; on success and the log odds of the true class before the attack;
    and on these and the log odds after it and their square. The last one compares images of equal
    confidence before and after the attack.

    Args:
        run: the records.
        round_number: number of attack iterations.

    Returns:
        By the names in `ADJUSTED`, the coefficient of success with its bootstrap interval over
        images; its count is that of the smaller group. Empty if a group has fewer than two images.
    """
    right = run.correct
    success = run.succeeded(round_number)[right]
    smallest = int(min(success.sum(), (~success).sum()))
    if smallest < 2:
        return {}
    before, after = (logit(run.confidence[right, k]) for k in (0, round_number))
    columns = np.stack([np.ones(len(success)), success, before, after, after**2], axis=1)
    iou = run.iou_clean(size=TOP_CELLS)[right, round_number - 1]
    squares = (columns[:, :, np.newaxis] * columns[:, np.newaxis]).reshape(len(columns), -1)
    products = columns * iou[:, np.newaxis]

    def coefficients(drawn: np.ndarray, axis: int) -> np.ndarray:
        return _of_success(multiplicities(drawn, len(success)), squares, products)

    draws = resample([np.arange(len(success), dtype=np.float64)], coefficients)
    values = _of_success(np.ones((1, len(success))), squares, products)[:, 0]
    return {
        name: estimate(value, column, smallest)
        for name, value, column in zip(ADJUSTED, values, draws, strict=True)
    }


def _of_success(counts: np.ndarray, squares: np.ndarray, products: np.ndarray) -> np.ndarray:
    """Coefficient of success, the second column, `[ADJUSTED, resamples]`."""
    width = products.shape[1]
    left = (counts @ squares).reshape(len(counts), width, width)
    right = counts @ products
    found = []
    for others in ADJUSTED.values():
        kept = slice(0, 2 + others)
        # The ridge of 1e-9 keeps a resample of one outcome alone solvable.
        part = left[:, kept, kept] + 1e-9 * np.eye(2 + others)
        found.append(np.linalg.solve(part, right[:, kept, np.newaxis])[:, 1, 0])
    return np.stack(found)


def effects_table(
    runs: Sequence[tuple[str, AttentionRecords]],
    effects: Mapping[tuple[str, int], Mapping[str, Estimate]],
) -> Table:
    """Makes the table of how much the IoU differs between successful and failed attacks.

    Args:
        runs: names and records of the networks.
        effects: what `success_effects` returned, by name of the network and attack iteration,
            counted from 1.

    Returns:
        A row for each network and attack iteration: numbers of images and a coefficient for each
        of the regressions in `ADJUSTED`.
    """
    rows = []
    for name, run in runs:
        for number in range(1, run.rounds + 1):
            found = effects[name, number]
            counts = f"{int(run.succeeded(number).sum()):,} / {int(run.failed(number).sum()):,}"
            texts = [found[key].text(sign=True) if found else DASH for key in ADJUSTED]
            rows.append((name, str(number), counts, *texts))
    return Table(("network", "round", "succeeded / failed", *ADJUSTED), rows, left=2)
