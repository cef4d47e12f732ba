"""Words under and above the panels."""

from __future__ import annotations

import pytest

from aad_tf.attacks import a3, fgsm, ifgsm, iter_ll, pgd, step_ll
from eval.galleries import captions, read_study
from tests.attention_records import make_record, write_records


@pytest.mark.parametrize(
    ("attack", "name"),
    [
        (step_ll(4 / 255, num_steps=5), "StepLL"),
        (fgsm(0.1), "FGSM"),
        (a3(step_ll(4 / 255, num_steps=3), sigma=10), "StepLL + A3, σ +10"),
        (a3(iter_ll(4 / 255, num_steps=2), sigma=-0.5), "Iter-LL + A3, σ −0.5"),
        (step_ll(4 / 255, num_steps=5, relabel=False), "StepLL with a kept target"),
        (
            a3(step_ll(4 / 255, num_steps=5, relabel=False), sigma=10),
            "StepLL with a kept target + A3, σ +10",
        ),
        (pgd(0.1, step_size=0.01, num_steps=3), "pgd"),
    ],
)
def test_attack_names(attack, name):
    assert captions.attack_name(attack) == name


@pytest.mark.parametrize(
    ("attack", "rounds", "sentence"),
    [
        (step_ll(4 / 255, num_steps=3), 1, "StepLL, white box, l∞: one round of 4/255, at most 4/"),
        (step_ll(4 / 255, num_steps=3), 2, "StepLL, white box, l∞: 2 rounds of 4/255, at most 8/"),
        # 0.1 in three steps of a third each; 0.1 * 255 = 25.5.
        (ifgsm(0.1, num_steps=3), 3, "IFGSM, white box, l∞: 3 rounds of 8.5/255, at most 25.5/"),
        (
            pgd(20 / 255, step_size=5 / 255, num_steps=3),
            1,
            "pgd, white box, l∞: one round of 5/255, at most 20/",
        ),
    ],
)
def test_threat_models(attack, rounds, sentence, tmp_path):
    records = [make_record(0, [0] * (attack.num_steps + 1))]
    path = write_records(tmp_path / "x.jsonl.gz", records, attack=attack)
    expected = f"{sentence}255 from the original."
    assert captions.threat_model(read_study(path), rounds) == expected
