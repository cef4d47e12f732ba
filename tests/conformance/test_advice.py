"""Who follows the advice of a message gets right numbers, in every place that takes the same thing.

The network tells bright images from dark ones, so what it must answer is known by hand: images of
0.52 and 0.48 of the pixel range, of which a perturbation of 8 gray levels turns every prediction,
and one of 8/255 of a gray level none.
"""

from __future__ import annotations

import dataclasses
import re
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import aad_tf
from aad_tf import attacks, evaluate_robustness
from aad_tf.attention import (
    MatchingArea,
    attention_area,
    grad_cam,
    grad_cam_plus_plus,
    lime,
    superpixels,
)
from aad_tf.attention_study import Options, study_attention
from aad_tf.callbacks import AttentionIoU, AttentionSnapshots, GradientShares, RobustAccuracy
from aad_tf.classifier import Classifier
from aad_tf.configs import DefenseConfig, ExperimentConfig
from aad_tf.metrics import iou
from aad_tf.plots import compare_networks
from tests.networks import linear_network, small_network

layers = keras.layers
UNIT = np.repeat([0.52, 0.48], 10).reshape(-1, 1, 1, 1) * np.ones((1, 4, 4, 1), "float32")
PIXELS = np.round(255 * UNIT).astype("float32")
LABELS = np.repeat([1, 0], 10)


def brightness(*first, take=lambda images: images) -> keras.Model:
    """Class 1 where the mean of what comes after `first` and `take` is above 0.5."""
    images = keras.Input((4, 4, 1))
    inside = images
    for layer in first:
        inside = layer(inside)
    scores = layers.Conv2D(2, 1, name="conv")
    model = keras.Model(images, layers.GlobalAveragePooling2D()(scores(take(inside))))
    scores.set_weights([np.array([-100.0, 100.0]).reshape(1, 1, 1, 2), np.array([50.0, -50.0])])
    return model


def accuracies(classifier, images, attack, labels=LABELS):
    """(clean, robust) accuracy, and warnings of the summary."""
    summary = evaluate_robustness(classifier, (images, labels), attack).summary
    (entry,) = summary["attacks"]
    return (entry["clean_accuracy"], entry["robust_accuracy"]), summary["warnings"]


@pytest.fixture(scope="module")
def unit():
    return Classifier.from_keras(brightness())


@pytest.fixture(scope="module")
def gray():
    return Classifier.from_keras(brightness(layers.Rescaling(1 / 255)), bounds=(0, 255))


def refusal(call, error=ValueError):
    with pytest.raises(error) as refused:
        call()
    return str(refused.value)


# --- Pixel ranges


