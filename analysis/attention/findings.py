"""One page of findings on attention under attack, made from the records.

Its sentences are written by hand, about the network `WRITTEN_ABOUT`; numbers are filled in from the
records. What a sentence claims, e.g. that a difference lies below 0, is checked against them, and
`StaleSentenceError` names a sentence that they no longer support. Other networks get the same
comparisons under plain names.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from aad_tf.records.columns import AttentionRecords
from analysis import plots
from analysis.attention import agreement, chance_baselines, flips, matched, regression, scatter
from analysis.attention import findings_prose as prose
from analysis.attention import plots as attention_plots
from analysis.attention.caption import TOP_CELLS, facts, method_name, single_splits
from analysis.attention.chance_baselines import DISC, OTHERS, RANDOM, BoxChance
from analysis.attention.matched import LOW_IOU, RULE, MatchedComparison
from analysis.attention.regression import Regression
from analysis.attention.table_9 import ROLES, ROUNDS, Aligned, align
from analysis.attention.tables_1_2 import paper_rates
from analysis.findings import (
    CONFIRMED,
    CONTRADICTED,
    NO_COMPARISON,
    SMALLEST_GROUP,
    UNDECIDED,
    Finding,
)
from analysis.paper_values import TABLE_1, TABLE_3, TABLE_7, TABLE_8, PaperTable
from analysis.records import Network, Results
from analysis.statistics import DASH, Estimate, Groups, compare, mean
from analysis.tables import Table

PAGE = "attention_findings.md"
BOX, CLEAN = "IoU with the box", f"IoU with the clean attention, {TOP_CELLS} cells"
_SOURCE = re.compile(r" \(((?:Table|Sec\.) [\d.]+)\)$")


class StaleSentenceError(ValueError):
    """A hand-written sentence of the page claims what the records do not support."""


@dataclass(frozen=True, eq=False)
class Studied:
    """The records behind the page, with cached results computed from them.

    Attributes:
        found: the network that the findings are about.
        run: its records under the attack StepLL.
        networks: name and records of all networks studied under StepLL.
    """

    found: Network
    run: AttentionRecords
    networks: Sequence[tuple[str, AttentionRecords]]

    @property
    def is_written_about(self) -> bool:
        """Whether the hand-written sentences are about this network."""
        return self.found.name == prose.WRITTEN_ABOUT

    @property
    def explained(self) -> AttentionRecords | None:
        """The network's records with several attention methods, or None."""
        return self.found.load("lime")

    @functools.cached_property
    def a3(self) -> Aligned | None:
        """The network's records under attacks with and without A3's attention term.

        None if they were not made.
        """
        return align(self.found.load_all(ROLES))

    @functools.cached_property
    def chance(self) -> BoxChance:
        """Chance levels of the IoU with the box."""
        return chance_baselines.box_chance(self.run)

    @functools.cached_property
    def matched(self) -> dict[str, MatchedComparison]:
        """Comparisons of IoU between images on which the attack succeeded and failed, by measure.

        Measures are the IoU with the box and the IoU with the clean area; each comparison is over
        all images, and over pairs that are matched in confidence and box size.
        """
        box, clean = self.run.iou_box()[:, 0], self.run.iou_clean()[:, 0]
        columns = {BOX: box, CLEAN: clean}
        return {name: matched.compare_outcomes(self.run, each) for name, each in columns.items()}

    @functools.cached_property
    def low(self) -> MatchedComparison:
        """Comparison of the attack's success on images of low IoU with the box and on others."""
        return matched.compare_low(self.run)

    @functools.cached_property
    def effects(self) -> dict[tuple[str, int], dict[str, Estimate]]:
        """What `regression.success_effects` returns, by network's name and attack iteration."""
        return {
            (name, number): regression.success_effects(run, number)
            for name, run in self.networks
            for number in range(1, run.rounds + 1)
        }

    @functools.cached_property
    def regressions(self) -> dict[str, Regression]:
        """Logistic regressions of the attack's success by measure; empty with too few images."""
        box, clean = self.run.iou_box()[:, 0], self.run.iou_clean()[:, 0]
        low = f"{BOX} below {LOW_IOU} (yes or no)"
        columns = {BOX: box, low: box < LOW_IOU, CLEAN: clean}
        found = {name: regression.regress(self.run, each) for name, each in columns.items()}
        known = {name: one for name, one in found.items() if one is not None}
        return known if len(known) == len(columns) else {}

    def say(
        self,
        measure: str,
        measured: Estimate | Groups,
        says: str,
        direction: int,
        paper: float | None = None,
        *,
        counts: str = "",
        **words: object,
    ) -> Finding:
        """Makes a finding, in a hand-written sentence if that is about this network.

        Args:
            measure: what is measured, a key of `SENTENCES` in `findings_prose`.
            measured: the number, or two groups, of which the difference is judged and the means are
                shown.
            says: the paper's statement, in short.
            direction: the sign that the paper gives the number, 1 or -1.
            paper: the paper's number, or None if it prints none.
            counts: numbers of images behind it, as text, if the estimate's count does not say all.
            **words: values for the placeholders in braces in the sentence.

        Returns:
            The finding.

        Raises:
            StaleSentenceError: the records put the number elsewhere than the sentence does.
        """
        side, sentence = prose.SENTENCES[measure]
        means = ""
        if isinstance(measured, Groups):
            number, first, second = measured.difference, measured.first, measured.second
            if first.value is not None and second.value is not None:
                means, counts = f": {first.value:.3f} against {second.value:.3f}", measured.counts
        else:
            number = measured
        text = measure[0].upper() + measure[1:]
        if self.is_written_about:
            check_sentence(sentence, side, number)
            text = sentence
        text = f"{text.format(**words)}{means}."
        return Finding(text, number, direction, paper, says=says, counts=counts)


