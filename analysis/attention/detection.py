"""Could attention drift ever tell which attacks fooled a network? For [AAD Table 9].

Drift is 1 - IoU of the attention areas of clean and adversarial image. A detector has no clean
image to compare with, so what drift tells here is more than it could tell one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.attention import intervals
from analysis.attention.claims import Claim
from analysis.attention.intervals import Estimate
from analysis.attention.table import Cell, Draft

HEADS = ("attack", "", "fooled / not", "IoU, fooled", "IoU, not fooled", "AUC of drift")
NOTE = (
    "AUC of drift: chance that drift (1 - IoU) is larger on an image that the attack fools than on "
    "one it does not, ties counting half; 0.5 tells nothing. It needs the clean image, which a "
    "detector does not have, so it says what drift could tell at best."
)


def add(draft: Draft, name: str, variants: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> None:
    """Adds rows, cells, claims and a note on one attack and its variants.

    Args:
        draft: of Table 9.
        name: the paper's name of the attack.
        variants: the plain attack, then those with A3: name, whether each image is still right,
            IoU with the clean image's area; all of the same images.
    """
    for place, (label, kept, iou) in enumerate(variants):
        groups = intervals.compare(iou[~kept], iou[kept])
        area = drift_auc(kept, iou)
        counts = f"{int((~kept).sum()):,} / {int(kept.sum()):,}"
        texts = (groups.first.text(), groups.second.text(), area.text())
        draft.more_rows.append((label, "ours", counts, *texts))
        draft.cells += [
            Cell("all", label, "IoU", "fooled", groups.first),
            Cell("all", label, "IoU", "not fooled", groups.second),
            Cell("all", label, "AUC", "drift", area),
        ]
        if place == 0:  # the paper calls deviation a strong indication of success, without A3
            draft.claims.append(Claim(f"AUC of drift - 0.5, {label}", _minus_half(area), 1))
    plain = variants[0]
    for label, kept, iou in variants[1:]:
        gap = intervals.overlapping_difference(iou, ~kept, plain[2], plain[1])
        statement = f"IoU where {label} fools - IoU where {name} fails"
        draft.cells.append(Cell("all", label, "IoU", f"fooled - {name} failed", gap))
        draft.claims.append(Claim(statement, gap, 0, headline="σ -" in label))
    draft.notes.append(NOTE)


def drift_auc(kept: np.ndarray, iou: np.ndarray) -> Estimate:
    """Area under the curve of 1 - IoU as a sign that an attack fooled the network.

    Args:
        kept: bool `[images]`, still right under attack.
        iou: `[images]`, of clean and adversarial attention area.
    """
    return intervals.area_under_curve(1 - iou[~kept], 1 - iou[kept])


def _minus_half(area: Estimate) -> Estimate:
    if area.value is None or area.interval is None:
        return area
    interval = intervals.Interval(*(bound - 0.5 for bound in area.interval))
    return Estimate(area.value - 0.5, interval, area.count)
