"""A table of the attention study with all a reader needs, as Markdown, CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from analysis.findings import READING, Finding, findings_table
from analysis.statistics import Estimate
from analysis.tables import Table

INTERVALS = (
    "Brackets are 95 % intervals over images: bootstrap for means and differences, Wilson's for "
    "percentages. Differences are succeeded - failed unless said otherwise."
)
_CSV = (
    *("table", "network", "split", "row", "quantity", "group", "value", "low", "high"),
    *("count", "paper"),
)


@dataclass
class StudyTable:
    """One table of the paper on one network.

    Attributes:
        number: the paper's, e.g. `1`.
        name: `<data set>_<network>`, as its files begin.
        title: what it shows.
        facts: sentences on network, data, attack and counts.
        remarks: what to know before comparing.
        tables: headings and tables; the first heading is empty.
        numbers: every number with its paper's value, a line of the CSV each.
        findings: what the paper concludes from it.
    """

    number: str
    name: str
    title: str
    facts: Sequence[str]
    remarks: list[str] = field(default_factory=list)
    tables: list[tuple[str, Table]] = field(default_factory=list)
    numbers: list[Sequence[object]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def stem(self) -> str:
        """Name of its files without suffix."""
        return f"table_{self.number}_{self.name}"

    def note(
        self,
        split: str,
        row: str,
        quantity: str,
        group: str,
        estimate: Estimate,
        paper: float | None = None,
    ) -> None:
        """Adds a number to the CSV.

        Args:
            split: of the data.
            row: what tells rows of one table apart, e.g. `round 2, 10 cells`.
            quantity: `percent`, whose numbers are written in percent, `IoU`, `confidence`, ...
            group: `succeeded`, `failed`, `difference`, ...
            estimate: ours.
            paper: the printed value in the same unit, or None.
        """
        scale = 100.0 if quantity == "percent" else 1.0
        numbers = (estimate.value, *(estimate.interval or (None, None)))
        texts = (None if number is None else f"{scale * number:.6f}" for number in numbers)
        names = (self.number, self.name, split, row, quantity, group)
        self.numbers.append((*names, *texts, estimate.count, paper))

    def add(self, columns: Sequence[str], rows: Iterable[Sequence[str]], heading: str = "") -> None:
        """Adds a table whose first two columns hold names; without rows it is left out."""
        rows = list(rows)
        if rows or not heading:
            self.tables.append((heading, Table(columns, rows, left=2)))

    def page(self) -> str:
        """Markdown with caption, tables, verdicts and remarks."""
        parts = [
            f"# AAD Table {self.number}, {self.name}: {self.title}",
            "Made by `python -m analysis.report` from `results/attention`.",
            "\n".join(f"- {fact}" for fact in (*self.facts, INTERVALS)),
        ]
        for heading, table in self.tables:
            parts += ([f"## {heading}"] if heading else []) + [table.markdown()]
        if self.findings:
            numbered = [(self.number, finding) for finding in self.findings]
            parts += ["## Does it hold here?", findings_table(numbered).markdown(), READING]
        if self.remarks:
            remarks = dict.fromkeys(self.remarks)
            parts += ["## Notes", "\n".join(f"- {remark}" for remark in remarks)]
        return "\n\n".join(parts) + "\n"

    def latex(self) -> str:
        """A LaTeX table for each table, with the whole caption on each."""
        label = f"tab:{self.stem}".replace("_", "-")
        environments = []
        for number, (heading, table) in enumerate(self.tables, start=1):
            title = f"AAD Table {self.number}, {heading or self.title}."
            caption = " ".join([title, *self.facts, INTERVALS])
            environments.append(table.latex(caption, label + (f"-{number}" if heading else "")))
        return "\n".join(environments)

    def csv(self) -> str:
        """One line per number; percentages, and differences of them, in percent."""
        return Table(_CSV, self.numbers).csv()

    def files(self) -> dict[str, str]:
        """Its files by path in the results directory."""
        stem = f"tables/{self.stem}"
        return {f"{stem}.md": self.page(), f"{stem}.csv": self.csv(), f"{stem}.tex": self.latex()}
