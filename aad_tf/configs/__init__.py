"""Configurations of training runs: frozen dataclasses, and their conversion to and from JSON."""

from aad_tf.configs.conversion import from_dict, from_stored, to_dict
from aad_tf.configs.defense import DEFENSES, DefenseConfig
from aad_tf.configs.experiment import PRECISIONS, SCHEDULES, ExperimentConfig, for_replicas

__all__ = [
    "DEFENSES",
    "PRECISIONS",
    "SCHEDULES",
    "DefenseConfig",
    "ExperimentConfig",
    "for_replicas",
    "from_dict",
    "from_stored",
    "to_dict",
]
