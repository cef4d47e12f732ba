"""What preset files share: defences of AAD Table 5, later baselines, and presets as ConfigDicts."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

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
    """The rows of [AAD Table 5] as configs of defences.

    Sizes are text such as `"0.15"` or `"8/255"`, in the unit of images in [0, 1].

    Args:
        epsilon: size of the FGSM and one-step StepLL attacks in training.
        rounds_epsilon: size of each of the two StepLL steps in AAD.
        pgd: the PGD attack of the paper, as text such as `"pgd(epsilon=0.3, ...)"`.
        short_pgd: a PGD attack of fewer, larger steps for CPUs, as text.
        warmup_steps: number of updates over which perturbations grow to full size in Madry's
            training, which sees no clean images.
        fill: value of hidden pixels in AAD, as text; empty for what the network sees as zero.

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

    A round is one step of StepLL. The authors' script with one round (`AAD_train.py`) trains on
    attention. In their script with two rounds (`step_2_train.py`) a `tf.sign` switches the
    attention losses off: it makes the map 1 wherever the softmax is positive, so that L_p has no
    gradient, no pixel is hidden, and L_r compares two dropout masks. This function with two rounds
    gives what that script seems to be meant to do.

    Args:
        rounds_epsilon: size of each StepLL step, as text, in the unit of images in [0, 1].
        rounds: number of steps.
        fill: value of hidden pixels, as text; empty for what the network sees as zero, as in the
            scripts.

    Returns:
        The config of the defence.

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
    # Not of the paper: what AAD is compared with today, and AAD without its attention losses.
    "rs_fgsm": "RS-FGSM",
    "nfgsm": "N-FGSM",
    "trades": "TRADES",
    "trades_short": "TRADES (fewer steps in training)",
    "pairing": "Logit and attention pairing",
    "pairing_short": "Logit and attention pairing (fewer PGD steps in training)",
    "step_ll_two_rounds": "Adv. train with two rounds of StepLL",
    "aad_step_ll_reference_code_one_round": "AAD with one round of StepLL (losses of the authors' "
    "code)",
    "aad_step_ll_8_0_0": "AAD 8:0:0 with StepLL",
    "aad_step_ll_paper_8_0_0": "AAD 8:0:0 with StepLL (losses as printed)",
    "aad_step_ll_reference_code_8_0_0": "AAD 8:0:0 with StepLL (losses of the authors' code)",
    "aad_step_ll_reference_code_one_round_8_0_0": "AAD 8:0:0 with one round of StepLL (losses of "
    "the authors' code)",
    "aad_pgd_8_0_0": "AAD 8:0:0 with PGD",
    "aad_pgd_short_8_0_0": "AAD 8:0:0 with PGD (fewer PGD steps in training)",
}
_SOURCES = {
    "rs_fgsm": "Wong et al. 2020, arXiv 2001.03994",
    "nfgsm": "de Jorge et al. 2022, arXiv 2202.01181",
    "trades": "Zhang et al. 2019, arXiv 1901.08573",
    "pairing": "Kannan et al. 2018, arXiv 1803.06373; Goodman et al. 2019, arXiv 1908.11435",
}
_CONTROL = "control of AAD Table 5"