def check_sentence(sentence: str, side: str, estimate: Estimate) -> None:
    """Checks that a number is on the side of 0 that a sentence claims.

    Args:
        sentence: the sentence.
        side: the side that it claims: `above` or `below` 0, or `undecided`.
        estimate: the number that it is about.

    Raises:
        StaleSentenceError: the number lies elsewhere; the message holds sentence and number.
    """
    found = Finding("", estimate, 0).side
    if found != side:
        raise StaleSentenceError(
            f"The records no longer support a sentence of {PAGE}: {sentence!r} says {side} (0), "
            f"but {estimate.text(sign=True)} over {estimate.count} images is {found}. Rewrite the "
            f"sentence, and the side it claims, in analysis/attention/findings_prose.py."
        )


def studied(results: Results) -> Studied | None:
    """The records of the network with most files, and of all networks; None if there are none."""
    loaded = [(found, found.load("step_ll")) for found in results.networks]
    runs = [(found, run) for found, run in loaded if run is not None and run.correct.any()]
    if not runs:
        return None
    return Studied(*runs[0], [(found.name, other) for found, other in runs])


def readme(results: Results) -> str:
    """A link to the page, if there is one."""
    if results.once(studied) is None:
        return ""
    return f"Matched comparisons, chance levels and plots: [results/{PAGE}](results/{PAGE})."


def files(results: Results) -> dict[str, str | bytes]:
    """The page and its plots, by path in the results directory.

    Returns:
        Contents by path.

    Raises:
        StaleSentenceError: the records no longer support a sentence.
    """
    subject = results.once(studied)
    if subject is None:
        return {}
    figures = {
        "iou_distributions": ("IoU by success", attention_plots.iou_distributions),
        "success_by_iou": ("Success by IoU, confidence fixed", attention_plots.success_by_iou),
        "iou_rounds": ("IoU over rounds, with chance", attention_plots.iou_rounds),
        "scatter": ("Scatter over rounds", attention_plots.scatter_over_rounds),
    }
    drawn = {stem: (title, draw(subject.run)) for stem, (title, draw) in figures.items()}
    if subject.a3 is not None:
        title = "Accuracy against IoU, with and without A3"
        drawn["a3"] = (title, attention_plots.augmented(subject.a3))
    paths = {stem: f"figures/attention_{stem}_{subject.found.name}.png" for stem in drawn}
    return {
        PAGE: page(subject, {paths[stem]: title for stem, (title, _) in drawn.items()}),
        **{paths[stem]: plots.png(figure) for stem, (_, figure) in drawn.items()},
    }


