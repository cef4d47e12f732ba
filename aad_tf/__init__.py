"""aad_tf: where a Keras image classifier looks, how attacks change that, how to make it hold.

Attention maps and areas, adversarial attacks, Attention-based Adversarial Defense (AAD) and the
defences it is compared with, each on any Keras classifier.

Example:
    >>> import aad_tf
    >>> model = aad_tf.AADModel(network, attack=aad_tf.attacks.step_ll(0.15, num_steps=2))
    >>> model.compile("adam")
    >>> model.fit(images, labels, epochs=5)
    >>> report = aad_tf.evaluate_robustness(network, (images, labels), aad_tf.attacks.fgsm(0.15))
"""

# isort: off
from aad_tf._version import __version__
from aad_tf import (
    attacks,
    attention,
    callbacks,
    data,
    distribute,
    evaluation,
    export,
    losses,
    metrics,
    models,
)
from aad_tf.classifier import Classifier
from aad_tf.defenses import (
    AADModel,
    AdversarialModel,
    DefenseModel,
    EnsembleAdversarialModel,
    PairingModel,
    StandardModel,
    TradesModel,
)
from aad_tf.evaluation import evaluate_robustness, evaluate_transfer
from aad_tf.types import Bounds, ClassifierOutput

__all__ = [
    "AADModel",
    "AdversarialModel",
    "Bounds",
    "Classifier",
    "ClassifierOutput",
    "DefenseModel",
    "EnsembleAdversarialModel",
    "PairingModel",
    "StandardModel",
    "TradesModel",
    "__version__",
    "attacks",
    "attention",
    "callbacks",
    "data",
    "distribute",
    "evaluate_robustness",
    "evaluate_transfer",
    "evaluation",
    "export",
    "losses",
    "metrics",
    "models",
]
