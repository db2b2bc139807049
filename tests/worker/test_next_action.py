"""What the runner does next, as a table: each row is a record of a job and what there is of its container."""

import pytest

from job_fetcher.core.job import Job, Outcome
from job_fetcher.engine.container import ContainerState
from job_fetcher.worker.next_action import MAX_RUNS, Action, next_action
from job_fetcher.workspace.job_folder import JobState

NONE, CREATED, STARTED = ContainerState.NONE, ContainerState.CREATED, ContainerState.STARTED
OUTCOME = Outcome(exit_code=0, reason="The command ended with exit code 0.", succeeded=True)


def decide(outcome: Outcome | None, container: ContainerState, runs: int, rebooted: bool) -> Action:
    state = JobState(boot_id="b", owner="o", job=Job(id="1", raw={}), runs=runs, outcome=outcome)
    return next_action(state, container, rebooted=rebooted)


@pytest.mark.parametrize(
    ("container", "runs", "rebooted", "action"),
    [
        (NONE, 0, False, Action.RUN),
        (NONE, 0, True, Action.RERUN),
        (NONE, 1, False, Action.RERUN),
        (NONE, MAX_RUNS - 1, True, Action.RERUN),
        (NONE, MAX_RUNS, False, Action.GIVE_UP),
        (NONE, MAX_RUNS, True, Action.GIVE_UP),
        (CREATED, 0, False, Action.DISCARD),
        (CREATED, 0, True, Action.DISCARD),
        (STARTED, 0, False, Action.DISCARD),
        (CREATED, 1, True, Action.DISCARD),
        (CREATED, 1, False, Action.RESUME),
        (STARTED, 1, False, Action.RESUME),
        (STARTED, 1, True, Action.RESUME),
        (STARTED, MAX_RUNS, False, Action.RESUME),
    ],
)
def test_job_without_an_outcome_goes_on_where_it_was(
    container: ContainerState, runs: int, rebooted: bool, action: Action
) -> None:
    assert decide(None, container, runs, rebooted) is action


@pytest.mark.parametrize("container", list(ContainerState))
@pytest.mark.parametrize("rebooted", [True, False])
@pytest.mark.parametrize("runs", [0, 1, MAX_RUNS])
def test_job_whose_outcome_is_recorded_is_never_run_again(container: ContainerState, runs: int, rebooted: bool) -> None:
    assert decide(OUTCOME, container, runs, rebooted) is Action.FINISH
