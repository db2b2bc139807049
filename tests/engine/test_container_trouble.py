"""A job's container while its engine answers with errors, or somebody else removes it. The engine is a stand-in."""

import signal
from collections.abc import Callable
from pathlib import PurePosixPath

import pytest

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import EngineUnavailable, JobFailed, MachineFault
from job_fetcher.engine.client import Client, Missing
from job_fetcher.engine.container import LABEL_TOKEN, ContainerState, JobContainer
from job_fetcher.engine.container_wait import ContainerWait, Hooks
from job_fetcher.engine.isolation import LABEL_FOLDER
from tests.support.fake_engine import FakeContainer, FakeEngine
from tests.support.worker import wait_until

pytestmark = pytest.mark.usefixtures("needs_time")

FOLDER = PurePosixPath("/data/17")
LIST = "GET /containers/json"
REFUSALS = [(500, "trouble"), (503, "busy"), (403, "an authorization plugin refuses"), (404, "a proxy's page")]


@pytest.fixture
def there(fake: FakeEngine, client: Client) -> FakeContainer:
    """The job's container, created and not started."""
    client.create_container("image", ["sleep", "60"], labels={LABEL_FOLDER: str(FOLDER)}, host_config={})
    [container] = fake.containers.values()
    return container


def found(client: Client, *, patient: bool = False) -> JobContainer:
    return JobContainer(client, FOLDER, Cancellation(), Cancellation(), patient=patient)


def wait_for(client: Client, there: FakeContainer) -> ContainerWait:
    return ContainerWait(client, there.id, Cancellation(), Hooks())


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: str(refusal[0]))
def test_a_job_with_something_to_lose_waits_for_the_list_of_containers_whatever_the_engine_answers(
    fake: FakeEngine, client: Client, there: FakeContainer, refusal: tuple[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[float] = []

    def wait(_: Cancellation, seconds: float) -> None:
        tries.append(seconds)
        if len(tries) == 20:
            fake.refusals.clear()

    monkeypatch.setattr(Cancellation, "wait", wait)
    fake.refusals[LIST] = refusal
    assert found(client, patient=True).id == there.id
    assert len(tries) == 20


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: str(refusal[0]))
def test_other_looks_for_a_container_end_and_blame_the_engine(
    fake: FakeEngine, client: Client, waits: list[float], refusal: tuple[int, str]
) -> None:
    fake.refusals[LIST] = refusal
    with pytest.raises(EngineUnavailable, match="The Docker engine cannot list containers: "):
        found(client)
    assert len(waits) < 10


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: str(refusal[0]))
@pytest.mark.parametrize("ended_before", [True, False])
def test_outcome_does_not_depend_on_whether_the_engine_tells_its_start(
    fake: FakeEngine,
    client: Client,
    there: FakeContainer,
    waits: list[float],
    refusal: tuple[int, str],
    ended_before: bool,
) -> None:
    fake.refusals["GET /networks/bridge"] = refusal
    there.config["Cmd"] = ["sh", "-c", "exit 3"] if ended_before else ["sh", "-c", "sleep 0.2; exit 3"]
    there.start()
    assert there.process is not None
    if ended_before:
        there.process.wait()
    outcome = wait_for(client, there).outcome(None, lambda: None)
    assert outcome is not None
    assert (outcome.exit_code, outcome.reason) == (3, "The command ended with exit code 3.")


@pytest.mark.parametrize(
    "error",
    [Missing("No such container"), JobFailed("removal is already in progress"), JobFailed("is not running")],
    ids=str,
)
@pytest.mark.parametrize("times", [1, 3])
def test_stop_after_the_time_limit_in_the_moment_of_somebody_elses_removal_ends_the_wait(
    fake: FakeEngine, client: Client, there: FakeContainer, waits: list[float], error: Exception, times: int
) -> None:
    """The container may still run after the first refusal: the wait ends when the engine says that it does not."""
    there.start()
    stops: list[str] = []

    def stop() -> None:
        stops.append(there.status)
        if len(stops) >= times:
            there.kill(signal.SIGKILL)
            assert there.process is not None
            there.process.wait()
            if isinstance(error, Missing):
                del fake.containers[there.id]
        raise error

    outcome = wait_for(client, there).outcome(0, stop)
    assert outcome is not None
    assert not outcome.succeeded
    assert stops == ["running"] * times


