"""What the preset files share: the defences of AAD Table 5 and the way to a ConfigDict."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping

from ml_collections import config_dict

from aad_tf import configs
from aad_tf.configs import DefenseConfig, ExperimentConfig
from aad_tf.utils.checks import check_choice
from train import configs as preset_files


def table_5_defenses(
    epsilon: str,
    rounds_epsilon: str,
    pgd: str,
    short_pgd: str,
    warmup_steps: int = 0,
    fill: str = "",
) -> dict[str, DefenseConfig]:
    """The rows of [AAD Table 5] as defences.

    Args:
        epsilon: size of the FGSM and one-step StepLL attacks of training, as text.
        rounds_epsilon: size of each of AAD's two StepLL rounds, as text.
        pgd: the PGD attack at the paper's schedule, as text.
        short_pgd: a PGD attack of fewer, larger steps that two CPU cores can afford.
        warmup_steps: of Madry's training, which sees no clean images.
        fill: what hidden pixels become in AAD; empty for the network's own zero.

    Returns:
        Defences by preset name.
    """
    two_rounds = f"step_ll(epsilon={rounds_epsilon}, num_steps=2)"
    return {
        "clean": DefenseConfig(),
        "fgsm": DefenseConfig("adversarial", f"fgsm(epsilon={epsilon})"),
        "step_ll": DefenseConfig("adversarial", f"step_ll(epsilon={epsilon})"),
        "madry": DefenseConfig("adversarial", pgd, replace_clean=True, warmup_steps=warmup_steps),
        "madry_short": DefenseConfig(
            "adversarial", short_pgd, replace_clean=True, warmup_steps=warmup_steps
        ),
        "aad_pgd": DefenseConfig("aad", pgd, fill=fill),
        "aad_pgd_short": DefenseConfig("aad", short_pgd, fill=fill),
        "aad_step_ll": DefenseConfig("aad", two_rounds, fill=fill),
        "aad_step_ll_paper": DefenseConfig("aad", two_rounds, losses="paper", fill=fill),
        "aad_step_ll_reference_code": reference_code(rounds_epsilon, 2, fill),
    }


def reference_code(rounds_epsilon: str, rounds: int, fill: str = "") -> DefenseConfig:
    """AAD as the authors' scripts train it: label smoothing in the attack, an update per round.

    In their script of two rounds (`step_2_train.py`) a `tf.sign` switches the attention losses off:
    it makes the map 1 wherever the softmax is positive, so that L_p has no gradient, no pixel is
    hidden, and L_r compares two dropout masks. Only that of one round (`AAD_train.py`) trains on
    attention. With two rounds this is what the script seems to be meant to do.

    Args:
        rounds_epsilon: size of each StepLL round, as text.
        rounds: how many.
        fill: what hidden pixels become; empty for the network's own zero, which they are there.

    Example:
        >>> reference_code("0.075", 1).attack
        'step_ll(epsilon=0.075, num_steps=1, label_smoothing=0.1)'
    """
    return DefenseConfig(
        "aad",
        f"step_ll(epsilon={rounds_epsilon}, num_steps={rounds}, label_smoothing=0.1)",
        losses="reference_code",
        fill=fill,
        update_per_round=True,
    )


ROWS = {
    "clean": "clean model",
    "fgsm": "Adv. train with FGSM",
    "step_ll": "Adv. train with StepLL",
    "madry": "Madry et al.",
    "madry_short": "Madry et al. (fewer PGD steps in training)",
    "aad_pgd": "AAD with PGD",
    "aad_pgd_short": "AAD with PGD (fewer PGD steps in training)",
    "aad_step_ll": "AAD with StepLL",
    "aad_step_ll_paper": "AAD with StepLL (losses as printed)",
    "aad_step_ll_reference_code": "AAD with StepLL (losses of the authors' code)",
}


def choose(
    presets: Mapping[str, ExperimentConfig], name: str | None, default: str
) -> config_dict.ConfigDict:
    """A preset as the ConfigDict that `--config` flags override.

    Args:
        presets: experiments by name.
        name: which one; None or empty takes the default.
        default: the default's name.

    Raises:
        ValueError: unknown name; the message lists near ones.
    """
    name = check_choice(name or default, presets, "preset")
    values = configs.to_dict(dataclasses.replace(presets[name], name=name))
    return config_dict.ConfigDict(values)


def listing() -> str:
    """All preset files with the names of their presets, for help.

    Example:
        >>> listing()
        'train/configs/cifar10.py: aad_pgd, aad_pgd_short, ...; train/configs/digits.py: ...'
    """
    found = []
    for file in pkgutil.iter_modules(preset_files.__path__):
        module = importlib.import_module(f"{preset_files.__name__}.{file.name}")
        if known := getattr(module, "PRESETS", None):
            found.append(f"train/configs/{file.name}.py: {', '.join(sorted(known))}")
    return "; ".join(found)
