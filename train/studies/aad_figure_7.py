"""[AAD Fig. 7]: the weights of AAD's losses, one changed at a time, for a CPU: two seeds where the
weight is 0 or the paper's, one elsewhere."""

from __future__ import annotations

from train.configs.cifar10_weights import PANELS, PAPER, name_of
from train.studies import aad_table_6
from train.studies.study import Evaluation, Study, Training

IMAGES = 2000
# Minutes of training on one core with AVX2, by measured steps.
_MINUTES = 28.0
_PAPER = dict(zip(PANELS, PAPER, strict=True))
_SEEDS = {
    name_of(panel, value): 2 if value in (0, _PAPER[panel]) else 1
    for panel, values in PANELS.items()
    for value in values
}
_TRAINED = [
    (f"cifar10_{preset}_seed_{seed}", preset, seed)
    for seed in (0, 1)
    for preset, seeds in _SEEDS.items()
    if seed < seeds
]
STUDY = Study(
    reference="AAD Fig. 7 on 10,000 images of CIFAR-10, 400 updates",
    trainings=tuple(
        Training(
            name,
            f"train/configs/cifar10_weights.py:small_{preset}",
            {"config.seed": str(seed)},
            _MINUTES,
        )
        for name, preset, seed in _TRAINED
    ),
    evaluations=tuple(
        Evaluation(f"weights/{name}.jsonl.gz", (name,), {"limit": str(IMAGES)}, minutes=4.0)
        for name, *_ in _TRAINED
    )
    + tuple(
        Evaluation(
            f"weights_strict/{name}_strict.jsonl.gz", (name,), aad_table_6.STRICT, minutes=10.0
        )
        for name, *_ in _TRAINED
    ),
)