def page(subject: Studied, drawn: dict[str, str]) -> str:
    """The page as Markdown.

    Args:
        subject: what it is made from.
        drawn: titles of the plots by path in the results directory.
    """
    blocks = _blocks(subject)
    parts = [
        f"# Attention under attack: findings on {subject.found.name}",
        "Made by `python -m analysis.report` from `results/attention`; the paper's tables, with "
        "their verdicts, stand in `results/tables`.",
        " ".join(facts(subject.run, subject.found.network)),
        prose.LIMITS,
        "## What the paper says, and which findings bear on it",
        summary([finding for _, _, block in blocks for finding in block]).markdown(),
    ]
    number = 1
    for title, text, block in blocks:
        parts += [f"## {title}", *([text] if text else []), _numbered(block, number).markdown()]
        number += len(block)
    if subject.a3 is not None:
        parts += ["## Attacks augmented by attention (A3, Table 9)"]
        parts += about_a3(subject.a3, subject.is_written_about)
    parts += ["## Plots"] if drawn else []
    parts += [f"![{title}]({path})" for path, title in drawn.items()]
    parts += ["## The numbers behind"]
    for title, text, table in _behind(subject):
        parts += [f"### {title}", *([text] if text else []), table.markdown()]
    return "\n\n".join(parts) + "\n"


def summary(found: Sequence[Finding]) -> Table:
    """One row for each thing the paper says, with the numbers of the findings by verdict."""
    rows: dict[str, dict[str, list[str]]] = {}
    sources: dict[str, list[str]] = {}
    for number, finding in enumerate(found, 1):
        if finding.direction is not None:
            says = _SOURCE.sub("", finding.says)
            rows.setdefault(says, {}).setdefault(finding.verdict, []).append(str(number))
            sources.setdefault(says, []).extend(_SOURCE.findall(finding.says))
    shown = [CONFIRMED, CONTRADICTED, UNDECIDED]
    shown += [NO_COMPARISON] if any(NO_COMPARISON in row for row in rows.values()) else []
    texts = [
        (
            says,
            ", ".join(dict.fromkeys(sources[says])) or DASH,
            *(", ".join(row.get(verdict, [])) or DASH for verdict in shown),
        )
        for says, row in rows.items()
    ]
    return Table(("the paper says", "in", *shown), texts, left=2)


def _numbered(found: Sequence[Finding], start: int) -> Table:
    rows = [
        (
            str(number),
            finding.statement,
            finding.ours_text(),
            finding.counts or f"{finding.estimate.count:,}",
            finding.says or DASH,
            finding.paper_text(),
            finding.verdict_text(),
        )
        for number, finding in enumerate(found, start)
    ]
    heads = ("", "finding", "ours", "n", "the paper says", "paper", "verdict")
    return Table(heads, rows, left=2)


def _blocks(subject: Studied) -> list[tuple[str, str, list[Finding]]]:
    """Sections of findings: title, introduction, findings."""
    blocks = [
        ("Attention and the object", introduction(subject), of_boxes(subject)),
        ("Attention before and after the attack", before_and_after(subject), of_drift(subject)),
        ("Scatter", "", of_scatter(subject)),
    ]
    run = subject.explained
    if run is not None:
        found = of_methods(subject, run)
        blocks.append(("Other methods of attention", which_images(run), found))
    return blocks


