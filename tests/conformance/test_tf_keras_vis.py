"""Grad-CAM equals that of tf-keras-vis on the same layer, without its scaling and resizing."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.utils.scores import CategoricalScore

from aad_tf import models
from aad_tf.attention import grad_cam
from aad_tf.classifier import Classifier
from tests.networks import SHAPE, batch_norm_network, random_images, small_network


def lenet() -> keras.Model:
    keras.utils.set_random_seed(0)
    return models.build("lenet", (28, 28, 1), 10)


CASES = {
    "convolution": (small_network, SHAPE, "conv"),
    "pooling": (small_network, SHAPE, "pool"),
    "batch normalization": (batch_norm_network, SHAPE, "norm2"),
    "early layer": (batch_norm_network, SHAPE, "conv1"),
    "lenet": (lenet, (28, 28, 1), "pool2"),
}


@pytest.mark.parametrize("name", CASES)
def test_maps_are_equal(name):
    build, shape, layer = CASES[name]
    model = build()
    images, class_ids = random_images(6, shape), [0, 1, 2, 0, 1, 2]
    theirs = Gradcam(model, clone=False)(
        CategoricalScore(class_ids),
        images,
        penultimate_layer=layer,
        seek_penultimate_conv_layer=False,
        normalize_cam=False,
        expand_cam=False,
    )
    ours = grad_cam(Classifier.from_keras(model, layer), images, class_ids)
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.max(theirs))
    assert np.max(theirs) > 0
