"""Every attack keeps its budget and the pixel range, over generated cases."""

from __future__ import annotations

import functools

import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aad_tf.attacks import GradientSignAttack, a3, fgsm, ifgsm, iter_ll, pgd, step_ll
from aad_tf.classifier import Classifier
from aad_tf.types import Bounds
from tests.networks import small_network

SIZES = st.floats(0.0, 1.0) | st.sampled_from([0.0, 1e-8, 1 / 255, 8 / 255, 0.5, 1.0])
STEPS = st.integers(1, 4)
# A float32 sum of values up to 1 is off by at most 2^-24; each round adds one, projection another.
ROUNDING = 1e-6


@functools.cache
def classifier(bounds: Bounds) -> Classifier:
    return Classifier.from_keras(small_network(shape=(5, 5, 1)), bounds=bounds)


@st.composite
def attacks(draw) -> GradientSignAttack:
    epsilon, steps, step_size = draw(SIZES), draw(STEPS), draw(SIZES)
    random_start = draw(st.booleans())
    restarts = draw(st.integers(1, 3)) if random_start else 1
    smoothing = draw(st.sampled_from([0.0, 0.1]))
    return draw(
        st.sampled_from(
            [
                fgsm(epsilon, smoothing),
                ifgsm(epsilon, steps),
                ifgsm(epsilon, steps, step_size),
                iter_ll(epsilon, steps, step_size),
                pgd(epsilon, step_size, steps, random_start, restarts),
                a3(pgd(epsilon, step_size, steps, random_start, restarts), 10),
                a3(iter_ll(epsilon, steps, step_size), -10),
            ]
        )
    )


@st.composite
def cases(draw):
    """Bounds, images within them, many of them at the bounds, and labels."""
    bounds = draw(st.sampled_from([Bounds(0.0, 1.0), Bounds(-1.0, 1.0)]))
    pixels = st.floats(*bounds, width=32) | st.sampled_from([bounds.lower, bounds.upper])
    count = draw(st.integers(1, 3))
    images = draw(hnp.arrays(np.float32, (count, 5, 5, 1), elements=pixels))
    labels = draw(hnp.arrays(np.int32, (count,), elements=st.integers(0, 2)))
    return bounds, images, labels


def check_range(rounds: np.ndarray, bounds: Bounds) -> None:
    assert np.isfinite(rounds).all()
    assert rounds.min() >= bounds.lower
    assert rounds.max() <= bounds.upper


def distances(rounds: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Largest change of any pixel after each round."""
    return np.abs(rounds.astype(np.float64) - images).max(axis=(1, 2, 3, 4))


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(attack=attacks(), case=cases(), seed=st.integers(0, 2**31 - 1))
def test_projected_attacks_stay_in_their_ball(attack, case, seed):
    bounds, images, labels = case
    rounds = attack.rounds(classifier(bounds), images, labels, seed=seed).numpy()
    check_range(rounds, bounds)
    moved = distances(rounds, images)
    assert moved.max() <= attack.epsilon + ROUNDING
    assert moved[-1] <= attack.total_epsilon + ROUNDING
    if not attack.random_start:
        reach = attack.step_size * np.arange(1, attack.num_steps + 1)
        assert (moved <= np.minimum(reach, attack.epsilon) + ROUNDING).all()


@settings(max_examples=30, deadline=None, database=None, derandomize=True)
@given(epsilon=SIZES, steps=STEPS, case=cases())
def test_step_ll_accumulates_at_most_a_step_per_round(epsilon, steps, case):
    bounds, images, labels = case
    attack = step_ll(epsilon, steps)
    rounds = attack.rounds(classifier(bounds), images, labels).numpy()
    check_range(rounds, bounds)
    moved = distances(np.concatenate([images[None], rounds]), images)[1:]
    assert (moved <= epsilon * np.arange(1, steps + 1) + ROUNDING).all()
    between = np.abs(np.diff(np.concatenate([images[None], rounds]), axis=0))
    assert between.max() <= epsilon + ROUNDING
    if bounds == Bounds(0.0, 1.0):
        assert moved[-1] <= attack.total_epsilon + ROUNDING


@settings(max_examples=30, deadline=None, database=None, derandomize=True)
@given(epsilon=SIZES, case=cases(), seed=st.integers(0, 2**31 - 1))
def test_random_starts_lie_in_the_ball_and_fill_it(epsilon, case, seed):
    bounds, images, _ = case
    start = pgd(epsilon, 0.01, 1).start(classifier(bounds), images, seed).numpy()
    check_range(start, bounds)
    moved = np.abs(start.astype(np.float64) - images)
    assert moved.max() <= epsilon + ROUNDING
    inside = (images - epsilon > bounds.lower) & (images + epsilon < bounds.upper)
    if inside.sum() >= 25:
        # All of 25 uniform values below half of epsilon: a chance of 2^-25.
        assert moved[inside].max() >= epsilon / 2 - ROUNDING


@settings(max_examples=20, deadline=None, database=None, derandomize=True)
@given(case=cases(), attack=attacks())
def test_no_budget_changes_nothing(case, attack):
    bounds, images, labels = case
    still = GradientSignAttack(attack.objective, attack.step_size, attack.num_steps, epsilon=0.0)
    np.testing.assert_array_equal(still(classifier(bounds), images, labels), images)
