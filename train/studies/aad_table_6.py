"""[AAD Table 6]: rounds that AAD trains on, with and without attention losses, for a CPU."""

from __future__ import annotations

from train.configs.cifar10_rounds import ROUNDS
from train.studies.study import Evaluation, Study, Training

SEEDS = (0, 1, 2)
IMAGES = 2000
# Under the strongest attacks, and on AAD's own loss, within what rounds and FGSM have.
STRICT = {
    "limit": "1000",
    "attacks": "quick_cascade(epsilon=0.075)",
    "adaptive": "true",
    "adaptive_epsilon": "0.075",
}
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
    )
    + tuple(
        Evaluation(f"rounds_strict/{name}_strict.jsonl.gz", (name,), STRICT, minutes=10.0)
        for name, *_ in _TRAINED
    ),
)
