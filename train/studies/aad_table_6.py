"""[AAD Table 6]: rounds that AAD trains on, with and without attention losses, for a CPU."""

from __future__ import annotations

from train.configs.cifar10_rounds import ROUNDS
from train.studies.study import Evaluation, Study, Training

SEEDS = (0, 1, 2)
IMAGES = 2000
# Minutes of training on one core with AVX2 for each round, by measured steps.
_MINUTES = {"": 14.0, "_8_0_0": 7.0}
_TRAINED = [
    (f"cifar10_rounds_{rounds}{suffix}_seed_{seed}", rounds, suffix, seed)
    for seed in SEEDS
    for rounds in ROUNDS
    for suffix in _MINUTES
]
STUDY = Study(
    reference="AAD Table 6 on 10,000 images of CIFAR-10, 400 updates",
    trainings=tuple(
        Training(
            name,
            f"train/configs/cifar10_rounds.py:small_rounds_{rounds}{suffix}",
            {"config.seed": str(seed)},
            _MINUTES[suffix] * rounds,
        )
        for name, rounds, suffix, seed in _TRAINED
    ),
    evaluations=tuple(
        Evaluation(f"rounds/{name}.jsonl.gz", (name,), {"limit": str(IMAGES)}, minutes=4.0)
        for name, *_ in _TRAINED
    ),
)
