"""What every worker shows when it joins, and where two of them differ."""

from __future__ import annotations

from collections.abc import Mapping

from aad_tf.cluster.description import Cluster
from aad_tf.cluster.messages import VERSION

Card = Mapping[str, str]

_LONGEST_VALUE = 200
_MOST_DIFFERENCES = 6
_SAME_LIST = "Every worker must be given the same list of workers."
_SAME_PROJECT = "Every worker must run the same version of aad_tf."


def full_card(cluster: Cluster, card: Card) -> dict[str, str]:
    """A worker's card with what is compared in any case: the protocol and the list of workers.

    Raises:
        TypeError: the card is not flat, text to text.
    """
    for field, value in card.items():
        if not isinstance(field, str) or not isinstance(value, str):
            raise TypeError(
                f"A card maps names to text, got {field!r}: {value!r}. Pass str(...) of it."
            )
    implied = {"control protocol": f"version {VERSION}", "number of workers": str(cluster.size)}
    for index, address in enumerate(cluster.addresses):
        implied[_address_field(index)] = address
    return {**implied, **card}


def _address_field(index: int) -> str:
    return f"address of worker {index}"


def differences(cluster: Cluster, cards: Mapping[int, Card], advice: Mapping[str, str]) -> str:
    """How the workers' cards differ from the chief's, in sentences; empty if they do not.

    Args:
        cluster: names the workers.
        cards: full cards by worker; worker 0's must be among them.
        advice: what to do, by field; a general sentence otherwise.
    """
    fields = list(dict.fromkeys(field for card in cards.values() for field in card))
    if len({card.get("number of workers") for card in cards.values()}) > 1:
        # Which addresses are missing or too many follows from that.
        fields = [field for field in fields if not field.startswith("address of worker ")]
    advice = {"number of workers": _SAME_LIST, "control protocol": _SAME_PROJECT, **advice}
    advice = {**{_address_field(index): _SAME_LIST for index in range(cluster.size)}, **advice}
    sentences = [
        sentence
        for field in fields
        for sentence in _field_differences(cluster, cards, field, advice)
    ]
    rest = len(sentences) - _MOST_DIFFERENCES
    more = [f"There are {rest} more differences."] if rest > 0 else []
    return " ".join(sentences[:_MOST_DIFFERENCES] + more)


def _field_differences(
    cluster: Cluster, cards: Mapping[int, Card], field: str, advice: Mapping[str, str]
) -> list[str]:
    expected = cards[0].get(field)
    others: dict[str | None, list[int]] = {}
    for index, card in sorted(cards.items()):
        if card.get(field) != expected:
            others.setdefault(card.get(field), []).append(index)
    what_to_do = advice.get(field, "Every worker must have the same.")
    return [
        f"{cluster.names(indices, limit=3)} {'has' if len(indices) == 1 else 'have'} {field} "
        f"{_shown(value)}, {cluster.name(0)} has {_shown(expected)}. {what_to_do}"
        for value, indices in others.items()
    ]


def _shown(value: str | None) -> str:
    if value is None:
        return "not given"
    if not value.strip():
        return repr(value)
    return value if len(value) <= _LONGEST_VALUE else value[:_LONGEST_VALUE] + "..."
