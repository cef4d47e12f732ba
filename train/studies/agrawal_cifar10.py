"""[Agrawal Tables II and III] on cifar10, at a quarter of the width and five epochs,
three seeds of each ResNet-50."""

from __future__ import annotations

from train.studies import agrawal

STUDY = agrawal.study("cifar10", seeds=3)
