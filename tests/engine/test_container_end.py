"""What a container's end means, as tables: no engine is asked."""

from dataclasses import replace

import pytest

from job_fetcher.engine.container_end import End, Watch, end_by_events, ended_by_engine, judge, removed
from job_fetcher.engine.container_events import ContainerEvent

STARTED, ENDED, RESTARTED = 1000.0, 2000.0, 2010.0


def _end(exit_code: int = 143, ended: float = ENDED, *, oom: bool = False) -> End:
    return End(exit_code, STARTED, ended, killed_for_memory=oom)


def _seen(engine_started: float | None = RESTARTED, lost_at: float | None = None) -> Watch:
    return Watch(engine_started, was_running=True, lost_at=lost_at)


WATCHED = Watch(engine_started=STARTED - 1, was_running=True, lost_at=None)


def _found(engine_started: float | None = RESTARTED) -> Watch:
    return Watch(engine_started, was_running=False, lost_at=None)


@pytest.mark.parametrize(
    ("end", "watch"),
    [
        (_end(), _seen(lost_at=ENDED)),
        (_end(0), _seen(lost_at=ENDED)),
        (_end(0), _seen(lost_at=ENDED + 59)),
        (_end(0), _seen(lost_at=ENDED - 29)),
        (_end(0, ended=RESTARTED + 5), _seen(lost_at=ENDED)),
        (_end(3), _seen()),
        (_end(137), _found()),
        (_end(143), _found()),
        (_end(255), _found()),
        (_end(137, ended=RESTARTED + 29), _found()),
    ],
    ids=[
        "its exit code is a signal's", "its exit code is 0", "the engine answered a while", "it took its time to end",
        "the next engine ended it", "the engine was restarted between two looks",
        "found, killed", "found, terminated", "found after a power cut", "found, ended by the next engine",
    ],
)  # fmt: skip
def test_container_was_ended_by_its_engine(end: End, watch: Watch) -> None:
    assert ended_by_engine(end, watch)


@pytest.mark.parametrize(
    ("end", "watch"),
    [
        (_end(137, oom=True), _seen(lost_at=ENDED)),
        (_end(137), _seen(engine_started=None, lost_at=ENDED)),
        (_end(137), _seen(engine_started=STARTED - 1)),
        (_end(137), _seen(engine_started=STARTED - 1, lost_at=ENDED)),
        (_end(0, ended=RESTARTED + 100), _seen()),
        (_end(0, ended=RESTARTED + 100), _seen(lost_at=ENDED)),
        (_end(0), _found()),
        (_end(3), _found()),
        (_end(137, ended=RESTARTED + 31), _found()),
    ],
    ids=[
        "it was killed for memory", "the engine's start is not known", "the engine is older", "the engine hung only",
        "it ended long after the engine's start", "it lived on when the engine went", "found, ended well",
        "found, ended with an error", "found, killed long after the engine's start",
    ],
)  # fmt: skip
def test_command_ended_by_itself(end: End, watch: Watch) -> None:
    assert not ended_by_engine(end, watch)


def _event(action: str, before_end_s: float = 0.05, **more: int | None) -> ContainerEvent:
    return ContainerEvent(action, ENDED - before_end_s, **more)


TERM, KILL, STOP, OOM = _event("kill", signal=15), _event("kill", signal=9), _event("stop", -0.02), _event("oom")


@pytest.mark.parametrize(
    ("exit_code", "events"),
    [
        (137, [KILL]),
        (137, [TERM, KILL, STOP]),
        (143, [TERM]),
        (0, [TERM, STOP]),
        (0, [TERM]),
        (1, [_event("kill", 29, signal=2)]),
        (129, [_event("kill", signal=1)]),
        (5, [_event("kill", 3000, signal=10), STOP]),
        (0, [_event("kill")]),
        (137, [OOM, KILL]),
        (0, [_event("kill", signal=28), STOP]),
        (165, [_event("kill", signal=37), _event("die", 0, exit_code=165)]),
        (131, [_event("kill", 2000, signal=1), _event("kill", signal=3)]),
    ],
    ids=[
        "docker kill", "docker stop of a deaf command", "docker kill -s TERM", "docker stop, which the command obeys",
        "docker kill -s TERM, which it obeys", "docker kill -s INT", "docker kill -s HUP", "an image's own STOPSIGNAL",
        "an engine that does not name the signal", "after a child was killed for memory",
        "STOPSIGNAL SIGWINCH, as of web servers", "SIGRTMIN+3, as of systemd", "SIGQUIT after a reload",
    ],
)  # fmt: skip
def test_owner_who_ends_a_container_is_named_whatever_the_exit_code(
    exit_code: int, events: list[ContainerEvent]
) -> None:
    outcome = judge(_end(exit_code), events, WATCHED)
    assert outcome is not None
    told = f"The owner of this worker stopped the container while the command ran (exit code {exit_code})."
    assert (outcome.succeeded, outcome.reason) == (False, told)


