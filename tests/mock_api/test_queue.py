"""Which job goes to whom, and whose it is afterwards."""

from typing import Any

import pytest

from tests.mock_api.conftest import Client, Clock


def test_a_job_is_given_once_and_is_pulled_from_then_on(worker: Client, other: Client) -> None:
    job_id = worker.submit(app={"cmd": ["true"]}, handler={"image_url": "x"})
    given = worker.pull()
    assert given.keys() == {job_id}
    assert given[job_id].keys() == {"app", "handler", "meta", "hardware"}
    assert str(given[job_id]["meta"]["job_id"]) != job_id
    assert worker.pull() == other.pull() == {}
    assert worker.helper("GET", f"/_jobs/{job_id}")["status"] == "pulled"


def test_memory_must_be_offered(worker: Client) -> None:
    assert worker.request("GET", "/jobs").status_code == 422


@pytest.mark.parametrize(
    ("hardware", "offer", "fits"),
    [
        ({}, {}, True),
        ({"memory": 1024}, {}, True),
        ({"memory": 1025}, {}, False),
        ({"cpu_cores": 1}, {}, True),
        ({"cpu_cores": 2}, {}, False),
        ({"cpu_cores": 2}, {"cpu_cores": 4}, True),
        ({"gpu_mem": 8000}, {"gpu_mem": 8000}, True),
        ({"gpu_mem": 8000}, {"gpu_memory": 24000}, False),  # a misspelt parameter is ignored silently
        ({"gpu_model": "RTX 3090"}, {"gpu_model": "RTX 3090"}, True),
        ({"gpu_model": "RTX 3090"}, {"gpu_model": "rtx 3090"}, False),
        ({"gpu_archi": "Ampere"}, {}, False),
        ({"gpu_model": None, "gpu_mem": None}, {}, True),
    ],
)
def test_a_job_goes_where_it_fits(worker: Client, hardware: dict[str, Any], offer: dict[str, Any], fits: bool) -> None:
    worker.submit(hardware=hardware)
    assert bool(worker.pull(**offer)) is fits


def test_jobs_of_the_named_groups_come_first_and_then_all_others(worker: Client) -> None:
    none, lab, other, lab_too = (worker.submit(group=group) for group in (None, "lab", "other", "lab"))
    assert list(worker.pull(groups=["x", "lab"])) == [lab]
    assert list(worker.pull(groups=["other", "lab"], limit=2)) == [other, lab_too]
    assert list(worker.pull(groups=["lab"])) == [none]


def test_jobs_go_to_the_accounts_of_their_environment_only(worker: Client) -> None:
    lambdas = {"username": "lambdas", "password": "x", "access_token": "lambdas", "cloud": True}
    worker.helper("POST", "/_config", {"accounts": [lambdas]})
    local, cloud = worker.submit(), worker.submit(environment="cloud")
    assert list(Client(worker.url, "lambdas").pull(limit=5)) == [cloud]
    assert list(worker.pull(limit=5)) == [local]


def test_limit_and_older_than_choose_among_waiting_jobs(worker: Client, clock: Clock) -> None:
    first, second = worker.submit(), worker.submit()
    clock.now += 60
    third = worker.submit()
    assert worker.pull(limit=0) == {}
    assert list(worker.pull(limit=5, older_than=60)) == [first, second]
    assert list(worker.pull()) == [third]


def test_the_history_keeps_every_update(worker: Client, clock: Clock) -> None:
    job_id = worker.submit()
    worker.pull()
    clock.now += 5
    assert worker.put(job_id, "running", runtime_details="epoch 1\nof 10, ü") == 204
    assert worker.request("GET", f"/jobs/{job_id}/status").json() == "running"
    history = worker.helper("GET", f"/_jobs/{job_id}")["history"]
    assert [line["status"] for line in history] == ["queued", "pulled", "running"]
    assert history[-1] == {
        "time": clock.now,
        "status": "running",
        "runtime_details": "epoch 1\nof 10, ü",
        "account": "worker",
        "reported": True,
    }


@pytest.mark.parametrize("query", [{}, {"status": "done"}])
def test_a_status_that_does_not_exist_is_422(worker: Client, query: dict[str, str]) -> None:
    job_id = worker.submit()
    worker.pull()
    assert worker.request("PUT", f"/jobs/{job_id}/status", params=query).status_code == 422


def test_a_request_line_over_4_kib_is_414(worker: Client) -> None:
    job_id = worker.submit()
    worker.pull()
    assert worker.put(job_id, "running", runtime_details="x" * 3900) == 204
    assert worker.put(job_id, "running", runtime_details="x" * 4096) == 414


def test_a_deleted_job_answers_404_once_and_500_ever_after(worker: Client) -> None:
    job_id = worker.submit()
    worker.pull()
    worker.helper("DELETE", f"/_jobs/{job_id}")
    upload_url = {"params": {"type": "log", "base_path": ""}}
    assert [worker.put(job_id, "running") for _ in range(3)] == [404, 500, 500]
    assert worker.request("POST", f"/jobs/{job_id}/files/url", **upload_url).status_code == 500
    assert [worker.request("GET", f"/jobs/{job_id}/status").status_code for _ in range(2)] == [404, 404]


