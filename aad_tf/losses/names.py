"""Parts of losses by name."""

from __future__ import annotations

from typing import Any

from aad_tf.checks import near_names


def known(table: dict[str, Any], name: str, what: str) -> Any:
    """The entry of a name; ValueError with near ones if there is none."""
    if name not in table:
        raise ValueError(f"Unknown {what} {name!r}." + near_names(name, table))
    return table[name]
