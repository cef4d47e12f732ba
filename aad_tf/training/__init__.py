"""Trains what a config describes, on one device or many, and resumes where a run stopped."""

from aad_tf.training.building import build_defense, build_model
from aad_tf.training.checkpoints import finish_epoch
from aad_tf.training.run import train
from aad_tf.training.worker import train_with

__all__ = ["build_defense", "build_model", "finish_epoch", "train", "train_with"]