def introduction(subject: Studied) -> str:
    """Sentences on how large boxes are and which IoU they give by chance."""
    run, chance = subject.run, subject.chance
    usable = matched.comparable(run)
    small = usable & (run.box_area < prose.SMALL_BOX)
    whose = {"The boxes": usable, f"The {int(small.sum()):,} {prose.SMALL}": small}
    sentences = []
    for what, mask in whose.items():
        if mask.any():
            columns = (chance.chance[RANDOM], chance.chance[DISC], chance.measured)
            random, disc, ours = (f"{float(np.nanmean(column[mask])):.3f}" for column in columns)
            area = 100 * float(run.box_area[mask].mean())
            sentences.append(
                f"{what} cover {area:.0f} % of a picture on average; as many pixels drawn at "
                f"random reach an IoU of {random} with them, a disc in the centre {disc}, "
                f"attention {ours}."
            )
    if not sentences:
        return ""
    return " ".join([*sentences, "An IoU with the box is to be read against these."])


def of_boxes(subject: Studied) -> list[Finding]:
    """Findings on [AAD Tables 1, 2], also with confidence, box size and chance level held fixed."""
    say, run, chance = subject.say, subject.run, subject.chance
    small = run.box_area < prose.SMALL_BOX
    found = []
    for mask, where in ((run.correct, ""), (run.correct & small, f", {prose.SMALL}")):
        for name in (OTHERS, DISC):
            excess = mean(chance.excess(name)[mask], skip_nan=True)
            found.append(say(prose.OVER.format(name) + where, excess, prose.MATCHES, 1))
    both, low = subject.matched[BOX], subject.low
    in_table_1 = f"{prose.EASY} (Table 1)"
    printed = printed_difference(TABLE_1, "all")
    found.append(say(prose.BOX, both.raw, in_table_1, -1, printed))
    found.append(say(f"{prose.BOX}, {prose.PAIRS}", both.matched, prose.EASY, -1))
    box, is_low, *_ = (*subject.regressions.values(), None, None)
    if box is not None:
        found.append(say(prose.ODDS, box.coefficients["IoU"], prose.EASY, -1, counts=box.counts))
    found.append(say(prose.LOW, low.raw, f"{prose.EASY} (Table 2)", 1, paper_rates()[2] / 100))
    found.append(say(f"{prose.LOW}, {prose.PAIRS}", low.matched, prose.EASY, 1))
    if is_low is not None:
        odds = is_low.coefficients["IoU"]
        found.append(say(prose.LOW_ODDS, odds, prose.EASY, 1, counts=is_low.counts))
    part, where = run.select(small), f"{prose.BOX}, {prose.SMALL}"
    both = matched.compare_outcomes(part, part.iou_box()[:, 0])
    found.append(say(where, both.raw, in_table_1, -1))
    found.append(say(f"{where}, {prose.PAIRS}", both.matched, prose.EASY, -1))
    found.append(say(prose.EXCESS, chance.by_success(run)[f"measured - {OTHERS}"], prose.EASY, -1))
    return found


def before_and_after(subject: Studied) -> str:
    """Sentences on how much more attention moves in successful attacks at equal confidence."""
    found = [effects for effects in subject.effects.values() if effects]
    if not found:
        return ""
    ranges = {}
    for name, key in zip(("raw", "before", "after"), regression.ADJUSTED, strict=True):
        values = [effects[key].value or 0.0 for effects in found]
        low, high = f"{min(values):+.3f}", f"{max(values):+.3f}"
        ranges[name] = low if low == high else f"{low} to {high}"
    text = prose.BEFORE_AND_AFTER.format(**ranges)
    return f"{text}\n\n{prose.POOLED}" if subject.is_written_about else text


def of_drift(subject: Studied) -> list[Finding]:
    """Findings on [AAD Tables 3, 4], also at equal confidence, and on when labels change."""
    say, run, iou = subject.say, subject.run, subject.run.iou_clean(size=TOP_CELLS)
    both = subject.matched[CLEAN]
    raw = compare(iou[run.succeeded(1), 0], iou[run.failed(1), 0], skip_nan=True)
    printed = printed_difference(TABLE_3, str(TOP_CELLS))
    found = [
        say(prose.CLEAN, raw, f"{prose.MOVES} (Table 3)", -1, printed),
        say(f"{prose.CLEAN}, {prose.PAIRS}", both.matched, prose.MOVES, -1),
    ]
    effects = subject.effects.get((subject.found.name, 1))
    if effects:
        *_, adjusted = effects.values()
        counts = both.raw.counts
        found.append(say(f"{prose.CLEAN}, {prose.AFTER}", adjusted, prose.MOVES, -1, counts=counts))
    if run.rounds > 1:
        later = mean((iou[:, -1] - iou[:, 0])[run.correct], skip_nan=True)
        found.append(say(prose.LATER, later, prose.ROUNDS, -1, rounds=run.rounds))
    return [*found, *_first_flips(subject), *_half_misclassified(run)]


