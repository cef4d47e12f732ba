"""Do Grad-CAM, Grad-CAM++ and LIME look at the same cells, and lead to the same conclusions?"""

from __future__ import annotations

from dataclasses import dataclass

from aad_tf.records.columns import AttentionRecords
from analysis.attention.caption import TOP_CELLS, method_name
from analysis.statistics import Groups, compare, expected_random_iou, mean
from analysis.tables import Table


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


def agreement_table(run: AttentionRecords) -> Table:
    """Agreement of each two methods, on clean images and after each round, over I_att.

    Maps without differences have no rank correlation and are left out of it.
    """
    height, width = run.study["grid"]
    count = min(TOP_CELLS, height * width)
    chance = f"{expected_random_iou(height * width, count, count):.3f}"
    rows = []
    pairs = [(a, b) for i, a in enumerate(run.methods) for b in run.methods[i + 1 :]]
    for first, second in pairs:
        correlation = run.agreement(first, second, "rank_correlation")[run.correct]
        iou = run.agreement(first, second, "iou")[run.correct]
        names = f"{method_name(first)}, {method_name(second)}"
        for stage in range(run.rounds + 1):
            overlap = mean(iou[:, stage], skip_nan=True)
            ranks = mean(correlation[:, stage], skip_nan=True)
            image = f"round {stage}" if stage else "clean"
            texts = (f"{overlap.count:,}", ranks.text(), overlap.text(), chance)
            rows.append((names, image, *texts))
    heads = ("methods", "image", "n", "rank correlation", "IoU, top 10 cells", "by chance")
    return Table(heads, rows, left=2)


def conclusions(run: AttentionRecords) -> list[Conclusion]:
    """What Tables 1 and 3 say by each method of the records, after round 1.

    Returns:
        For each method the IoU with the box at each size recorded, then that of clean and
        adversarial maps (ten cells, or each number of features for LIME).
    """
    found = []
    for method in run.methods:
        features = [str(count) for count in run.study["features"]]
        sizes = {
            "box": features if method == "lime" else ["equal_area"],
            "clean": features if method == "lime" else [str(TOP_CELLS)],
        }
        for measure, iou in (("box", run.iou_box), ("clean", run.iou_clean)):
            for size in sizes[measure]:
                values = iou(method, size)[:, 0]
                groups = compare(values[run.succeeded(1)], values[run.failed(1)], skip_nan=True)
                found.append(Conclusion(method, measure, size, groups))
    return found
