"""Do the attention losses of AAD add robustness? MNIST, three seeds of each control, in the order
in which they decide: each seed of all that the central question needs, then the others."""

from __future__ import annotations

from train.studies.study import Evaluation, Study, Training

SEEDS = (0, 1, 2)
IMAGES = 2000
# Minutes of training on one core with AMX, by measured steps.
_CENTRAL = {
    "aad_8_0_0": 6.0,
    "aad": 10.0,
    "paper_8_0_0": 6.0,
    "paper": 10.0,
    "reference_code_8_0_0": 8.0,
    "reference_code": 12.0,
    "step_ll": 4.0,
    "step_ll_double_size": 4.0,
    "one_round_8_0_0": 4.0,
    "one_round": 7.0,
}
_FURTHER = {
    "step_ll_13_epochs": 10.0,
    "aad_8_4_0": 8.0,
    "aad_8_0_1": 9.0,
    "kept_target_8_0_0": 6.0,
    "kept_target": 10.0,
    "aad_pgd_8_0_0": 15.0,
    "aad_pgd": 18.0,
    "shared_dropout": 11.0,
    "no_dropout": 12.0,
    "half_size_8_0_0": 6.0,
    "half_size": 10.0,
    "fgsm": 4.0,
    "pgd": 12.0,
    "trades": 14.0,
    "rs_fgsm": 8.0,
    "nfgsm": 8.0,
    "pairing": 14.0,
}
_TRAINED = [
    (f"mnist_controls_{control}_seed_{seed}", control, seed, minutes)
    for group in (_CENTRAL, _FURTHER)
    for seed in SEEDS
    for control, minutes in group.items()
]
_TRAINED.append(("mnist_controls_float32_seed_0", "float32", 0, 20.0))
STUDY = Study(
    reference="controls of AAD Table 5, MNIST, at the paper's schedule, in bfloat16",
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
        Evaluation(f"controls/{name}.jsonl.gz", (name,), {"limit": str(IMAGES)}, minutes=4.0)
        for name, *_ in _TRAINED
    ),
)