def _first_flips(subject: Studied) -> list[Finding]:
    """Whether labels flip where attention has moved; the first later round with enough flips."""
    rows = {row.round_number: row.groups for row in flips.by_round(subject.run)[1:]}
    rows = {k: groups for k, groups in rows.items() if groups.difference.count >= SMALLEST_GROUP}
    if not rows:
        return []
    first, *later = rows
    found = subject.say(prose.FLIPPED, rows[first], prose.FLIPS, -1, first=first)
    if subject.is_written_about and later:
        also = prose.FLIPS_ALSO.format(later=", ".join(map(str, later)))
        for k in later:
            check_sentence(also, prose.SENTENCES[prose.FLIPPED][0], rows[k].difference)
        found = replace(found, statement=f"{found.statement[:-1]}{also}.")
    return [found]


def _half_misclassified(run: AttentionRecords) -> list[Finding]:
    several: dict[str, tuple[int, ...] | None]
    several = {f", over {run.rounds} rounds together": None, ", in round 1": (1,)}
    found = []
    for when, rounds in several.items() if run.rounds > 1 else [("", None)]:
        half = flips.half_misclassified(run, rounds)
        at = "no IoU that was seen" if half.value is None else f"an IoU of {half.value:.3f}"
        sentence = (
            f"Half the labels are wrong at {at} with the clean attention ({TOP_CELLS} cells){when}."
        )
        found.append(Finding(sentence, half, None))
    return found


def of_scatter(subject: Studied) -> list[Finding]:
    """Findings on whether a successful attack scatters attention [AAD Sec. 2.2]."""
    lost = scatter.change(subject.run, "entropy", 1)[subject.run.succeeded(1)]
    change = mean(lost, skip_nan=True)
    found = [subject.say(prose.ENTROPY, change, f"{prose.SCATTERS} (Sec. 2.2)", 1)]
    for measure in scatter.MEASURES:
        shrinks = measure == "positive share"
        groups, _ = scatter.by_success(subject.run, measure, 1)
        says, direction = (prose.SHRINKS, -1) if shrinks else (prose.SCATTERS, 1)
        found.append(subject.say(prose.CHANGE.format(measure), groups, says, direction))
    return found


def of_methods(subject: Studied, run: AttentionRecords) -> list[Finding]:
    """Findings on [AAD Tables 1, 3] by each attention method; by LIME they are Tables 7, 8."""
    found = []
    for one in agreement.conclusions(run):
        lime, box = one.method == "lime", one.measure == "box"
        name = method_name(one.method) + (f", {one.size} superpixels" if lime else "")
        table = (TABLE_7 if lime else TABLE_1) if box else (TABLE_8 if lime else TABLE_3)
        printed = printed_difference(table, "all" if box and not lime else one.size)
        says = f"{prose.EASY if box else prose.MOVES} ({table.source.removeprefix('AAD ')})"
        measure = f"{{method}}: {prose.BOX if box else prose.CLEAN}"
        found.append(subject.say(measure, one.groups, says, -1, printed, method=name))
    return found


def which_images(run: AttentionRecords) -> str:
    """A sentence on the images that attention methods were compared on."""
    parts = []
    for name, mask in single_splits(run):
        index, count = run.index[mask], int(mask.sum())
        first = "first " if (np.sort(index) == np.arange(count)).all() else ""
        parts.append(f"the {first}{count:,} images of {name}")
    rounds = "1 round" if run.rounds == 1 else f"{run.rounds} rounds"
    return (
        f"From a run of its own on {', '.join(parts)} and {rounds} of the attack; every method "
        f"explains the same images, so these rows compare with each other, not with those above."
    )


