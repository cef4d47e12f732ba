"""[AAD Table 9]: attacks with and without A3, which scatters attention or keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aad_tf.records.columns import AttentionRecords
from analysis.attention import detection, intervals
from analysis.attention.aligned import ROUNDS, Aligned, Variant, align
from analysis.attention.caption import (
    attack_fact,
    data_fact,
    gradient_method,
    main_cells,
    method_name,
    network_fact,
    sigma,
    single_splits,
)
from analysis.attention.claims import Claim
from analysis.attention.intervals import DASH
from analysis.attention.table import AttentionTable, Cell, Draft
from analysis.paper_values import TABLE_9

_HEADS = ("attack", "", "accuracy %", "against plain, points", "IoU clean-adversarial")


def table_9(
    runs: Mapping[str, AttentionRecords], dataset: str, network: str
) -> AttentionTable | None:
    """Accuracy on I_att after three rounds, and how far attention moved.

    Args:
        runs: by role, see `files.ROLES`; roles that were not run are missing.
        dataset: name of the data, for files and headings.
        network: name of the network.

    Returns:
        The table, or None if no attack was run both with and without A3 for three rounds.

    Raises:
        ValueError: runs that cannot be compared, see `aligned.align`.
    """
    found = align(runs)
    if found is None:
        return None
    draft = Draft("9", f"{dataset}_{network}", [*TABLE_9.notes, *_scale_notes(found)])
    for name, variants in found.variants.items():
        _add_attack(draft, name, variants)
        detection.add(draft, name, [(v.name, v.kept, v.iou) for v in variants if v is not None])
    draft.claims.sort(key=lambda claim: not claim.headline)
    first = found.first
    title = (
        f"Accuracy on images right, and IoU of the {method_name(gradient_method(first))} areas of "
        f"clean and adversarial image ({main_cells(first)} cells), after {ROUNDS} rounds with and "
        f"without A3"
    )
    more = ("Does attention drift tell which attacks fooled the network?", detection.HEADS)
    return draft.finish(title, _facts(found, network), (*_HEADS, "against plain"), more)


def _scale_notes(found: Aligned) -> list[str]:
    """How the attention term is scaled where it is not as printed, by the runs' own words."""
    objectives = [
        str(variant.run.study["attack"]["objective"])
        for group in found.variants.values()
        for variant in group[1:]
        if variant is not None
    ]
    if all("reduction=sum" in text and "scale=none" in text for text in objectives):
        return []
    return [
        "Eq. 10 sums |Att(x) - g(x)| over the cells, with g as it is. Unless an attack's name says "
        "otherwise, g is divided by its maximum here and the sum by the number of cells: σ 10 "
        "weighs the mean difference of a cell. The printed sum was not run on these images."
    ]


def _facts(found: Aligned, network: str) -> tuple[str, ...]:
    """The caption, on the images that are compared and no others."""
    shared, compared = found.shared, found.first
    sizes = dict(single_splits(compared))
    parts = ", ".join(f"{name} {int(mask.sum()):,}" for name, mask in sizes.items())
    accuracy = 100 * len(compared) / len(shared)
    return (
        network_fact(shared, network),
        f"{data_fact(shared)[:-1]}, which every attack was run on.",
        f"Compared are the {len(compared):,} of them that are right without attack ({parts}; "
        f"{accuracy:.1f} %), the same under every attack.",
        *(_attack_fact(group) for group in found.variants.values()),
    )


def _attack_fact(group: Sequence[Variant | None]) -> str:
    """The plain attack, and which sigma it was augmented with; the rest of them was checked."""
    plain, *others = (variant for variant in group if variant is not None)
    sigmas = " and ".join(f"{sigma(variant.run.study['attack']):g}" for variant in others)
    return f"{attack_fact(plain.run.study, ROUNDS)} The same attention-augmented (A3), σ {sigmas}."


def _add_attack(draft: Draft, name: str, variants: Sequence[Variant | None]) -> None:
    plain = variants[0]
    labels = ("plain", "A3, σ above 0", "A3, σ below 0")
    printed = (*TABLE_9.rows.get(name, (None, None)), None)
    for place, (variant, value) in enumerate(zip(variants, printed, strict=True)):
        gap = _printed_gap(name) if place == 1 else None
        if variant is None or plain is None:
            draft.rows.append((f"{name}, {labels[place]}", "not run", *[DASH] * 4))
            continue
        _add_variant(draft, variant, plain if place else None, (value, gap))
        if value is not None:
            difference = DASH if gap is None else f"{gap:+.1f}"
            draft.rows.append(("", "paper", f"{value:.1f}", difference, DASH, DASH))
    if plain is not None:
        for variant, sign in zip(variants[1:], (1, -1), strict=True):
            if variant is not None:
                draft.claims += _claims(name, variant, plain, sign)


def _add_variant(
    draft: Draft,
    variant: Variant,
    plain: Variant | None,
    printed: tuple[float | None, float | None],
) -> None:
    """A row and its cells; `plain` is None for the plain attack itself."""
    accuracy = intervals.share(int(variant.kept.sum()), len(variant.kept))
    iou = intervals.mean(variant.iou)
    texts = [accuracy.percent(), DASH, iou.text(), DASH]
    cell = ("all", variant.name)
    draft.cells += [
        Cell(*cell, "percent", "right", accuracy, printed[0]),
        Cell(*cell, "IoU", "all", iou),
    ]
    if plain is not None:
        points, moved = variant.against(plain)
        texts[1], texts[3] = points.percent(sign=True), moved.text(sign=True)
        draft.cells += [
            Cell(*cell, "percent", "against plain", points, printed[1]),
            Cell(*cell, "IoU", "against plain", moved),
        ]
    draft.rows.append((variant.name, "ours", *texts))


def _claims(name: str, variant: Variant, plain: Variant, sign: int) -> list[Claim]:
    points, moved = variant.against(plain)
    against = f"{variant.name} - {name}"
    if sign < 0:
        return [
            Claim(f"accuracy, {against}", points, 0, percent=True, headline=True),
            Claim(f"IoU clean-adversarial, {against}", moved, 0, headline=True),
        ]
    printed = _printed_gap(name)
    gap = None if printed is None else printed / 100
    return [
        Claim(f"accuracy, {against}", points, -1, gap, percent=True, headline=True),
        Claim(f"IoU clean-adversarial, {against}", moved, -1, headline=True),
    ]


def _printed_gap(name: str) -> float | None:
    """What A3 adds to the accuracy in the paper, in points; None for attacks it does not have."""
    if name not in TABLE_9.rows:
        return None
    plain, augmented = TABLE_9.rows[name]
    return round(augmented - plain, 2)
