"""[AAD Table 5], MNIST: every row that two cores afford, by any and by the last iterate, and under
AutoAttack."""

from __future__ import annotations

from train.studies.study import Evaluation, Study, Training

# Minutes of training on one core, as results/runs records them.
_MINUTES = {
    "clean": 5.5,
    "fgsm": 11.5,
    "step_ll": 9.5,
    "madry_short": 18.5,
    "aad_pgd_short": 26.5,
    "aad_step_ll": 27.5,
}
_STRICT = {"limit": "1000", "attacks": "auto_attack(0.15);auto_attack(0.3)"}
STUDY = Study(
    reference="AAD Table 5, MNIST, at the paper's schedule; PGD in training has 7 steps, not 40",
    trainings=tuple(
        Training(f"mnist_{preset}", f"train/configs/mnist.py:{preset}", minutes=minutes)
        for preset, minutes in _MINUTES.items()
    ),
    evaluations=tuple(
        Evaluation(f"robustness/mnist_{preset}{kind}.jsonl.gz", (f"mnist_{preset}",), options)
        for preset in _MINUTES
        for kind, options in (
            ("", {}),
            ("_last_iterate", {"success": "last_iterate"}),
            ("_auto_attack", _STRICT),
        )
    ),
)
