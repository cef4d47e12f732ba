"""Do Grad-CAM, Grad-CAM++ and LIME look at the same place, and lead to the same conclusions?"""

from __future__ import annotations

from dataclasses import dataclass

from aad_tf.records.columns import AttentionRecords
from analysis.attention.comparing import mean_difference, mean_estimate
from analysis.attention.intervals import Estimate, Groups
from analysis.attention.null import expected_random_iou

# The IoU of the records' `agreement` is over so many of the highest cells.
CELLS = 10
TITLES = {"grad_cam": "Grad-CAM", "grad_cam_plus_plus": "Grad-CAM++", "lime": "LIME"}


@dataclass(frozen=True)
class Agreement:
    """How well the maps of two methods agree, over images classified right.

    Attributes:
        first: name of a method.
        second: name of another.
        stage: 0 for clean images, k after round k.
        rank_correlation: Spearman's, over grid cells; maps without differences are left out.
        iou: of the ten highest cells of both.
    """

    first: str
    second: str
    stage: int
    rank_correlation: Estimate
    iou: Estimate


@dataclass(frozen=True)
class Conclusion:
    """The difference of Table 1 or Table 3 by one method, successful minus failed attacks.

    Attributes:
        method: name of a method.
        measure: `box` (IoU with the box, clean image) or `clean` (IoU of clean and adversarial).
        size: of the areas, as in the records.
        groups: successful (first) against failed attacks (second).
    """

    method: str
    measure: str
    size: str
    groups: Groups


def agreements(run: AttentionRecords) -> list[Agreement]:
    """Agreement of each two methods of the records, on clean images and after each round."""
    pairs = [(a, b) for i, a in enumerate(run.methods) for b in run.methods[i + 1 :]]
    found = []
    for first, second in pairs:
        correlation = run.agreement(first, second, "rank_correlation")[run.correct]
        iou = run.agreement(first, second, "iou")[run.correct]
        found += [
            Agreement(
                first,
                second,
                stage,
                mean_estimate(correlation[:, stage]),
                mean_estimate(iou[:, stage]),
            )
            for stage in range(run.rounds + 1)
        ]
    return found


def chance_iou(run: AttentionRecords) -> float:
    """IoU of ten cells and ten others drawn at random."""
    total = int(run.study["grid"][0] * run.study["grid"][1])
    count = min(CELLS, total)
    return expected_random_iou(total, count, count)


def conclusions(run: AttentionRecords, round_number: int = 1) -> list[Conclusion]:
    """What Tables 1 and 3 say by each method of the records.

    Args:
        run: the records.
        round_number: round after which success is judged and areas are compared.

    Returns:
        For each method the IoU with the box at each size recorded, then that of clean and
        adversarial maps (ten cells, or each number of features for LIME).
    """
    failed, succeeded = run.failed(round_number), run.succeeded(round_number)
    found = []
    for method in run.methods:
        features = [str(count) for count in run.study["features"]]
        box_sizes = features if method == "lime" else ["equal_area"]
        clean_sizes = features if method == "lime" else [str(CELLS)]
        columns = [("box", size, run.iou_box(method, size)[:, 0]) for size in box_sizes]
        columns += [
            ("clean", size, run.iou_clean(method, size)[:, round_number - 1])
            for size in clean_sizes
        ]
        for measure, size, values in columns:
            groups = mean_difference(values[succeeded], values[failed])
            found.append(Conclusion(method, measure, size, groups))
    return found
