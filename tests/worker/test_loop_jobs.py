"""The life of a job, with the real worker and the real engine: its statuses, its end, what its user is told."""

import urllib.parse
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from job_fetcher.core.job import MAX_DETAILS
from tests.support.images import JobImages
from tests.support.platform import TOKEN, Platform
from tests.support.worker import WorkerProcess, run_job, wait_until

StartWorker = Callable[..., WorkerProcess]

ON_THE_WAY = ["preprocessing", "running", "postprocessing"]
WAIT_FOR_GO = "until [ -e /files/go ]; do sleep 0.05; done"


def _sent(mock: Platform, job: str) -> list[str]:
    """Every status that was sent for a job, keep-alives too."""
    return [request.query["status"][0] for request in mock.requests("PUT", f"/jobs/{job}/status")]


def _wait_for_keep_alives(mock: Platform, job: str, status: str) -> None:
    mock.wait_until(lambda: _sent(mock, job).count(status) > 3, f"keep-alives: {status}")


def _folder(worker: WorkerProcess, job: str) -> Path:
    return worker.base / job / "files"


def test_job_passes_through_all_statuses_to_finished(mock: Platform, worker: WorkerProcess, job_image: str) -> None:
    job = run_job(mock, "echo", "hello", image=job_image)
    assert mock.statuses(job) == [*ON_THE_WAY, "finished"]
    assert mock.details(job) == (
        "The command ended with exit code 0. The worker uploaded 1 log file (6 bytes).\n\nThe end of the log:\nhello"
    )
    assert mock.outputs(job) == {"log/log/container.log": b"hello\n"}
    assert worker.stop() == 0
    worker.assert_nothing_left()


def test_access_token_is_enough(mock: Platform, start_worker: StartWorker, job_image: str) -> None:
    """P23: it was documented and not implemented."""
    start_worker(ACCESS_TOKEN=TOKEN, USERNAME="", PASSWORD="")
    run_job(mock, "true", image=job_image)
    assert not mock.requests("POST", "/cognito")


def test_current_status_is_kept_alive_and_none_follows_the_last(
    mock: Platform, start_worker: StartWorker, job_image: str
) -> None:
    """Held up in each stage until its keep-alives are seen; those of the second job are the clock for the first."""
    worker = start_worker(TIMEOUT_STATUS="0.1")
    jobs = []
    for _ in range(2):
        mock.fault("/files/*", hang=True)
        jobs.append(job := mock.submit(f"{WAIT_FOR_GO}; echo x", image=job_image, files={"a": b"a"}))
        _wait_for_keep_alives(mock, job, "preprocessing")
        mock.heal()
        _wait_for_keep_alives(mock, job, "running")
        mock.fault("/jobs/*/files/url", hang=True)
        (_folder(worker, job) / "go").touch()
        _wait_for_keep_alives(mock, job, "postprocessing")
        mock.heal()
        mock.wait_for_status(job)
    for job in jobs:
        assert mock.statuses(job) == [*ON_THE_WAY, "finished"]
        assert _sent(mock, job).index("finished") == len(_sent(mock, job)) - 1


def test_status_is_not_lost_that_changes_while_a_keep_alive_is_on_its_way(
    mock: Platform, start_worker: StartWorker, job_image: str
) -> None:
    worker = start_worker(TIMEOUT_STATUS="0.1")
    keep_alive = mock.fault("/jobs/*/status", query="status=running", skip=1, hang=True)
    job = mock.submit(WAIT_FOR_GO, image=job_image)
    mock.wait_until(lambda: keep_alive.matched > 1, "a keep-alive on its way")
    (_folder(worker, job) / "go").touch()
    worker.wait_for_log("The command ended with exit code 0.")
    mock.heal()
    mock.wait_for_status(job)
    assert mock.statuses(job) == [*ON_THE_WAY, "finished"]


def test_failing_command_is_told_with_its_exit_code_and_log_and_uploads_its_outputs(
    mock: Platform, worker: WorkerProcess, job_image: str
) -> None:
    """P13, P15."""
    line = "echo half > /files/output/half; exec >&2; echo größe; echo 'Traceback: boom'; exit 7"
    job = run_job(mock, line, image=job_image, up={"output": "output"})
    assert mock.statuses(job) == [*ON_THE_WAY, "error"]
    told = "The command ended with exit code 7. The worker uploaded 1 output file (5 bytes) and 1 log file (24 bytes)."
    assert mock.details(job) == f"{told}\n\nThe end of the log:\ngröße\nTraceback: boom"
    log = "größe\nTraceback: boom\n".encode()
    assert mock.outputs(job) == {"output/output/half": b"half\n", "log/log/container.log": log}


