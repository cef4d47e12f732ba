"""[Agrawal Tables II and III] on fashion_mnist, at a quarter of the width, three seeds."""

from __future__ import annotations

from train.studies import agrawal

STUDY = agrawal.study(["fashion_mnist"], seeds=3)
