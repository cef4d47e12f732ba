"""Words under and above the panels."""

from __future__ import annotations

import pytest

from eval.galleries import captions


def test_names_are_cut_at_words():
    assert captions.short_name("European fire salamander") == "European fire…"
    assert captions.short_name("goldfish, Carassius auratus") == "goldfish"
    assert captions.short_name("abcdefghijklmnopqrst") == "abcdefghijklm…"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("step_ll(epsilon=4/255,num_steps=5)", "StepLL"),
        ("a3(step_ll(epsilon=4/255,num_steps=3),sigma=10)", "StepLL + A3, σ +10"),
        ("a3(iter_ll(epsilon=4/255),sigma=-10)", "Iter-LL + A3, σ −10"),
        ("step_ll(epsilon=4/255,num_steps=5,relabel=False)", "StepLL with a kept target"),
        ("pgd(epsilon=0.1)", "pgd"),
    ],
)
def test_attack_names(text, name):
    assert captions.attack_name({"attack": text}) == name
