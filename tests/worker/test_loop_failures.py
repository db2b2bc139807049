"""Whatever is wrong with a job, its user is told once and in words, and the worker goes on with the next one."""

import shutil
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.images import JobImages
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, run_job, wait_until

Fails = Callable[..., str]


@pytest.fixture
def fails(mock: Platform, worker: WorkerProcess, job_image: str) -> Fails:
    """Runs a job that is to end with `error`, then a good one; returns what the first one's user is told."""

    def run(*cmd: str, **job: Any) -> str:
        bad = mock.submit(*cmd, **({"image": job_image} | job))
        good = run_job(mock, "true", image=job_image)
        mock.wait_for_status(bad)  # its outputs may go up behind the other one
        assert (mock.job(bad).status, mock.job(good).status) == ("error", "finished")
        sent = [update.status.value for update in mock.job(bad).history]
        assert sent.count("error") == 1
        assert sent[-1] == "error"
        assert worker.stop() == 0
        worker.assert_nothing_left()
        return mock.details(bad)

    return run


def test_missing_image_fails_the_job_not_the_worker(fails: Fails, job_images: JobImages) -> None:
    """P3."""
    told = fails("true", image=job_images.missing)
    assert job_images.missing in told
    assert "not found" in told


def test_name_that_no_image_can_have_fails_the_job_not_the_worker(fails: Fails) -> None:
    """P3."""
    told = fails("true", image="Bad Image!")
    assert "'Bad Image!'" in told
    assert "invalid reference format" in told


def test_missing_input_fails_the_job_not_the_worker(fails: Fails) -> None:
    """P2."""
    told = fails("true", files={"config/a.yaml": b"a", "data/b.csv": "s3://bucket/user/no-such.csv"})
    assert told == "The input 'data/b.csv' cannot be fetched: there is no such file."


def test_input_that_may_not_be_read_fails_the_job_not_the_worker(mock: Platform, fails: Fails) -> None:
    file_id = mock.put_file("s3://bucket/other/secret.csv", b"x", allowed=False)
    told = fails("true", files={"data/b.csv": file_id})
    assert told == "The input 'data/b.csv' cannot be fetched: the job's user may not read this file."


@pytest.mark.parametrize(
    ("specs", "field"),
    [
        ({"app": None}, "app"),
        ({"app": {"cmd": "echo x"}}, "app.cmd"),
        ({"app": {"cmd": ["echo", 1]}}, "app.cmd.1"),
        ({"app": {"env": {"A": 1}}}, "app.env.A"),
        ({"handler": None}, "handler"),
        ({"handler": {}}, "handler.image_url"),
        ({"handler": {"image_url": ""}}, "handler.image_url"),
        ({"handler": {"image_url": "x", "files_down": {"../x": "id"}}}, "handler.files_down"),
        ({"handler": {"image_url": "x", "files_up": {"result": "x"}}}, "handler.files_up"),
        ({"handler": {"image_url": "x", "files_up": {"output": "/etc"}}}, "handler.files_up"),
    ],
    ids=str,
)
def test_job_that_does_not_fit_the_contract_fails_alone(fails: Fails, specs: dict[str, Any], field: str) -> None:
    """P5, P26: its user is told which field is wrong."""
    told = fails(**specs)
    assert told.startswith("The job's description is not valid: ")
    assert field in told


def test_command_for_an_image_without_a_shell_fails_the_job_with_the_reason(
    fails: Fails, job_images: JobImages
) -> None:
    told = fails("/echo x", image=job_images.no_shell)
    assert told.startswith(f"The image '{job_images.no_shell}' has no /bin/sh, which runs the job's command.")


def test_command_that_is_not_found_fails_the_job_with_the_reason(fails: Fails) -> None:
    """P13."""
    told = fails("no-such-command --x")
    assert told.startswith("The command ended with exit code 127 (the command was not found).")
    assert "no-such-command: not found" in told


def test_output_that_the_storage_refuses_fails_the_job_and_not_the_other_outputs(mock: Platform, fails: Fails) -> None:
    mock.configure(storage="s3", s3_max_bytes=1000)
    line = "head -c 2000 /dev/zero > /files/output/large; echo x > /files/output/small"
    told = fails(line, up={"output": "output"})
    assert told.startswith("The command ended with exit code 0. The output 'output/large' cannot be uploaded: ")
    assert "EntityTooLarge" in told
    assert "The worker uploaded 1 output file (2 bytes)" in told
    assert mock.outputs("1").keys() == {"output/output/small", "log/log/left-out.txt"}


def test_container_that_somebody_pauses_is_waited_for(mock: Platform, worker: WorkerProcess, job_image: str) -> None:
    """P17."""
    job = mock.submit("until [ -e /files/go ]; do sleep 0.05; done; echo done", image=job_image)
    mock.wait_for_status(job, "running")
    container = worker.container()
    container.pause()
    (worker.base / job / "files" / "go").touch()
    keep_alives = len(mock.requests("PUT"))
    mock.wait_until(lambda: len(mock.requests("PUT")) > keep_alives + 2, "keep-alives of the paused job")
    assert mock.job(job).status == "running"
    container.unpause()
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished"


def test_unforeseen_error_ends_the_worker_and_is_told_to_the_user(
    mock: Platform, worker: WorkerProcess, job_image: str
) -> None:
    """P1: a folder where the worker writes a file. No thread outlives the main one, so nothing keeps the job alive."""
    job = mock.submit("until [ -e /files/go ]; do sleep 0.05; done", image=job_image)
    mock.wait_for_status(job, "running")
    (worker.base / job / "container.log").mkdir()
    (worker.base / job / "files" / "go").touch()
    assert worker.wait() == 1
    assert mock.statuses(job)[-1] == "error"
    assert mock.details(job).startswith("Unforeseen: IsADirectoryError: ")
    assert "Traceback (most recent call last)" in worker.log
    worker.assert_nothing_left()


def test_user_is_told_even_if_the_jobs_folder_has_vanished(
    mock: Platform, worker: WorkerProcess, job_image: str
) -> None:
    """P1: somebody cleans up below PATH_BASE."""
    job = mock.submit("exec sleep 600", image=job_image)
    container = worker.container()
    mock.wait_for_status(job, "running")
    record = worker.base / job / "job.json"
    wait_until(lambda: '"container_started_at":"' in record.read_text(), "the last record before the end")
    shutil.rmtree(worker.base / job)
    container.kill()
    mock.wait_for_status(job)
    assert (mock.job(job).status, mock.details(job)) == (
        "error",
        "Somebody has removed the job's folder on the worker.",
    )
    assert mock.job(run_job(mock, "true", image=job_image)).status == "finished"
    assert worker.stop() == 0
    worker.assert_nothing_left()


def test_answer_that_is_no_job_does_not_end_the_worker(mock: Platform, worker: WorkerProcess, job_image: str) -> None:
    answers = ["{", "[]", '{"": {}}', '{"no/name": {}}', "<html>"]
    faults = [mock.fault("/jobs", body=answer, times=1) for answer in answers]
    mock.wait_until(lambda: faults[-1].matched > 1, "a look after the last of them")
    assert mock.job(run_job(mock, "true", image=job_image)).status == "finished"


def test_trouble_with_the_platform_is_told_with_what_may_mend_it(mock: Platform, worker: WorkerProcess) -> None:
    mock.fault("/jobs", status=503)
    worker.wait_for_log("answered 503 - the platform has a fault: try again later")
