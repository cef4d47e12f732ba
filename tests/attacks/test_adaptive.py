"""AAD's total loss as what an attack climbs: worked by hand, against the losses of training."""

from __future__ import annotations

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import AADModel
from aad_tf.attacks import (
    AADTotal,
    a3,
    aad_total,
    adaptive_attacks,
    apgd,
    attack_call,
    attack_from_dict,
    attack_to_dict,
    fgsm,
    ifgsm,
    parse_attack,
    pgd,
    preset_of,
    step_ll,
    with_unique_names,
)
from aad_tf.attacks.loop import Examples, State, iteration, objective_gradient
from aad_tf.attention import TopCells
from aad_tf.classifier import Classifier
from aad_tf.losses import AADLosses, cross_entropy
from tests.networks import curved_network, plain_sight, random_images

SHAPE = (6, 6, 1)
LABELS = np.array([0, 1, 2, 0], np.int32)
ORIGINAL = np.array([[0.8, 0.1], [0.4, 0.6]])[np.newaxis, ..., np.newaxis]
ATTACKED = np.array([[0.5, 0.2], [0.4, 0.7]])[np.newaxis, ..., np.newaxis]
LOSSES = ("balanced", "paper", "reference_code")


@pytest.fixture(scope="module")
def curved() -> Classifier:
    return curved_network()


@pytest.fixture(scope="module")
def single() -> Classifier:
    return curved_network(dtype="float32")


def images_of(count: int = 4, seed: int = 0) -> np.ndarray:
    return random_images(count, SHAPE, seed, "float64")


def moved(count: int = 4) -> np.ndarray:
    return np.clip(images_of(count) + 0.05 * np.sign(images_of(count, seed=1) - 0.5), 0, 1)


def found(classifier, objective, attacked, originals, labels):
    """Values and their gradient by the attacked images, as arrays."""
    originals, labels = tf.constant(originals), tf.constant(labels)
    context = objective.context(classifier, originals, labels)
    examples = Examples(originals, labels, context)
    values, gradient, _ = objective_gradient(classifier, objective, tf.constant(attacked), examples)
    return values.numpy(), gradient.numpy()


def by_hand(weights, normalized: bool) -> tuple[float, np.ndarray]:
    """Value and gradient of the loss on `plain_sight`, where the map is the image.

    With s the sum of pixels, the logits of classes 0 and 1 are s and 0. The area is what lies
    above the mean, so the masked image has the other pixels alone. L_r is minus the mean of the
    squared differences of two probabilities, which are d and -d: minus d squared.
    """
    alpha, beta, gamma = weights
    image, origin = ATTACKED.ravel(), ORIGINAL.ravel()
    outside = (image <= image.mean()).astype(float)
    s, hidden = image.sum(), (image * outside).sum()
    p, q = 1 / (1 + np.exp(-s)), 1 / (1 + np.exp(-hidden))
    d = p - q
    of_classification = -(1 - p) * np.ones(4)
    of_rectification = -2 * d * (p * (1 - p) - q * (1 - q) * outside)
    if normalized:
        apart = image / s - origin / origin.sum()
        slopes = np.eye(4) / s - np.outer(image, np.ones(4)) / s**2
        of_preservation = np.sign(apart) @ slopes
    else:
        apart = image - origin
        of_preservation = np.sign(apart)
    value = alpha * np.log1p(np.exp(-s)) - beta * d**2 + gamma * np.abs(apart).sum()
    gradient = alpha * of_classification + beta * of_rectification + gamma * of_preservation
    return value, gradient


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize(
    "weights", [(8, 4, 1), (8, -4, -1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, -1, 0.5), (2, 0, 3)]
)
def test_value_and_gradient_by_hand(weights, normalized):
    objective = AADTotal(weights, AADLosses(normalized_maps=normalized))
    values, gradient = found(plain_sight(), objective, ATTACKED, ORIGINAL, [0])
    value, slopes = by_hand(weights, normalized)
    # The attack descends minus the loss.
    np.testing.assert_allclose(values, [-value], rtol=1e-12)
    np.testing.assert_allclose(gradient.ravel(), -slopes, rtol=1e-10, atol=1e-14)


