"""What the studies of [Agrawal Tables II and III] have in common."""

from __future__ import annotations

from collections.abc import Sequence

from train.configs.agrawal import ATTACKS, MINUTES, NETWORKS, SMALL_ATTACKS
from train.studies.study import Evaluation, Study, Training

IMAGES = 2000
SMALL_BUDGETS = tuple(f"apgd(epsilon={size}/255)" for size in (0.5, 1, 2, 4, 8))
GATE_ATTACKS = (
    "fgsm(epsilon=2/255)",
    "pgd(epsilon=2/255, step_size=0.5/255, num_steps=10, random_start=False)",
)
# Within small budgets: transfer, APGD on a second loss beside the cross-entropy, which together are
# AutoAttack's first two stages, shortened, and the distances that FAB finds. All of AutoAttack
# takes hours for each network, as half of the images hold within 0.5/255.
FEWER_IMAGES = 1000
STRONGEST = (
    *(f"apgd(epsilon={size}/255, loss='targeted_dlr', num_targets=3)" for size in (0.5, 1, 2)),
    "fab(epsilon=None, num_steps=20, num_targets=3)",
)
# Minutes on one core of an AMD EPYC with AVX2, of evaluations on CIFAR-10: measured, but for those
# of the small transfer and the strongest attacks, which are estimates by their gradients.
_TRANSFER_MINUTES = 15.0
_SMALL_TRANSFER_MINUTES = 12.0
_BUDGETS_MINUTES = {"resnet50": 19.0, "cbam_resnet50": 31.0, "vgg16": 21.0}
_STRONGEST_MINUTES = {"resnet50": 30.0, "cbam_resnet50": 50.0, "vgg16": 35.0}
_GATES_MINUTES = 6.0


def study(
    datasets: Sequence[str], seeds: int = 1, networks: Sequence[str] = tuple(NETWORKS)
) -> Study:
    """A study of networks on several data sets, trained with several seeds.

    The networks of one data set and seed are evaluated on each other's images, and never on those
    of another seed. So they can be deleted before the next seed begins.

    Args:
        datasets: names in `train.configs.agrawal.DATASETS`, or
            `tiny_imagenet_spread_10`, `_20`, `_50`.
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
        float(MINUTES[network]),
    )


def _evaluations(dataset: str, seed: int, trained: dict[str, Training]) -> list[Evaluation]:
    """White box and transfer, small budgets under stronger attacks, and the gates of CBAM."""
    runs = [f"{network}={{runs_dir}}/{training.name}" for network, training in trained.items()]
    names = tuple(training.name for training in trained.values())
    found = [
        Evaluation(
            f"transfer/{dataset}{infix}_seed_{seed}.jsonl.gz",
            names,
            {"model_dirs": ",".join(runs), "attacks": ";".join(attacks), "limit": str(limit)},
            binary="eval.transfer",
            minutes=minutes,
        )
        for infix, attacks, limit, minutes in (
            ("", ATTACKS, IMAGES, _TRANSFER_MINUTES),
            ("_small_budgets", SMALL_ATTACKS, FEWER_IMAGES, _SMALL_TRANSFER_MINUTES),
        )
    ]
    found += [
        Evaluation(
            f"robustness/{training.name}{suffix}.jsonl.gz",
            (training.name,),
            {"attacks": ";".join(attacks), "limit": str(limit)},
            minutes=minutes[network],
        )
        for network, training in trained.items()
        for suffix, attacks, limit, minutes in (
            ("", SMALL_BUDGETS, IMAGES, _BUDGETS_MINUTES),
            ("_strongest", STRONGEST, FEWER_IMAGES, _STRONGEST_MINUTES),
        )
    ]
    gates = Evaluation(
        f"gates/{dataset}_gates_seed_{seed}.jsonl.gz",
        (trained["cbam_resnet50"].name,),
        {"attacks": ";".join(GATE_ATTACKS), "limit": str(FEWER_IMAGES)},
        binary="eval.gates",
        minutes=_GATES_MINUTES,
    )
    return [*found, gates]
