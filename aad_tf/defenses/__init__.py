"""Defences: Keras models that train a network in other ways than on clean images alone."""

from aad_tf.defenses.aad import AADModel
from aad_tf.defenses.adversarial import AdversarialModel, StandardModel
from aad_tf.defenses.base import DefenseModel
from aad_tf.defenses.ensemble import EnsembleAdversarialModel
from aad_tf.defenses.pairing import PairingModel
from aad_tf.defenses.trades import TradesModel

__all__ = [
    "AADModel",
    "AdversarialModel",
    "DefenseModel",
    "EnsembleAdversarialModel",
    "PairingModel",
    "StandardModel",
    "TradesModel",
]