def printed_difference(table: PaperTable, row: str) -> float | None:
    """The paper's IoU of succeeded minus that of failed attacks.

    Args:
        table: a table of the paper.
        row: name of its row.

    Returns:
        The difference, or None if there is no such row.
    """
    if row not in table.rows:
        return None
    return table.value(row, "succeeded IoU") - table.value(row, "failed IoU")


def about_a3(found: Aligned, is_written_about: bool) -> list[str]:
    """Sentences on how A3's attention term changes each attack, with numbers of [AAD Table 9].

    Args:
        found: the attacks with and without A3.
        is_written_about: True adds the sentences written about this network.

    Returns:
        An introduction, a list with one item per attack, and the sentences.

    Raises:
        StaleSentenceError: the records no longer support a sentence.
    """
    names = " and ".join(name for name, _ in single_splits(found.first))
    start = (
        f"On the {len(found.first):,} images of {names} that every attack was run on, after "
        f"{ROUNDS} rounds, against the same attack without A3:"
    )
    lines, sentences = [], []
    gaps: dict[tuple[int, str], tuple[Estimate, Estimate]] = {}
    for name, (plain, *others) in found.variants.items():
        parts = []
        for number, variant in enumerate(others, start=1):
            if variant is not None:
                points, moved = gaps[number, name] = variant.against(plain)
                parts.append(
                    f"σ {variant.sigma:g}: accuracy {points.percent(sign=True)} points, IoU with "
                    f"the clean attention {moved.text(sign=True)}"
                )
        title = f"{name.replace(', ', ' (')})" if ", " in name else name
        lines.append(f"- {title}, {'; '.join(parts)}.")
    if is_written_about:
        for number, (sentence, moves, strength) in prose.A3_SENTENCES.items():
            if any((number, name) not in gaps for name in strength):
                continue
            for name, side in strength.items():
                points, moved = gaps[number, name]
                check_sentence(sentence, moves, moved)
                check_sentence(sentence, side, points)
            sentences.append(sentence)
    return [start, "\n".join(lines), *([" ".join(sentences)] if sentences else [])]


def _behind(subject: Studied) -> Iterator[tuple[str, str, Table]]:
    """The tables behind the findings: title, text (may be empty) and table of each."""
    run, explained = subject.run, subject.explained
    by_chance = chance_baselines.boxes_table(run, subject.chance)
    yield "IoU with the box by chance", prose.BY_CHANCE, by_chance
    drift = chance_baselines.drift_table(run)
    yield "IoU of clean and adversarial attention by chance", "", drift
    rule, balance = f"Rule: {RULE}. {prose.GAPS}", matched.balance_table(subject.matched)
    yield "Matched on confidence and box area", rule, balance
    low = f"Images of IoU < {LOW_IOU} with the box beside the others (Table 2), matched"
    yield low, "By the same rule.", matched.low_table(subject.low)
    if subject.regressions:
        coefficients = regression.coefficients_table(subject.regressions)
        yield "Logistic regression of success", prose.REGRESSION, coefficients
    effects = regression.effects_table(subject.networks, subject.effects)
    yield "Success of the attack and attention, with confidence fixed", prose.EFFECTS, effects
    yield "IoU with the box within quintiles of confidence", "", matched.strata_table(run)
    by_area = matched.strata_table(run, "box area")
    yield "IoU with the box within quintiles of box area", prose.BOX_AREA, by_area
    yield "First flips, round by round", prose.FIRST_FLIPS, flips.flips_table(run)
    by_iou = flips.misclassified_table(run)
    yield "Wrong labels by IoU with the clean attention", prose.WRONG, by_iou
    yield "Scatter, round by round", "", scatter.scatter_table(run)
    if explained is not None:
        text = f"Over {int(explained.correct.sum()):,} images classified right."
        yield "Agreement of methods", text, agreement.agreement_table(explained)
    if len(subject.networks) > 1:
        yield "Other networks, same attack", "", matched.networks_table(subject.networks)
