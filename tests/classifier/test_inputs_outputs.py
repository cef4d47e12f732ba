"""Models with several outputs or inputs, and inputs in dicts and lists."""

from __future__ import annotations

import re
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import aad_tf
from aad_tf import attacks
from aad_tf.attention import grad_cam
from aad_tf.attention_study import study_attention
from aad_tf.classifier import Classifier
from aad_tf.defenses import AADModel, StandardModel
from tests.networks import SHAPE, random_images

layers = keras.layers
IMAGES, LABELS = random_images(), np.array([0, 1, 2, 0])


def heads(seed=0):
    """Images, class scores and four other numbers, as parts of a model."""
    keras.utils.set_random_seed(seed)
    images = keras.Input(SHAPE, name="image")
    features = layers.Conv2D(4, 3, activation="relu", name="conv")(images)
    pooled = layers.GlobalAveragePooling2D()(features)
    return images, layers.Dense(3, name="cls")(pooled), layers.Dense(4, name="aux")(pooled)


def headed(arrange):
    images, scores, others = heads()
    return keras.Model(images, arrange(scores, others))


class TwoHeads(NamedTuple):
    logits: tf.Tensor
    aux: tf.Tensor


class Subclassed(keras.Model):
    """Built of a Functional model with two outputs, whose nest is made in `call`."""

    def __init__(self, arrange):
        super().__init__()
        images, scores, others = heads()
        self.inner = keras.Model(images, [scores, others])
        self.arrange = arrange

    def call(self, images):
        return self.arrange(*self.inner(images))


def subclassed(arrange):
    model = Subclassed(arrange)
    model(IMAGES)
    return model