def test_a_job_nobody_knows_is_500_to_a_put_and_404_to_the_probe(worker: Client) -> None:
    assert worker.put("77", "running") == 500
    assert worker.request("GET", "/jobs/77/status").status_code == 404


def test_a_deleted_job_keeps_its_record_until_a_status_is_refused(worker: Client) -> None:
    """Only then does the queue hear of it from the users' side."""
    job_id = worker.submit()
    worker.pull()
    worker.helper("DELETE", f"/_jobs/{job_id}")
    assert worker.upload_request(job_id)
    assert worker.request("GET", f"/jobs/{job_id}/status").status_code == 404


def test_as_on_sqlite_the_id_of_a_deleted_job_can_be_the_next_one_s(worker: Client) -> None:
    """What is still sent for the old one lands in the new one."""
    worker.helper("POST", "/_config", {"reuse_ids": True})
    worker.submit()
    deleted = worker.submit()
    worker.pull(limit=2)
    worker.helper("DELETE", f"/_jobs/{deleted}")
    assert worker.put(deleted, "running") == 404
    assert worker.submit() == deleted
    assert worker.put(deleted, "running") == 404  # nobody's yet
    worker.pull()
    assert worker.put(deleted, "running") == 204
    assert worker.submit() not in ("1", deleted)


def test_a_silent_job_is_queued_again_for_another_account(worker: Client, other: Client, clock: Clock) -> None:
    job_id = worker.submit()
    worker.pull()
    clock.now += 299
    assert worker.put(job_id, "running") == 204
    clock.now += 299
    assert other.pull() == {}
    clock.now += 1
    assert worker.pull() == {}  # tried already
    assert list(other.pull()) == [job_id]
    assert_is_the_other_s(job_id, worker, other)


def test_a_late_update_is_welcome_while_nobody_else_has_pulled(worker: Client, other: Client, clock: Clock) -> None:
    job_id = worker.submit()
    worker.pull()
    clock.now += 300
    assert worker.helper("GET", f"/_jobs/{job_id}")["status"] == "queued"
    assert worker.put(job_id, "postprocessing") == 204
    assert other.pull() == {}
    assert worker.put(job_id, "finished") == 204
    clock.now += 10_000
    assert worker.helper("GET", f"/_jobs/{job_id}")["status"] == "finished"


def test_after_two_retries_a_silent_job_fails(worker: Client, other: Client, clock: Clock) -> None:
    worker.helper("POST", "/_config", {"accounts": [{"username": "c", "password": "c", "access_token": "c"}]})
    job_id = worker.submit()
    for account in (worker, other, Client(worker.url, "c")):
        assert list(account.pull()) == [job_id]
        clock.now += 300
    job = worker.helper("GET", f"/_jobs/{job_id}")
    assert (job["status"], job["retries"]) == ("error", 2)


def test_a_requeued_job_is_another_account_s_at_once(worker: Client, other: Client) -> None:
    job_id = worker.submit()
    worker.pull()
    assert worker.put(job_id, "queued", runtime_details="stopped") == 204
    assert worker.pull() == {}
    assert list(other.pull()) == [job_id]
    assert_is_the_other_s(job_id, worker, other)


def assert_is_the_other_s(job_id: str, worker: Client, other: Client) -> None:
    """PUT says so every time, uploads fail, and GET tells the other's status."""
    assert other.put(job_id, "running") == 204
    assert [worker.put(job_id, "preprocessing") for _ in range(3)] == [404, 404, 404]
    upload_url = {"params": {"type": "log", "base_path": ""}}
    assert worker.request("POST", f"/jobs/{job_id}/files/url", **upload_url).status_code == 500
    answer = worker.request("GET", f"/jobs/{job_id}/status")
    assert (answer.status_code, answer.json()) == (200, "running")


@pytest.mark.parametrize("status", ["preprocessing", "running", "postprocessing", "finished"])
@pytest.mark.parametrize("silent", [False, True])
def test_an_account_takes_back_what_is_still_queued(
    worker: Client, other: Client, clock: Clock, silent: bool, status: str
) -> None:
    job_id = worker.submit()
    worker.pull()
    if silent:
        clock.now += 300
    else:
        assert worker.put(job_id, "queued") == 204
    assert worker.request("GET", f"/jobs/{job_id}/status").json() == "queued"
    assert worker.put(job_id, status) == 204
    assert other.pull() == {}
    assert worker.request("GET", f"/jobs/{job_id}/status").json() == status


@pytest.mark.parametrize("ended", ["finished", "error"])
def test_the_account_that_had_a_job_last_may_revive_it(worker: Client, other: Client, ended: str) -> None:
    job_id = worker.submit()
    worker.pull()
    assert [worker.put(job_id, status) for status in (ended, "preprocessing")] == [204, 204]
    assert worker.request("GET", f"/jobs/{job_id}/status").json() == "preprocessing"
    assert other.put(job_id, "running") == 404


def test_a_job_that_nobody_has_pulled_is_nobody_s(worker: Client) -> None:
    assert worker.put(worker.submit(), "preprocessing") == 404
