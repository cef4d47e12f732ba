"""A worker that is killed, stopped or fails is named by all others, alike and in time."""

from __future__ import annotations

import signal
import time

import pytest

from tests.cluster.processes import Team, Worker, tell_nothing, wait_until

pytestmark = [pytest.mark.distributed, pytest.mark.timeout(60)]


def messages(workers: list[Worker], seconds: float) -> list[str]:
    """What these workers report, each within some seconds."""
    deadline = time.monotonic() + seconds
    return [w.expect("lost", max(0.1, deadline - time.monotonic()))["message"] for w in workers]


def test_a_killed_worker_is_named_by_all(team: Team) -> None:
    chief, member, victim = team.joined(3, exit_when_lost=True)
    victim.process.kill()
    told = messages([chief, member], seconds=3)
    assert told[0] == told[1]
    assert told[0].startswith("worker 2 (127.0.0.1:")
    assert told[0].endswith(
        "was lost: its connection closed, so its process has ended or was killed."
    )
    assert [chief.process.wait(5), member.process.wait(5)] == [75, 75]


def test_a_killed_chief_is_named_by_all(team: Team) -> None:
    chief, *members = team.joined(3)
    chief.process.kill()
    for message in messages(members, seconds=3):
        assert message.startswith("worker 0 (127.0.0.1:")


def test_a_stopped_worker_is_named_after_the_time_given(team: Team) -> None:
    chief, member, victim = team.joined(3, lost_after=1.5)
    start = time.monotonic()
    victim.signal(signal.SIGSTOP)
    told = messages([chief, member], seconds=6)
    assert time.monotonic() - start > 1.2
    assert told[0] == told[1]
    assert told[0].startswith("worker 2 (127.0.0.1:")
    assert "was lost: nothing was heard of it for 1.5 seconds" in told[0]
    victim.signal(signal.SIGCONT)
    assert messages([victim], seconds=5) == told[:1]


def test_a_stopped_chief_is_named_after_the_time_given(team: Team) -> None:
    chief, *members = team.joined(3, lost_after=1)
    chief.signal(signal.SIGSTOP)
    for message in messages(members, seconds=6):
        assert message.startswith("worker 0 (127.0.0.1:")
        assert "nothing was heard of it for 1 seconds" in message


def test_a_run_that_is_suspended_as_a_whole_loses_nobody(team: Team) -> None:
    workers = team.joined(2, lost_after=0.7)
    for worker in workers:
        worker.signal(signal.SIGSTOP)
    time.sleep(1)
    for worker in workers:
        worker.signal(signal.SIGCONT)
    assert tell_nothing(workers, 0.5)
    workers[1].process.kill()
    assert "worker 1" in workers[0].expect("lost")["message"]


@pytest.mark.parametrize("index", [0, 1])
def test_a_worker_that_fails_is_quoted(team: Team, index: int) -> None:
    workers = team.joined(3)
    failing = workers.pop(index)
    # It ends the moment fail() returns, so what it said must have arrived.
    failing.command("fail NaN in the loss at step 7\nexit 1")
    told = messages(workers, seconds=5)
    assert told[0] == told[1]
    assert told[0].startswith(f"worker {index} (127.0.0.1:")
    assert told[0].endswith("failed: NaN in the loss at step 7")
    assert failing.process.wait(5) == 1
    assert [event for event in failing.output if '"lost"' in event and "message" in event] == []


def test_only_the_first_loss_is_reported(team: Team) -> None:
    chief, member, failing = team.joined(3)
    failing.do("fail the first")
    told = messages([chief, member], seconds=5)
    chief.do("fail the second, which follows from it")
    member.process.kill()
    assert told[0].endswith("failed: the first")
    assert chief.do("close")["lost"] == told[0]
    assert tell_nothing([chief], 0.2)


def test_words_of_any_length_and_kind_arrive(team: Team) -> None:
    chief, member = team.joined(2)
    member.do("fail \u00e9\U0001f600" + "x" * 90_000)
    message = chief.expect("lost")["message"]
    assert "failed: \u00e9\U0001f600xxx" in message
    assert 8000 < len(message) < 8200


def test_waiting_for_the_cause_ends_when_it_is_known(team: Team) -> None:
    chief, member = team.joined(2)
    chief.command("wait 0.05")
    assert chief.expect("waited")["lost"] is None
    chief.expect("done")
    chief.command("wait 15")
    member.process.kill()
    events = [chief.expect_any(("lost", "waited", "done"), 5) for _ in range(3)]
    assert {event["event"] for event in events} == {"lost", "waited", "done"}
    assert len({event.get("message") or event["lost"] for event in events}) == 1


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_leaving_in_order_is_no_loss(team: Team, order: tuple[int, ...]) -> None:
    workers = team.joined(3)
    for index in order:
        assert workers[index].do("leave")["lost"] is None
        workers[index].command("exit 0")
        assert workers[index].process.wait(5) == 0
    for worker in workers:
        assert not any('"message"' in line for line in worker.output), worker.output


def test_those_who_train_on_still_hear_of_losses_through_a_chief_that_left(team: Team) -> None:
    chief, member, victim = team.joined(3)
    chief.do("leave")
    victim.process.kill()
    assert messages([member], seconds=5)[0].startswith("worker 2 ")
    assert tell_nothing([chief], 0.2)


def test_closing_without_a_word_is_a_loss_and_closing_again_is_harmless(team: Team) -> None:
    chief, member = team.joined(2)
    for command in ("close", "close", "leave", "fail too late", "wait 5"):
        member.command(command)
    assert messages([chief], seconds=5)[0].startswith("worker 1 ")
    member.command("exit 0")
    wait_until(lambda: member.process.poll() == 0, 5)
    assert not any('"lost": "' in line for line in member.output)