OUTPUTS = {
    "list": (headed, lambda s, o: [s, o], ["cls", 0]),
    "tuple": (headed, lambda s, o: (o, s), ["cls", 1]),
    "dict": (headed, lambda s, o: {"class": s, "box": o}, ["class", 1]),
    "nested": (headed, lambda s, o: {"heads": {"cls": s}, "rest": [o, o]}, ["heads/cls", 0]),
    "dict of one": (headed, lambda s, o: {"class": s}, ["class", 0]),
    "maps first": (headed, lambda s, o: [keras.ops.stack([s, s], 1), s], ["cls", 1]),
    "subclassed tuple": (subclassed, lambda s, o: (s, o), [0]),
    "subclassed dict": (subclassed, lambda s, o: {"scores": s, "box": o}, ["scores", 1]),
    "subclassed named tuple": (subclassed, TwoHeads, ["logits", 0]),
    "subclassed with None": (subclassed, lambda s, o: (s, None), [0]),
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_one_of_several_outputs_is_chosen_by_name_or_number(kind):
    build, arrange, ways = OUTPUTS[kind]
    model = build(arrange)
    images, scores, _ = heads()
    alone = keras.Model(images, scores)
    for output in ways:
        classifier = Classifier.from_keras(model, output=output)
        assert (classifier.num_classes, classifier.attention_layer) == (3, "conv")
        np.testing.assert_allclose(classifier(IMAGES).logits, alone(IMAGES), atol=1e-6)
        assert classifier.variables == model.variables


@pytest.mark.parametrize("kind", OUTPUTS)
def test_without_a_choice_outputs_are_counted_and_named_with_a_way_that_works(kind):
    build, arrange, ways = OUTPUTS[kind]
    model = build(arrange)
    with pytest.raises(ValueError, match="outputs") as raised:
        Classifier.from_keras(model)
    message = str(raised.value)
    if kind == "list":
        assert "2 outputs: 0: 'cls' [batch, 3], 1: 'aux' [batch, 4]" in message
    way = re.search(r"output=('[^']+'|\d+)\)", message).group(1)
    assert Classifier.from_keras(model, output=eval(way)).num_classes in (3, 4)
    alone = re.search(r"keras\.Model\(model\.input, model\.outputs\[\d+\]\)", message)
    assert (alone is None) == ("subclassed" in kind)
    if alone:
        assert Classifier.from_keras(eval(alone.group())).num_classes in (3, 4)


@pytest.mark.parametrize("output", ["clss", 2, -1, True, 1.5])
def test_outputs_that_a_model_does_not_have(output):
    with pytest.raises(ValueError, match=rf"No output is {output!r}.*2 outputs: 0: 'cls' \[batch"):
        Classifier.from_keras(headed(lambda s, o: [s, o]), output=output)


def test_two_outputs_of_one_layer_are_told_apart_by_number():
    images = keras.Input(SHAPE)
    scores = layers.Dense(3, name="both")
    pool = layers.GlobalAveragePooling2D()
    convs = [layers.Conv2D(4, 3)(images) for _ in range(2)]
    model = keras.Model(images, [scores(pool(conv)) for conv in convs])
    with pytest.raises(ValueError, match=r"from_keras\(model, output=0\)"):
        Classifier.from_keras(model)
    with pytest.raises(ValueError, match="Several outputs are 'both'"):
        Classifier.from_keras(model, output="both")
    classifier = Classifier.from_keras(model, output=1)
    np.testing.assert_allclose(classifier(IMAGES).logits, model(IMAGES)[1], atol=1e-6)
    # The layer that leads to this output, not the last one of the model.
    assert classifier.attention_layer == model.layers[2].name


def test_a_single_output_may_be_named_too():
    images, scores, _ = heads()
    model = keras.Model(images, scores)
    assert Classifier.from_keras(model, output="cls").num_classes == 3
    assert Classifier.from_keras(model, output=0).num_classes == 3


def test_a_softmax_is_taken_off_the_chosen_output_alone():
    images, scores, others = heads()
    ends = [layers.Softmax()(others), layers.Softmax(name="end")(scores)]
    classifier = Classifier.from_keras(keras.Model(images, ends), output="end")
    np.testing.assert_allclose(
        classifier(IMAGES).logits, keras.Model(images, scores)(IMAGES), atol=1e-6
    )


@pytest.fixture(scope="module")
def both():
    """A classifier of one of two outputs, and one of that output alone, with equal weights."""
    images, scores, others = heads(seed=4)
    model = keras.Model({"image": images}, {"class": scores, "box": others})
    images, scores, _ = heads(seed=4)
    return (
        Classifier.from_keras(model, output="class"),
        Classifier.from_keras(keras.Model(images, scores)),
    )


def test_attacks_and_maps_are_those_of_the_output_alone(both):
    chosen, alone = both
    for attack in (attacks.pgd(0.1, 0.05, 3, random_start=False), attacks.step_ll(0.1, 2)):
        expected = attack(alone, IMAGES, LABELS)
        assert np.abs(expected - IMAGES).max() > 0.05
        np.testing.assert_allclose(attack(chosen, IMAGES, LABELS), expected, atol=1e-6)
    expected = grad_cam(alone, IMAGES, LABELS)
    assert np.max(expected) > 0
    np.testing.assert_allclose(grad_cam(chosen, IMAGES, LABELS), expected, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_a_defence_trains_the_output_alone(both):
    networks = []
    for held in both:
        copy = keras.models.clone_model(held.model)
        copy.set_weights(held.model.get_weights())
        model = AADModel(
            Classifier.from_keras(copy, output=held.output), attack=attacks.step_ll(0.1)
        )
        model.compile(keras.optimizers.SGD(0.5))
        model.fit(IMAGES, LABELS, batch_size=4, verbose=0)
        networks.append(model.network)
    chosen, alone = networks
    untouched = both[0].model.get_layer("aux")
    for ours, theirs in zip(chosen.get_layer("aux").weights, untouched.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for name in ("conv", "cls"):
        before = both[1].model.get_layer(name).kernel
        assert np.abs(np.array(alone.get_layer(name).kernel) - np.array(before)).max() > 1e-4
        ours, theirs = (network.get_layer(name).get_weights() for network in (chosen, alone))
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)


def test_an_export_gives_the_chosen_output(both, tmp_path):
    path = aad_tf.export.export_saved_model(both[0], tmp_path / "exported")
    loaded = aad_tf.export.load_classifier(path)
    np.testing.assert_allclose(
        loaded(tf.constant(IMAGES)).logits, both[1](IMAGES).logits, atol=1e-5
    )
    served = grad_cam(loaded, IMAGES, LABELS)
    np.testing.assert_allclose(served, grad_cam(both[1], IMAGES, LABELS), atol=1e-5)
    np.testing.assert_array_equal(loaded.images_of(IMAGES), IMAGES)


def test_a_rebuilt_classifier_has_the_same_output_and_input(both):
    rebuilt = Classifier.from_config(both[0].get_config())
    rebuilt.model.set_weights(both[0].model.get_weights())
    assert (rebuilt.output, rebuilt.num_classes) == ("class", 3)
    expected = both[0](tf.constant(IMAGES)).logits
    given = rebuilt.images_of({"image": tf.constant(IMAGES)})
    np.testing.assert_allclose(rebuilt(given).logits, expected, atol=1e-6)


def test_a_callback_on_another_layer_keeps_the_output():
    images = keras.Input(SHAPE)
    features = layers.Conv2D(2, 3)(layers.Conv2D(2, 3, name="first")(images))
    pooled = layers.Flatten()(features)
    model = keras.Model(images, [layers.Dense(2)(pooled), layers.Dense(3, name="cls")(pooled)])
    defence = StandardModel(Classifier.from_keras(model, output="cls"))
    callback = aad_tf.callbacks.AttentionIoU(
        (IMAGES, LABELS), attacks.fgsm(0.1), attention_layer="first"
    )
    callback.set_model(defence)
    chosen = callback.classifier
    assert (chosen.attention_layer, chosen.output, chosen.num_classes) == ("first", "cls", 3)


@pytest.mark.parametrize("make", ["RobustAccuracy", "AttentionIoU", "AttentionSnapshots"])
def test_callbacks_wrap_the_output_they_are_told(make, tmp_path):
    examples = (IMAGES, LABELS, tmp_path) if make == "AttentionSnapshots" else ((IMAGES, LABELS),)
    callback = getattr(aad_tf.callbacks, make)(*examples, attacks.fgsm(0.1), output="cls")
    callback.set_model(headed(lambda s, o: [o, s]))
    assert (callback.classifier.output, callback.classifier.num_classes) == ("cls", 3)


# What takes the images, and how a data set gives them.
INPUTS = {
    "dict": (lambda image, scores: keras.Model({"image": image}, scores), {"image": IMAGES}),
    "list": (lambda image, scores: keras.Model([image], scores), (tf.constant(IMAGES),)),
}


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.filterwarnings("error:The structure of")
def test_inputs_in_a_nest_of_one_work_in_every_form(kind):
    build, given = INPUTS[kind]
    model = build(*heads()[:2])
    classifier = Classifier.from_keras(model)
    assert classifier.input_shape == SHAPE
    expected = attacks.fgsm(0.1)(classifier, IMAGES, LABELS)
    np.testing.assert_array_equal(attacks.fgsm(0.1)(classifier, given, LABELS), expected)
    batches = tf.data.Dataset.from_tensor_slices((given, LABELS)).batch(2)
    defence = StandardModel(classifier)
    defence.compile(keras.optimizers.SGD(0.0))
    losses = [defence.evaluate(data, verbose=0) for data in (batches, batches.map(bare))]
    assert losses[0] == losses[1]
    report = aad_tf.evaluate_robustness(defence, batches, attacks.fgsm(0.1))
    assert report.summary["attacks"][0]["count"] == 4
    part = aad_tf.evaluate_robustness(defence, batches, attacks.fgsm(0.1), num_examples=3)
    assert part.summary["attacks"][0]["count"] == 3
    callback = aad_tf.callbacks.RobustAccuracy(batches, attacks.fgsm(0.1))
    callback.check(classifier)
    assert callback.evaluate(classifier) == report.robust_accuracy("fgsm")


def bare(images, labels):
    return tf.nest.flatten(images)[0], labels


def test_a_subclassed_model_may_take_a_dict():
    class TakesDict(Subclassed):
        def call(self, batch):
            return super().call(batch["image"])

    model = TakesDict(lambda s, o: s)
    model({"image": IMAGES})
    classifier = Classifier.from_keras(model)
    assert classifier.input_shape == SHAPE
    np.testing.assert_allclose(classifier(IMAGES).logits, model({"image": IMAGES}), atol=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"image": IMAGES}, r"dict of 'image'.*one tensor.*tuples.*x\['image'\]"),
        ({"meta": IMAGES[:, 0, 0], "image": IMAGES}, r"'meta', 'image'.*x\['image'\]"),
        ((IMAGES, IMAGES[:, 0, 0]), r"tuple of 0, 1, .*one tensor.*x\[0\]"),
    ],
    ids=["dict", "dict of two", "tuple"],
)
def test_data_sets_whose_images_are_no_tensor_are_told_the_way(given, message, tmp_path):
    batches = tf.data.Dataset.from_tensor_slices((given, LABELS)).batch(2)
    model = StandardModel(keras.Model(*heads()[:2]))
    model.compile("sgd")
    callback = aad_tf.callbacks.RobustAccuracy(batches, attacks.fgsm(0.1))
    for use in (
        lambda: model.fit(batches, verbose=0),
        lambda: model.evaluate(batches, verbose=0),
        lambda: aad_tf.evaluate_robustness(model, batches, attacks.fgsm(0.1)),
        lambda: aad_tf.evaluate_robustness(model, list(batches), attacks.fgsm(0.1)),
        lambda: study_attention(
            model.classifier, batches, attacks.fgsm(0.1), output=tmp_path / "never", batch_size=2
        ),
        lambda: callback.check(model.classifier),
    ):
        with pytest.raises(ValueError, match=message) as raised:
            use()
    way = re.search(r"lambda x, y: .*\)(?=\)\.)", str(raised.value)).group()
    assert np.isfinite(model.evaluate(batches.map(eval(way)), verbose=0)[0])


