"""[Agrawal Tables II and III] on cifar10, a quarter of the width, five epochs, three seeds."""

from __future__ import annotations

from train.studies import agrawal

STUDY = agrawal.study(["cifar10"], seeds=3)