def test_a_network_of_0_1_is_given_0_255(unit):
    message = refusal(lambda: accuracies(unit, PIXELS, attacks.fgsm(8 / 255)))
    assert "look like 0..255 pixels: divide by 255 if" in message
    assert "trained on 0..255, wrap it with aad_tf.Classifier.from_keras(model, bound" in message
    assert accuracies(unit, PIXELS / 255, attacks.fgsm(8 / 255)) == ((1.0, 0.0), [])
    # The other way, for a network that was trained on 0..255 and has nothing in front.
    raw = linear_network([0, 1], [0, -127.5], size=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wrapped = Classifier.from_keras(raw, bounds=(0, 255))
    assert accuracies(wrapped, PIXELS, attacks.fgsm(8)) == ((1.0, 0.0), [])


def statistics_of_pixels():
    # (x - 127.5) / 255 + 0.5 is x / 255.
    return layers.Normalization(mean=[127.5], variance=[255.0**2]), layers.Rescaling(1, offset=0.5)


def dividing():
    """A subclassed network that divides in its call, where no layer does."""

    class Dividing(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = brightness()

        def call(self, images):
            return self.inner(images / 255)

    network = Dividing()
    network(np.zeros((1, 4, 4, 1), "float32"))
    return network


DIVIDING = {
    "rescaling": (lambda: brightness(layers.Rescaling(1 / 255)), r"'rescaling\w*' \(Rescaling\)"),
    "nested": (
        lambda: brightness(keras.Sequential([layers.Rescaling(1 / 255), layers.ZeroPadding2D(0)])),
        r"'rescaling\w*' \(Rescaling\)",
    ),
    "normalization": (
        lambda: brightness(*statistics_of_pixels()),
        r"'normalization\w*' \(Normalization\), 'rescaling",
    ),
    "lambda": (lambda: brightness(layers.Lambda(lambda x: x / 255)), r"'lambda\w*' \(Lambda\)"),
    "arithmetic": (
        lambda: brightness(take=lambda x: x / 255),
        r"'true_divide\w*' \(TrueDivide\)",
    ),
    "arithmetic in a call": (lambda: dividing(), "the arithmetic before its first weights"),
}


@pytest.mark.parametrize("kind", DIVIDING)
def test_a_network_that_divides_by_255_itself(kind):
    build, shown_by = DIVIDING[kind]
    network = build()
    with pytest.warns(UserWarning, match=rf"said to be .0.0, 1.0., but .* as {shown_by}.* shows"):
        wrong = Classifier.from_keras(network)
    for images, error in ((PIXELS, ValueError), (PIXELS.astype("uint8"), TypeError)):
        message = refusal(lambda images=images: grad_cam(wrong, images, LABELS), error)
        assert re.search(rf"trained on 0..255, as .*{shown_by}.* shows", message)
        assert "from_keras(model, bounds=(0, 255))" in message
        assert "put keras.layers.Rescaling(255) in front" in message
    # Whoever divides anyway is told by the summary.
    found, (warning, *_) = accuracies(wrong, UNIT, attacks.fgsm(8 / 255))
    assert found[0] == 0.5
    assert "The clean accuracy, 50.0%" in warning and "no better than chance" in warning
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one_way = Classifier.from_keras(network, bounds=(0, 255))
        stacked = keras.Sequential([keras.Input((4, 4, 1)), layers.Rescaling(255), network])
        other_way = Classifier.from_keras(stacked)
        assert accuracies(one_way, PIXELS, attacks.fgsm(8)) == ((1.0, 0.0), [])
        assert accuracies(other_way, PIXELS / 255, attacks.fgsm(8 / 255)) == ((1.0, 0.0), [])


@pytest.mark.parametrize(
    "first",
    [
        (layers.Rescaling(2, offset=-0.5), layers.Rescaling(0.5, offset=0.25)),
        (layers.Rescaling(255), layers.Rescaling(1 / 255)),
        (layers.Lambda(lambda x: tf.image.per_image_standardization(x)),),
    ],
    ids=["wider", "undone", "standardised"],
)
def test_preprocessing_of_0_1_is_not_warned_of(first):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Classifier.from_keras(brightness(*first)).shrinking == ""


def test_the_built_in_preprocessing_of_keras_applications():
    def built(**options):
        return keras.applications.MobileNetV3Small(
            (32, 32, 3), alpha=0.5, weights=None, classes=4, classifier_activation=None, **options
        )

    with pytest.warns(UserWarning, match=r"trained on 0..255, as 'rescaling\w*' "):
        Classifier.from_keras(built(), "conv")


def test_images_of_0_1_for_a_network_of_0_255(gray):
    for call in (
        lambda: accuracies(gray, UNIT, attacks.fgsm(8)),
        lambda: grad_cam(gray, UNIT, LABELS),
        lambda: RobustAccuracy((UNIT, LABELS), attacks.fgsm(8), bounds=(0, 255)),
    ):
        with pytest.warns(UserWarning, match="Multiply them by 255"):
            call()
    assert accuracies(gray, 255 * UNIT, attacks.fgsm(8)) == ((1.0, 0.0), [])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_images_of_0_1_are_noticed_in_training(gray, jit_compile):
    model = aad_tf.StandardModel(gray)
    model.compile(keras.optimizers.SGD(0.0), jit_compile=jit_compile)
    with pytest.warns(UserWarning, match="Multiply them by 255"):
        model.fit(UNIT, LABELS, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.fit(255 * UNIT, LABELS, verbose=0).history["accuracy"] == [1.0]


def test_training_a_network_of_0_255(gray):
    with pytest.warns(UserWarning, match="'rescaling"):
        wrong = aad_tf.AADModel(gray.model, attack=attacks.step_ll(0.03))
    wrong.compile("sgd", run_eagerly=True)
    message = refusal(lambda: wrong.fit(PIXELS, LABELS, verbose=0), tf.errors.InvalidArgumentError)
    assert "from_keras(model, bounds=(0, 255))" in message and "tf.clip_by_value" in message
    model = aad_tf.AADModel(gray, attack=attacks.step_ll(8))
    model.compile("sgd", run_eagerly=True)
    found = model.evaluate(PIXELS, LABELS, batch_size=20, verbose=0, return_dict=True)
    assert (found["accuracy"], found["adversarial_accuracy"]) == (1.0, 0.0)


@pytest.mark.parametrize("bounds", [(0, 1), (-1, 1), (0, 255)])
def test_the_expression_for_bytes(bounds):
    images = PIXELS.astype("uint8")
    lower, upper = bounds
    network = brightness(
        layers.Rescaling(1 / (upper - lower), offset=-lower / (upper - lower)),
    )
    classifier = Classifier.from_keras(network, bounds=bounds)
    message = refusal(lambda: grad_cam(classifier, images, LABELS), TypeError)
    expression = re.search(r"Convert them(?:, e.g.| with) (.*)\.$", message)[1]
    converted = eval(expression, {"tf": tf, "images": images})
    np.testing.assert_allclose(converted, lower + PIXELS / 255 * (upper - lower), atol=1e-6)
    attack = attacks.fgsm(8 / 255 * (upper - lower))
    assert accuracies(classifier, converted, attack) == ((1.0, 0.0), [])


def test_images_slightly_out_of_range(unit):
    images = UNIT + np.linspace(-0.55, 0.55, 20).reshape(-1, 1, 1, 1).astype("float32")
    message = refusal(lambda: grad_cam(unit, images, LABELS))
    expression = re.search(r"(tf.clip_by_value\(.*?\)) cuts", message)[1]
    clipped = eval(expression, {"tf": tf, "images": images})
    np.testing.assert_array_equal(clipped, np.clip(images, 0, 1))
    grad_cam(unit, clipped, LABELS)


# --- Sizes of attacks


def fit_with(callback):
    model = keras.models.clone_model(brightness())
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(UNIT, LABELS, verbose=0, callbacks=[callback])


MEETINGS = {
    "attack": lambda attack, unit, path: attack(unit, UNIT, LABELS),
    "rounds": lambda attack, unit, path: attack.rounds(unit, UNIT, LABELS),
    "a3": lambda attack, unit, path: attacks.a3(attack, 1.0)(unit, UNIT, LABELS),
    "evaluation": lambda attack, unit, path: accuracies(unit, UNIT, attack),
    "text": lambda attack, unit, path: accuracies(unit, UNIT, "fgsm(epsilon=8)"),
    "study": lambda attack, unit, path: study_attention(
        unit, dictionaries(UNIT, LABELS), attack, output=path / "x.jsonl", batch_size=4
    ),
    "AADModel": lambda attack, unit, path: aad_tf.AADModel(unit, attack=attack),
    "AdversarialModel": lambda attack, unit, path: aad_tf.AdversarialModel(unit, attack=attack),
    "TradesModel": lambda attack, unit, path: aad_tf.TradesModel(unit, attack=attack),
    "PairingModel": lambda attack, unit, path: aad_tf.PairingModel(unit, attack=attack),
    "EnsembleAdversarialModel": lambda attack, unit, path: aad_tf.EnsembleAdversarialModel(
        brightness(), sources=[unit], attack=attack
    ),
    "RobustAccuracy": lambda attack, unit, path: RobustAccuracy((UNIT, LABELS), attack),
    "AttentionIoU": lambda attack, unit, path: AttentionIoU((UNIT, LABELS), attack),
    "AttentionSnapshots": lambda attack, unit, path: AttentionSnapshots(UNIT, LABELS, path, attack),
    "compare_networks": lambda attack, unit, path: compare_networks(
        {"unit": unit}, UNIT, LABELS, attacks.attack_call(attack)
    ),
    "DefenseConfig": lambda attack, unit, path: DefenseConfig("aad", "fgsm(epsilon=8)"),
    "ExperimentConfig": lambda attack, unit, path: ExperimentConfig(
        evaluation_attacks=("fgsm(epsilon=8)",)
    ),
}


def dictionaries(images, labels, batch_size=4):
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(batch_size)
    return batches.map(lambda x, y: {"image": x, "label": y})


@pytest.mark.parametrize("meeting", MEETINGS)
def test_gray_levels_for_a_network_of_0_1(meeting, unit, tmp_path):
    message = refusal(lambda: MEETINGS[meeting](attacks.fgsm(8), unit, tmp_path))
    assert message.startswith("epsilon must be in [0, 1], the unit of images in [0, 1], got 8")
    size = eval(re.search(r"Was (.*?) =", message)[1])
    assert accuracies(unit, UNIT, attacks.fgsm(size)) == ((1.0, 0.0), [])


def test_fractions_for_a_network_of_0_255(gray):
    found, (warning,) = accuracies(gray, PIXELS, attacks.fgsm(8 / 255))
    assert found == (1.0, 1.0) and "less than half a level" in warning
    with pytest.warns(UserWarning, match="fgsm changes pixels by 0.0314 at most, .*Was 8 meant"):
        aad_tf.AdversarialModel(gray, attack=attacks.fgsm(8 / 255))
    size = float(re.search(r"Was (.*?) meant", warning)[1])
    assert accuracies(gray, PIXELS, attacks.fgsm(size)) == ((1.0, 0.0), [])


def test_gray_levels_are_those_of_fractions_in_every_record(unit, gray):
    fine, coarse = attacks.pgd(8 / 255, 2 / 255, 5), attacks.pgd(8, 2, 5)
    np.testing.assert_allclose(
        255 * fine(unit, UNIT, LABELS), coarse(gray, 255 * UNIT, LABELS), atol=1e-3
    )
    model = coarse.threat_model(gray.bounds)
    assert (model["epsilon"], model["epsilon_255"], model["bounds"]) == (8, 8, [0.0, 255.0])
    assert attacks.attack_from_record(model) == coarse
    assert attacks.parse_attack("pgd(epsilon=8, step_size=2, num_steps=5)") == coarse
    assert coarse.epsilon_after(bounds=gray.bounds) == pytest.approx(fine.epsilon_after())
    # A budget that is wider in gray levels is compared as one: 255 would be the cap of both.
    data = (PIXELS, LABELS)
    wide, narrow = attacks.step_ll(100, 2), attacks.fgsm(8)
    found = evaluate_robustness(gray, data, [wide, narrow]).summary["attacks"]
    assert [entry["threat_model"]["epsilon"] for entry in found] == [200, 8]


# --- Labels

COLUMN = LABELS[:, None]
PATCHES = np.arange(16).reshape(4, 4) // 4


def metrics_of(make):
    """What a callback measures of a defence."""

    def measured(unit, labels, path):
        callback = make(labels)
        callback.set_model(aad_tf.AADModel(unit, attack=attacks.step_ll(0.03)))
        callback.on_train_begin()
        return callback.measure(0)

    return measured


def batched(labels):
    return tf.data.Dataset.from_tensor_slices((UNIT, labels)).batch(8)


def fitted(unit, labels, path):
    model = aad_tf.StandardModel(unit)
    model.compile(keras.optimizers.SGD(0.0))
    return model.fit(UNIT, labels, batch_size=20, verbose=0).history


def studied(unit, labels, path):
    options = Options(methods=("grad_cam",), cells=(4,))
    report = study_attention(
        unit,
        dictionaries(UNIT, labels),
        attacks.step_ll(0.03),
        output=path / f"{len(list(path.iterdir()))}.jsonl",
        batch_size=4,
        options=options,
    )
    return report.output.read_text()


TAKERS = {
    "fit": fitted,
    "evaluation of arrays": lambda unit, labels, path: accuracies(
        unit, UNIT, attacks.fgsm(0.01), labels
    ),
    "evaluation of a data set": lambda unit, labels, path: evaluate_robustness(
        unit, batched(labels), attacks.fgsm(0.03)
    ).robust_accuracy("fgsm"),
    "attack": lambda unit, labels, path: attacks.fgsm(0.03)(unit, UNIT, labels).numpy().tolist(),
    "rounds": lambda unit, labels, path: (
        attacks.ifgsm(0.03).rounds(unit, UNIT, labels).numpy().tolist()
    ),
    "grad_cam": lambda unit, labels, path: grad_cam(unit, UNIT, labels).numpy().tolist(),
    "grad_cam_plus_plus": lambda unit, labels, path: (
        grad_cam_plus_plus(unit, UNIT, labels).numpy().tolist()
    ),
    "lime": lambda unit, labels, path: np.array(
        lime(unit, UNIT, labels, num_samples=8, segmentation=PATCHES).weights
    ).tolist(),
    "study": studied,
    "GradientShares": metrics_of(lambda labels: GradientShares(UNIT, labels)),
    "RobustAccuracy": metrics_of(lambda labels: RobustAccuracy((UNIT, labels), "fgsm(0.01)")),
    "RobustAccuracy of a data set": metrics_of(
        lambda labels: RobustAccuracy(batched(labels), "fgsm(0.01)")
    ),
    "AttentionIoU": metrics_of(lambda labels: AttentionIoU(batched(labels), "fgsm(0.01)")),
}
FORMS = {
    "column of floats": COLUMN.astype("float64"),
    "booleans": LABELS.astype(bool),
    "column": COLUMN,
    "floats": LABELS.astype("float32"),
}
# Who takes a column of floats takes a column, and floats.
FORMS_TAKEN = [
    *((form, taker) for form in ("column of floats", "booleans") for taker in TAKERS),
    *((form, taker) for form in ("column", "floats") for taker in ("attack", "RobustAccuracy")),
]


@pytest.fixture(scope="module")
def expected(unit, tmp_path_factory):
    """What each taker gives for labels as they should be, computed once."""
    found = {}

    def of(taker):
        if taker not in found:
            path = tmp_path_factory.mktemp("labels")
            found[taker] = TAKERS[taker](unit, LABELS, path)
        return found[taker]

    return of


def assert_alike(found, wanted):
    """Texts are equal; numbers are up to the rounding of sums whose order is not fixed."""
    if isinstance(wanted, str):
        assert found == wanted
    else:
        keras.tree.map_structure(
            lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5), found, wanted
        )


@pytest.mark.parametrize(("form", "taker"), FORMS_TAKEN)
def test_what_fit_takes_for_labels_is_taken_everywhere(taker, form, unit, expected, tmp_path):
    assert_alike(TAKERS[taker](unit, FORMS[form], tmp_path), expected(taker))


@pytest.mark.parametrize("taker", TAKERS)
def test_advice_on_other_labels_gives_the_same_numbers(taker, unit, expected, tmp_path):
    names, class_names = ["bright" if label else "dark" for label in LABELS], ["dark", "bright"]
    # Keras itself refuses text; what reaches the step may be of any kind.
    if taker != "fit":
        message = refusal(lambda: TAKERS[taker](unit, names, tmp_path), TypeError)
        expression = re.search(r"with (\[.*\]), or", message)[1].replace(
            "in class_ids", "in labels"
        )
        labels = eval(expression, {"class_names": class_names, "labels": names})
        assert labels == LABELS.tolist()
        lookup = re.search(r"keras\.layers\.StringLookup\(.*\)", message)[0]
        looked_up = eval(lookup, {"keras": keras, "class_names": class_names})(names)
        np.testing.assert_array_equal(looked_up, LABELS)
    one_hot = np.eye(2)[LABELS]
    message = refusal(lambda: TAKERS[taker](unit, one_hot, tmp_path))
    expression = re.search(r"one-hot: pass (tf.argmax\(.*?\))", message)[1]
    labels = eval(expression.replace("class_ids", "labels"), {"tf": tf, "labels": one_hot})
    assert_alike(TAKERS[taker](unit, labels, tmp_path), expected(taker))


def test_labels_counted_from_1(unit):
    labels = LABELS + 1
    message = refusal(lambda: accuracies(unit, UNIT, attacks.fgsm(0.01), labels))
    shifted = eval(re.search("use (labels - 1)", message)[1], {"labels": labels})
    np.testing.assert_array_equal(shifted, LABELS)


# --- Data sets, networks, attacks


def test_single_images_and_endless_data(unit):
    single = tf.data.Dataset.from_tensor_slices((UNIT, LABELS))
    message = refusal(lambda: evaluate_robustness(unit, single, attacks.fgsm(0.03)))
    batches = eval(re.search(r"dataset\.batch\(\d+\)", message)[0], {"dataset": single})
    message = refusal(lambda: evaluate_robustness(unit, batches.repeat(), attacks.fgsm(0.03)))
    assert "dataset.take(...)" in message
    report = evaluate_robustness(unit, batches.repeat().take(1), attacks.fgsm(0.03))
    assert report.summary["attacks"][0]["count"] == len(UNIT)


def test_a_network_that_was_never_called():
    def unbuilt():
        keras.utils.set_random_seed(0)
        return keras.Sequential([layers.Conv2D(2, 3), layers.GlobalAveragePooling2D()])

    message = refusal(lambda: aad_tf.AADModel(unbuilt(), attack=attacks.fgsm(0.1)))
    assert "Call it once on a batch of images, or pass input_shape=(height" in message
    called = unbuilt()
    logits = called(UNIT)
    for model in (
        aad_tf.AADModel(called, attack=attacks.fgsm(0.1)),
        aad_tf.AADModel(unbuilt(), attack=attacks.fgsm(0.1), input_shape=(4, 4, 1)),
    ):
        assert model.predict(UNIT, verbose=0).shape == logits.shape
        assert model.classifier.input_shape == (4, 4, 1)


def test_a_softmax_that_cannot_be_taken_off():
    body = brightness()
    images = keras.Input((4, 4, 1))
    softmax = keras.Model(images, layers.Lambda(lambda z: tf.nn.softmax(z))(body(images)))
    assert "from_logits=True" in refusal(lambda: Classifier.from_keras(softmax))
    assert accuracies(body, UNIT, attacks.fgsm(8 / 255))[0] == (1.0, 0.0)


def test_the_same_attack_twice(unit):
    attack = attacks.fgsm(8 / 255)
    message = refusal(lambda: evaluate_robustness(unit, (UNIT, LABELS), [attack, attack]))
    assert "dataclasses.replace(attack, name=...)" in message
    named = [attack, dataclasses.replace(attack, name="again")]
    report = evaluate_robustness(unit, (UNIT, LABELS), named)
    assert report.robust_accuracy("fgsm") == report.robust_accuracy("again") == 0.0


def test_restarts_of_an_attack_that_starts_at_the_image(unit):
    message = refusal(lambda: attacks.pgd(0.03, 0.01, 4, random_start=False, restarts=2))
    assert "random_start=True or restarts=1" in message
    for options in ({"random_start": True, "restarts": 2}, {"random_start": False, "restarts": 1}):
        assert accuracies(unit, UNIT, attacks.pgd(0.03, 0.01, 4, **options))[0] == (1.0, 0.0)


def test_a_callback_for_other_pixels_than_the_network(gray):
    callback = RobustAccuracy((UNIT, LABELS), attacks.fgsm(8 / 255))
    model = aad_tf.StandardModel(gray)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    message = refusal(lambda: model.fit(PIXELS, LABELS, verbose=0, callbacks=[callback]))
    bounds = eval(re.search(r"Pass bounds=(\(.*?\))", message)[1])
    callback = RobustAccuracy((PIXELS, LABELS), attacks.fgsm(8), bounds=bounds)
    history = model.fit(PIXELS, LABELS, verbose=0, callbacks=[callback]).history
    assert history["val_robust_accuracy"] == [0.0]


def test_a_source_that_is_the_network_in_training():
    network = small_network()
    build = lambda source: aad_tf.EnsembleAdversarialModel(  # noqa: E731
        network, sources=[source], attack=attacks.fgsm(0.1)
    )
    message = refusal(lambda: build(network))
    assert "keras.models.clone_model and set_weights" in message
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    model = build(copy)
    images = np.random.default_rng(0).uniform(size=(3, 8, 8, 1)).astype("float32")
    np.testing.assert_array_equal(
        model.sources[0].predict_logits(images), model.classifier.predict_logits(images)
    )


def test_tuples_for_the_data_of_boxes():
    images = PIXELS.astype("float32")
    labels = tf.data.Dataset.from_tensor_slices((images, COLUMN))
    message = refusal(lambda: next(iter(aad_tf.data.from_tuples(labels, 4))), tf.errors.OpError)
    assert "Divide 0..255 pixels by 255, or give them as uint8" in message
    for given in (images / 255, images.astype("uint8")):
        tuples = tf.data.Dataset.from_tensor_slices((given, COLUMN))
        batch = next(iter(aad_tf.data.from_tuples(tuples, 20)))
        np.testing.assert_allclose(batch["image"], PIXELS / 255, atol=1e-6)
        np.testing.assert_array_equal(batch["label"], LABELS)


def test_maps_and_masks_of_different_sizes():
    # The upper left quarter of the grid, as a map of 4 x 4 cells and a mask of 8 x 8.
    maps = np.zeros((1, 4, 4), "float32")
    maps[:, :2, :2] = 1.0
    mask = np.zeros((1, 8, 8))
    mask[:, :4, :4] = 1.0
    message = refusal(lambda: iou(attention_area(maps, "mean"), mask))
    assert "Resize the maps before thresholding them" in message
    message = refusal(lambda: attention_area(maps, MatchingArea(mask)))
    resize = re.search(r"aad_tf\.utils\.ops\.resize_maps", message)[0]
    resized = eval(resize, {"aad_tf": aad_tf})(maps, (8, 8))
    area = attention_area(resized, MatchingArea(mask))
    assert float(tf.reduce_sum(area)) == 16.0
    assert float(iou(area, mask)[0]) == 1.0


def test_an_attention_layer_beside_a_classifier(unit):
    network = small_network()
    classifier = Classifier.from_keras(network)
    build = lambda held, **options: aad_tf.StandardModel(held, **options)  # noqa: E731
    message = refusal(lambda: build(classifier, attention_layer="conv"))
    assert "Name it in Classifier.from_keras" in message
    named = build(Classifier.from_keras(network, "conv"), attention_layer="conv")
    assert named.classifier.attention_layer == "conv" != classifier.attention_layer


def test_superpixels_of_images_with_two_channels():
    images = np.zeros((1, 4, 4, 2), "float32")
    assert "Pass a function or the labels instead" in refusal(lambda: superpixels(images))
    np.testing.assert_array_equal(superpixels(images, PATCHES)[0], PATCHES)
