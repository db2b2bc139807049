"""The cloud's side when something goes wrong: calls late, twice or cut short, jobs deleted, folders elsewhere."""

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from scripts.cloud.handlers import within

from job_fetcher.core.background import in_background
from tests.support.cloud import OFFER, OUTCOME, Cloud
from tests.support.lambda_runner import Context
from tests.support.platform import Platform
from tests.support.worker import wait_until

FINISHED = {"status": "finished", "details": "done"}
GIVEN_BACK = {"status": "queued", "details": "The execution has failed."}


def test_a_call_beside_another_of_the_same_job_is_refused(mock: Platform, cloud: Cloud) -> None:
    """Two at once would write the same files."""
    _, event = cloud.pulled(files={"a": b"1"})
    fetch = mock.fault("/files/*", hang=True)
    with cloud.running("fetch", event) as first:
        wait_until(lambda: fetch.matched > 0, "the first call to be in the middle")
        refused = {"errorType": "Unavailable", "errorMessage": "Another call works on this job"}
        assert cloud.call("fetch", event, remaining_ms=91_000) == refused
        assert cloud.call("report", event) == refused
        mock.heal()
        assert first.stdout is not None
        assert json.loads(first.stdout.read())["next"] == "run"


def test_a_call_without_time_left_is_made_again(mock: Platform, cloud: Cloud) -> None:
    _, event = cloud.pulled(files={"a": b"1"})
    mock.fault("/files/*", status=503)
    assert cloud.call("fetch", event, remaining_ms=91_000) == event
    mock.heal()
    assert cloud.call("fetch", event)["next"] == "run"


@pytest.mark.parametrize("latched", [False, True], ids=["404", "500"])
@pytest.mark.parametrize("step", ["fetch", "upload", "report"])
def test_a_job_that_is_deleted_ends_at_the_next_step(mock: Platform, cloud: Cloud, step: str, latched: bool) -> None:
    job_id, event = cloud.pulled(files={"a": b"1"})
    if step != "fetch":
        event = cloud.call("fetch", event)
    mock.cancel(job_id)
    if latched:  # somebody has had the one 404: the call that looks every minute
        assert cloud.call("keep_alive", event) == cloud.call("keep_alive", event) == {"gone": True}
    told = len(mock.job(job_id).history)
    for _ in range(2):
        assert cloud.call(step, event | {"outcome": OUTCOME, "final": FINISHED}) == {"next": "end"}
    assert len(mock.job(job_id).history) == told
    assert cloud.folders() == []


@pytest.mark.parametrize("step", ["fetch", "upload", "report", "keep_alive"])
def test_a_job_that_has_ended_stays_ended_whatever_call_comes_late(mock: Platform, cloud: Cloud, step: str) -> None:
    """The last call was cut off between the status and the folder's removal."""
    job_id, event = cloud.pulled()
    event = cloud.call("fetch", event) | {"outcome": OUTCOME, "final": FINISHED}
    kept = shutil.copytree(cloud.base / job_id, cloud.base / "kept")
    cloud.call("report", event)
    kept.rename(cloud.base / job_id)
    history = list(mock.job(job_id).history)
    answer = cloud.call(step, event | {"final": GIVEN_BACK})
    assert answer == ({"gone": True} if step == "keep_alive" else {"next": "end"})
    assert list(mock.job(job_id).history) == history


def test_a_late_keep_alive_takes_no_status_back(mock: Platform, cloud: Cloud) -> None:
    job_id, event = cloud.pulled()
    event = cloud.call("fetch", event) | {"outcome": OUTCOME}
    (cloud.base / job_id / "container.log").write_text("said")
    sent = mock.fault("/store/*", hang=True)
    with cloud.running("upload", event):
        wait_until(lambda: sent.matched > 0, "the upload to be in the middle")
        assert cloud.call("keep_alive", event) == {"gone": False}
        mock.heal()
    assert cloud.call("keep_alive", event) == {"gone": False}
    assert mock.statuses(job_id) == ["preprocessing", "postprocessing"]


def test_a_folder_is_swept_by_its_name_and_its_job_is_given_back(mock: Platform, cloud: Cloud) -> None:
    """What docs/cloud.md tells of executions that were aborted."""
    job_id, _ = cloud.pulled(files={"a": b"1"})
    for _ in range(2):
        assert cloud.call("report", {"job": {"id": job_id, "raw": None}, "final": GIVEN_BACK}) == {"next": "end"}
    assert (mock.statuses(job_id), cloud.folders()) == (["queued"], [])