def test_a_step_by_hand():
    # Darker pixels only would lower the loss of classification, so the signs are of all terms.
    _, slopes = by_hand((1, 0, 3), normalized=True)
    assert set(np.sign(slopes)) == {-1, 1}
    attack = aad_total(ifgsm(0.3, num_steps=1), (1, 0, 3))
    objective, labels = attack.objective, tf.constant([0])
    context = objective.context(plain_sight(), tf.constant(ORIGINAL), labels)
    examples = Examples(tf.constant(ORIGINAL), labels, context)
    scalars = attack.scalars(tf.float64)
    state, _ = iteration(plain_sight(), objective, State(tf.constant(ATTACKED)), examples, *scalars)
    expected = np.clip(ATTACKED.ravel() + 0.3 * np.sign(slopes), 0, 1)
    expected = np.clip(expected, ORIGINAL.ravel() - 0.3, ORIGINAL.ravel() + 0.3)
    np.testing.assert_allclose(state.images.numpy().ravel(), expected, rtol=1e-12)


@pytest.fixture(scope="module")
def rescaled() -> Classifier:
    """To which gray is zero."""
    return curved_network(first=[keras.layers.Rescaling(2.0, -1.0, dtype="float64")])


@pytest.mark.parametrize(
    ("network", "losses"),
    [*(("curved", losses) for losses in LOSSES), ("rescaled", "paper")],
)
def test_the_value_is_what_training_adds_for_the_attacked_image(network, losses, request):
    curved = request.getfixturevalue(network)
    assert curved.zero_pixel == ((0.0,) if network == "curved" else (0.5,))
    parts = AADLosses.preset(losses).for_each_example()
    weights = (8.0, 4.0, 1.0)
    model = AADModel(curved, attack=step_ll(0.1), weights=weights, losses=parts)
    originals, labels = tf.constant(images_of()), tf.constant(LABELS)

    def trained_on(adversarial) -> np.ndarray:
        rounds = tf.constant(adversarial)[tf.newaxis]
        return model.training_losses(originals, labels, rounds, False)[0]["loss"].numpy()

    # Clean images counted twice have no preservation loss, so half of it is their own share.
    expected = trained_on(moved()) - trained_on(images_of()) / 2
    objective = AADTotal(weights, AADLosses.preset(losses))
    values, _ = found(curved, objective, moved(), images_of(), LABELS)
    np.testing.assert_allclose(values, -expected, rtol=1e-12)


@pytest.mark.parametrize("losses", LOSSES)
@pytest.mark.parametrize("weights", [(8, 4, 1), (8, -4, -1), (0, 0, 1)])
def test_gradients_agree_with_central_differences(curved, losses, weights):
    objective, labels = AADTotal(weights, AADLosses.preset(losses)), LABELS[:2]
    _, gradient = found(curved, objective, moved(2), images_of(2), labels)
    step = 1e-5
    # Every pixel of both images, up and down: [2 signs, 36 pixels, 2 images] in one batch.
    shifts = step * np.stack([np.eye(36), -np.eye(36)]).reshape(2, 36, 1, *SHAPE)
    shifted = tf.constant((moved(2) + shifts).reshape(144, *SHAPE))
    context = objective.context(curved, tf.constant(images_of(2)), tf.constant(labels))
    repeated = [tf.tile(part, [72] + [1] * (len(part.shape) - 1)) for part in (labels, *context)]
    up, down = objective(curved, shifted, *repeated)[0].numpy().reshape(2, 36, 2)
    # Errors of order step^2 and rounding / step, both near 1e-10 of the slopes' size.
    np.testing.assert_allclose(
        (up - down).T / (2 * step), gradient.reshape(2, 36), rtol=1e-5, atol=1e-7
    )


