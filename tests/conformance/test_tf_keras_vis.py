"""Grad-CAM and Grad-CAM++ equal those of tf-keras-vis on the same layer.

Its scaling to [0, 1] and resizing are off. Its Grad-CAM++ keeps the factor exp(logit), so maps
are compared after dividing each by its maximum.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
from tf_keras_vis.utils.scores import CategoricalScore

from aad_tf import models
from aad_tf.attention import grad_cam, grad_cam_plus_plus
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


def case(name, method):
    """Classifier, images, classes, and the maps of tf-keras-vis."""
    build, shape, layer = CASES[name]
    model = build()
    images, class_ids = random_images(6, shape), [0, 1, 2, 0, 1, 2]
    maps = method(model, clone=False)(
        CategoricalScore(class_ids),
        images,
        penultimate_layer=layer,
        seek_penultimate_conv_layer=False,
        normalize_cam=False,
        expand_cam=False,
    )
    return Classifier.from_keras(model, layer), images, class_ids, np.asarray(maps)


@pytest.mark.parametrize("name", CASES)
def test_maps_are_equal(name):
    *arguments, theirs = case(name, Gradcam)
    ours = grad_cam(*arguments)
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.max(theirs))
    assert np.max(theirs) > 0


@pytest.mark.parametrize("name", CASES)
def test_grad_cam_plus_plus_maps_are_equal(name):
    *arguments, theirs = case(name, GradcamPlusPlus)
    ours = grad_cam_plus_plus(*arguments, normalize=True)
    np.testing.assert_allclose(of_height_one(ours), of_height_one(theirs), atol=1e-4)
    assert np.count_nonzero(np.max(theirs, axis=(1, 2)) > 0) >= 3


def of_height_one(maps):
    heights = np.max(maps, axis=(1, 2), keepdims=True)
    return maps / np.where(heights > 0, heights, 1)