def test_a_dict_without_the_networks_input():
    classifier = Classifier.from_keras(INPUTS["dict"][0](*heads()[:2]))
    with pytest.raises(ValueError, match="dict of 'photo', but the network takes an input 'image'"):
        attacks.fgsm(0.1)(classifier, {"photo": IMAGES}, LABELS)
    # Inputs that the network does not ask for are left alone.
    found = attacks.fgsm(0.0)(classifier, {"image": IMAGES, "meta": LABELS}, LABELS)
    np.testing.assert_array_equal(found, IMAGES)


class TwoArguments(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = joined(list)

    def call(self, image, meta, training=False):
        return self.inner([image, meta])


def joined(kind):
    images, scores, _ = heads()
    meta = keras.Input((3,), name="meta")
    inputs = {"image": images, "meta": meta} if kind is dict else [images, meta]
    return keras.Model(inputs, scores + meta)


def two_arguments():
    model = TwoArguments()
    model(IMAGES, np.zeros((4, 3), "float32"))
    return model


SEVERAL_INPUTS = {
    "list": lambda: joined(list),
    "dict": lambda: joined(dict),
    "arguments": two_arguments,
}


@pytest.mark.parametrize("kind", SEVERAL_INPUTS)
def test_several_inputs_are_counted_and_the_way_works(kind):
    model = SEVERAL_INPUTS[kind]()
    with pytest.raises(
        ValueError, match=r"takes 2 inputs: 'image' \[batch, 8, 8, 1\], 'meta'"
    ) as e:
        Classifier.from_keras(model)
    code = re.search(r"fixed, (image = .*), (fixed_1 = .*), (keras\.Model.*)\.$", str(e.value))
    value = np.array([1.0, -2.0, 3.0], "float32")
    names = {"keras": keras, "tf": tf, "value": value, "model": model}
    for line in code.groups()[:2]:
        exec(line, names)
    classifier = Classifier.from_keras(eval(code.group(3), names))
    alone = keras.Model(*heads()[:2])
    np.testing.assert_allclose(classifier(IMAGES).logits, alone(IMAGES) + value, atol=1e-6)
    assert classifier.attention_layer == "conv"
    assert np.max(grad_cam(classifier, IMAGES, LABELS)) > 0


@pytest.mark.parametrize("count", [3, 4])
def test_more_inputs_of_images(count):
    inputs = [keras.Input(SHAPE) for _ in range(count)]
    conv = layers.Conv2D(2, 3)(layers.Concatenate()(inputs))
    scores = layers.Dense(3)(layers.Flatten()(conv))
    with pytest.raises(ValueError, match=rf"takes {count} inputs: .*fixed_{count - 1}\]"):
        Classifier.from_keras(keras.Model(inputs, scores))


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
def test_whole_number_inputs_are_refused_and_the_way_works(dtype):
    model = keras.Sequential(
        [
            keras.Input(SHAPE, dtype=dtype),
            layers.Rescaling(1 / 255),
            layers.Conv2D(2, 3),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    message = rf"takes {dtype} images.*clone_model.*set_weights.*bounds=\(0, 255\)"
    with pytest.raises(ValueError, match=message):
        Classifier.from_keras(model)
    copy = keras.models.clone_model(model, input_tensors=keras.Input((8, 8, 1)))
    copy.set_weights(model.get_weights())
    classifier = Classifier.from_keras(copy, bounds=(0, 255))
    pixels = (np.arange(64).reshape(1, *SHAPE) * 4).astype(dtype)
    logits = classifier(tf.cast(pixels, tf.float32)).logits
    np.testing.assert_allclose(logits, model(pixels), atol=1e-6)
