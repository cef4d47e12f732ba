"""What the studies of [Agrawal Tables II and III] have in common."""

from __future__ import annotations

from collections.abc import Sequence

from train.configs.agrawal import ATTACKS, NETWORKS
from train.studies.study import Evaluation, Study, Training

IMAGES = 2000
SMALL_BUDGETS = tuple(f"apgd(epsilon={size}/255)" for size in (0.5, 1, 2, 4, 8))
GATE_IMAGES = 1000
GATE_ATTACKS = (
    "fgsm(epsilon=2/255)",
    "pgd(epsilon=2/255, step_size=0.5/255, num_steps=10, random_start=False)",
)
# Minutes on one core with AVX2, as measured: of training, each seed of a network, and of
# evaluations on CIFAR-10.
_MINUTES = {"resnet50": 25.0, "cbam_resnet50": 40.0, "vgg16": 20.0}
_TRANSFER_MINUTES = 15.0
_BUDGETS_MINUTES = {"resnet50": 15.0, "cbam_resnet50": 25.0, "vgg16": 20.0}
_GATES_MINUTES = 8.0


def study(
    datasets: Sequence[str], seeds: int = 1, networks: Sequence[str] = tuple(NETWORKS)
) -> Study:
    """A study of networks on several data sets, trained with several seeds.

    The networks of one data set and seed are evaluated on each other's images, and never on those
    of another seed. So they can be deleted before the next seed begins.

    Args:
        datasets: names in `train.configs.agrawal.DATASETS`, or `tiny_imagenet_10`,
            `tiny_imagenet_20`, `tiny_imagenet_50`.
        seeds: how often each network is trained.
        networks: of `"resnet50"`, `"cbam_resnet50"` and `"vgg16"`.

    Returns:
        The study.
    """
    trainings: list[Training] = []
    evaluations: list[Evaluation] = []
    for dataset in datasets:
        for seed in range(seeds):
            trained = {network: _training(dataset, network, seed) for network in networks}
            trainings += trained.values()
            evaluations += _evaluations(dataset, seed, trained)
    reference = (
        f"Agrawal Tables II and III on {', '.join(datasets)}, at a quarter of the width and some "
        f"2,250 to 2,750 updates"
    )
    return Study(reference, tuple(trainings), tuple(evaluations))


def _training(dataset: str, network: str, seed: int) -> Training:
    options = {"config.seed": str(seed)} if seed else {}
    return Training(
        f"{dataset}_{network}" + (f"_seed_{seed}" if seed else ""),
        f"train/configs/agrawal.py:small_{dataset}_{network}",
        options,
        _MINUTES[network],
    )


def _evaluations(dataset: str, seed: int, trained: dict[str, Training]) -> list[Evaluation]:
    """White box and transfer, small budgets under APGD, and the gates of CBAM."""
    runs = [f"{network}={{runs_dir}}/{training.name}" for network, training in trained.items()]
    found = [
        Evaluation(
            f"transfer/{dataset}_seed_{seed}.jsonl.gz",
            tuple(training.name for training in trained.values()),
            {"model_dirs": ",".join(runs), "attacks": ";".join(ATTACKS), "limit": str(IMAGES)},
            binary="eval.transfer",
            minutes=_TRANSFER_MINUTES,
        )
    ]
    found += [
        Evaluation(
            f"robustness/{training.name}.jsonl.gz",
            (training.name,),
            {"attacks": ";".join(SMALL_BUDGETS), "limit": str(IMAGES)},
            minutes=_BUDGETS_MINUTES[network],
        )
        for network, training in trained.items()
    ]
    gates = Evaluation(
        f"gates/{dataset}_gates_seed_{seed}.jsonl.gz",
        (trained["cbam_resnet50"].name,),
        {"attacks": ";".join(GATE_ATTACKS), "limit": str(GATE_IMAGES)},
        binary="eval.gates",
        minutes=_GATES_MINUTES,
    )
    return [*found, gates]
