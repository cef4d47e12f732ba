"""Do maps of Grad-CAM, Grad-CAM++ and LIME agree, and do they lead to the same conclusions?"""

from __future__ import annotations

from dataclasses import dataclass

from aad_tf.records.columns import AttentionRecords
from analysis.attention.caption import TOP_CELLS, method_name
from analysis.statistics import Groups, compare, expected_random_iou, mean
from analysis.tables import Table


@dataclass(frozen=True)
class Conclusion:
    """The comparison of [AAD Table 1] or [AAD Table 3] by the maps of one method.

    Attributes:
        method: name of the method, e.g. `grad_cam`.
        measure: `box`, the IoU of the clean image's area with the box (Table 1), or `clean`, the
            IoU of the clean and the attacked image's areas (Table 3).
        size: size of the areas, as the records name it.
        groups: mean IoU of images whose attack succeeded (first) and failed (second).
    """

    method: str
    measure: str
    size: str
    groups: Groups


def agreement_table(run: AttentionRecords) -> Table:
    """Makes the table of agreement of each two methods, clean and after each attack iteration.

    It is over the images that are classified correctly when clean. Constant maps have no rank
    correlation and are left out of its mean.

    Returns:
        The table.
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
    """Makes the comparisons of [AAD Tables 1, 3] by each method, after the first attack iteration.

    Args:
        run: records with several methods.

    Returns:
        For each method the IoU with the box, then that of clean and attacked areas; of LIME for
        each number of superpixels, of others at equal area and at ten cells.
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
