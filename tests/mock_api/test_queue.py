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


def test_a_group_s_job_goes_to_workers_that_name_the_group(worker: Client) -> None:
    worker.submit(group="lab")
    assert worker.pull(groups=["x"]) == {}
    assert worker.pull(groups=["x", "lab"]) != {}


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
    assert worker.request("POST", f"/jobs/{job_id}/files/url", **upload_url).status_code == 500
    assert [worker.put(job_id, "running") for _ in range(3)] == [404, 500, 500]
    assert worker.request("POST", f"/jobs/{job_id}/files/url", **upload_url).status_code == 500
    assert [worker.request("GET", f"/jobs/{job_id}/status").status_code for _ in range(2)] == [404, 404]


def test_a_job_nobody_knows_is_500_to_a_put_and_404_to_the_probe(worker: Client) -> None:
    assert worker.put("77", "running") == 500
    assert worker.request("GET", "/jobs/77/status").status_code == 404


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
    assert [worker.put(job_id, "running") for _ in range(2)] == [404, 500]
    assert worker.request("GET", f"/jobs/{job_id}/status").status_code == 404
    assert other.put(job_id, "running") == 204


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


def test_a_job_handed_back_is_another_account_s_at_once(worker: Client, other: Client) -> None:
    job_id = worker.submit()
    worker.pull()
    assert worker.put(job_id, "queued", runtime_details="stopped") == 204
    assert worker.pull() == {}
    assert list(other.pull()) == [job_id]
