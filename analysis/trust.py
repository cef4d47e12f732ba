"""Whether accuracies under attack can be trusted: warnings and diagnostics of evaluations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from aad_tf.attacks import attack_from_record
from aad_tf.attacks.strength import comparisons
from aad_tf.records.findings import (
    COUNTED,
    FLAGGED,
    NOT_COMPARED,
    NOT_FLAGGED,
    STATUSES,
    still_gaining,
)
from aad_tf.types import Bounds
from analysis.statistics import DASH, fraction
from analysis.tables import Table

HEADING = "## Can these accuracies be trusted?"
READING = (
    "An accuracy under attack is an upper bound, no better than the attacks behind it. These are "
    "the warnings and diagnostics that the evaluations recorded."
)
COMPUTED = (
    "`git show COMMIT:aad_tf/evaluation/diagnostics.py` says what each of them measured there; "
    "what was flagged for gains by more iterations or restarts is judged by the rule of this "
    "version"
)
NOTHING_COMPARABLE = (
    "Signs of masked gradients: nothing comparable was run, no attack that ought to be at least as "
    "strong as another of those run"
)


class Evaluation(NamedTuple):
    """The summary of one evaluation of one network.

    Attributes:
        name: name of the network on the page.
        summary: what `eval.robustness` wrote.
        seed: seed of the training, which the page shows; None if the name alone is enough.
    """

    name: str
    summary: Mapping[str, Any]
    seed: int | None = None


class _Found(NamedTuple):
    """The result of one check in one evaluation."""

    evaluation: Evaluation
    finding: Mapping[str, Any]


def lines(evaluations: Sequence[Evaluation]) -> list[str]:
    """Lists warnings and diagnostics of evaluations; what several have in common is said once.

    Args:
        evaluations: the evaluations behind the numbers of a page.

    Returns:
        Lines of a Markdown list: the warnings; what was flagged, as measured where it lies farthest
        beyond its threshold, with what to run next; checks for which nothing comparable was run;
        evaluations without diagnostics; checks that flagged nothing; and the commits whose code
        computed the diagnostics. Empty without evaluations.

    Example:
        >>> lines([Evaluation("clean model", {"attacks": [], "warnings": ["looks masked."]})])[0]
        '- clean model: looks masked.'
    """
    if not evaluations:
        return []
    checks = _checks(evaluations)
    without = [one for one in evaluations if not _findings(one.summary)]
    parts = [*_warnings(evaluations), *_flagged(checks, evaluations)]
    parts += _not_compared(checks, evaluations)
    if without:
        who = _who(without, evaluations)
        parts.append(f"Diagnostics were not computed ({who}): no check of the attacks there.")
    if clear := _names(checks, NOT_FLAGGED):
        parts.append(f"Not flagged anywhere, which proves nothing: {clear}.")
    if checks:
        parts.append(f"Diagnostics were computed at {_commits(evaluations)}. {COMPUTED}.")
    return [f"- {part}" for part in parts]


def short_lines(evaluations: Sequence[Evaluation]) -> list[str]:
    """Lists warnings of evaluations, and in one line what their diagnostics flagged.

    Args:
        evaluations: the evaluations behind some numbers.

    Returns:
        Lines of a Markdown list; empty without evaluations. `lines` has what was measured.

    Example:
        >>> short_lines([Evaluation("clean model", {"attacks": [], "warnings": []})])[-1]
        '- Diagnostics were computed in none of 1.'
    """
    if not evaluations:
        return []
    checked = sum(bool(_findings(one.summary)) for one in evaluations)
    flagged = {
        name: sum(one.finding["status"] == FLAGGED for one in found)
        for name, found in _checks(evaluations).items()
    }
    counts = ", ".join(f"`{name}` in {count}" for name, count in flagged.items() if count)
    part = f"Diagnostics were computed in {checked or 'none'} of {len(evaluations)}"
    if checked:
        part += f" evaluations; flagged: {counts or 'nothing, which proves nothing'}"
    return [f"- {text}" for text in (*_warnings(evaluations), f"{part}.")]


def _checks(evaluations: Sequence[Evaluation]) -> dict[str, list[_Found]]:
    """What each check found, evaluation by evaluation."""
    checks: dict[str, list[_Found]] = {}
    for one in evaluations:
        for finding in _findings(one.summary):
            checks.setdefault(finding["name"], []).append(_Found(one, finding))
    return checks


def section(evaluations: Sequence[Evaluation]) -> list[str]:
    """The part of a page that says whether its accuracies can be trusted.

    Args:
        evaluations: the evaluations behind the numbers of the page.

    Returns:
        Paragraphs in Markdown: a heading, how to read it, and `lines`.
    """
    return [HEADING, READING, "\n".join(lines(evaluations)) or "Nothing has been run."]


def stages(evaluations: Sequence[Evaluation]) -> Table | None:
    """Makes the table of what each attack of a cascade broke.

    Args:
        evaluations: the evaluations of a page.

    Returns:
        A row for each attack of each cascade, or None without a cascade.
    """
    rows = []
    for one in evaluations:
        for entry in one.summary["attacks"]:
            for stage in entry.get("stages", ()):
                seed = DASH if one.seed is None else str(one.seed)
                left = f"{100 * stage['robust_accuracy']:.1f}"
                broken, count = f"{stage['broken']:,}", f"{entry['count']:,}"
                rows.append((one.name, seed, entry["attack"], stage["attack"], count, broken, left))
    heads = ("evaluation", "seed", "cascade", "attack", "n", "broken by it", "accuracy left")
    return Table(heads, rows, left=4) if rows else None


def worst_cases(evaluations: Sequence[Evaluation]) -> Table | None:
    """Makes the table of what survives all attacks within a budget, adaptive ones included.

    Args:
        evaluations: the evaluations of a page.

    Returns:
        A row for each evaluation and budget of adaptive attacks: an image counts as correctly
        classified only if it is under each of the attacks. *Adaptive alone* is the most images that
        one adaptive attack breaks and its plain twin does not. None if no adaptive attack was run.
    """
    rows = []
    for one in evaluations:
        adaptive = one.summary.get("adaptive", {})
        for worst in adaptive.get("worst", ()):
            pairs = [p for p in adaptive["attacks"] if p["epsilon"] == worst["epsilon"]]
            alone = max((pair["broken_by_it_alone"] for pair in pairs), default=0)
            rows.append(
                (
                    one.name,
                    DASH if one.seed is None else str(one.seed),
                    f"{worst['epsilon']:.4g}",
                    str(len(worst["attacks"])),
                    fraction(worst["robust"], worst["count"]).percent(),
                    f"{alone:,}",
                )
            )
    heads = ("evaluation", "seed", "ε", "attacks", "accuracy under all", "adaptive alone")
    return Table(heads, rows, left=2) if rows else None


def _findings(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The findings of an evaluation, one per check.

    Of several parts the first by `STATUSES` counts; of two that are flagged, that which lies
    farthest beyond its threshold.
    """
    diagnostics = summary.get("diagnostics")
    if not diagnostics:
        return []
    parts = [part["findings"] for part in diagnostics["first_batch"]]
    found: dict[str, Mapping[str, Any]] = {}
    for finding in (one for part in (*parts, diagnostics["outcomes"]) for one in part):
        former = found.setdefault(finding["name"], finding)
        found[finding["name"]] = min(former, finding, key=_rank)
    return [_by_this_rule(finding, summary["attacks"]) for finding in found.values()]


