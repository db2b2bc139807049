"""The owner of the machine ends, restarts or removes a job's container while its command runs, or after it."""

import signal
from collections.abc import Callable
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from job_fetcher.engine.isolation import LABEL_FOLDER
from tests.recovery.support import state, wait_for_next_look
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, run_job, wait_until

LOG = "log/log/container.log"
BEGIN = "echo made > /files/output/made; echo begun; "
DEAF = "trap '' TERM; " + BEGIN + "while :; do sleep 0.05; done"
OBEDIENT = "trap 'echo bye; exit 0' TERM; " + BEGIN + "while :; do sleep 0.05; done"
STOPPED = "The owner of this worker stopped the container while the command ran (exit code {})."


def _pause_and_remove(container: Container) -> None:
    container.pause()
    container.remove(force=True)


ENDS: dict[str, tuple[str, Callable[[Container], Any], str]] = {
    "docker kill": (DEAF, Container.kill, STOPPED.format(137)),
    "docker stop of a deaf command": (DEAF, lambda each: each.stop(timeout=0), STOPPED.format(137)),
    "docker stop of one that ends well": (OBEDIENT, lambda each: each.stop(timeout=30), STOPPED.format(0)),
    "docker kill -s INT": (
        f"trap 'exit 3' INT; {BEGIN}while :; do sleep 0.05; done",
        lambda each: each.kill("SIGINT"),
        STOPPED.format(3),
    ),
    "docker rm -f of a paused one": (DEAF, _pause_and_remove, STOPPED.format(137)),
    "docker stop of a command that fails at that": (
        f"trap 'exit 139' TERM; {BEGIN}while :; do sleep 0.05; done",
        lambda each: each.stop(timeout=30),
        STOPPED.format(139),
    ),
    "docker rm -f": (DEAF, lambda each: each.remove(force=True), STOPPED.format(137)),
}


def _running(mock: Platform, worker: WorkerProcess, line: str, image: str) -> tuple[str, Container]:
    job = mock.submit(line, image=image, up={"output": "output"})
    wait_until((worker.base / job / "files/output/made").exists, "the command to begin")
    mock.wait_for_status(job, "running")
    wait_until(lambda: state(worker.base, job)["container_started_at"], "the worker to see the container run")
    container = worker.container()
    wait_until(lambda: b"begun" in container.logs(), "its first line")
    return job, container


@pytest.mark.parametrize("name", ENDS)
def test_owner_who_ends_a_container_is_named_and_what_the_command_made_goes_up(
    mock: Platform,
    worker: WorkerProcess,
    job_image: str,
    name: str,
) -> None:
    line, end, told = ENDS[name]
    job, container = _running(mock, worker, line, job_image)
    end(container)
    mock.wait_for_status(job)
    assert mock.job(job).status == "error"
    assert mock.details(job).startswith(told)
    outputs = mock.outputs(job)
    assert outputs["output/output/made"] == b"made\n"
    removed = b"The log could not be read. Somebody removed the container before the worker had read the log.\n"
    assert outputs[LOG].startswith(b"begun\n") or ("docker rm" in name and outputs[LOG] == removed)
    statuses = [update.status.value for update in mock.job(job).history if update.account]
    assert statuses.count("error") == 1
    assert "queued" not in statuses
    assert mock.job(run_job(mock, "true", image=job_image)).status == "finished"
    assert worker.stop() == 0
    worker.assert_nothing_left()


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_owner_who_ends_a_container_while_the_worker_is_away_is_named(
    mock: Platform, worker: WorkerProcess, job_image: str, how: str
) -> None:
    job, container = _running(mock, worker, DEAF, job_image)
    worker.signal(9)
    worker.wait()
    container.kill() if how == "kill" else container.stop(timeout=0)
    worker.start()
    mock.wait_for_status(job)
    assert mock.details(job).startswith(STOPPED.format(137))
    assert mock.outputs(job) == {"output/output/made": b"made\n", LOG: b"begun\n"}


def test_owner_who_restarts_a_container_has_ended_its_command(
    mock: Platform, worker: WorkerProcess, job_image: str
) -> None:
    """The second run goes on among the outputs of the first one: it is ended before they go up."""
    job, container = _running(mock, worker, DEAF.replace("made;", "made; date >> /files/output/starts;"), job_image)
    worker.signal(signal.SIGSTOP)  # else it may be the first, and remove the container in the middle of the restart
    container.restart(timeout=0)
    worker.signal(signal.SIGCONT)
    mock.wait_for_status(job)
    assert mock.job(job).status == "error"
    assert "The owner of this worker " in mock.details(job)
    assert mock.outputs(job)["output/output/made"] == b"made\n"
    wait_until(lambda: not worker.containers(), "the container to be removed, beside the uploads or after them")


@pytest.mark.usefixtures("memory_suffices")
@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("kill -9 $$ & wait; exit 137", "exit code 137 (SIGKILL)"),
        ("exit 143", "exit code 143 (SIGTERM)"),
        (f"{BEGIN} exec sh -c 'exit 137'", "exit code 137 (SIGKILL)"),
    ],
)
def test_command_that_ends_as_if_it_was_killed_is_told_by_its_exit_code(
    mock: Platform, worker: WorkerProcess, job_image: str, line: str, told: str
) -> None:
    job = run_job(mock, line, image=job_image, up={"output": "output"})
    assert mock.details(job).startswith(f"The command ended with {told}.")


@pytest.mark.parametrize("sent", ["SIGHUP", "SIGUSR1"])
def test_signal_that_lets_a_command_go_on_is_no_stop(
    mock: Platform, worker: WorkerProcess, job_image: str, sent: str
) -> None:
    line = f"trap 'echo reloaded; touch /files/go' {sent.removeprefix('SIG')}; {BEGIN}"
    job, container = _running(mock, worker, line + "until [ -e /files/go ]; do sleep 0.05; done", job_image)
    container.kill(sent)
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished", mock.details(job)


@pytest.mark.parametrize("exit_code", [0, 7])
def test_container_that_is_removed_right_after_its_end_keeps_its_outcome(
    mock: Platform, worker: WorkerProcess, job_image: str, docker_client: docker.DockerClient, exit_code: int
) -> None:
    """A prune that comes before the worker, which hears of the end, and finds no container any more."""
    wait_for_next_look(mock)
    line = f"{BEGIN} until [ -e /files/go ]; do sleep 0.02; done; exit {exit_code}"
    job, container = _running(mock, worker, line, job_image)
    events: Any = docker_client.events(decode=True, filters={"container": container.id, "event": "die"})
    worker.signal(signal.SIGSTOP)
    (worker.base / job / "files/go").touch()
    next(events)
    container.remove(force=True)
    worker.signal(signal.SIGCONT)
    events.close()
    mock.wait_for_status(job)
    assert mock.details(job).startswith(f"The command ended with exit code {exit_code}.")
    assert mock.job(job).status == ("error" if exit_code else "finished")
    assert mock.outputs(job)["output/output/made"] == b"made\n"
    log = mock.outputs(job)[LOG]
    assert log == b"begun\n" or b"[job-fetcher]" in log or b"could not be read" in log
    assert LABEL_FOLDER not in str(log)
