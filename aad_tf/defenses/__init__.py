"""Defences: Keras models that train another one, to make it robust under attack.

`StandardModel`, which trains on clean images alone, is what they are compared with.
"""

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
