"""Every precision that Keras offers, through what is done with a network: fit to export.

Networks of one set of weights are compared with the float32 one. bfloat16 has 8 significant bits,
so that a logit is right to some 1 %; NumPy knows it only through ml_dtypes.
"""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import Classifier, callbacks, evaluate_robustness, export, plots
from aad_tf.attacks import a3, fgsm, pgd, step_ll
from aad_tf.attention import grad_cam, grad_cam_plus_plus, lime
from aad_tf.attention_study import study_attention
from aad_tf.attention_study.explain import Options
from aad_tf.defenses import AADModel
from aad_tf.records.columns import read_attention_records
from tests.networks import random_images, small_network

COUNT = 8
IMAGES = random_images(COUNT)
LABELS = (np.arange(COUNT) % 3).astype("int32")
RANDOM = pgd(0.1, 0.05, 2)
ACCUMULATING = (step_ll(0.1, 2), a3(fgsm(0.1), sigma=2))

POLICIES = ["bfloat16", "float16", "mixed_bfloat16", "mixed_float16", "float64"]
every_policy = pytest.mark.parametrize("policy", POLICIES)
# Whose variables are in half precision, and images with them.
half_policies = pytest.mark.parametrize("policy", POLICIES[:2])


def network(policy=None):
    model = small_network(dtype=policy)
    model.set_weights(small_network().get_weights())
    return model


@functools.cache
def classifier(policy=None):
    """Shared by the tests that do not train."""
    return Classifier.from_keras(network(policy))


def floats(values):
    return tf.cast(values, tf.float64).numpy()


@pytest.mark.parametrize(
    ("policy", "attack"),
    [
        *((policy, RANDOM) for policy in POLICIES),
        *((policy, attack) for policy in POLICIES[:2] for attack in ACCUMULATING),
    ],
)
def test_an_evaluation_counts_every_example(policy, attack):
    summary = evaluate_robustness(classifier(policy), (IMAGES, LABELS), attack).summary
    counts = summary["attacks"][0]
    exact = evaluate_robustness(classifier(), (IMAGES, LABELS), attack).summary["attacks"][0]
    assert counts["count"] == COUNT
    # One example near a decision boundary may fall on either side.
    assert counts["clean_accuracy"] == pytest.approx(exact["clean_accuracy"], abs=1 / COUNT)
    adversarial = attack(classifier(policy), IMAGES, LABELS)
    assert adversarial.dtype == classifier(policy).dtype
    assert np.abs(floats(adversarial) - IMAGES).max() < attack_size(attack) + 2**-7


def attack_size(attack):
    return attack.step_size * attack.num_steps if attack.epsilon is None else attack.epsilon


@every_policy
@pytest.mark.parametrize("explain", [grad_cam, grad_cam_plus_plus])
def test_maps_are_those_of_float32(policy, explain):
    exact = floats(explain(classifier(), IMAGES, LABELS))
    maps = explain(classifier(policy), IMAGES, LABELS)
    assert maps.dtype == (tf.float64 if policy == "float64" else tf.float32)
    np.testing.assert_allclose(floats(maps), exact, atol=0.03 * exact.max())


