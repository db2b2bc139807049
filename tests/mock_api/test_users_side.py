"""The users' half of the platform: its API at the wrong address, and a queue that cannot tell it of a status."""

from typing import Any

import pytest

from tests.mock_api.conftest import Client


def user(worker: Client, job_id: str) -> Any:
    return worker.helper("GET", f"/_jobs/{job_id}")["user"]


def status(worker: Client, job_id: str) -> Any:
    return worker.request("GET", f"/jobs/{job_id}/status").json()


@pytest.fixture
def job_id(worker: Client) -> str:
    job_id = worker.submit()
    worker.pull()
    return job_id


def test_the_user_reads_all_details_in_one_block_and_gets_a_mail_at_each_end(worker: Client, job_id: str) -> None:
    for sent, details in (("running", "epoch 1\n"), ("error", "no GPU"), ("finished", "")):
        assert worker.put(job_id, sent, runtime_details=details) == 204
    mails = [{"status": end, "details": "epoch 1\nno GPU"} for end in ("error", "finished")]
    assert user(worker, job_id) == {"status": "finished", "details": "epoch 1\nno GPU", "mails": mails}


@pytest.mark.parametrize("end", ["finished", "error"])
def test_a_last_status_can_be_kept_by_the_queue_and_never_told_to_the_user(
    worker: Client, job_id: str, end: str
) -> None:
    worker.put(job_id, "postprocessing")
    worker.helper("POST", "/_faults", {"query": f"status={end}*", "times": 1, "users_side_down": True})
    answer = worker.request("PUT", f"/jobs/{job_id}/status", params={"status": end, "runtime_details": "done"})
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert answer.headers["content-type"].startswith("text/plain")
    assert status(worker, job_id) == end
    assert user(worker, job_id) == {"status": "postprocessing", "details": "", "mails": []}

    assert worker.put(job_id, end, runtime_details="done") == 204
    told = {"status": end, "details": "done", "mails": [{"status": end, "details": "done"}]}
    assert user(worker, job_id) == told
    assert [line["reported"] for line in worker.helper("GET", f"/_jobs/{job_id}")["history"][-2:]] == [False, True]


def test_a_pull_that_the_users_side_cannot_be_told_of_takes_the_job_all_the_same(worker: Client) -> None:
    job_id = worker.submit()
    worker.helper("POST", "/_faults", {"path": "/jobs", "times": 1, "users_side_down": True})
    assert worker.request("GET", "/jobs", params={"memory": 1}).status_code == 500
    assert (status(worker, job_id), user(worker, job_id)["status"]) == ("pulled", "queued")


def test_while_the_users_side_is_down_nobody_hears_that_a_job_is_deleted(worker: Client, job_id: str) -> None:
    worker.helper("DELETE", f"/_jobs/{job_id}")
    worker.helper("POST", "/_faults", {"times": 2, "method": "PUT", "users_side_down": True})
    assert [worker.put(job_id, "running") for _ in range(4)] == [500, 500, 404, 500]


PROBE: dict[str, Any] = {"params": {"memory": "x"}}


def test_the_workers_api_refuses_a_memory_that_is_no_number_and_gives_no_job(worker: Client) -> None:
    job_id = worker.submit()
    answer = worker.request("GET", "/jobs", **PROBE)
    assert (answer.status_code, type(answer.json()["detail"])) == (422, list)
    assert status(worker, job_id) == "queued"


@pytest.mark.parametrize("api", ["workers", "users"])
@pytest.mark.parametrize(("token", "refusal"), [("wrong", 401), (None, 403)])
def test_both_apis_look_at_the_token_first(worker: Client, api: str, token: str | None, refusal: int) -> None:
    worker.helper("POST", "/_config", {"api": api})
    answer = Client(worker.url, token).request("GET", "/jobs", **PROBE)
    assert (answer.status_code, type(answer.json()["detail"])) == (refusal, str)


def test_the_users_api_can_be_told_from_the_workers_by_that_memory_alone(worker: Client) -> None:
    job_id = worker.submit()
    paths = ("/access_info", "/jobs/0/status")
    ours = [worker.request("GET", path).json() for path in paths]
    worker.helper("POST", "/_config", {"api": "users"})
    assert [worker.request("GET", path).json() for path in paths] == ours
    assert ours[1] == {"detail": "Not Found"}
    answer = worker.request("GET", "/jobs", **PROBE)
    assert (answer.status_code, answer.json()) == (200, [])
    assert worker.request("GET", "/jobs", params={"memory": 1024}).json() == []
    assert worker.helper("GET", f"/_jobs/{job_id}")["status"] == "queued"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/_probe"), ("GET", "/files/x/url"), ("PUT", "/jobs/1/status"), ("POST", "/jobs/1/files/url")],
)
def test_the_users_api_knows_nothing_of_what_workers_ask(worker: Client, method: str, path: str) -> None:
    worker.helper("POST", "/_config", {"api": "users"})
    answer = worker.request(method, path)
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


def test_an_account_that_is_no_worker_yet_is_a_user_all_the_same(url: str, worker: Client) -> None:
    newcomer = Client(url, "newcomer-fixed-token")
    assert newcomer.request("GET", "/jobs", **PROBE).status_code == 403
    worker.helper("POST", "/_config", {"api": "users"})
    assert newcomer.request("GET", "/jobs", **PROBE).status_code == 200
