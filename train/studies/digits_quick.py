"""A network on the embedded digits and two attacks: shows in half a minute how a study runs."""

from __future__ import annotations

from train.studies.study import Evaluation, Study, Training

STUDY = Study(
    reference="one epoch of LeNet on scikit-learn's digits, to try the runner",
    trainings=(
        Training(
            "digits_quick",
            "train/configs/digits.py:clean",
            {"config.epochs": "1", "config.checkpoint_steps": "5"},
            minutes=0.2,
        ),
    ),
    evaluations=(
        Evaluation(
            "robustness/digits_quick.jsonl.gz",
            ("digits_quick",),
            {
                "attacks": "fgsm(epsilon=0.1);pgd(epsilon=0.1, step_size=0.01, num_steps=40)",
                "batch_size": "20",
                "limit": "100",
            },
            minutes=0.2,
        ),
    ),
)