@functools.cache
def first_step(policy=None):
    """Loss of one update, and whether it changed each of the variables."""
    model = AADModel(network(policy), attack=pgd(0.1, 0.05, 1), warmup_steps=2)
    # The scale that Keras begins with overflows, and leaves out the first updates.
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.5), initial_scale=64.0)
    model.compile(scaled, run_eagerly=True)
    before = [floats(variable) for variable in model.trainable_variables]
    history = model.fit(IMAGES, LABELS, batch_size=COUNT, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    after = [floats(variable) for variable in model.trainable_variables]
    changed = [bool((one != other).any()) for one, other in zip(before, after, strict=True)]
    return history["loss"][0], changed


@every_policy
def test_a_step_has_the_loss_of_float32_and_trains_every_variable(policy):
    loss, changed = first_step(policy)
    assert all(changed)
    # Random starts differ a little: they are drawn in the precision of the images.
    assert loss == pytest.approx(first_step()[0], rel=0.03)


@every_policy
def test_saved_and_exported_logits_are_those_of_the_model(policy, tmp_path):
    model = AADModel(classifier(policy), attack=RANDOM)
    logits = floats(model(IMAGES))
    np.testing.assert_allclose(logits, floats(classifier()(IMAGES).logits), atol=0.02)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(floats(loaded(IMAGES)), logits)
    assert [v.dtype for v in loaded.network.variables] == [v.dtype for v in model.network.variables]
    model.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(tmp_path / "exported")
    np.testing.assert_allclose(floats(exported.serve(IMAGES)), logits, atol=0.01)


@half_policies
def test_the_export_of_this_package_is_attacked_in_float32(policy, tmp_path):
    export.export_saved_model(classifier(policy), tmp_path / "exported")
    loaded = export.load_classifier(tmp_path / "exported")
    logits = floats(classifier(policy)(IMAGES).logits)
    np.testing.assert_allclose(floats(loaded(tf.constant(IMAGES)).logits), logits, atol=0.01)
    report = evaluate_robustness(loaded, (IMAGES, LABELS), RANDOM)
    assert report.summary["attacks"][0]["count"] == COUNT


@half_policies
def test_lime_and_the_attention_study(policy, tmp_path):
    halves = np.repeat(np.arange(2), 32).reshape(1, 8, 8).astype("int32")
    segments = np.repeat(halves, 2, axis=0)
    weights = [
        lime(held, IMAGES[:2], LABELS[:2], segmentation=segments, seed=[1, 2]).weights
        for held in (classifier(policy), classifier())
    ]
    np.testing.assert_allclose(*weights, atol=0.02)
    data = tf.data.Dataset.from_tensor_slices({"image": IMAGES, "label": LABELS}).batch(4)
    path, options = str(tmp_path / "study.jsonl.gz"), Options(methods=("grad_cam",))
    study_attention(classifier(policy), data, RANDOM, output=path, batch_size=4, options=options)
    assert len(read_attention_records(path)) == COUNT


@half_policies
def test_callbacks_and_plots(policy, tmp_path):
    # It trains by nothing, so that it shares what others have compiled.
    model = AADModel(classifier(policy), attack=RANDOM)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    watching = [
        callbacks.RobustAccuracy((IMAGES, LABELS), RANDOM),
        callbacks.AttentionIoU((IMAGES, LABELS), RANDOM),
        callbacks.AttentionSnapshots(IMAGES[:1], LABELS[:1], tmp_path, RANDOM),
        callbacks.GradientShares(IMAGES, LABELS),
        callbacks.StopOnNonFiniteLoss(),
    ]
    history = model.fit(IMAGES, LABELS, verbose=0, callbacks=watching).history
    assert all(np.isfinite(values).all() for values in history.values())
    assert (tmp_path / "attention_epoch_0001.png").stat().st_size > 1000
    figure = plots.compare_networks({"half": model.classifier}, IMAGES[:1], LABELS[:1], RANDOM)
    assert len(figure.axes) >= 4


def test_warm_up_counts_more_updates_than_half_precision_can():
    """In float16 100,000 is infinite, in bfloat16 257 is 256."""
    for policy in POLICIES[:2]:
        model = AADModel(classifier(policy), attack=RANDOM, warmup_steps=100_000)
        model.compile("sgd")
        ones = tf.ones((1, 8, 8, 1), classifier(policy).dtype)
        for updates, fraction in ((0, 0.0), (49_999, 0.5), (99_999, 1.0), (200_000, 1.0)):
            model.optimizer.iterations.assign(updates)
            warmed = floats(model.warmed_up(tf.zeros_like(ones), ones))
            np.testing.assert_allclose(warmed, fraction, atol=1e-3)
