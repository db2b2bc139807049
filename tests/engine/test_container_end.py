"""What a container's end means, as tables: no engine is asked."""

import pytest

from job_fetcher.engine.container_end import End, Watch, ended_by_engine, outcome_of

STARTED, ENDED, RESTARTED = 1000.0, 2000.0, 2010.0


def _end(exit_code: int = 143, ended: float = ENDED, *, oom: bool = False) -> End:
    return End(exit_code, STARTED, ended, killed_for_memory=oom)


def _seen(engine_started: float | None = RESTARTED, lost_at: float | None = None) -> Watch:
    return Watch(engine_started, was_running=True, lost_at=lost_at)


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


@pytest.mark.parametrize(
    ("end", "succeeded", "reason"),
    [
        (_end(0), True, "The command ended with exit code 0."),
        (_end(3), False, "The command ended with exit code 3."),
        (_end(126), False, "The command ended with exit code 126 (the command cannot be executed)."),
        (_end(127), False, "The command ended with exit code 127 (the command was not found)."),
        (_end(139), False, "The command ended with exit code 139 (SIGSEGV)."),
        (_end(255), False, "The command ended with exit code 255."),
        (_end(137, oom=True), False, "The command was killed for memory (exit code 137)."),
    ],
)
def test_end_of_a_command_is_told_as_it_was(end: End, succeeded: bool, reason: str) -> None:
    outcome = outcome_of(end)
    assert (outcome.exit_code, outcome.succeeded, outcome.reason) == (end.exit_code, succeeded, reason)
