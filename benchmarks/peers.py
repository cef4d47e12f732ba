"""Attacks and explanations of other libraries as functions of the same signature.

They are used as the libraries document them. Attacks take and return batches of images in [0, 1].
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

# Modules to import, and the distributions they come in.
DISTRIBUTIONS = {
    "foolbox": "foolbox",
    "cleverhans": "cleverhans",
    "art": "adversarial-robustness-toolbox",
    "tf_keras_vis": "tf-keras-vis",
    "lime": "lime",
    "skimage": "scikit-image",
    "psutil": "psutil",
    "multiprocess": "multiprocess",
}

AttackFunction = Callable[[tf.Tensor, tf.Tensor], Any]


class PGD(NamedTuple):
    """Settings of PGD for all libraries; it starts at the clean image, so that results are equal.

    Attributes:
        epsilon: l-inf budget, for images in [0, 1].
        step_size: size of a step, in the same unit.
        num_steps: number of steps.
    """

    epsilon: float
    step_size: float
    num_steps: int


class PeersMissingError(ImportError):
    """A library to compare with is not installed."""


def versions() -> dict[str, str]:
    """Versions of the libraries that are compared with.

    Raises:
        PeersMissingError: one is not installed.
    """
    missing = [
        name for module, name in DISTRIBUTIONS.items() if not importlib.util.find_spec(module)
    ]
    if missing:
        raise PeersMissingError(
            f"The benchmarks compare with libraries that are not installed: {', '.join(missing)}. "
            f"Install them with: pip install 'aad_tf[bench]'"
        )
    return {name: importlib.metadata.version(name) for name in DISTRIBUTIONS.values()}


def attacks(network: keras.Model, pgd: PGD) -> dict[str, AttackFunction]:
    """PGD of Foolbox, CleverHans and ART on a network.

    Args:
        network: a Keras model of logits.
        pgd: the settings.

    Returns:
        Functions of images and labels that return adversarial images, by name.
    """
    return {
        "Foolbox": _foolbox(network, pgd),
        "CleverHans": _cleverhans(network, pgd),
        **_art(network, pgd),
    }


def _foolbox(network: keras.Model, pgd: PGD) -> AttackFunction:
    import foolbox

    # With a compiled model, which made it some 6 % faster than with the network itself.
    spec = tf.TensorSpec((None, *network.input_shape[1:]), tf.float32)
    compiled = tf.function(
        lambda images: network(images, training=False), input_signature=[spec], autograph=False
    )
    model = foolbox.models.TensorFlowModel(compiled, bounds=(0, 1), device="/CPU:0")
    attack = foolbox.attacks.LinfPGD(
        abs_stepsize=pgd.step_size, steps=pgd.num_steps, random_start=False
    )

    def run(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        criterion = foolbox.criteria.Misclassification(labels)
        return attack.run(model, images, criterion, epsilon=pgd.epsilon)

    return run


def _cleverhans(
    network: Callable[[tf.Tensor], tf.Tensor], pgd: PGD
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    from cleverhans.tf2.attacks.projected_gradient_descent import projected_gradient_descent

    # CleverHans compiles the gradient itself, once per model and shape of batch.
    def run(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return projected_gradient_descent(
            network,
            images,
            pgd.epsilon,
            pgd.step_size,
            pgd.num_steps,
            np.inf,
            clip_min=0.0,
            clip_max=1.0,
            y=labels,
            rand_init=0.0,
        )

    return run


def cleverhans_unrolled(network: keras.Model, pgd: PGD) -> AttackFunction:
    """PGD of CleverHans compiled as a whole, with all steps unrolled.

    It is slow to compile and fast to run. The library is not meant to be used in this way; it shows
    the least time that such an attack could take.

    Args:
        network: a Keras model of logits.
        pgd: the settings.

    Returns:
        A function of images and labels that returns adversarial images.
    """
    attack = _cleverhans(lambda images: network(images, training=False), pgd)
    return tf.function(attack, autograph=False)


def art_auto_attack(network: keras.Model, epsilon: float) -> AttackFunction:
    """ART's AutoAttack with its default attacks: APGD on two losses, DeepFool, Square.

    It needs the package `multiprocess`, which ART does not declare as a requirement.

    Args:
        network: a Keras model of logits.
        epsilon: l-inf budget, for images in [0, 1].

    Returns:
        A function of images and labels that returns adversarial images.
    """
    from art.attacks.evasion import AutoAttack

    estimator = _art_estimator(network)

    def run(images: tf.Tensor, labels: tf.Tensor) -> np.ndarray:
        attack = AutoAttack(estimator, eps=epsilon, eps_step=epsilon / 3, batch_size=len(images))
        for one in attack.attacks:
            one.set_params(verbose=False)
        one_hot = np.eye(network.output_shape[-1], dtype=np.float32)[labels.numpy()]
        return attack.generate(images.numpy(), one_hot)

    return run


def _art_estimator(network: keras.Model) -> Any:
    with warnings.catch_warnings():
        # About optional parts of ART that nothing here uses.
        warnings.simplefilter("ignore")
        from art.estimators.classification import TensorFlowV2Classifier

    return TensorFlowV2Classifier(
        network,
        nb_classes=network.output_shape[-1],
        input_shape=network.input_shape[1:],
        loss_object=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        clip_values=(0.0, 1.0),
    )


def _art(network: keras.Model, pgd: PGD) -> dict[str, AttackFunction]:
    estimator = _art_estimator(network)
    from art.attacks.evasion import (
        ProjectedGradientDescentNumpy,
        ProjectedGradientDescentTensorFlowV2,
    )

    forms = {
        "ART (NumPy)": ProjectedGradientDescentNumpy,
        "ART (TensorFlow)": ProjectedGradientDescentTensorFlowV2,
    }

    def run(form: Any, images: tf.Tensor, labels: tf.Tensor) -> np.ndarray:
        attack = form(
            estimator,
            norm=np.inf,
            eps=pgd.epsilon,
            eps_step=pgd.step_size,
            max_iter=pgd.num_steps,
            num_random_init=0,
            batch_size=len(images),
            verbose=False,
        )
        return attack.generate(images.numpy(), labels.numpy())

    return {name: functools.partial(run, form) for name, form in forms.items()}


def grad_cam(network: keras.Model, layer: str) -> AttackFunction:
    """Grad-CAM of tf-keras-vis on the grid of a layer, neither resized nor normalised.

    Args:
        network: a Keras model of logits.
        layer: name of the layer that maps explain.

    Returns:
        A function of images and class numbers that returns maps `[batch, h, w]`.
    """
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.utils.scores import CategoricalScore

    explainer = Gradcam(network)

    def run(images: tf.Tensor, class_ids: tf.Tensor) -> np.ndarray:
        return explainer(
            CategoricalScore(class_ids.numpy().tolist()),
            images,
            penultimate_layer=layer,
            seek_penultimate_conv_layer=False,
            expand_cam=False,
            normalize_cam=False,
        )

    return run


def lime(
    predict: Callable[[np.ndarray], np.ndarray], num_samples: int, batch_size: int
) -> Callable[..., np.ndarray]:
    """LIME of the `lime` package for one class of one image, without its progress bar.

    Args:
        predict: a function from images `[batch, H, W, C]` to probabilities `[batch, classes]`.
        num_samples: number of images with hidden superpixels.
        batch_size: number of images per call of `predict`.

    Returns:
        A function of an image, a class, an array of the superpixel that each pixel belongs to and,
        optionally, on/off vectors of superpixels that replace random ones. It returns the weights
        of the superpixels.
    """
    from lime import lime_image

    lime_image.tqdm = lambda rows: rows

    def run(
        image: np.ndarray, class_id: int, labels: np.ndarray, switches: np.ndarray | None = None
    ) -> np.ndarray:
        explainer = lime_image.LimeImageExplainer(feature_selection="none", random_state=0)
        if switches is not None:
            explainer.random_state = _GivenSwitches(switches)
        found = explainer.explain_instance(
            image,
            predict,
            labels=(class_id,),
            top_labels=None,
            num_samples=num_samples,
            batch_size=batch_size,
            segmentation_fn=lambda _: labels,
            random_seed=0,
        )
        return np.array([weight for _, weight in sorted(found.local_exp[class_id])])

    return run


class _GivenSwitches:
    """In place of a random generator: on/off vectors that are given."""

    def __init__(self, switches: np.ndarray) -> None:
        self._switches = switches

    def randint(self, low: int, high: int, size: int) -> np.ndarray:
        return self._switches.astype(int).reshape(size)
