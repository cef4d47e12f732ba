"""Networks side by side: every column shows its image, map, prediction and confidence."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attacks import fgsm
from aad_tf.attention import grad_cam
from aad_tf.classifier import Classifier
from aad_tf.plots import compare_networks, overlay, short_class_name
from tests.networks import random_images, small_network

ATTACK = fgsm(0.3)
LABELS = np.array([1, 2], np.int32)
NETWORKS = {
    name: Classifier.from_keras(small_network(seed=seed), "conv")
    for seed, name in enumerate(("plain", "other"))
}


def caption(classifier, image, names=("0", "1", "2")):
    probabilities = tf.nn.softmax(classifier(image[None]).logits)[0].numpy()
    return f"{names[probabilities.argmax()]} {probabilities.max():.2f}"


def shown(axes):
    return np.asarray(axes.images[0].get_array()), axes.texts[0].get_text()


def test_each_network_has_its_maps_before_and_after_the_attack_on_itself():
    images = random_images(2)
    figure = compare_networks(NETWORKS, images, LABELS, ATTACK)
    axes = np.array(figure.axes).reshape(2, 7)
    for number, classifier in enumerate(NETWORKS.values()):
        adversarial = ATTACK(classifier, images, LABELS).numpy()
        maps = [grad_cam(classifier, batch, LABELS).numpy() for batch in (images, adversarial)]
        for row, panels in enumerate(axes[:, 1 + 3 * number : 4 + 3 * number]):
            before, changed, after = map(shown, panels)
            expected = overlay(images[row], maps[0][row])
            np.testing.assert_allclose(before[0], expected, atol=1e-5)
            np.testing.assert_allclose(changed[0], np.repeat(adversarial[row], 3, -1), atol=1e-6)
            expected = overlay(adversarial[row], maps[1][row])
            np.testing.assert_allclose(after[0], expected, atol=1e-5)
            # The clean map over the same image would be another figure.
            assert np.abs(after[0] - overlay(adversarial[row], maps[0][row])).max() > 0.1
            assert before[1] == caption(classifier, images[row])
            assert after[1] == caption(classifier, adversarial[row])
            assert changed[1] == ""
    for row, panel in enumerate(axes[:, 0]):
        np.testing.assert_allclose(shown(panel)[0], np.repeat(images[row], 3, -1), atol=1e-6)
    assert [text.get_text() for text in figure.texts] == [
        "image",
        *("plain: clean", "plain: attacked", "plain: under attack"),
        *("other: clean", "other: attacked", "other: under attack"),
    ]


def test_class_names_stand_under_the_maps():
    images, names = random_images(1), ("cat", "dog", "cow")
    classifier = NETWORKS["plain"]
    networks = {"plain": classifier}
    figure = compare_networks(networks, images, LABELS[:1], ATTACK, class_names=names)
    assert shown(figure.axes[1])[1] == caption(classifier, images[0], names)


@pytest.mark.parametrize("names", [("cat", "dog", "cow"), None], ids=["names", "numbers"])
@pytest.mark.parametrize("labels", [LABELS[:, None], LABELS.astype("float32"), list(LABELS)])
def test_labels_and_names_of_the_forms_that_attacks_take(labels, names):
    """A column, as data sets of Keras give them, and floats; names as an array."""
    given = None if names is None else np.array(names)
    images, networks = random_images(2), {"plain": NETWORKS["plain"]}
    figure = compare_networks(networks, images, labels, ATTACK, class_names=given)
    found = [shown(axes)[1] for axes in figure.axes[::4]]
    assert found == [f"true: {names[label] if names else label}" for label in LABELS]


def test_classes_without_a_name_are_told():
    networks = {"plain": NETWORKS["plain"]}
    with pytest.raises(ValueError, match="class_names has 1 names and none of class 1"):
        compare_networks(networks, random_images(1), LABELS[:1], ATTACK, class_names=["cat"])


def test_long_class_names_are_cut_at_words():
    assert short_class_name("European fire salamander") == "European fire…"
    assert short_class_name("goldfish, Carassius auratus") == "goldfish"
    assert short_class_name("abcdefghijklmnopqrst") == "abcdefghijklm…"
    names = ("European fire salamander",) * 3
    networks = {"plain": NETWORKS["plain"]}
    images = random_images(1)
    figure = compare_networks(networks, images, LABELS[:1], ATTACK, class_names=names)
    assert shown(figure.axes[0])[1] == "true: European fire…"
    assert shown(figure.axes[1])[1].startswith("European fire… 0.")


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_networks_of_other_precision_are_drawn(dtype):
    network = Classifier.from_keras(small_network(dtype=dtype), "conv")
    figure = compare_networks({"x": network}, random_images(1), LABELS[:1], ATTACK)
    assert shown(figure.axes[1])[1] == caption(network, tf.cast(random_images(1)[0], dtype))


def test_networks_that_do_not_take_the_same_images_are_refused():
    wide = Classifier.from_keras(small_network(), "conv", bounds=(-1, 1))
    with pytest.raises(ValueError, match="one pixel range, got 2 with the ranges"):
        compare_networks({**NETWORKS, "other": wide}, random_images(1), LABELS[:1], ATTACK)
    with pytest.raises(ValueError, match="one network or more"):
        compare_networks({}, random_images(1), LABELS[:1], ATTACK)
