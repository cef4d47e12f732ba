"""All tables of the attention study, and what the README says of them."""

from __future__ import annotations

from aad_tf.results import PathLike
from analysis.attention.aligned import ATTACKS
from analysis.attention.claims import READING, claims_table
from analysis.attention.files import NetworkFiles, find_networks
from analysis.attention.table import AttentionTable
from analysis.attention.table_9 import table_9
from analysis.attention.tables_1_2 import table_1, table_2
from analysis.attention.tables_3_4 import table_3, table_4
from analysis.attention.tables_7_8 import table_7, table_8

NOT_RUN = "### Attention under attack\n\nAAD Tables 1 to 4 and 7 to 9: not run."


def build(results_dir: PathLike) -> list[list[AttentionTable]]:
    """The tables of every network that was studied, the network with most records first.

    Args:
        results_dir: the directory that holds `attention`.

    Returns:
        For each network the tables that its records give, in the paper's order.

    Raises:
        FileNotFoundError: records without their summary.
        ValueError: damaged records, or records that do not belong together.
    """
    tables = [_of_network(found) for found in find_networks(results_dir)]
    return [group for group in tables if group]


def readme_section(groups: list[list[AttentionTable]]) -> str:
    """Main findings on the first network, and links to everything.

    Args:
        groups: from `build`.

    Returns:
        Markdown; says so if nothing was run.
    """
    if not groups:
        return NOT_RUN
    tables, others = groups[0], groups[1:]
    # What the paper speaks of; the tables have the rest.
    claims = [
        (_link(table), claim)
        for table in tables
        for claim in table.claims
        if claim.headline and claim.direction
    ]
    parts = [
        f"### Attention under attack, {tables[0].name}",
        " ".join(tables[0].facts),
        claims_table(claims).markdown(),
        "Differences; shares in points. " + READING,
    ]
    parts += [_others(group) for group in others]
    return "\n\n".join(parts)


def _of_network(found: NetworkFiles) -> list[AttentionTable]:
    names = (found.dataset, found.network)
    roles = {role for group in ATTACKS.values() for role in group}
    loaded = {role: found.load(role) for role in sorted(roles)}
    runs = {role: run for role, run in loaded.items() if run is not None}
    tables: list[AttentionTable] = []
    kept = runs.get("step_ll_kept_target")
    if "step_ll" in runs:
        tables += [make(runs["step_ll"], *names) for make in (table_1, table_2, table_3)]
        tables.append(table_4(runs["step_ll"], *names, kept=kept))
    if kept is not None:
        tables.append(table_4(kept, *names, variant="kept_target"))
    explained = found.load("lime")
    if explained is not None:
        tables += [make(explained, *names) for make in (table_7, table_8)]
    augmented = table_9(runs, *names)
    return [*tables, augmented] if augmented is not None else tables


def _link(table: AttentionTable) -> str:
    return f"[{table.number}](results/tables/{table.stem}.md)"


def _others(tables: list[AttentionTable]) -> str:
    links = ", ".join(map(_link, tables))
    return f"The same of {tables[0].name}: tables {links}."