def baselines(
    table_5: Mapping[str, ExperimentConfig],
    *,
    epsilon: str,
    trades: str,
    short_trades: str,
    beta: float,
    rs_fgsm: Mapping[str, Any],
    nfgsm: Mapping[str, Any],
) -> dict[str, ExperimentConfig]:
    """Presets of defences that the AAD paper does not compare with, and controls of AAD.

    All but RS-FGSM and N-FGSM have the schedule of [AAD Table 5]. The control `step_ll_two_rounds`
    trains on clean images and the second of AAD's two StepLL steps alone, not on the sum over both.

    Args:
        table_5: presets of Table 5 by name, with at least `step_ll`, `madry`, `madry_short` and
            `aad_step_ll`.
        epsilon: epsilon of RS-FGSM and N-FGSM, as text such as `"0.3"`.
        trades: the attack that TRADES trains on, with its authors' number of steps, as text.
        short_trades: an attack of fewer, larger steps for CPUs, as text.
        beta: weight of the divergence of TRADES.
        rs_fgsm: fields of the config, schedules, in which RS-FGSM differs from Table 5's `madry`.
        nfgsm: the same for N-FGSM.

    Returns:
        Experiments by preset name.
    """

    def preset(base: str, source: str, defense: DefenseConfig, **changes: Any) -> ExperimentConfig:
        return dataclasses.replace(table_5[base], reference=source, defense=defense, **changes)

    def single_step(name: str, changes: Mapping[str, Any]) -> ExperimentConfig:
        defense = dataclasses.replace(table_5["madry"].defense, attack=f"{name}(epsilon={epsilon})")
        return preset("madry", _SOURCES[name], defense, **changes)

    found = {
        "rs_fgsm": single_step("rs_fgsm", rs_fgsm),
        "nfgsm": single_step("nfgsm", nfgsm),
    }
    for suffix, attack in (("", trades), ("_short", short_trades)):
        pgd = table_5[f"madry{suffix}"].defense.attack
        found[f"trades{suffix}"] = preset(
            "madry", _SOURCES["trades"], DefenseConfig("trades", attack, beta=beta)
        )
        found[f"pairing{suffix}"] = preset(
            "madry", _SOURCES["pairing"], DefenseConfig("pairing", pgd, pairing=(0.5, 1.0))
        )
    two_rounds = table_5["aad_step_ll"].defense.attack
    return found | {
        "step_ll_two_rounds": preset(
            "step_ll",
            f"{_CONTROL}: {ROWS['step_ll']}, with the rounds of AAD",
            dataclasses.replace(table_5["step_ll"].defense, attack=two_rounds),
        ),
    }


def without_attention(table_5: Mapping[str, ExperimentConfig]) -> dict[str, ExperimentConfig]:
    """Presets of AAD without attention losses, which tell what these losses add.

    Args:
        table_5: presets by name; those of AAD are among `ROWS`.

    Returns:
        For each preset of AAD one that trains on the same images with the weights 8:0:0, by its
        name with `_8_0_0` behind it.

    Example:
        >>> aad = ExperimentConfig(defense=DefenseConfig("aad", "step_ll(epsilon=0.15)"))
        >>> list(without_attention({"clean": ExperimentConfig(), "aad_step_ll": aad}))
        ['aad_step_ll_8_0_0']
    """
    return {
        f"{name}_8_0_0": dataclasses.replace(
            preset,
            reference=f"{_CONTROL}: {ROWS[name]} without attention losses",
            defense=dataclasses.replace(preset.defense, weights=(8.0, 0.0, 0.0)),
        )
        for name, preset in table_5.items()
        if preset.defense.kind == "aad"
    }


def choose(
    presets: Mapping[str, ExperimentConfig], name: str | None, default: str
) -> config_dict.ConfigDict:
    """A preset as the ConfigDict that `--config` flags override.

    Args:
        presets: experiments by name.
        name: name of the preset; None or empty takes the default.
        default: name of the default preset.

    Returns:
        The experiment's fields, with its name.

    Raises:
        ValueError: unknown name; the message lists near ones.
    """
    name = check_choice(name or default, presets, "preset")
    values = configs.to_dict(dataclasses.replace(presets[name], name=name))
    return config_dict.ConfigDict(values)


def listing() -> str:
    """All preset files with the names of their presets, as one line of text for help.

    Returns:
        The text.

    Example:
        >>> listing()
        'train/configs/agrawal.py: cifar100_cbam_resnet50, ...; train/configs/cifar10.py: ...'
    """
    found = []
    for file in pkgutil.iter_modules(preset_files.__path__):
        module = importlib.import_module(f"{preset_files.__name__}.{file.name}")
        if known := getattr(module, "PRESETS", None):
            found.append(f"train/configs/{file.name}.py: {', '.join(sorted(known))}")
    return "; ".join(found)