def test_minus_turns_the_attention_terms_around(curved):
    plus, minus = (
        found(curved, AADTotal(weights), moved(), images_of(), LABELS)
        for weights in ((8, 4, 1), (8, -4, -1))
    )
    own = cross_entropy(LABELS, curved.predict_logits(tf.constant(moved()))).numpy()
    np.testing.assert_allclose(plus[0] + minus[0], -16 * own, rtol=1e-12)
    classification, attention = (
        found(curved, AADTotal(weights), moved(), images_of(), LABELS)[1]
        for weights in ((8, 0, 0), (0, 4, 1))
    )
    np.testing.assert_allclose(plus[1], classification + attention, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(minus[1], classification - attention, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    ("plain", "alpha"),
    [(pgd(0.1, 0.03, 5, restarts=2), alpha) for alpha in (1, 8)] + [(apgd(0.1, 8), 8)],
    ids=str,
)
def test_without_attention_it_is_the_plain_attack_to_the_last_bit(plain, alpha, single):
    classifier, images = single, images_of().astype(np.float32)
    attack = aad_total(plain, (alpha, 0, 0))
    assert attack.objective.context(classifier, images, LABELS) == ()
    for run in ("__call__", "rounds"):
        expected = getattr(plain, run)(classifier, images, LABELS, seed=2)
        np.testing.assert_array_equal(
            getattr(attack, run)(classifier, images, LABELS, seed=2), expected
        )


def test_records_without_fill_are_of_attacks_that_hid_pixels_in_black() -> None:
    recorded = attack_to_dict(aad_total(fgsm(0.1)))
    assert "preservation_over" not in str(recorded)
    losses = recorded["objective"]["losses"]
    assert losses.pop("fill") is None
    assert attack_from_dict(recorded).objective.losses.fill == 0.0


@pytest.mark.parametrize("wrap", [aad_total, lambda plain: a3(plain, 10), lambda p: a3(p, -10)])
def test_the_first_steps_of_apgd_by_hand(curved, wrap):
    # The first checkpoint comes after four steps.
    attack, images = wrap(apgd(0.1, num_steps=20)), images_of()
    rounds = attack.rounds(curved, images, LABELS, seed=3).numpy()

    def stepped(current: np.ndarray) -> np.ndarray:
        """A step of twice the budget; the objective's gradient was checked above."""
        _, gradient = found(curved, attack.objective, current, images, LABELS)
        return projected(current - 0.2 * np.sign(gradient))

    def projected(current: np.ndarray) -> np.ndarray:
        return np.clip(np.clip(current, images - 0.1, images + 0.1), 0, 1)

    start = attack.start(curved, images, 3).numpy()
    first = stepped(start)
    np.testing.assert_allclose(rounds[0], first, atol=1e-12)
    # Three quarters of the step, and a quarter of the one before, as momentum.
    second = projected(first + 0.75 * (stepped(first) - first) + 0.25 * (first - start))
    np.testing.assert_allclose(rounds[1], second, atol=1e-12)


def test_an_image_does_not_depend_on_those_beside_it(curved):
    # As the authors' code trains, maps and areas depend on the whole batch.
    attack = aad_total(ifgsm(0.1, num_steps=3), losses="reference_code")
    assert attack.objective.losses.threshold == "mean"
    together = attack(curved, images_of(), LABELS).numpy()
    for row in range(4):
        alone = attack(curved, images_of()[row : row + 1], LABELS[row : row + 1])
        np.testing.assert_allclose(alone[0], together[row], atol=1e-9)


@pytest.mark.parametrize(
    ("text", "attack"),
    [
        ("aad_total(fgsm(epsilon=0.1))", aad_total(fgsm(0.1))),
        (
            "aad_total(pgd(epsilon=8/255, step_size=2/255, num_steps=10), weights=(8, -4, -1.5))",
            aad_total(pgd(8 / 255, 2 / 255, 10), (8, -4, -1.5)),
        ),
        (
            "aad_total(apgd(epsilon=0.1, num_steps=20), losses='paper')",
            aad_total(apgd(0.1, 20), losses="paper"),
        ),
        (
            "aad_total(fgsm(epsilon=0.1), losses={'fill': 0.5})",
            aad_total(fgsm(0.1), losses=AADLosses(fill=0.5)),
        ),
        (
            "aad_total(apgd(epsilon=0.1), losses={'rectification': 'l2', 'threshold': 0.3})",
            aad_total(apgd(0.1), losses=AADLosses(rectification="l2", threshold=0.3)),
        ),
    ],
)
def test_text_and_records_rebuild_the_attack(text, attack):
    assert parse_attack(text) == attack
    assert parse_attack(attack_call(attack)) == attack
    assert attack_from_dict(attack_to_dict(attack)) == attack
    assert preset_of(attack) == attack.name.removeprefix("aad_total(").split(",")[0]
    plain = dataclasses.replace(attack, objective=apgd(0.1).objective)
    assert aad_total(plain, attack.objective.weights, attack.objective.losses) == attack
    assert (
        aad_total(attack_call(plain), attack.objective.weights, attack.objective.losses) == attack
    )


def test_losses_without_a_text_have_parameters_all_the_same():
    attack = aad_total(fgsm(0.1), losses=AADLosses(threshold=TopCells(3)))
    assert attack_call(attack) is None
    assert attack_from_dict(attack_to_dict(attack)) == attack


def mean_difference(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.abs(one - other), tf.range(1, tf.rank(one)))


class LargestCell:
    """A rule of the attention area whose `repr` holds its address."""

    def __call__(self, maps: tf.Tensor) -> tf.Tensor:
        return TopCells(1)(maps)


@pytest.mark.parametrize(
    ("losses", "written"),
    [
        ({"rectification": mean_difference}, "{'rectification':mean_difference}"),
        (AADLosses(preservation=mean_difference), "{'preservation':mean_difference}"),
        (
            {"rectification": "l2", "preservation": functools.partial(mean_difference)},
            "{'rectification':'l2','preservation':functools.partial(<functionmean_difference>)}",
        ),
        ({"threshold": LargestCell()}, f"{{'threshold':<{__name__}.LargestCellobject>}}"),
        ({"threshold": TopCells(3)}, "{'threshold':TopCells(count=3)}"),
    ],
)
def test_names_are_the_same_in_every_process(losses, written):
    attack = aad_total(fgsm(0.1), losses=losses)
    assert attack.name == f"aad_total(fgsm,weights=(8,4,1),losses={written})"
    assert attack.objective.name.replace(" ", "") == attack.name.replace("fgsm,", "")
    wider = aad_total(fgsm(0.2), losses=losses)
    assert not any("0x" in each.name for each in with_unique_names([attack, wider]))


def test_the_list_has_each_attack_beside_its_plain_one():
    tried = adaptive_attacks(0.2, num_steps=10, weights=(8, 4, 2), losses="paper", sigma=5)
    names = [attack.name for attack in tried]
    assert len(set(names)) == len(tried) == 10
    for plain, group in ((pgd(0.2, 0.05, 10), tried[:5]), (apgd(0.2, 10), tried[5:])):
        expected = [plain, aad_total(plain, (8, 4, 2), "paper")]
        expected += [aad_total(plain, (8, -4, -2), "paper"), a3(plain, 5), a3(plain, -5)]
        assert group == expected
    # A single step reaches no further than the budget.
    assert adaptive_attacks(0.2, num_steps=1)[0].step_size == 0.2
    # Two budgets side by side are named by all that they take, and the names are calls.
    wider = adaptive_attacks(0.3, num_steps=10, weights=(8, 4, 2), losses="paper", sigma=5)
    both = with_unique_names([*tried, *wider])
    assert [parse_attack(attack.name) for attack in both] == [*tried, *wider]
    models = [attack.threat_model() for attack in tried]
    assert {(model["epsilon"], model["steps"]) for model in models} == {(0.2, 10)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: aad_total(step_ll(0.1)), "untargeted pgd, apgd, fgsm or ifgsm"),
        (lambda: aad_total(fgsm(0.1, target=3)), "towards_class"),
        (lambda: aad_total(fgsm(0.1, label_smoothing=0.1)), "without label smoothing"),
        (lambda: aad_total(apgd(0.1, loss="dlr")), "another loss"),
        (lambda: aad_total(aad_total(fgsm(0.1))), "another loss"),
        (lambda: aad_total("a3(fgsm(epsilon=0.1), sigma=3)"), "another loss"),
        (lambda: a3(aad_total(fgsm(0.1)), 3), "AADTotal has none"),
        (lambda: aad_total("auto_attack(epsilon=0.1)"), "must be a GradientSignAttack"),
        (lambda: aad_total(fgsm(0.1), (8, 4)), "three finite numbers"),
        (lambda: aad_total(fgsm(0.1), "841"), "three finite numbers"),
        (lambda: aad_total(fgsm(0.1), (8, 4, np.nan)), "three finite numbers"),
        (lambda: aad_total(fgsm(0.1), (8, True, 1)), "three finite numbers .*gamma\\), got"),
        (lambda: aad_total(fgsm(0.1), (0, 0, 0)), "no loss to attack"),
        (lambda: aad_total(fgsm(0.1), losses="papers"), "Did you mean 'paper'"),
        (lambda: aad_total(fgsm(0.1), losses={"rectfication": "l2"}), "'rectification'"),
        (lambda: aad_total(fgsm(0.1), losses=3), "losses must be AADLosses"),
        (lambda: adaptive_attacks(-0.1), "epsilon"),
        (lambda: adaptive_attacks(0.1, 0), "num_steps must be at least 1"),
        (lambda: adaptive_attacks(0.1, weights=(8, 0, 0)), "no attention, to attack"),
        (lambda: adaptive_attacks(0.1, weights=(0, 4, 1)), "no classification"),
        (lambda: adaptive_attacks(0.1, sigma=-10), "both signs are tried"),
    ],
)
def test_mistakes_have_a_clear_message(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_the_original_images_are_asked_for(curved):
    with pytest.raises(ValueError, match="pass on what context"):
        AADTotal()(curved, tf.constant(images_of()), tf.constant(LABELS))
