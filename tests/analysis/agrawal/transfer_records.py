"""Records of transfer evaluations with chosen outcomes, by the writers of real ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aad_tf.attacks import parse_attack
from aad_tf.evaluation.transfer_summary import TransferCounts, summarize_transfer
from aad_tf.records import record_line, summary_path, write_record_lines
from aad_tf.utils.files import write_json_atomically
from train.configs.agrawal import ATTACKS

# Enough for tables; claims and figures speak of all.
FEW = (*ATTACKS[:2], ATTACKS[6], ATTACKS[8])
NETWORKS = ("resnet50", "cbam_resnet50", "vgg16")
CLEAN = {"resnet50": 9, "cbam_resnet50": 8, "vgg16": 7}

# How many of the first images a target gets right: of a source, target and attack.
Right = Callable[[str, str, str], int]


def nothing(source: str, target: str, attack: str) -> int:
    """Every attack succeeds on every image."""
    return 0


def write_transfer(
    path: Path,
    right: Right = nothing,
    *,
    dataset: str = "cifar10",
    seed: int = 0,
    images: int = 10,
    classes: int = 10,
    networks: Sequence[str] = NETWORKS,
    attacks: Sequence[str] = ATTACKS,
    clean: Callable[[str], int] = CLEAN.__getitem__,
    gates: dict[str, Any] | None = None,
) -> None:
    """Writes records and summary; labels go round the classes."""
    chosen = [parse_attack(text) for text in attacks]
    names = [str(attack.name) for attack in chosen]

    def predicted(index: int, count: int) -> int:
        return (index + (index >= count)) % classes

    records = [
        {
            "index": index,
            "label": index % classes,
            "clean": {name: predicted(index, clean(name)) for name in networks},
            "adversarial": {
                source: {
                    name: {
                        "linf": attack.total_epsilon,
                        "predictions": {
                            target: predicted(index, right(source, target, name))
                            for target in networks
                        },
                    }
                    for name, attack in zip(names, chosen, strict=True)
                }
                for source in networks
            },
        }
        for index in range(images)
    ]
    counts = TransferCounts(networks, networks, names)
    counts.add(records)
    config = {"seed": seed, "epochs": 5, "learning_rate": 0.1, "precision": "mixed_bfloat16"}
    stems = {"vgg16": {}}
    options = {name: stems.get(name, {"stem": "small_stride_2"}) for name in networks}
    models = {
        name: {"config": {**config, "model_options": {"width": 0.25, **options[name]}}}
        for name in networks
    }
    data = {"name": dataset, "source": f"tfds {dataset}, JPEG copy, lossy"}
    described = {"models": models, "dataset": data, "reference": {"split": "train"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_record_lines(path, map(record_line, records))
    summary = {
        **summarize_transfer([attack.threat_model() for attack in chosen], counts),
        "evaluated": {"description": described},
        **({} if gates is None else {"gates": gates}),
    }
    write_json_atomically(summary_path(path), summary)


def write_seed(results: Path, right: Right = nothing, **options: Any) -> None:
    """`write_transfer` under the name that the analysis looks for."""
    dataset, seed = options.get("dataset", "cifar10"), options.get("seed", 0)
    write_transfer(results / "transfer" / f"{dataset}_seed_{seed}.jsonl.gz", right, **options)
