"""The tables behind the findings of the attention study, each with what to know when reading it."""

from __future__ import annotations

from collections.abc import Sequence

from aad_tf.records.columns import AttentionRecords
from analysis.attention import null, sections
from analysis.attention.matched import LOW_IOU, RULE
from analysis.tables import TextTable

_BY_CHANCE = (
    "Random pixels: expected IoU of as many pixels drawn at random. Other images: the clean "
    f"attention of {null.PARTNERS} other images (classified right), laid on this box at equal "
    "area, from the 8-bit copies of their maps. Centred disc: equal area, in the middle."
)
_GAPS = "Gaps are differences of means in standard deviations; below 0.1 counts as balanced."
_REGRESSION = (
    "Change of the log odds of success for one standard deviation more of each covariate (for "
    "being low, where the measure is yes or no), all together; beside it that of the measure "
    "without the others."
)
_BOX_AREA = (
    "Areas as large as a box that fills the picture overlap it whatever the network looks at."
)
_FIRST_FLIPS = (
    "Images whose label has been right in all rounds before; later rounds may bring a label back."
)
_WRONG = (
    "Label and attention of the same round. Two areas of so many cells share a whole number of "
    "them, so their IoU takes these values only."
)


def details(
    run: AttentionRecords,
    chance: null.BoxNull,
    explained: AttentionRecords | None,
    networks: Sequence[tuple[str, AttentionRecords]],
) -> list[tuple[str, str, TextTable]]:
    """Title, text (may be empty) and table of each.

    Args:
        run: records under StepLL.
        chance: from `null.box_null` of the same records.
        explained: records with several methods of attention, or None.
        networks: all networks studied under StepLL, by name.
    """
    found = [
        ("IoU with the box by chance", _BY_CHANCE, sections.chance_of_boxes(run, chance)),
        ("IoU of clean and adversarial attention by chance", "", sections.chance_of_drift(run)),
        *_confounded(run),
        ("First flips, round by round", _FIRST_FLIPS, sections.flips_by_round(run)),
        ("Wrong labels by IoU with the clean attention", _WRONG, sections.wrong_by_iou(run)),
        ("Scatter, round by round", "", sections.scattering(run)),
    ]
    if explained is not None:
        text = f"Over {int(explained.correct.sum()):,} images classified right."
        found.append(("Agreement of methods", text, sections.agreement_of_methods(explained)))
    if len(networks) > 1:
        found.append(("Other networks, same attack", "", sections.networks(networks)))
    return found


def _confounded(run: AttentionRecords) -> list[tuple[str, str, TextTable]]:
    """Confidence and box area held fixed: pairs, regression, strata."""
    low = f"Images of IoU < {LOW_IOU} with the box beside the others (Table 2), matched"
    by_area = sections.strata(run, "box area")
    regression = sections.coefficients(run)
    found = [
        ("Matched on confidence and box area", f"Rule: {RULE}. {_GAPS}", sections.balance(run)),
        (low, "By the same rule.", sections.low_beside_others(run)),
    ]
    if regression is not None:
        found.append(("Logistic regression of success", _REGRESSION, regression))
    return [
        *found,
        ("IoU with the box within quintiles of confidence", "", sections.strata(run)),
        ("IoU with the box within quintiles of box area", _BOX_AREA, by_area),
    ]
