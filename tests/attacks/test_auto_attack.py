"""APGD, FAB and Square against worked values and the original AutoAttack code."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import attacks
from aad_tf.attacks.auto_pgd import AutoPGD, Memory, checked, checkpoints, noted
from aad_tf.attacks.fab import FastAdaptiveBoundary, fab, step_to_hyperplane
from aad_tf.attacks.loop import Examples
from aad_tf.attacks.margins import (
    LogitsRatio,
    TargetedLogitsRatio,
    TargetedMargin,
    linearized_distances,
    logits_ratio,
    margin,
    nearest_classes,
    targeted_logits_ratio,
    with_target,
)
from aad_tf.attacks.objectives import AwayFromLabel
from aad_tf.attacks.square import SquareAttack, side_of_squares, square, two_pyramids
from aad_tf.attacks.starts import unit_draws
from aad_tf.classifier import Classifier
from aad_tf.types import Bounds
from tests.attacks import auto_attack_reference as reference
from tests.networks import small_network

EXPECTED = json.loads(reference.FILE.read_text(encoding="utf-8"))
LABELS = np.array(EXPECTED["labels"], np.int32)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    """The network of the reference, in float64."""
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((reference.SIDE, reference.SIDE, 1), dtype="float64"),
            layers.Conv2D(reference.FILTERS, 3, activation="gelu", dtype="float64"),
            layers.Flatten(dtype="float64"),
            layers.Dense(reference.CLASSES, dtype="float64"),
        ]
    )
    network.set_weights(reference.weights())
    return Classifier.from_keras(network)


def examples_of(classifier, attack) -> Examples:
    return examples_with(attack, classifier, tf.constant(reference.images()), tf.constant(LABELS))


@pytest.mark.parametrize(
    ("loss", "objective", "restart"),
    [
        ("ce", AwayFromLabel(), 0),
        ("dlr", LogitsRatio(), 0),
        # The second nearest class.
        ("dlr-targeted", TargetedLogitsRatio(9), 1),
    ],
)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_apgd_is_that_of_the_original_code(classifier, loss, objective, restart, norm):
    epsilon, start, expected = reference.EPSILON, reference.starts(), EXPECTED
    if norm == "l2":
        epsilon, start, expected = reference.EPSILON_L2, reference.starts_l2(), EXPECTED["l2"]
    attack = AutoPGD(objective, reference.NUM_STEPS, epsilon, norm=norm)
    examples = examples_of(classifier, attack)
    state = attack.begin(classifier, examples, 0, np.arange(len(LABELS)), restart)
    start = tf.constant(start)
    state = state._replace(images=start, memory=state.memory._replace(previous=start))
    iterate = attack.compiled_iteration(classifier)
    correct = np.full(len(LABELS), True)
    # Once more, for the value of the last images.
    for _ in range(reference.NUM_STEPS + 1):
        state, logits = iterate(state, examples)
        correct &= np.argmax(logits, -1) == LABELS
    # The same operations in another order: rounding in float64.
    np.testing.assert_allclose(
        -state.memory.best_value, expected[loss]["best_loss"], rtol=1e-6, atol=1e-6
    )
    np.testing.assert_array_equal(correct, expected[loss]["correct"])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fab_is_that_of_the_original_code(classifier, norm):
    steps, targets = reference.NUM_STEPS, reference.NUM_TARGETS
    attack = FastAdaptiveBoundary(
        TargetedMargin(targets), steps * targets, steps_per_target=steps, norm=norm
    )
    found = EXPECTED["fab"] if norm == "linf" else EXPECTED["l2"]["fab"]
    examples = examples_of(classifier, attack)
    state = attack.begin(classifier, examples, 0, np.arange(len(LABELS)), 0)
    iterate = attack.compiled_iteration(classifier)
    for expected in found:
        for _ in range(steps):
            state, _ = iterate(state, examples)
        judged, _ = iterate(state, examples)
        np.testing.assert_allclose(judged.memory.distance, expected, rtol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_steps_to_hyperplanes_are_those_of_the_original_code(norm):
    points, normals, values = reference.hyperplanes()
    gaps = np.sum(points * normals, axis=1) - values
    steps = step_to_hyperplane(*map(tf.constant, (points, normals, gaps)), Bounds(0.0, 1.0), norm)
    found = EXPECTED["hyperplanes"] if norm == "linf" else EXPECTED["l2"]["hyperplanes"]
    np.testing.assert_allclose(steps, found, atol=1e-12)


def test_checkpoints_of_the_paper():
    # Croce and Hein (2020) print them for 100 iterations.
    assert list(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(100)[41] == 19
    assert list(checkpoints(5)) == [1, 2, 3, 4, 5]


def memory_at(step: int, **values) -> Memory:
    images = tf.zeros((1, 1, 1, 1))
    fields = {
        "step": [step],
        "restart": [0],
        "step_size": [0.2],
        "previous": images,
        "best": images + 0.5,
        "best_direction": images - 1.0,
        "best_value": [-3.0],
        "last_value": [-2.0],
        "found": images,
        "succeeded": [False],
        "falls": [20],
        "checked_value": [-2.0],
        "halved": [False],
    }
    return Memory(**{name: tf.constant(each) for name, each in {**fields, **values}.items()})


@pytest.mark.parametrize(
    ("step", "changes", "halves"),
    [
        # 17 falls are more than 0.75 * 22 = 16.5, 16 are not.
        (22, {"falls": [17]}, False),
        (22, {"falls": [16]}, True),
        (21, {"falls": [0]}, False),
        # The best value is that of the last checkpoint, and the step size was not halved there.
        (22, {"checked_value": [-3.0]}, True),
        (22, {"checked_value": [-3.0], "halved": [True]}, False),
    ],
)
def test_the_step_size_is_halved_where_progress_stalls(step, changes, halves):
    before = memory_at(step, **changes)
    images, sign, after = checked(before, tf.zeros((1, 1, 1, 1)), tf.ones((1, 1, 1, 1)), 100)
    assert after.step_size.numpy() == pytest.approx([0.1 if halves else 0.2])
    # Only then it goes back to the best image and its gradient.
    assert (float(images[0, 0, 0, 0]), float(sign[0, 0, 0, 0])) == (
        (0.5, -1.0) if halves else (0.0, 1.0)
    )
    assert int(after.falls[0]) == (0 if step == 22 else int(before.falls[0]))


def test_a_fall_is_counted_and_the_best_image_kept():
    images, sign = tf.fill((1, 1, 1, 1), 0.7), tf.ones((1, 1, 1, 1))
    after = noted(memory_at(5, falls=[3]), images, tf.constant([-2.5]), sign, tf.constant([True]))
    assert int(after.falls[0]) == 4 and float(after.best_value[0]) == -3.0
    assert float(after.last_value[0]) == -2.5
    # It is misclassified, so it is what the attack found, though it is not the best.
    assert float(after.found[0, 0, 0, 0]) == pytest.approx(0.7) and bool(after.succeeded[0])
    after = noted(memory_at(5, falls=[3]), images, tf.constant([-4.0]), sign, tf.constant([False]))
    assert float(after.best_value[0]) == -4.0
    assert float(after.best[0, 0, 0, 0]) == pytest.approx(0.7)


def test_losses_by_hand():
    logits, labels = tf.constant([[4.0, 1.0, 2.0, -2.0], [0.0, 3.0, 1.0, 2.0]]), [0, 2]
    np.testing.assert_allclose(margin(logits, labels), [2.0, -2.0])
    # Divided by 4 - 1 and 3 - 1.
    np.testing.assert_allclose(logits_ratio(logits, labels), [2 / 3, -1.0], rtol=1e-6)
    # (4 - 1) / (4 - (1 - 2) / 2) and (1 - 0) / (3 - (1 + 0) / 2).
    np.testing.assert_allclose(
        targeted_logits_ratio(logits, labels, [1, 0]), [3 / 4.5, 1 / 2.5], rtol=1e-6
    )
    np.testing.assert_array_equal(nearest_classes(logits, labels, 9), [[2, 1, 3], [1, 3, 0]])


def test_ratios_of_few_classes():
    two, three = tf.constant([[3.0, 1.0]]), tf.constant([[3.0, 1.0, 0.0]])
    np.testing.assert_allclose(logits_ratio(two, [0]), [2.0])
    np.testing.assert_allclose(targeted_logits_ratio(two, [0], [1]), [2.0])
    np.testing.assert_allclose(targeted_logits_ratio(three, [0], [1]), [2 / 3], rtol=1e-6)


def test_ratios_do_not_change_with_the_scale_of_logits():
    logits = tf.random.stateless_normal((8, 5), (0, 1))
    labels = tf.range(8) % 5
    np.testing.assert_allclose(
        logits_ratio(1000 * logits, labels), logits_ratio(logits, labels), rtol=1e-5
    )


def test_the_schedule_of_squares():
    sides = [side_of_squares(step, 32, 32) for step in (0, 10, 11, 51, 201, 501, 1001, 2001, 4001)]
    assert sides == [29, 29, 20, 14, 10, 7, 5, 4, 3]
    assert side_of_squares(0, 3, 40) == 3
    assert side_of_squares(9000, 4, 4) == 1


def test_squares_change_one_square_by_one_sign_per_channel():
    layers = keras.layers
    network = keras.Sequential(
        [keras.Input((9, 7, 3)), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(3)]
    )
    classifier = Classifier.from_keras(network)
    images, labels = tf.fill((4, 9, 7, 3), 0.5), tf.zeros(4, tf.int32)
    attack = square(0.25, num_queries=20)
    examples = Examples(images, labels)
    state = attack.begin(classifier, examples, 3, np.arange(4), 0)
    stripes = state.images.numpy() - 0.5
    np.testing.assert_allclose(np.abs(stripes), 0.25)
    np.testing.assert_array_equal(stripes, np.broadcast_to(stripes[:, :1], stripes.shape))
    iterate = attack.compiled_iteration(classifier)
    values = []
    for step in range(20):
        state, _ = iterate(state, examples)
        values.append(state.memory.best_value.numpy())
        side = side_of_squares(step, 9, 7)
        for moved, best in zip(state.images.numpy(), state.memory.best.numpy(), strict=True):
            changed = moved != best
            for axis in (0, 1):
                places = np.flatnonzero(changed.any(axis=(1 - axis, 2)))
                assert not len(places) or np.ptp(places) < side
            for channel in range(3):
                assert len(np.unique(moved[..., channel][changed[..., channel]])) <= 1
        np.testing.assert_allclose(np.abs(state.images - 0.5), 0.25)
    assert (np.diff(values, axis=0) <= 0).all() and (values[-1] < values[0]).any()


@pytest.mark.parametrize("side", reference.SIDES)
def test_patterns_of_squares_in_l2_are_those_of_the_original_code(side):
    expected = np.array(EXPECTED["l2"]["patterns"][str(side)])
    corner = tf.constant([1]), tf.constant([2]), tf.constant([side])
    found = [
        two_pyramids(*corner, tf.constant([transposed]), 11, 12).numpy()[0]
        for transposed in (False, True)
    ]
    np.testing.assert_allclose(
        found[0][1 : 1 + side, 2 : 2 + side], found[1][1 : 1 + side, 2 : 2 + side].T
    )
    assert np.linalg.norm(found[0]) == pytest.approx(1)
    inside = [each[1 : 1 + side, 2 : 2 + side] for each in found]
    assert any(np.allclose(each, expected, atol=1e-12) for each in inside)


def test_windows_in_l2_by_numpy():
    shape, epsilon, count = (9, 9, 3), 0.7, 4
    network = Classifier.from_keras(
        keras.Sequential(
            [
                keras.Input(shape),
                keras.layers.Conv2D(2, 3),
                keras.layers.Flatten(),
                keras.layers.Dense(3),
            ]
        )
    )
    attack = square(epsilon, num_queries=30, norm="l2")
    images = np.full((count, *shape), 0.5, np.float32)
    examples = Examples(tf.constant(images), tf.zeros(count, tf.int32))
    state = attack.begin(network, examples, 3, np.arange(count), 0)
    tiles = state.images.numpy() - images
    np.testing.assert_allclose(np.sqrt((tiles**2).sum((1, 2, 3))), epsilon, rtol=1e-5)
    # Tiles of one pixel: all of one size.
    np.testing.assert_allclose(np.abs(tiles), epsilon / np.sqrt(243), rtol=1e-5)
    iterate = attack.compiled_iteration(network)
    for step in range(30):
        state, _ = iterate(state, examples)
        side = side_of_squares(step, 9, 9, norm="l2")
        draws = unit_draws(state.memory.keys, tf.fill([count], step), 8).numpy()
        # As the original code places windows: the last place is never taken.
        places = np.floor((draws[:, :4] + 1) / 2 * max(9 - side, 1)).astype(int)
        best = state.memory.best.numpy() - images
        for number in range(count):
            row, column, other_row, other_column = places[number]
            here = (slice(row, row + side), slice(column, column + side))
            there = (slice(other_row, other_row + side), slice(other_column, other_column + side))
            mask = np.zeros((9, 9, 1))
            mask[here] = mask[there] = 1
            old = best[number].astype(np.float64)
            corner = [tf.constant([each]) for each in (row, column, side)]
            pattern = two_pyramids(*corner, tf.constant([draws[number, 4] < 0]), 9, 9).numpy()[0]
            new = pattern[here][..., None] * np.where(draws[number, 5:] < 0, -1, 1)
            new = new + old[here] / (1e-12 + np.sqrt((old[here] ** 2).sum((0, 1))))
            unspent = max(epsilon**2 - (old**2).sum(), 0) / 3
            length = np.sqrt(unspent + ((old * mask) ** 2).sum((0, 1)))
            new *= length / np.sqrt((new**2).sum((0, 1)))
            old[there] = 0
            old[here] = new
            expected = np.clip(0.5 + epsilon * old / np.linalg.norm(old), 0, 1)
            np.testing.assert_allclose(state.images[number], expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 4, 1), (8, 8, 1), (14, 11, 3), (28, 28, 1)])
def test_squares_in_l2_keep_budget_and_range(shape):
    network = Classifier.from_keras(
        keras.Sequential(
            [
                keras.Input(shape),
                keras.layers.Conv2D(2, 3),
                keras.layers.Flatten(),
                keras.layers.Dense(3),
            ]
        )
    )
    images = np.random.default_rng(0).uniform(size=(3, *shape)).astype(np.float32)
    rounds = square(0.5, num_queries=60, norm="l2").rounds(network, images, [0, 1, 2]).numpy()
    assert np.isfinite(rounds).all() and rounds.min() >= 0 and rounds.max() <= 1
    lengths = np.sqrt(np.square(rounds - images).sum((2, 3, 4)))
    assert lengths.max() <= 0.5 + 1e-5 and lengths.min() > 0.1


def test_sides_of_squares_in_l2():
    sides = [side_of_squares(step, 32, 32, norm="l2") for step in (0, 11, 51, 201, 501, 1001, 4001)]
    assert sides == [29, 21, 15, 11, 7, 5, 3]
    assert side_of_squares(4001, 2, 9, norm="l2") == 2


def linear_network(kernel, shape, dtype="float32") -> keras.Model:
    """Logits that are the pixels times a kernel; a convolution that copies stands before."""
    layers = keras.layers
    copy = layers.Conv2D(shape[2], 1, use_bias=False, dtype=dtype)
    scores = layers.Dense(kernel.shape[1], use_bias=False, dtype=dtype)
    network = keras.Sequential(
        [keras.Input(shape, dtype=dtype), copy, layers.Flatten(dtype=dtype), scores]
    )
    copy.set_weights([np.eye(shape[2])[np.newaxis, np.newaxis]])
    scores.set_weights([kernel])
    return network


def test_nearest_by_distance_is_margin_over_slope():
    # By the logits class 1 is nearest, but class 2 is reached by a smaller step.
    kernel = np.array([[4.0, 3.0, 1.0, 0.0], [0.0, 0.8, 6.0, 2.0]])
    classifier = Classifier.from_keras(linear_network(kernel, (1, 2, 1)))
    images, labels = tf.constant([0.8, 0.2], shape=(1, 1, 2, 1)), tf.constant([0])
    # Logits 3.2, 2.56, 2.0, 0.4; the l1-norms of the slopes are 1.8, 9 and 6.
    candidates = tf.constant([[1, 2, 3]])
    np.testing.assert_allclose(
        linearized_distances(classifier, images, labels, candidates),
        [[0.64 / 1.8, 1.2 / 9, 2.8 / 6]],
        rtol=1e-5,
    )
    for nearest_by, expected in (("logit", [[1, 2]]), ("distance", [[2, 1]])):
        objective = TargetedLogitsRatio(2, nearest_by)
        (targets,) = objective.context(classifier, images, labels)
        np.testing.assert_array_equal(targets, expected)


def test_nine_of_twelve_classes_by_distance():
    # Logit c is the first pixel less steep[c] times the second: the larger, the nearer and steeper.
    steep = np.array([0.0, *range(1, 12)])
    kernel = np.stack([np.where(steep == 0, 1.0, 0.0), -steep])
    classifier = Classifier.from_keras(linear_network(kernel, (1, 2, 1)))
    images, labels = tf.constant([0.9, 0.3], shape=(1, 1, 2, 1)), tf.constant([0])
    # Gaps to the label 0.9 + 0.3 c, slopes 1 + c: by logits 1, 2, ..., by distance 11, 10, ...
    candidates = np.arange(1, 12)
    np.testing.assert_allclose(
        linearized_distances(classifier, images, labels, tf.constant([candidates])),
        [(0.9 + 0.3 * candidates) / (1 + candidates)],
        rtol=1e-5,
    )
    for build in (
        lambda **options: attacks.apgd(0.1, 2, "targeted_dlr", **options),
        lambda **options: fab(0.1, 2, **options),
    ):
        for options, expected in (
            ({}, range(1, 10)),
            ({"nearest_by": "distance"}, range(11, 2, -1)),
        ):
            attack = build(**options).for_classes(12)
            (targets,) = attack.compiled_context(classifier)(images, labels)
            np.testing.assert_array_equal(targets, [list(expected)])
            assert attacks.attack_call(attack) == attack.name + (
                "(epsilon=0.1,num_steps=2"
                + (",loss='targeted_dlr'" if attack.name == "apgd" else "")
                + (",nearest_by='distance')" if options else ")")
            )


@pytest.mark.parametrize(
    ("restarts", "of_four"), [({}, 3), ({"restarts": 1}, 1), ({"restarts": 12}, 6)]
)
def test_each_target_class_has_a_restart_of_its_own(restarts, of_four):
    objective = TargetedLogitsRatio(9)
    attack = AutoPGD(objective, 5, 0.1, **restarts)
    assert attack.restarts == restarts.get("restarts", 9)
    assert attack.for_classes(4).restarts == of_four
    # No call of apgd leaves targets out.
    call = attacks.attack_call(attack)
    assert (call is None) == bool(restarts)
    two = attacks.with_unique_names([attack, AutoPGD(objective, 5, 0.2, **restarts)])
    assert len({each.name for each in two}) == 2
    assert attacks.attack_from_dict(attacks.attack_to_dict(attack)) == attack
    assert AutoPGD(AwayFromLabel(), 5, 0.1).restarts == 1
    # Each target is another run, with a random start or without.
    if not restarts:
        assert AutoPGD(objective, 5, 0.1, random_start=False).restarts == 9
        with pytest.raises(ValueError, match="without random_start repeats"):
            AutoPGD(objective, 5, 0.1, random_start=False, restarts=10)
    # What no preset would build has no call either.
    still = attacks.GradientSignAttack(attacks.AwayFromPrediction(), 0.1, 3, 0.1)
    assert attacks.attack_call(still) is None


def test_margin_and_divergence_are_losses_of_apgd_and_pgd():
    # Logits 0.6 and 0.4 of the two pixels themselves, moved by 0.1 each.
    classifier = Classifier.from_keras(linear_network(np.eye(2), (1, 2, 1), "float64"))
    images, labels = tf.constant([0.6, 0.4], tf.float64, shape=(1, 1, 2, 1)), tf.constant([0])
    moved = tf.constant([0.5, 0.5], tf.float64, shape=(1, 1, 2, 1))
    # Of p = softmax(0.6, 0.4) and 1/2 each: sum p log(2 p).
    p = np.exp([0.6, 0.4]) / np.exp([0.6, 0.4]).sum()
    expected = {"margin": (0.2, 0.0), "kl": (0.0, -np.sum(p * np.log(2 * p)))}
    for loss, values in expected.items():
        attack = attacks.apgd(0.1, num_steps=2, loss=loss)
        assert attacks.attack_call(attack) == f"apgd(epsilon=0.1,num_steps=2,loss='{loss}')"
        assert attacks.parse_attack(attacks.attack_call(attack)) == attack
        context = attack.compiled_context(classifier)(images, labels)
        for points, value in zip((images, moved), values, strict=True):
            found, _ = attack.objective(classifier, points, labels, *context)
            np.testing.assert_allclose(found, [value], atol=1e-12)
        one = attacks.pgd(0.1, 0.2, num_steps=1, loss=loss)
        assert one.objective == attack.objective
        text = f"pgd(epsilon=0.1,step_size=0.2,num_steps=1,loss='{loss}')"
        assert attacks.attack_call(one) == text
        if loss == "margin":
            for each in (attack, one):
                adversarial = each(classifier, images, labels)
                np.testing.assert_allclose(adversarial, [[[[0.5], [0.5]]]], atol=1e-9)
        else:
            # Either way from the prediction, to a corner of the budget.
            distance = np.abs(one(classifier, images, labels) - images)
            np.testing.assert_allclose(distance, 0.1, atol=1e-9)


# Of the same budget, in the unit of pixels 0 to `top`.
ADAPTIVE = {
    "apgd-ce": lambda top: attacks.apgd(0.1 * top, num_steps=4),
    "apgd-t": lambda top: attacks.apgd(0.1 * top, num_steps=4, loss="targeted_dlr"),
    "fab": lambda top: fab(0.1 * top, num_steps=3),
    "square": lambda top: square(0.1 * top, num_queries=8),
}
KERNEL = np.random.default_rng(0).normal(size=(36, 4))
# Of gray images no class is favoured.
KERNEL -= KERNEL.mean(0)


def open_network() -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((None, None, 3)),
            layers.Conv2D(4, 3, activation="tanh"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4),
        ]
    )


@pytest.fixture(scope="module")
def networks() -> dict[str, Classifier]:
    gray = linear_network(KERNEL / 255, (6, 6, 1))
    return {
        "float32": Classifier.from_keras(linear_network(KERNEL, (6, 6, 1))),
        "bfloat16": Classifier.from_keras(linear_network(KERNEL, (6, 6, 1), "bfloat16")),
        "open size": Classifier.from_keras(open_network()),
        "0..255": Classifier.from_keras(gray, bounds=(0, 255)),
    }


def attacked(classifier, build, shape) -> tuple[np.ndarray, np.ndarray]:
    """One image and its adversarial image, both in float64 and within [0, 1]."""
    top = classifier.bounds[1]
    images = tf.cast(top * np.random.default_rng(1).uniform(0.2, 0.8, shape), classifier.dtype)
    labels = tf.argmax(classifier.predict_logits(images), -1)
    adversarial = build(top)(classifier, images, labels, seed=2)
    assert adversarial.dtype == classifier.dtype
    return tuple(np.asarray(each, np.float64) / top for each in (images, adversarial))


@pytest.mark.parametrize("build", ADAPTIVE.values(), ids=ADAPTIVE)
@pytest.mark.parametrize("kind", ["bfloat16", "open size", "0..255"])
def test_attacks_take_every_network(networks, kind, build):
    classifier = networks[kind]
    shape = (1, 9, 7, 3) if kind == "open size" else (1, 6, 6, 1)
    images, adversarial = attacked(classifier, build, shape)
    assert adversarial.shape == shape and np.isfinite(adversarial).all()
    # bfloat16 rounds pixels above 1/2 to multiples of 1/256.
    assert np.abs(adversarial - images).max() <= 0.1 + (1 / 256 if kind == "bfloat16" else 1e-6)
    if kind == "0..255":
        same = attacked(networks["float32"], build, shape)[1]
        np.testing.assert_allclose(adversarial, same, atol=1e-5)


def test_one_trace_serves_all_batches_and_budgets(networks):
    classifier = networks["float32"]
    images = tf.constant(np.random.default_rng(3).uniform(0.2, 0.8, (5, 6, 6, 1)), tf.float32)
    labels = tf.argmax(classifier.predict_logits(images), -1)
    for count, epsilon in ((1, 0.01), (5, 0.02), (3, 0.03)):
        for build in ADAPTIVE.values():
            build(10 * epsilon)(classifier, images[:count], labels[:count])
    traces = {
        key: function.experimental_get_tracing_count()
        for key, function in classifier.compiled.items()
    }
    iterations = [key for key in traces if "iteration" in str(key[0])]
    assert len(iterations) == len(ADAPTIVE) and set(traces.values()) == {1}


def test_apgd_without_a_random_start_begins_at_the_images(networks):
    images = tf.fill((2, 6, 6, 1), 0.5)
    attack = AutoPGD(AwayFromLabel(), 3, 0.1, random_start=False)
    assert attack.threat_model()["epsilon"] == 0.1
    np.testing.assert_array_equal(attack.start(networks["float32"], images, 0), images)


def test_apgd_reaches_a_target(networks):
    classifier, attack = networks["float32"], attacks.apgd(0.2, num_steps=10, target=2)
    images = tf.constant(np.random.default_rng(4).uniform(0.3, 0.7, (8, 6, 6, 1)), tf.float32)
    predicted = np.argmax(classifier.predict_logits(images), -1)
    images, labels = images[predicted != 2], predicted[predicted != 2]
    assert len(set(labels)) > 1
    found = np.argmax(classifier.predict_logits(attack(classifier, images, labels)), -1)
    assert (found == 2).all()
    assert attack.threat_model()["target"] == 2


def test_a3_leads_each_restart_to_a_target_of_its_own():
    classifier = Classifier.from_keras(small_network())
    images, labels = tf.fill((2, 8, 8, 1), 0.5), tf.constant([0, 1])
    plain = attacks.apgd(0.1, num_steps=2, loss="targeted_dlr")
    attack = attacks.a3(plain, sigma=0.5).for_classes(3)
    assert attack.restarts == 2 and attack.objective.objective.num_targets == 2
    examples = examples_with(attack, classifier, images, labels)
    for restart in range(2):
        chosen = with_target(attack.objective, examples, tf.constant([restart, restart]))
        assert len(chosen.context) == 2
        np.testing.assert_array_equal(chosen.context[1][:, 0], examples.context[1][:, restart])
    assert attack(classifier, images, labels).shape == images.shape


def examples_with(attack, classifier, images, labels) -> Examples:
    return Examples(images, labels, attack.compiled_context(classifier)(images, labels))


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: FastAdaptiveBoundary(AwayFromLabel(), 9), TypeError, "TargetedMargin.*Take apgd"),
        (lambda: SquareAttack(object(), 9, 0.1), TypeError, "square attack needs an objective"),
        (lambda: attacks.a3(fab(0.1), 1.0), TypeError, "must be a GradientSignAttack"),
        (lambda: attacks.a3(square(0.1), 1.0), TypeError, "must be a GradientSignAttack"),
        (lambda: attacks.a3("auto_attack(0.1)", 1.0), TypeError, "must be a GradientSignAttack"),
        (lambda: attacks.apgd(0.1, loss="dlr", target=1), ValueError, "Leave out one of the two"),
        (lambda: attacks.apgd(None), ValueError, "apgd needs an epsilon"),
        (lambda: square(0.1, num_queries=0), ValueError, "num_queries"),
        (lambda: TargetedMargin(3, "slope"), ValueError, "Unknown nearest_by"),
        (lambda: fab(0.1, nearest_by="slope"), ValueError, "Unknown nearest_by"),
        (lambda: attacks.apgd(0.1, nearest_by="distance"), ValueError, "Leave out nearest_by"),
        (lambda: attacks.apgd(0.1, loss="kl", target=1), ValueError, "Leave out one of the two"),
        (lambda: attacks.pgd(0.1, 0.1, 2, loss="margin", target=1), ValueError, "Leave out one"),
        (lambda: attacks.pgd(0.1, 0.1, 2, loss="targeted_dlr"), ValueError, "Unknown loss"),
        (
            lambda: attacks.pgd(0.1, 0.1, 2, random_start=False, loss="kl"),
            ValueError,
            "random_start=True",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()
