"""[AAD Figs. 5, 6, 8]: attention while AAD trains, and beside other defences, for a CPU.

The networks are those of Table 6, Figure 7 and the controls on MNIST, so that what these studies
have trained already is drawn at once.
"""

from __future__ import annotations

from train.studies import aad_controls_mnist, aad_figure_7, aad_table_6
from train.studies.study import Evaluation, Study

# IFGSM in three steps, as in the paper's Table 5; of CIFAR-10 images in [-1, 1].
_CIFAR10, _MNIST = "ifgsm(epsilon=0.025, num_steps=3)", "ifgsm(epsilon=0.15, num_steps=3)"
_AAD = "cifar10_weights_8_4_1_seed_0"
# By the weights of the classification, rectification and preservation loss.
_LOSSES = {
    "8:0:0": "cifar10_rounds_2_8_0_0_seed_0",
    "8:4:0": "cifar10_weights_8_4_0_seed_0",
    "8:0:1": "cifar10_weights_8_0_1_seed_0",
    "8:4:1": _AAD,
}


def _side_by_side(
    figure: str, title: str, attack: str, networks: dict[str, str], count: int
) -> Evaluation:
    directories = [f"{name}={{runs_dir}}/{network}" for name, network in networks.items()]
    options = {
        "title": title,
        "model_dirs": ",".join(directories),
        "attack": attack,
        "among": "2000",
        "count": str(count),
    }
    output = f"figures/aad_fig_{figure}.png"
    return Evaluation(
        output, tuple(networks.values()), options, "eval.attention_pictures", minutes=2.0
    )


_EVALUATIONS = (
    _side_by_side(
        "6b",
        "Attention under IFGSM after adversarial training with StepLL and after AAD, MNIST",
        _MNIST,
        {
            "StepLL": "mnist_controls_step_ll_float32_seed_0",
            "AAD": "mnist_controls_aad_float32_seed_0",
        },
        4,
    ),
    Evaluation(
        "figures/aad_fig_5.png",
        (_AAD,),
        {
            "title": "Attention while AAD trains, CIFAR-10",
            "snapshots": f"{{runs_dir}}/{_AAD}/attention",
            "count": "2",
        },
        "eval.attention_pictures",
        minutes=1.0,
    ),
    _side_by_side(
        "6a",
        "Attention under IFGSM after adversarial training with StepLL and after AAD, CIFAR-10",
        _CIFAR10,
        {"StepLL": "cifar10_rounds_1_8_0_0_seed_0", "AAD": _AAD},
        4,
    ),
    _side_by_side(
        "8",
        "Attention by the weights alpha:beta:gamma of AAD's losses, CIFAR-10",
        _CIFAR10,
        _LOSSES,
        4,
    ),
)
_NEEDED = {name for evaluation in _EVALUATIONS for name in evaluation.networks}
STUDY = Study(
    reference="AAD Figs. 5, 6 and 8 by the networks of Table 6, Fig. 7 and the controls on MNIST",
    trainings=tuple(
        training
        for study in (aad_controls_mnist.STUDY, aad_table_6.STUDY, aad_figure_7.STUDY)
        for training in study.trainings
        if training.name in _NEEDED
    ),
    evaluations=_EVALUATIONS,
)
