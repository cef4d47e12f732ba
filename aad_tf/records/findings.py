"""Findings of diagnostics as evaluations record them, and the check that needs accuracies alone.

`aad_tf.evaluation.diagnostics` says what each check measures. Whether an attack still gains by more
iterations or restarts can be told from a summary, so that it can be judged anew for evaluations of
earlier versions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aad_tf.utils.norms import budget_of, norm_of

# What any part of an evaluation has first counts for the whole.
STATUSES = FLAGGED, NOT_FLAGGED, NOT_COMPARED = (
    "flagged",
    "not flagged",
    "nothing comparable was run",
)
POINTS = 0.002
"""The threshold of checks that compare accuracies in [0, 1]."""

COUNTED = {"more_iterations": "num_steps", "more_restarts": "restarts"}
"""Checks of attacks that differ in one number alone, and that number's name in `parameters`."""


def make_finding(
    name: str,
    flagged: bool | None,
    measured: str,
    run_next: str,
    value: float | None = None,
    threshold: float | None = None,
) -> dict[str, Any]:
    """Makes the finding of a check.

    Args:
        name: name of the check.
        flagged: whether it flagged the evaluation; None if nothing comparable was run.
        measured: what was measured, in words.
        run_next: what to run next.
        value: what was measured, as a number.
        threshold: the number it is compared with.

    Returns:
        A dict of these, with `status` (one of `STATUSES`) in the place of `flagged`.

    Example:
        >>> make_finding("more_restarts", None, "nothing", "restarts")["status"]
        'nothing comparable was run'
    """
    status = {None: NOT_COMPARED, True: FLAGGED, False: NOT_FLAGGED}[flagged]
    return {
        "name": name,
        "status": status,
        "value": None if value is None else float(value),
        "threshold": threshold,
        "measured": measured,
        "run_next": run_next,
    }


def still_gaining(
    name: str, models: Sequence[Mapping[str, Any]], accuracies: Mapping[str, float]
) -> dict[str, Any]:
    """Checks whether the strongest attack still gains by more iterations or restarts.

    The accuracy to report is that of the strongest attack; what a weaker one gains says nothing of
    it.

    Args:
        name: `more_iterations` or `more_restarts`.
        models: for each attack that was run a dict of its name `attack`, its `parameters`,
            `epsilon` and `access`.
        accuracies: accuracy in [0, 1] under each attack, by its name.

    Returns:
        The finding, see `make_finding`.

    Example:
        >>> few, many = (
        ...     {"attack": f"pgd{n}", "parameters": {"num_steps": n}, "epsilon": 0.1}
        ...     for n in (10, 20)
        ... )
        >>> finding = still_gaining("more_iterations", [few, many], {"pgd10": 0.5, "pgd20": 0.4})
        >>> finding["status"], round(finding["value"], 2)
        ('flagged', 0.1)
    """
    what = name.split("_")[1]
    run_next = f"the strongest attack here with twice the {what}, until it gains nothing"
    plain = [model for model in models if "num_steps" in model.get("parameters", {})]
    gains = []
    for group in alike(plain, COUNTED[name]):
        *_, (fewer, weaker), (more, stronger) = group
        if is_outdone(stronger, models, accuracies):
            continue
        gain = accuracies[weaker["attack"]] - accuracies[stronger["attack"]]
        names = f"{more} {what} ({stronger['attack']}) against {fewer} ({weaker['attack']})"
        gains.append((gain, f"{names} lower the robust accuracy by {100 * gain:.2f} points"))
    if not gains:
        measured = f"no two attacks of which one is the strongest here differ in {what} alone"
        return make_finding(name, None, measured, run_next)
    gain, measured = max(gains)
    return make_finding(name, gain > POINTS, measured, run_next, gain, POINTS)


def is_outdone(
    model: Mapping[str, Any],
    models: Sequence[Mapping[str, Any]],
    accuracies: Mapping[str, float],
) -> bool:
    """Whether another attack within the budget of this one, in its norm, leaves less accuracy.

    Args:
        model: one of `models`.
        models: for each attack that was run a dict of its name `attack`, its `epsilon` and its
            `norm`.
        accuracies: accuracy in [0, 1] under each attack, by its name.

    Returns:
        True if there is such an attack.

    Example:
        >>> weak, strong = ({"attack": name, "epsilon": 0.1} for name in ("fgsm", "pgd"))
        >>> is_outdone(weak, [weak, strong], {"fgsm": 0.6, "pgd": 0.4})
        True
    """
    within = [each for each in models if is_within(each, norm_of(model), budget_of(model))]
    return any(accuracies[each["attack"]] < accuracies[model["attack"]] for each in within)


def is_within(model: Mapping[str, Any], norm: str, epsilon: float) -> bool:
    """Whether an attack has a budget in the given norm that is no larger than another one.

    Args:
        model: a dict of the attack's `epsilon` and `norm`, which is `"linf"` where it is missing.
        norm: norm of the other budget; attacks in other norms are never within it.
        epsilon: the other budget.

    Returns:
        True if it has; budgets that differ by rounding are equal.

    Example:
        >>> attack = {"epsilon": 0.5, "norm": "l2"}
        >>> is_within(attack, "l2", 1.0), is_within(attack, "linf", 1.0)
        (True, False)
    """
    return norm_of(model) == norm and budget_of(model) <= epsilon * (1 + 1e-9)


def alike(
    models: Sequence[Mapping[str, Any]], parameter: str
) -> Iterator[list[tuple[float, Mapping[str, Any]]]]:
    """Finds attacks that differ in one parameter alone.

    Attacks that differ in `num_steps` or `epsilon` may also differ in the step size, which is
    chosen by these, and in `num_steps` of FAB its steps per target; those that differ in `restarts`
    may not.

    Args:
        models: for each attack a dict of its `parameters`, `epsilon` and `access`.
        parameter: a key of `parameters`, or `epsilon`.

    Yields:
        Two or more attacks, each with its value of the parameter, from the smallest value on.

    Example:
        >>> models = [{"parameters": {"num_steps": n}, "epsilon": 0.1} for n in (20, 10)]
        >>> [[value for value, _ in group] for group in alike(models, "num_steps")]
        [[10, 20]]
    """
    groups: dict[str, dict[float, Mapping[str, Any]]] = {}
    for model in models:
        same = {**model["parameters"], "access": model.get("access"), "budget": model["epsilon"]}
        # FAB has no restarts.
        if parameter not in same:
            continue
        value = budget_of(model) if parameter == "epsilon" else same[parameter]
        differing = {parameter, "step_size"} if parameter != "restarts" else {parameter}
        differing |= {"steps_per_target"} if parameter == "num_steps" else set()
        differing |= {"budget"} if parameter == "epsilon" else set()
        key = repr(sorted((k, repr(v)) for k, v in same.items() if k not in differing))
        groups.setdefault(key, {}).setdefault(value, model)
    for group in groups.values():
        if len(group) > 1:
            yield sorted(group.items())