@pytest.mark.parametrize(
    ("exit_code", "events"),
    [
        (137, []),
        (143, []),
        (0, [_event("kill", signal=1)]),
        (0, [_event("kill", signal=10)]),
        (0, [_event("kill", 31, signal=15)]),
        (3, [_event("die", 0, exit_code=3)]),
        (0, [_event("kill", signal=28)]),
        (139, [_event("kill", 0.1, signal=10), _event("die", 0, exit_code=139)]),
    ],
    ids=[
        "kill -9 of itself",
        "its own exit code",
        "a reload",
        "a report",
        "a signal it ignores",
        "its own end",
        "a terminal's new size",
        "a crash after a report",
    ],
)
def test_owner_is_not_blamed_for_an_end_by_the_command_itself(exit_code: int, events: list[ContainerEvent]) -> None:
    outcome = judge(_end(exit_code), events, WATCHED)
    assert outcome is not None
    assert outcome.reason.startswith(f"The command ended with exit code {exit_code}")
    assert outcome.succeeded == (exit_code == 0)


def test_container_that_was_removed_is_judged_by_its_last_events() -> None:
    removed_by_owner = end_by_events([KILL, _event("die", 0, exit_code=137)], None, STARTED)
    assert removed_by_owner is not None
    outcome = judge(removed_by_owner, [KILL], WATCHED)
    assert outcome is not None
    told = "The owner of this worker stopped the container while the command ran (exit code 137)."
    assert outcome.reason == told
    for exit_code in (0, 7):
        pruned = end_by_events([_event("die", 0, exit_code=exit_code)], None, STARTED)
        assert pruned is not None
        outcome = judge(pruned, [], WATCHED)
        assert outcome is not None
        assert (outcome.exit_code, outcome.succeeded) == (exit_code, exit_code == 0)


def test_container_that_vanished_without_a_word_fails_unless_the_engine_was_restarted() -> None:
    assert end_by_events([], None, STARTED) is None
    outcome = removed(engine_restarted=False)
    assert outcome is not None
    assert outcome.reason == "The owner of this worker stopped the container, and removed it."
    assert removed(engine_restarted=True) is None


@pytest.mark.parametrize(
    ("end", "events", "reason"),
    [
        (_end(137, oom=True), [], "The command was killed for memory (exit code 137)."),
        (_end(137), [OOM], "The command was killed for memory (exit code 137)."),
        (_end(0), [OOM], "A process of the command was killed for memory, although the command ended with exit code 0:"
                         " the outputs may be incomplete."),
        (_end(0, oom=True), [OOM], "A process of the command was killed for memory, although the command ended with"
                                   " exit code 0: the outputs may be incomplete."),
        (_end(1), [OOM], "A process of the command was killed for memory, and the command ended with exit code 1."),
    ],
)  # fmt: skip
def test_kill_for_memory_is_told_whatever_the_exit_code(end: End, events: list[ContainerEvent], reason: str) -> None:
    outcome = judge(end, events, WATCHED)
    assert outcome is not None
    assert (outcome.succeeded, outcome.reason) == (False, reason)


def test_kill_while_the_machine_ran_out_of_memory_is_told_as_that() -> None:
    scarce = replace(WATCHED, machine_ran_out_of_memory=True)
    told = {137: "The command was killed while this machine ran out of memory (exit code 137)."}
    for exit_code in (0, 1, 137, 143):
        outcome = judge(_end(exit_code), [], scarce)
        assert outcome is not None
        assert ("ran out of memory" in outcome.reason) == (exit_code in told)


@pytest.mark.parametrize(
    ("end", "succeeded", "reason"),
    [
        (_end(0), True, "The command ended with exit code 0."),
        (_end(3), False, "The command ended with exit code 3."),
        (_end(126), False, "The command ended with exit code 126 (the command cannot be executed)."),
        (_end(127), False, "The command ended with exit code 127 (the command was not found)."),
        (_end(139), False, "The command ended with exit code 139 (SIGSEGV)."),
        (_end(255), False, "The command ended with exit code 255."),
    ],
)
def test_end_of_a_command_is_told_as_it_was(end: End, succeeded: bool, reason: str) -> None:
    outcome = judge(end, [], WATCHED)
    assert outcome is not None
    assert (outcome.exit_code, outcome.succeeded, outcome.reason) == (end.exit_code, succeeded, reason)


def test_event_without_attributes_is_understood() -> None:
    assert ContainerEvent.of({"Action": "kill", "time": 7}) == ContainerEvent("kill", 7.0)
    attributes = {"Actor": {"Attributes": {"signal": "9", "exitCode": "x"}}}
    assert ContainerEvent.of({"Action": "kill", "timeNano": 5 * 10**8, **attributes}) == ContainerEvent("kill", 0.5, 9)