def _rank(finding: Mapping[str, Any]) -> tuple[int, float]:
    """Sorts findings of one check, that which counts for the whole evaluation first."""
    status = finding["status"]
    return STATUSES.index(status), -_excess(finding) if status == FLAGGED else 0.0


def _by_this_rule(
    finding: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any]:
    """Judges anew what earlier versions flagged of attacks that others outdo within their budget.

    Args:
        finding: a finding as recorded.
        entries: the attacks of the evaluation, as recorded.

    Returns:
        The finding by the rule of this version; as recorded, where it was not flagged or needs more
        than accuracies.
    """
    if finding["name"] not in COUNTED or finding["status"] != FLAGGED:
        return finding
    models = [{**entry["threat_model"], "attack": entry["attack"]} for entry in entries]
    accuracies = {entry["attack"]: entry["robust_accuracy"] for entry in entries}
    return still_gaining(finding["name"], models, accuracies)


def _commits(evaluations: Sequence[Evaluation]) -> str:
    """The commits at which evaluations with diagnostics ran; of several commits, which at which."""
    by_commit: dict[str, list[Evaluation]] = {}
    for one in evaluations:
        if one.summary.get("diagnostics"):
            provenance = one.summary.get("provenance", {})
            commit = provenance.get("git_commit")
            text = f"commit {commit[:7]}" if commit else "a commit that is not recorded"
            if commit and provenance.get("git_dirty"):
                text += " with uncommitted changes"
            by_commit.setdefault(text, []).append(one)
    if len(by_commit) == 1:
        return next(iter(by_commit))
    return ", ".join(f"{commit} ({_join(some)})" for commit, some in by_commit.items())


