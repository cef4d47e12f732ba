"""[Agrawal Tables II and III] on tiny_imagenet_100, at a quarter of the width, three seeds."""

from __future__ import annotations

from train.studies import agrawal

STUDY = agrawal.study(["tiny_imagenet_100"], seeds=3)
