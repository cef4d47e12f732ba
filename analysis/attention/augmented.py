"""What A3 does to each attack, in sentences made from the records. The numbers: [AAD Table 9]."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.attention.aligned import ROUNDS, Aligned, Variant
from analysis.attention.caption import sigma, single_splits
from analysis.attention.claims import Claim
from analysis.attention.intervals import Estimate
from analysis.findings import ABOVE, BELOW

# By place of the variant: sigma in words, and what an IoU below and above that of plain means.
_TOGETHER = {
    1: ("above 0", "moves further", "stays nearer to the clean attention"),
    2: ("below 0", "moves further", "stays nearer to the clean attention"),
}


def sentences(found: Aligned) -> list[str]:
    """One sentence an attack, then one on all of them.

    Args:
        found: the attacks with and without A3.
    """
    splits = " and ".join(name for name, _ in single_splits(found.first))
    start = (
        f"On the {len(found.first):,} images of {splits} that every attack was run on, after "
        f"{ROUNDS} rounds, against the same attack without A3:"
    )
    own = [f"- {_attack(name, group)}" for name, group in found.variants.items()]
    together = [_together(found, place, words) for place, words in _TOGETHER.items()]
    return [start, "\n".join(own), " ".join(filter(None, together))]


def _attack(name: str, group: Sequence[Variant | None]) -> str:
    plain = group[0]
    parts = []
    for variant in group[1:]:
        if variant is None or plain is None:
            continue
        points, moved = variant.against(plain)
        weight = sigma(variant.run.study["attack"])
        parts.append(
            f"σ {weight:g}: accuracy {points.percent(sign=True)} points, IoU with the clean "
            f"attention {moved.text(sign=True)}"
        )
    return f"{_names([name])}, {'; '.join(parts)}."


def _sign(gap: Estimate) -> str:
    return Claim("", gap, 0).verdict


def _together(found: Aligned, place: int, words: tuple[str, str, str]) -> str:
    """Where attention moves, and where the attack grows stronger, under one sign of sigma."""
    moved: dict[str, list[str]] = {}
    strength: dict[str, list[str]] = {}
    for name, group in found.variants.items():
        plain, variant = group[0], group[place]
        if plain is None or variant is None:
            continue
        points, iou = variant.against(plain)
        moved.setdefault(_sign(iou), []).append(name)
        strength.setdefault(_sign(points), []).append(name)
    if not moved:
        return ""
    where = {BELOW: words[1], ABOVE: words[2]}
    how = {BELOW: "stronger", ABOVE: "weaker"}
    every = len(found.variants)
    attention = _listed(moved, where, "does not measurably move", every)
    attack = _listed(strength, how, "neither measurably stronger nor weaker", every)
    conclusion = ""
    if place == 1 and set(moved) == {BELOW} and ABOVE in strength:
        conclusion = ": scattering attention does not always make an attack stronger"
    return f"With σ {words[0]} attention {attention}; the attack is {attack}{conclusion}."


def _listed(groups: dict[str, list[str]], words: dict[str, str], otherwise: str, every: int) -> str:
    parts = [
        f"{words.get(key, otherwise)} under "
        f"{'every attack' if len(names) == every > 1 else _names(names)}"
        for key, names in groups.items()
    ]
    return ", and ".join(parts)


def _names(names: list[str]) -> str:
    plain = [f"{name.replace(', ', ' (')})" if ", " in name else name for name in names]
    return plain[0] if len(plain) == 1 else f"{', '.join(plain[:-1])} and {plain[-1]}"