def _warnings(evaluations: Sequence[Evaluation]) -> list[str]:
    """Warnings, with those whose attacks could not be compared with each other last."""
    by_text: dict[str, list[Evaluation]] = {}
    for one in evaluations:
        for warning in one.summary.get("warnings", ()):
            by_text.setdefault(warning, []).append(one)
    found = [f"{_join(alike)}: {text}" for text, alike in by_text.items()] or ["No warnings."]
    alone = [one for one in evaluations if not _has_comparisons(one.summary)]
    return found + ([f"{NOTHING_COMPARABLE} ({_join(alone)})."] if alone else [])


def _has_comparisons(summary: Mapping[str, Any]) -> bool:
    """Whether one of the attacks must be at least as strong as another, so that both can tell.

    An evaluation by a cascade alone is not asked for any: its last attacks tell of its first.
    """
    models = [entry["threat_model"] for entry in summary["attacks"]]
    models = [one for one in models if one.get("access", "white_box") == "white_box"]
    if models and all("stages" in model for model in models):
        return True
    attacks: Any = [attack_from_record(model) for model in models]
    bounds = next((Bounds(*model["bounds"]) for model in models if "bounds" in model), Bounds())
    return bool(comparisons(attacks, bounds))


def _flagged(
    checks: Mapping[str, Sequence[_Found]], evaluations: Sequence[Evaluation]
) -> Iterable[str]:
    for name, found in checks.items():
        flagged = [one for one in found if one.finding["status"] == FLAGGED]
        if not flagged:
            continue
        worst = max(flagged, key=lambda one: _excess(one.finding))
        finding = worst.finding
        where = f", most in {_join([worst.evaluation])}" if len(flagged) > 1 else ""
        yield (
            f"Flagged, `{name}` ({_who([one.evaluation for one in flagged], evaluations)}): "
            f"{finding['measured']} ({finding['value']:.3g}, threshold {finding['threshold']:.3g}"
            f"{where}). Run next: {finding['run_next']}."
        )


def _excess(finding: Mapping[str, Any]) -> float:
    """How far a flagged measure lies beyond its threshold, above or below."""
    return float(abs(finding["value"] - finding["threshold"]))


def _not_compared(
    checks: Mapping[str, Sequence[_Found]], evaluations: Sequence[Evaluation]
) -> Iterable[str]:
    """One text for each set of evaluations that lack something to compare for the same checks."""
    by_evaluations: dict[str, list[str]] = {}
    for name, found in checks.items():
        by_reason: dict[str, list[Evaluation]] = {}
        for one in found:
            if one.finding["status"] == NOT_COMPARED:
                by_reason.setdefault(one.finding["measured"], []).append(one.evaluation)
        for reason, alike in by_reason.items():
            by_evaluations.setdefault(_who(alike, evaluations), []).append(f"`{name}`: {reason}")
    for who, reasons in by_evaluations.items():
        yield f"Nothing comparable was run ({who}): {'; '.join(reasons)}."


def _names(checks: Mapping[str, Sequence[_Found]], status: str) -> str:
    """Checks that have this status in some evaluations, and were not flagged in any."""
    statuses = {name: {one.finding["status"] for one in found} for name, found in checks.items()}
    names = [name for name, each in statuses.items() if status in each and FLAGGED not in each]
    return ", ".join(f"`{name}`" for name in names)


def _who(some: Sequence[Evaluation], evaluations: Sequence[Evaluation]) -> str:
    """Names some of the evaluations, or says that they are all."""
    if len(some) == len(evaluations) > 1:
        return "both evaluations" if len(some) == 2 else f"all {len(some)} evaluations"
    return _join(some)


def _join(evaluations: Sequence[Evaluation]) -> str:
    """Names of networks, each with its seeds behind it."""
    seeds: dict[str, list[str]] = {}
    for one in evaluations:
        seeds.setdefault(one.name, []).extend([] if one.seed is None else [str(one.seed)])
    return "; ".join(
        f"{name}, seed{'s' * (len(each) > 1)} {', '.join(each)}" if each else name
        for name, each in seeds.items()
    )
