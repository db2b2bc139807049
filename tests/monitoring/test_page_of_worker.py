"""The page of a real worker: what it shows of a job, and that no fault of it reaches the job."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from job_fetcher.monitoring.history import HISTORY
from tests.support.page import answers, ask
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, run_job, wait_until

pytestmark = pytest.mark.usefixtures("needs_time")

WAIT = "echo begun; until [ -e /files/go ]; do sleep 0.02; done; echo went"


def begun(mock: Platform, **job: object) -> str:
    job_id = mock.submit(WAIT, up={"output": "output"}, **job)  # type: ignore[arg-type]
    mock.wait_for_status(job_id, "running")
    return job_id


def go(worker: WorkerProcess, job: str) -> None:
    (worker.base / job / "files" / "go").touch()


def status(port: int) -> dict[str, object]:
    found: dict[str, object] = ask(port, "/status.json").json()
    return found


def of_stage(port: int, stage: str) -> Any:
    """The job in hand as the page shows it, if it is in that stage, of which the platform may hear a moment before."""
    job: Any = status(port)["job"]
    return job if job and job["stage"] == stage else None


def test_job_is_followed_from_its_begin_to_the_history_over_a_restart(
    mock: Platform, worker: WorkerProcess, port: int
) -> None:
    wait_until(lambda: "waits for a job" in str(status(port)["doing"]), "the worker to wait for a job")
    job = begun(mock, meta={"job_id": 2})
    now = wait_until(lambda: of_stage(port, "running"), "the job on the page")
    assert (now["job_id"], now["user_job_id"]) == (job, 2)
    assert f"runs job {job}" in str(status(port)["doing"])
    assert b"\njob_fetcher_busy 1.0\n" in ask(port, "/metrics").body
    wait_until(lambda: ask(port, "/log.txt").body == b"begun\n", "the log as it grows")
    go(worker, job)
    past = wait_until(lambda: ask(port, "/jobs.json").json(), "the history")
    assert [(each["job_id"], each["end"]) for each in past] == [(job, "finished")]
    assert [each["stage"] for each in past[0]["stages"]] == ["preprocessing", "running", "postprocessing"]
    failed = run_job(mock, "exit 3")
    assert worker.stop() == 0
    worker.start()
    wait_until(lambda: answers(port), "the page after the restart")
    past = ask(port, "/jobs.json").json()
    assert [(each["job_id"], each["end"]) for each in past] == [(failed, "error"), (job, "finished")]
    assert past[0]["sentence"].startswith("The command ended with exit code 3")


def assert_no_secret_and_no_way_to_change_something(worker: WorkerProcess, port: int) -> None:
    page, shown = ask(port, "/"), ask(port, "/status.json")
    assert page.status == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert b"http://" not in page.body.replace(b"http://www.w3.org/2000/svg", b"")  # the name of a namespace
    assert b"https://" not in page.body
    assert shown.json()["settings"]["PASSWORD"] == "(set)"
    password = worker.environment["PASSWORD"].encode()
    for path in ("/", "/status.json", "/jobs.json", "/metrics", "/log.txt"):
        assert password not in ask(port, path).body
        assert ask(port, path, method="POST").status == 405


def test_port_in_use_and_a_history_that_cannot_be_kept_are_told_once_and_jobs_run(
    mock: Platform, start: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    (tmp_path / "data" / HISTORY).mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        worker = start(STATUS_PORT=str(taken.getsockname()[1]))
        for _ in range(2):
            assert mock.job(run_job(mock, "true")).status == "finished"
        worker.wait_for_log("cannot serve its page")
    assert worker.log.count("cannot serve its page") == 1
    assert worker.log.count("cannot keep the history") == 1


def test_fifty_clients_that_never_read_keep_neither_a_job_nor_the_page_waiting(
    mock: Platform, worker: WorkerProcess, port: int
) -> None:
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
    try:
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        assert mock.job(run_job(mock, "true")).status == "finished"
        assert answers(port)
    finally:
        for client in clients:
            client.close()
    assert_no_secret_and_no_way_to_change_something(worker, port)
