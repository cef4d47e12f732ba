"""What defences refuse, before training begins: attacks, and settings for several replicas."""

from __future__ import annotations

import warnings
from typing import Any

import tensorflow as tf

from aad_tf.attacks import AttackCascade, GradientSignAttack
from aad_tf.attacks.parsing import as_attack
from aad_tf.classifier import Classifier
from aad_tf.distribute import uses_gradient_clipping
from aad_tf.utils.checks import small_epsilon


def training_attack(attack: GradientSignAttack | str) -> GradientSignAttack:
    """Returns an attack for use inside a training step, or builds it from its text.

    Args:
        attack: an attack such as `aad_tf.attacks.fgsm(0.1)`, or text such as
            `"fgsm(epsilon=0.1)"`.

    Returns:
        The attack.

    Raises:
        TypeError: no attack, or one that cannot run inside a compiled step.
        ValueError: text that is no attack.
    """
    chosen: Any = as_attack(attack)
    if not hasattr(chosen, "last_in_graph"):
        cascade = isinstance(chosen, AttackCascade)
        got = f"the cascade {chosen.name}, which is for evaluations" if cascade else repr(chosen)
        raise TypeError(
            f"attack must be a GradientSignAttack, such as aad_tf.attacks.fgsm(0.1), to run inside "
            f"a training step, got {got}."
        )
    return chosen


def check_sizes(attack: GradientSignAttack, classifier: Classifier, stacklevel: int = 3) -> None:
    """Raises an error for an attack too large for the pixel range, and warns of one too small.

    It is too small if it changes pixels by less than half of a 255th of the range.

    Args:
        attack: the attack to check.
        classifier: the network, for its pixel range and the shape of its images.
        stacklevel: of the warning, as for `warnings.warn`: 3 points at the caller of the function
            that calls this.

    Raises:
        ValueError: epsilon or the step size is larger than the largest distance between two images.
    """
    bounds = classifier.bounds
    attack.check_sizes(bounds, classifier.input_shape)
    epsilon = attack.threat_model(bounds)["epsilon"]
    if too_small := small_epsilon(attack.name, epsilon, bounds):
        warnings.warn(too_small, stacklevel=stacklevel)


def check_for_replicas(model: Any) -> None:
    """Raises an error if a compiled model cannot be trained on several replicas.

    XLA on GPUs gets a warning: it leaves out the checks of images and labels.

    Args:
        model: a compiled Keras model.

    Raises:
        ValueError: `steps_per_execution` above 1, XLA on CPUs, or clipped gradients together with
            the loss scaling of float16.
    """
    if model.steps_per_execution > 1:
        raise ValueError(
            f"Keras 3 cannot run steps_per_execution={model.steps_per_execution} on several "
            f"replicas. Use 1."
        )
    if model.jit_compile and tf.config.list_logical_devices("GPU"):
        warnings.warn(
            "XLA leaves out the checks of images and labels on several replicas. Train some steps "
            "without jit_compile first.",
            stacklevel=3,
        )
    elif model.jit_compile:
        raise ValueError(
            "XLA cannot add up gradients of several replicas on CPUs. Leave out jit_compile."
        )
    inner = getattr(model.optimizer, "inner_optimizer", None)
    if inner is not None and uses_gradient_clipping(inner):
        raise ValueError(
            "Gradients cannot be clipped in float16 on several replicas, where each scales its "
            "loss. Use mixed_bfloat16, or no clipping."
        )
