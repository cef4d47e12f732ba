"""What happens after a group of processes has ended: another try, or an exit code."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence

from train.launch.output import Printer
from train.launch.processes import Outcome, Program, run_together
from train.launch.stopping import StopRequests

MISTAKE = 2
"""A worker ends with this after a mistake of the user's: another try would end alike."""
_ASKED_TO_END = (
    128 + signal.SIGINT,
    128 + signal.SIGTERM,
    -signal.SIGINT,
    -signal.SIGTERM,
)


def run_again(
    make_programs: Callable[[], Sequence[Program]],
    restarts: int = 0,
    grace_seconds: float = 10.0,
) -> int:
    """Runs programs side by side; after a failure all of them again, up to `restarts` times.

    There is no other try after a mistake of the user's (code 2), after a process that somebody
    asked to end (130, 143 or the signals themselves), or after a request to stop.

    Args:
        make_programs: gives what to run; called for each try.
        restarts: how many more tries there may be.
        grace_seconds: time to save and end after SIGTERM.

    Returns:
        0 if all ended with 0; 2 if one ended with 2; 128 plus the number of the signal that asked
        to stop (130 after Ctrl-C, 143 after SIGTERM, 141 if nobody reads the output any more);
        else 1.

    Raises:
        OSError: a process cannot be started.
    """
    with StopRequests() as stops:

        def stop_unread(error: OSError) -> None:
            stops.request(signal.SIGPIPE)
            printer.line(f"[launcher] the output cannot be written: {error.strerror}".encode())

        printer = Printer(on_failure=stop_unread)
        for restart in range(1, restarts + 2):
            outcome = run_together(make_programs(), stops, printer, grace_seconds)
            if restart > restarts or not worth_another_try(outcome) or stops.first is not None:
                break
            text = f"[launcher] starting all again (restart {restart} of {restarts})"
            printer.line(text.encode())
        return exit_code(outcome, stops.first)


def worth_another_try(outcome: Outcome) -> bool:
    """Whether a process failed, and neither by a mistake of the user's nor on request."""
    if outcome.failed is None or outcome.stopped_by is not None or MISTAKE in outcome.codes:
        return False
    return outcome.codes[outcome.failed] not in _ASKED_TO_END


def exit_code(outcome: Outcome, stopped_by: int | None) -> int:
    """The launcher's own exit code, as `run_again` describes it."""
    if all(code == 0 for code in outcome.codes):
        return 0
    if stopped_by is not None:
        return 128 + stopped_by
    return MISTAKE if MISTAKE in outcome.codes else 1