@pytest.mark.parametrize("step", ["fetch", "keep_alive", "upload", "report"])
def test_a_job_whose_folder_is_elsewhere_is_not_taken_for_one_that_is_over(
    mock: Platform, cloud: Cloud, tmp_path: Path, step: str
) -> None:
    """Another file system is mounted: the execution passed for a success, and nobody was told anything."""
    job_id, event = cloud.pulled()
    other = Cloud(mock, tmp_path / "other", cloud.log)
    other.base.mkdir()
    event |= {"outcome": OUTCOME, "final": FINISHED}
    assert other.call(step, event)["errorType"] == "FileNotFoundError"
    mock.cancel(job_id)
    assert other.call(step, event) == ({"gone": True} if step == "keep_alive" else {"next": "end"})


def test_no_job_is_asked_for_where_its_folder_cannot_be_made(mock: Platform, cloud: Cloud) -> None:
    job_id = mock.submit()
    cloud.base.rmdir()
    cloud.base.touch()
    assert cloud.call("pull", {"offer": OFFER})["errorType"] == "NotADirectoryError"
    assert mock.job(job_id).status == "queued"
    assert mock.requests("GET", "/jobs") == []


def test_a_pulled_job_whose_folder_cannot_be_made_is_given_back_at_once(mock: Platform, cloud: Cloud) -> None:
    job_id = mock.submit()
    (cloud.base / job_id).mkdir()
    (cloud.base / f".removing-{job_id}").touch()
    assert cloud.call("pull", {"offer": OFFER})["errorType"] == "NotADirectoryError"
    assert (mock.statuses(job_id), mock.details(job_id)) == (["queued"], "The job's folder cannot be made.")


def test_a_job_whose_id_names_no_folder_ends_at_once(mock: Platform, cloud: Cloud) -> None:
    mock.fault("/jobs", body='{"a b": {"app": {}, "handler": {}}}', times=1)
    assert cloud.call("pull", {"offer": OFFER}) == {"next": "end"}
    [told] = mock.requests("PUT")
    assert told.query == {"status": ["error"], "runtime_details": ["The job's id cannot be the name of a folder."]}


def test_a_thread_of_somebody_else_is_not_waited_for() -> None:
    """Tracing and metrics begin theirs in the middle of a call, and never end them."""
    over = threading.Event()

    def call() -> None:
        with within(Context(remaining_ms=900_000)):
            threading.Thread(target=over.wait, name="exporter").start()

    try:
        in_background(call, "call").result(timeout=10)
    finally:
        over.set()


def test_a_machine_that_was_lost_is_an_outcome(mock: Platform, cloud: Cloud) -> None:
    """AWS Batch knows no exit code then, and may give no reason."""
    _, event = cloud.pulled()
    event = cloud.call("fetch", event)
    event = cloud.call("upload", event | {"outcome": {"exit_code": None, "reason": None, "succeeded": False}})
    told = "The machine that ran the container was lost. The worker uploaded no file."
    assert event["final"] == {"status": "error", "details": told}


@pytest.mark.parametrize(
    "wrong", [{"status": 404, "body": "<html>"}, {"status": 404, "detail": "Not Found"}, {"status": 403}]
)
def test_a_wrong_answer_to_the_keep_alive_ends_no_container(
    mock: Platform, cloud: Cloud, wrong: dict[str, Any]
) -> None:
    """Something in front of the API has answered, or another application in the same words."""
    job_id, event = cloud.pulled()
    event = cloud.call("fetch", event)
    mock.fault(f"/jobs/{job_id}/status", "PUT", times=1, **wrong)
    assert cloud.call("keep_alive", event) == {"gone": False}


def test_a_job_of_another_account_ends_the_container(mock: Platform, cloud: Cloud) -> None:
    _, event = cloud.pulled()
    event = cloud.call("fetch", event)
    mock.pass_time(301)
    assert mock.api("worker2-fixed-token").pull_job({"memory": 16_000, "cpu_cores": 4}) is not None
    assert cloud.call("keep_alive", event) == {"gone": True}