@pytest.mark.parametrize("lost_answer", [False, True], ids=["", "the start's answer was lost"])
@pytest.mark.parametrize("code", [0, 3, 143])
def test_command_whose_engine_was_restarted_before_the_workers_first_look_runs_again(
    fake: FakeEngine, client: Client, there: FakeContainer, code: int, lost_answer: bool
) -> None:
    """The worker has started it: its end before the engine's next start is that of the shutdown, by all appearances."""
    there.config["Cmd"] = ["sh", "-c", f"exit {code}"]
    container = found(client)
    if lost_answer:
        there.start()
    container.start()
    wait_until(lambda: there.status == "exited", "the command's end")
    fake.restart()
    assert container.wait() is None


def test_command_that_a_restart_left_ended_before_this_worker_came_keeps_its_outcome(
    fake: FakeEngine, client: Client, there: FakeContainer
) -> None:
    there.config["Cmd"] = ["true"]
    there.start()
    wait_until(lambda: there.status == "exited", "the command's end")
    fake.restart()
    container = found(client)
    container.start()
    outcome = container.wait()
    assert outcome is not None
    assert outcome.succeeded


@pytest.mark.parametrize("code", [0, 3])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_end_after_a_signal_by_way_of_the_engine_is_not_told_before_it_is_certain(
    fake: FakeEngine, client: Client, there: FakeContainer, code: int, number: signal.Signals
) -> None:
    """An engine that shuts down sends one, too, and the command may answer with any exit code."""
    there.config["Cmd"] = ["sh", "-c", f"sleep 0.2; exit {code}"]
    fake.refusals["POST /wait"] = (500, "the events alone tell")
    told: list[str] = []
    there.start()
    there.signals.append(number)
    hooks = Hooks(when_exited=lambda: told.append("exited"))
    assert ContainerWait(client, there.id, Cancellation(), hooks).outcome(None, lambda: None) is not None
    assert told == []


class Dead(FakeContainer):
    """One that somebody removes as soon as it was looked at."""

    looks = 0

    @property
    def status(self) -> str:
        self.looks += 1
        return "created" if self.looks == 1 else "dead"


def _remove(fake: FakeEngine, there: FakeContainer) -> None:
    del fake.containers[there.id]


def _dead(fake: FakeEngine, there: FakeContainer) -> None:
    fake.containers[there.id] = Dead(there.id, there.name, there.config, there.log)
    fake.refusals["POST /start"] = (409, "container is marked for removal and cannot be started")


def _gone_at_start(fake: FakeEngine, there: FakeContainer) -> None:
    _dead(fake, there)
    fake.refusals["POST /start"] = (404, "No such container")


@pytest.mark.parametrize("lose", [_remove, _dead, _gone_at_start])
def test_container_that_somebody_removes_before_its_start_is_this_machines_fault(
    fake: FakeEngine, client: Client, there: FakeContainer, lose: Callable[[FakeEngine, FakeContainer], None]
) -> None:
    container = found(client)
    lose(fake, there)
    with pytest.raises(MachineFault, match=r"Somebody has removed the job's container before its start\."):
        container.start()


@pytest.mark.parametrize("late", ["first", "last"])
@pytest.mark.parametrize("by", [LABEL_TOKEN, LABEL_FOLDER])
def test_container_that_runs_is_found_beside_one_that_the_engine_made_for_a_worker_that_was_killed(
    fake: FakeEngine, client: Client, late: str, by: str
) -> None:
    """A creation goes on although nobody waits for it any more. The next start may have looked before, and made one."""
    labels = {LABEL_FOLDER: str(FOLDER)} if by == LABEL_FOLDER else {LABEL_FOLDER: "/moved/17", LABEL_TOKEN: "token"}
    for _ in range(2):
        client.create_container("image", ["sleep", "60"], labels=labels, host_config={})
    running = list(fake.containers.values())[1 if late == "first" else 0]
    running.start()
    container = JobContainer(client, FOLDER, Cancellation(), Cancellation(), "token")
    assert (container.id, container.state) == (running.id, ContainerState.STARTED)


def test_start_that_is_refused_for_another_reason_is_told_as_it_is(
    fake: FakeEngine, client: Client, there: FakeContainer
) -> None:
    container = found(client)
    fake.refusals["POST /start"] = (404, "network jobs not found")
    with pytest.raises(JobFailed, match="network jobs not found") as failure:
        container.start()
    assert not isinstance(failure.value, MachineFault)


def test_container_that_was_started_before_and_is_gone_by_now_is_left_to_the_wait(
    fake: FakeEngine, client: Client, there: FakeContainer
) -> None:
    there.start()
    container = found(client)
    assert container.state is ContainerState.STARTED
    there.kill(signal.SIGKILL)
    del fake.containers[there.id]
    container.start()
    assert there.process is not None
    there.process.wait()