def test_long_log_is_uploaded_whole_and_its_last_lines_are_told(
    mock: Platform, worker: WorkerProcess, job_image: str
) -> None:
    """P15."""
    job = run_job(mock, "seq 1 100000; echo 'ü ü ü'; exit 1", image=job_image)
    assert mock.details(job).endswith("\n99999\n100000\nü ü ü")
    assert 3000 < len(urllib.parse.quote(mock.details(job), safe="")) <= MAX_DETAILS
    assert mock.outputs(job)["log/log/container.log"].startswith(b"1\n2\n3\n")


@pytest.mark.usefixtures("memory_runs_out")
def test_command_killed_for_memory_is_told_so(mock: Platform, worker: WorkerProcess, job_image: str) -> None:
    """The container's limit is the machine's memory: here it is lowered while the command waits."""
    job = mock.submit(f"{WAIT_FOR_GO}; echo more; exec tail /dev/zero", image=job_image)
    worker.container().update(mem_limit="16m", memswap_limit="16m")
    (_folder(worker, job) / "go").touch()
    mock.wait_for_status(job)
    assert mock.job(job).status == "error"
    assert mock.details(job).startswith("The command was killed for memory (exit code 137). The worker uploaded 1 log")
    assert mock.details(job).endswith("\n\nThe end of the log:\nmore")


def test_end_is_seen_at_once_and_the_next_job_asked_for_at_once(
    mock: Platform, start_worker: StartWorker, job_image: str
) -> None:
    """P12: nothing waits for a keep-alive or for the next look, which here would be after two minutes each."""
    jobs = [mock.submit("echo", "x", image=job_image) for _ in range(3)]
    start_worker(TIMEOUT_JOB="120", TIMEOUT_STATUS="120")
    for job in jobs:
        mock.wait_for_status(job)
    mock.wait_until(lambda: len(mock.requests("GET", "/jobs")) == 4, "the look for a fourth job")
    for job in jobs:
        sent = [each.query["status"] for each in mock.requests("PUT", f"/jobs/{job}/status")]
        assert sent == [[status] for status in [*ON_THE_WAY, "finished"]]


@pytest.mark.parametrize("empty", [None, {}])
def test_job_without_any_files_finishes(
    mock: Platform, worker: WorkerProcess, job_image: str, empty: dict[str, str] | None
) -> None:
    """P16."""
    handler = {"image_url": job_image, "files_down": empty, "files_up": empty}
    job = run_job(mock, "true", handler=handler)
    assert mock.job(job).status == "finished"
    worker.stop()
    worker.assert_nothing_left()


def test_image_runs_its_own_command_if_the_job_has_none(
    mock: Platform, worker: WorkerProcess, job_images: JobImages
) -> None:
    for image, log in [
        (job_images.job, b"own command\n"),
        (job_images.entrypoint, b"entrypoint: /bin/echo own command\nown command\n"),
        (job_images.no_shell, b"no shell\n"),
    ]:
        job = run_job(mock, image=image)
        assert (mock.job(job).status, mock.outputs(job)) == ("finished", {"log/log/container.log": log})


def test_entrypoint_of_the_image_receives_the_line(
    mock: Platform, worker: WorkerProcess, job_images: JobImages
) -> None:
    job = run_job(mock, "echo", "$(echo a | tr a b)", "&&", "echo", "c", image=job_images.entrypoint)
    log = b"entrypoint: /bin/sh -c echo $(echo a | tr a b) && echo c\nb\nc\n"
    assert mock.outputs(job) == {"log/log/container.log": log}


def test_image_that_is_here_is_used_when_its_registry_cannot_be_reached(
    mock: Platform, worker: WorkerProcess, docker_client: docker.DockerClient, job_image: str
) -> None:
    name = "127.0.0.1:1/unreachable:latest"
    docker_client.images.get(job_image).tag(name)
    try:
        job = run_job(mock, "echo", "x", image=name)
    finally:
        docker_client.images.remove(name)
    assert mock.job(job).status == "finished"
    wait_until(lambda: "the image is here and is used as it is" in worker.log, "the warning")
