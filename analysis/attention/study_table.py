"""A table of the attention study with caption, findings and remarks, as Markdown, CSV and LaTeX."""

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
    """A table of the AAD paper, made for one network.

    Attributes:
        number: number of the table in the paper, e.g. `1`.
        name: `<data set>_<network>`, for headings and file names.
        title: what the table shows.
        facts: sentences for the caption, on network, data, attack and counts.
        remarks: sentences below the table.
        tables: its parts, heading and table; the heading of the first part is empty.
        numbers: the lines of its CSV, one for each number, with the paper's value.
        findings: the paper's conclusions from the table, judged by the records.
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
        """Name of its files without ending."""
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
            split: split of the data.
            row: what distinguishes the row of the table, e.g. `round 2, 10 cells`.
            quantity: what is measured: `percent`, for fractions that are written in percent, `IoU`,
                `confidence` or the like.
            group: images it is over: `succeeded`, `failed`, `difference` or the like.
            estimate: the measured number; fractions in [0, 1].
            paper: the printed value, percentages in percent, or None.
        """
        scale = 100.0 if quantity == "percent" else 1.0
        numbers = (estimate.value, *(estimate.interval or (None, None)))
        texts = (None if number is None else f"{scale * number:.6f}" for number in numbers)
        names = (self.number, self.name, split, row, quantity, group)
        self.numbers.append((*names, *texts, estimate.count, paper))

    def add(self, columns: Sequence[str], rows: Iterable[Sequence[str]], heading: str = "") -> None:
        """Adds a part to the table; the first two columns hold names.

        Args:
            columns: headings of the columns.
            rows: cells of the rows. A part with a heading but without rows is left out.
            heading: heading of the part; empty for the first one.
        """
        rows = list(rows)
        if rows or not heading:
            self.tables.append((heading, Table(columns, rows, left=2)))

    def page(self) -> str:
        """The Markdown page: caption, tables, verdicts on findings, remarks."""
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
        """LaTeX: a table environment for each part, each with the whole caption."""
        label = f"tab:{self.stem}".replace("_", "-")
        environments = []
        for number, (heading, table) in enumerate(self.tables, start=1):
            title = f"AAD Table {self.number}, {heading or self.title}."
            caption = " ".join([title, *self.facts, INTERVALS])
            environments.append(table.latex(caption, label + (f"-{number}" if heading else "")))
        return "\n".join(environments)

    def csv(self) -> str:
        """The CSV, one line per number; percentages and their differences are in percent."""
        return Table(_CSV, self.numbers).csv()

    def files(self) -> dict[str, str]:
        """Contents of its files, page, CSV and LaTeX, by path in the results directory."""
        stem = f"tables/{self.stem}"
        return {f"{stem}.md": self.page(), f"{stem}.csv": self.csv(), f"{stem}.tex": self.latex()}
