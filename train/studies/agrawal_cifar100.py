"""[Agrawal Tables II and III] on cifar100, at a quarter of the width, three seeds."""

from __future__ import annotations

from train.studies import agrawal

STUDY = agrawal.study(["cifar100"], seeds=3)
