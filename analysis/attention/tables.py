"""The paper's tables on attention for every network studied, and their part of the README."""

from __future__ import annotations

from analysis.attention.study_table import StudyTable
from analysis.attention.table_9 import ROLES, table_9
from analysis.attention.tables_1_2 import table_1, table_2
from analysis.attention.tables_3_4 import table_3, table_4
from analysis.attention.tables_7_8 import table_7, table_8
from analysis.findings import READING, findings_table
from analysis.records import Network, Results

NOT_RUN = "### Attention under attack\n\nAAD Tables 1 to 4 and 7 to 9: not run."


def tables(results: Results) -> list[list[StudyTable]]:
    """Makes the tables of every network that was studied.

    Returns:
        For each network the tables that its records allow, in the paper's order; the network with
        most files of records comes first.

    Raises:
        FileNotFoundError: records without their summary.
        ValueError: damaged records, or records that do not belong together.
    """
    built = [_of_network(found) for found in results.networks]
    return [group for group in built if group]


def files(results: Results) -> dict[str, str | bytes]:
    """Contents of pages, CSV and LaTeX of all tables, by path in the results directory."""
    return {
        path: text
        for group in results.once(tables)
        for table in group
        for path, text in table.files().items()
    }


def readme(results: Results) -> str:
    """The main findings on the first network and links to the others, for the README.

    Without records it is a sentence that says so.
    """
    groups = results.once(tables)
    if not groups:
        return NOT_RUN
    first, *others = groups
    # What the paper speaks of; the tables have the rest.
    main = [
        (_link(table), finding)
        for table in first
        for finding in table.findings
        if finding.headline and finding.direction
    ]
    parts = [
        f"### Attention under attack, {first[0].name}",
        " ".join(first[0].facts),
        findings_table(main).markdown(),
        "Differences; shares in points. " + READING,
    ]
    for group in others:
        links = ", ".join(map(_link, group))
        parts.append(f"The same of {group[0].name}: tables {links}.")
    return "\n\n".join(parts)


def _of_network(found: Network) -> list[StudyTable]:
    names = (found.dataset, found.network)
    runs = found.load_all(ROLES)
    built: list[StudyTable] = []
    plain, kept = runs.get("step_ll"), runs.get("step_ll_kept_target")
    if plain is not None:
        built += [make(plain, *names) for make in (table_1, table_2, table_3)]
        built.append(table_4(plain, *names, kept=kept))
    if kept is not None:
        built.append(table_4(kept, *names, variant="kept_target"))
    explained = found.load("lime")
    if explained is not None:
        built += [make(explained, *names) for make in (table_7, table_8)]
    augmented = table_9(runs, *names)
    return [*built, augmented] if augmented is not None else built


def _link(table: StudyTable) -> str:
    return f"[{table.number}](results/tables/{table.stem}.md)"
