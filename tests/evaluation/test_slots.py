"""Slots are filled again as images are misclassified: one trace, few calls, little read ahead."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from aad_tf.attacks import pgd
from aad_tf.classifier import Classifier
from aad_tf.evaluation import Progress, evaluate_robustness
from tests.evaluation.attacked_networks import PRESETS
from tests.networks import CountPasses, traces


def test_one_trace_whatever_the_batch_sizes(random_network, random_examples):
    attack = PRESETS["pgd"]
    for batch_size in (1, 9, 60):
        dataset = tf.data.Dataset.from_tensor_slices(random_examples).batch(batch_size + 3)
        evaluate_robustness(random_network, dataset, attack, batch_size=batch_size)
    assert traces(random_network) == {1}


def test_images_leave_once_misclassified_so_a_weak_network_is_asked_seldom():
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [keras.Input((4, 4, 1)), CountPasses(), keras.layers.Conv2D(2, 3), keras.layers.Flatten()]
    )
    network.add(keras.layers.Dense(3))
    classifier, counter = Classifier.from_keras(network), network.layers[0].passes
    images = np.random.default_rng(0).uniform(size=(60, 4, 4, 1)).astype("float32")
    labels = np.argmax(classifier.predict_logits(images), -1)
    attack = pgd(0.5, step_size=0.05, num_steps=40)
    passes, calls = {}, {}
    for rule in ("any_iterate", "last_iterate"):
        shown: list[Progress] = []
        before = int(counter.numpy())
        options = {"success": rule, "diagnostics": False, "progress": shown.append}
        evaluate_robustness(classifier, (images, labels), attack, batch_size=10, **options)
        passes[rule], calls[rule] = int(counter.numpy()) - before, len(shown)
    # Six batches of ten classified, then 40 steps each, and a pass to classify their ends.
    assert passes["last_iterate"] == 6 + 6 * 40 + 6
    assert passes["any_iterate"] < passes["last_iterate"] / 2
    # Several iterations share a call of the compiled graph.
    assert calls["last_iterate"] < passes["last_iterate"] / 2


def test_the_data_set_is_read_no_further_than_the_slots_need(random_network, random_examples):
    images, labels = random_examples
    read = 0

    def generate():
        nonlocal read
        for start in range(0, 6000, 10):
            read += 10
            part = slice(start % 60, start % 60 + 10)
            yield images[part], labels[part]

    signature = (tf.TensorSpec((None, 6, 6, 2), tf.float64), tf.TensorSpec((None,), tf.int32))
    dataset = tf.data.Dataset.from_generator(generate, output_signature=signature).take(40)
    # tf.data would prefetch on its own otherwise, by as much as it likes.
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False
    options.autotune.enabled = False
    dataset = dataset.with_options(options)
    ahead = []

    def watch(progress: Progress) -> None:
        ahead.append(read - progress.done)

    evaluate_robustness(random_network, dataset, PRESETS["ifgsm"], batch_size=20, progress=watch)
    assert read == 400
    # Twenty slots, the batch in hand, and one that tf.data may have prepared.
    assert max(ahead) <= 20 + 10 + 10
