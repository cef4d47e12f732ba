"""A table of the attention study with all a reader needs, as Markdown, CSV and LaTeX."""

from __future__ import annotations

from dataclasses import dataclass, field

from analysis.attention.claims import READING, Claim, claims_table
from analysis.attention.intervals import Estimate
from analysis.tables import TextTable, csv_text

INTERVALS = (
    "Brackets are 95 % intervals over images: bootstrap for means and differences, Wilson's for "
    "percentages. Differences are succeeded - failed unless said otherwise."
)
_CSV = (
    *("table", "network", "split", "row", "quantity", "group", "value", "low", "high"),
    *("count", "paper"),
)


@dataclass(frozen=True)
class Cell:
    """One measured number for the CSV.

    Attributes:
        split: of the data.
        row: what tells rows of one table apart, e.g. `round 2, 10 cells`.
        quantity: `percent`, `IoU`, `confidence`, ...
        group: `succeeded`, `failed`, `difference`, ...
        estimate: ours.
        paper: the printed value in the same unit, or None.
    """

    split: str
    row: str
    quantity: str
    group: str
    estimate: Estimate
    paper: float | None = None


@dataclass(frozen=True)
class AttentionTable:
    """One table of the paper on one network.

    Attributes:
        number: the paper's, e.g. `1`.
        name: `<data set>_<network>`, as its files begin.
        title: what it shows.
        facts: sentences on network, data, attack and counts.
        texts: headings and tables; the first heading may be empty.
        cells: all numbers, for the CSV.
        claims: what the paper concludes from it.
        notes: what to know before comparing.
    """

    number: str
    name: str
    title: str
    facts: tuple[str, ...]
    texts: tuple[tuple[str, TextTable], ...]
    cells: tuple[Cell, ...]
    claims: tuple[Claim, ...]
    notes: tuple[str, ...]

    @property
    def stem(self) -> str:
        """Name of its files without suffix."""
        return f"table_{self.number}_{self.name}"

    def page(self) -> str:
        """Markdown with caption, table, verdicts and notes."""
        parts = [
            f"# AAD Table {self.number}, {self.name}: {self.title}",
            "Made by `python -m analysis.report` from `results/attention`.",
            "\n".join(f"- {fact}" for fact in (*self.facts, INTERVALS)),
        ]
        for heading, text in self.texts:
            parts += ([f"## {heading}"] if heading else []) + [text.markdown()]
        if self.claims:
            named = [(self.number, claim) for claim in self.claims]
            parts += ["## Does it hold here?", claims_table(named).markdown(), READING]
        if self.notes:
            parts += ["## Notes", "\n".join(f"- {note}" for note in self.notes)]
        return "\n\n".join(parts) + "\n"

    def latex(self) -> str:
        """A LaTeX table for each text, with the whole caption on each."""
        label = f"tab:{self.stem}".replace("_", "-")
        environments = []
        for place, (heading, text) in enumerate(self.texts):
            title = f"AAD Table {self.number}, {heading or self.title}."
            caption = " ".join([title, *self.facts, INTERVALS])
            environments.append(text.latex(caption, label + (f"-{place + 1}" if place else "")))
        return "\n".join(environments)

    def csv(self) -> str:
        """One line a number; percentages, and differences of them, in percent."""
        return csv_text(_CSV, [self._csv_line(cell) for cell in self.cells])

    def _csv_line(self, cell: Cell) -> list[object]:
        scale = 100.0 if cell.quantity == "percent" else 1.0
        value, interval = cell.estimate.value, cell.estimate.interval
        numbers = [value, *((None, None) if interval is None else interval)]
        return [
            *(self.number, self.name, cell.split, cell.row, cell.quantity, cell.group),
            *(None if number is None else f"{scale * number:.6f}" for number in numbers),
            *(cell.estimate.count, cell.paper),
        ]


@dataclass
class Draft:
    """A table while its rows are found: lists that `finish` puts together.

    Attributes:
        number: the paper's.
        name: `<data set>_<network>`.
        notes: to begin with.
    """

    number: str
    name: str
    notes: list[str] = field(default_factory=list)
    rows: list[tuple[str, ...]] = field(default_factory=list)
    more_rows: list[tuple[str, ...]] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)

    def finish(
        self,
        title: str,
        facts: tuple[str, ...],
        columns: tuple[str, ...],
        more: tuple[str, tuple[str, ...]] | None = None,
    ) -> AttentionTable:
        """The table.

        Args:
            title: what it shows.
            facts: sentences for the caption.
            columns: headings of `rows`; the first two hold names.
            more: heading of a second table and the headings of `more_rows`.
        """
        texts = [("", TextTable(columns, tuple(self.rows), left=2))]
        if more is not None and self.more_rows:
            texts.append((more[0], TextTable(more[1], tuple(self.more_rows), left=2)))
        notes = tuple(dict.fromkeys(self.notes))
        parts = (tuple(texts), tuple(self.cells), tuple(self.claims), notes)
        return AttentionTable(self.number, self.name, title, facts, *parts)
