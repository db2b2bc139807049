"""What is to be done with a job's container next: decided from the job's record and the container alone."""

from enum import Enum, auto

from job_fetcher.engine.container import ContainerState
from job_fetcher.workspace.job_folder import JobState

MAX_RUNS = 3
"""A job that loses its container with the engine this many times may be the reason for it."""


class Action(Enum):
    """The next step of `Runner.run`."""

    RUN = auto()
    """Fetch image and inputs, create the container, run it."""
    RERUN = auto()
    """The same from clean inputs and outputs: those on disk may be changed by an earlier run, or not whole."""
    RESUME = auto()
    """Start the container if it has not run, and wait for its end."""
    DISCARD = auto()
    """Remove a container that belongs to no run of this record, then decide anew."""
    FINISH = auto()
    """The outcome is recorded: only the container is left to be removed."""
    GIVE_UP = auto()
    """The job has lost its container `MAX_RUNS` times."""


def next_action(state: JobState, container: ContainerState, *, rebooted: bool) -> Action:
    """Decide; `rebooted`: the host was started anew since the inputs were fetched.

    | outcome | container | runs | rebooted | action |
    |---|---|---|---|---|
    | recorded | any | any | any | FINISH |
    | none | created or started | 0 | any | DISCARD: the record is of a later try |
    | none | created | 1 or more | yes | DISCARD: the inputs may not have been on disk yet |
    | none | created | 1 or more | no | RESUME |
    | none | started | 1 or more | any | RESUME |
    | none | none | 0 | no | RUN |
    | none | none | 0 | yes | RERUN |
    | none | none | 1 to `MAX_RUNS` - 1 | any | RERUN |
    | none | none | `MAX_RUNS` | any | GIVE_UP |
    """
    if state.outcome is not None:
        return Action.FINISH
    if container is not ContainerState.NONE:
        stale = state.runs == 0 or (rebooted and container is ContainerState.CREATED)
        return Action.DISCARD if stale else Action.RESUME
    if state.runs >= MAX_RUNS:
        return Action.GIVE_UP
    return Action.RERUN if state.runs or rebooted else Action.RUN
