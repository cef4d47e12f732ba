"""What the studies of [Agrawal Tables II and III] have in common."""

from __future__ import annotations

from train.configs.agrawal import ATTACKS, NETWORKS
from train.studies.study import Evaluation, Study, Training

IMAGES = 2000
SMALL_BUDGETS = tuple(f"apgd(epsilon={size}/255)" for size in (0.5, 1, 2, 4, 8))
# Minutes of training on one core, by measured steps; each seed of a network is a network.
_MINUTES = {"resnet50": 40.0, "cbam_resnet50": 60.0, "vgg16": 5.0}


def study(dataset: str, seeds: int = 1) -> Study:
    """The three networks on a data set: white box and transfer, then small budgets under APGD.

    Args:
        dataset: one of `train.configs.agrawal.DATASETS`.
        seeds: how many trainings there are of ResNet-50 and of CBAM + ResNet-50; of VGG-16, which
            is a source of transfer alone, there is one.
    """
    trainings = [
        _training(dataset, network, seed)
        for seed in range(seeds)
        for network in NETWORKS
        if network != "vgg16" or not seed
    ]
    names = tuple(training.name for training in trainings)
    transfer = Evaluation(
        f"transfer/{dataset}.jsonl.gz",
        names,
        {
            "model_dirs": ",".join(f"{{runs_dir}}/{name}" for name in names),
            "attacks": ";".join(ATTACKS),
            "limit": str(IMAGES),
        },
        binary="eval.transfer",
    )
    small = [
        Evaluation(
            f"robustness/{name}.jsonl.gz",
            (name,),
            {"attacks": ";".join(SMALL_BUDGETS), "limit": str(IMAGES)},
        )
        for name in names
    ]
    reference = f"Agrawal Tables II and III on {dataset}, a quarter of the width, five epochs"
    return Study(reference, tuple(trainings), (*small, transfer))


def _training(dataset: str, network: str, seed: int) -> Training:
    options = {"config.seed": str(seed)} if seed else {}
    return Training(
        f"{dataset}_{network}" + (f"_seed_{seed}" if seed else ""),
        f"train/configs/agrawal.py:small_{dataset}_{network}",
        options,
        _MINUTES[network],
    )
