"""[Agrawal Sec. V] Does what attention does to robustness depend on the number of classes?

ResNet-50 with and without CBAM on 10, 20 and 50 classes of tiny_imagenet_100, spread evenly over
its list. What is held fixed and what is not: `train/configs/agrawal.py`. The study
agrawal_tiny_imagenet_100 has the pair of all 100 classes.
"""

from __future__ import annotations

from train.configs.agrawal import CLASSES, SPREAD
from train.studies import agrawal

STUDY = agrawal.study(
    [f"{SPREAD}_{classes}" for classes in CLASSES],
    seeds=3,
    networks=("resnet50", "cbam_resnet50"),
)
