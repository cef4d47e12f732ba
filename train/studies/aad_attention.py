"""[AAD Tables 1 to 4 and 7 to 9]: where networks look, clean and under attack, on images of Tiny
ImageNet with boxes. The networks are some of Table 5's, so that each is trained once."""

from __future__ import annotations

from train.studies import aad_table_5_tiny_imagenet_boxes
from train.studies.study import Evaluation, Study

_DATASET = "tiny_imagenet_boxes"
_FIVE_ROUNDS = {"attack": "step_ll", "epsilon": "4/255", "rounds": "5"}
# Without maps in the records, which pictures are drawn from.
_GRAD_CAM = {"methods": "grad_cam", "keep_maps": ""}
_A3 = {"a3_minus": "-10", "a3_plus": "10"}
# Attacks of Table 9 by name, with and without A3.
_ATTACKS = {
    "ifgsm": "ifgsm(epsilon=12/255, num_steps=3)",
    "step_ll": "step_ll(epsilon=4/255, num_steps=3)",
    "step_ll_kept_target": "step_ll(epsilon=4/255, num_steps=3, relabel=False)",
}


def _study(preset: str, name: str, options: dict[str, str], minutes: float) -> Evaluation:
    """Name begins with the split, and says which attack or method."""
    network, split = f"{_DATASET}_{preset}", name.partition("_")[0]
    return Evaluation(
        f"attention/{network}_{name}.jsonl.gz",
        (network,),
        {"dataset": _DATASET, "split": split, **options},
        "eval.attention",
        minutes,
    )


_EVALUATIONS = (
    # Tables 1 to 4: the split that thresholds are read off, and the one they are judged on.
    _study("clean", "validation_step_ll", _FIVE_ROUNDS, 2.0),
    _study("clean", "test_step_ll", _FIVE_ROUNDS, 2.0),
    # Tables 7 and 8.
    _study(
        "clean",
        "test_lime",
        {
            **_FIVE_ROUNDS,
            "rounds": "1",
            "methods": "grad_cam,grad_cam_plus_plus,lime",
            "lime_samples": "300",
            "limit": "400",
        },
        12.0,
    ),
    # Table 9.
    _study("clean", "test_ifgsm", {"attack": _ATTACKS["ifgsm"], **_GRAD_CAM}, 1.0),
    _study(
        "clean",
        "test_step_ll_kept_target",
        {"attack": "step_ll(epsilon=4/255, num_steps=5, relabel=False)", **_GRAD_CAM},
        1.0,
    ),
    *(
        _study(
            "clean",
            f"test_{name}_{direction}",
            {"attack": attack, "sigma": sigma, **_GRAD_CAM},
            1.0,
        )
        for name, attack in _ATTACKS.items()
        for direction, sigma in _A3.items()
    ),
    # Beside the clean network, [AAD Figs. 12, 13].
    *(
        _study(preset, "test_step_ll", {**_FIVE_ROUNDS, **_GRAD_CAM}, 1.0)
        for preset in ("step_ll", "ensemble", "aad_step_ll")
    ),
)
_NEEDED = {name for evaluation in _EVALUATIONS for name in evaluation.networks}
_NEEDED.add(f"{_DATASET}_narrow")
STUDY = Study(
    reference="AAD Tables 1 to 4 and 7 to 9 on 40 classes of Tiny ImageNet",
    trainings=tuple(
        training
        for training in aad_table_5_tiny_imagenet_boxes.STUDY.trainings
        if training.name in _NEEDED
    ),
    evaluations=_EVALUATIONS,
)
