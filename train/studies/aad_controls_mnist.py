"""Do the attention losses of AAD add robustness? MNIST, three seeds of each control. The controls
that the central question needs are trained first, seed by seed, then the others. Those with and
without attention losses are attacked once more, with a cascade and on AAD's own loss."""

from __future__ import annotations

from train.configs.mnist_controls import ALL_ATTACKS
from train.studies.study import Evaluation, Study, Training

SEEDS = (0, 1, 2)
IMAGES = 2000
STRICT_IMAGES = 1000
# Whose gain, if there is one, must hold under the strongest attacks.
STRICTLY = ("aad", "aad_8_0_0", "paper", "paper_8_0_0", "reference_code", "reference_code_8_0_0")
_STRICT = {
    "limit": str(STRICT_IMAGES),
    "attacks": "quick_cascade(epsilon=0.15)",
    "adaptive": "true",
    "adaptive_epsilon": "0.15",
}
_OPTIONS = {"limit": str(IMAGES), "attacks": ";".join(ALL_ATTACKS)}
# Minutes of training on one core with AVX2 in float32, by measured steps; with AVX-512 and its
# instructions for bfloat16 a third of that.
_CENTRAL = {
    "aad_8_0_0": 20.0,
    "aad": 32.0,
    "paper_8_0_0": 19.0,
    "paper": 34.0,
    "reference_code_8_0_0": 20.0,
    "reference_code": 36.0,
    "step_ll": 9.0,
    "step_ll_double_size": 9.0,
    "step_ll_two_rounds": 11.0,
    "one_round_8_0_0": 12.0,
    "one_round": 20.0,
}
_FLOAT32 = {"aad_8_0_0_float32": 20.0, "aad_float32": 32.0, "step_ll_float32": 9.0}
_FURTHER = {
    "clean": 5.0,
    "step_ll_5_epochs": 22.0,
    "aad_8_4_0": 28.0,
    "aad_8_0_1": 28.0,
    "kept_target_8_0_0": 19.0,
    "kept_target": 34.0,
    "aad_pgd_8_0_0": 45.0,
    "aad_pgd": 60.0,
    "shared_dropout": 36.0,
    "no_dropout": 36.0,
    "half_size_8_0_0": 19.0,
    "half_size": 34.0,
    "fgsm": 9.0,
    "pgd": 17.0,
    "trades": 20.0,
    "rs_fgsm": 22.0,
    "nfgsm": 22.0,
    "pairing": 25.0,
}
_TRAINED = [
    (f"mnist_controls_{control}_seed_{seed}", control, seed, minutes)
    for group in (_CENTRAL, _FLOAT32, _FURTHER)
    for seed in SEEDS
    for control, minutes in group.items()
]
STUDY = Study(
    reference="controls of AAD Table 5, MNIST, 2 of the paper's 5 epochs",
    trainings=tuple(
        Training(
            name,
            f"train/configs/mnist_controls.py:{control}",
            {"config.seed": str(seed)},
            minutes,
        )
        for name, control, seed, minutes in _TRAINED
    ),
    evaluations=tuple(
        Evaluation(f"controls/{name}.jsonl.gz", (name,), _OPTIONS, minutes=8.0)
        for name, *_ in _TRAINED
    )
    + tuple(
        Evaluation(f"controls_strict/{name}_strict.jsonl.gz", (name,), _STRICT, minutes=20.0)
        for name, control, *_ in _TRAINED
        if control in STRICTLY
    ),
)
