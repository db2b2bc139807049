"""Faults on demand, through real connections."""

import threading
import time
from typing import Any

import pytest
import requests
from fastapi import FastAPI

from app.config import MockConfig, config_from_environment
from tests.mock_api.conftest import TIMEOUT_S, Client, Clock, make
from tests.support.ports import reserved
from tests.support.servers import serve

CONTENT = bytes(1_000_000)


def poll(worker: Client) -> requests.Response:
    return worker.request("GET", "/jobs", params={"memory": 1})


def download_request(worker: Client) -> dict[str, Any]:
    requests.put(f"{worker.url}/_files/x", data=CONTENT, timeout=TIMEOUT_S).raise_for_status()
    return dict(worker.request("GET", "/files/x/url").json())


def test_a_status_can_be_answered_some_times_with_headers_and_a_body(worker: Client) -> None:
    fault = {"path": "/jobs", "skip": 1, "times": 2, "status": 503, "headers": {"Retry-After": "7"}, "body": "no"}
    worker.helper("POST", "/_faults", fault)
    answers = [poll(worker) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 503, 503, 200]
    assert (answers[1].headers["retry-after"], answers[1].text) == ("7", "no")
    assert worker.helper("GET", "/_faults")[0]["matched"] == 4


@pytest.mark.parametrize("status", [200, 401, 403, 404, 500])
@pytest.mark.parametrize("path", ["/jobs", "/jobs/1/status", "/files/x/url"])
def test_a_page_or_the_api_s_own_error_can_be_the_answer_whatever_the_status(
    worker: Client, path: str, status: int
) -> None:
    page = {"headers": {"Content-Type": "text/html"}, "body": "<html>", "times": 1}
    worker.helper("POST", "/_faults", page | {"status": status})
    worker.helper("POST", "/_faults", {"status": status, "detail": "No"})
    injected, own = (worker.request("GET", path) for _ in range(2))
    assert (injected.status_code, injected.headers["content-type"], injected.text) == (status, "text/html", "<html>")
    assert (own.status_code, own.headers["content-type"], own.json()) == (status, "application/json", {"detail": "No"})


@pytest.mark.parametrize(
    ("which", "hit"),
    [
        ({"method": "put"}, True),
        ({"method": "GET"}, False),
        ({"path": "/jobs/*/status"}, True),
        ({"path": "/jobs"}, False),
        ({"path": r"re:/jobs/\d+/status"}, True),
        ({"path": "re:/jobs"}, False),
        ({"query": "status=finished*"}, True),
        ({"query": "*status=running*"}, False),
    ],
)
def test_a_fault_hits_what_it_names(worker: Client, which: dict[str, str], hit: bool) -> None:
    worker.helper("POST", "/_faults", which | {"status": 418})
    assert (worker.put("1", "finished", runtime_details="x y") == 418) is hit


def test_a_fault_ends_after_its_seconds_or_when_cleared(worker: Client, clock: Clock) -> None:
    worker.helper("POST", "/_faults", {"seconds": 60, "status": 500})
    assert poll(worker).status_code == 500
    clock.now += 60
    assert poll(worker).status_code == 200
    worker.helper("POST", "/_faults", {"status": 500})
    worker.helper("DELETE", "/_faults")
    assert poll(worker).status_code == 200


@pytest.mark.parametrize(("cut", "status"), [("before", "queued"), ("after", "pulled")])
def test_a_connection_is_cut_before_or_after_the_work_is_done(worker: Client, cut: str, status: str) -> None:
    job_id = worker.submit()
    worker.helper("POST", "/_faults", {"cut": cut, "times": 1})
    with pytest.raises(requests.ConnectionError):
        poll(worker)
    assert worker.helper("GET", f"/_jobs/{job_id}")["status"] == status
    assert worker.helper("GET", "/_requests")[-1]["status"] is None


def test_an_upload_whose_answer_is_cut_has_arrived(worker: Client) -> None:
    job_id = worker.submit()
    worker.pull()
    to_make = worker.upload_request(job_id)
    worker.helper("POST", "/_faults", {"path": "/store/*", "cut": "after"})
    with pytest.raises(requests.ConnectionError):
        make(to_make, files={"file": ("a", CONTENT)})
    assert [output["path"] for output in worker.helper("GET", f"/_jobs/{job_id}")["outputs"]] == ["out/a"]


def test_a_body_is_cut_after_so_many_bytes(worker: Client) -> None:
    to_make = download_request(worker)
    worker.helper("POST", "/_faults", {"path": "/files/*/download", "cut_body_after": 600_000})
    blocks: list[bytes] = []
    with make(to_make, stream=True) as answer:
        assert answer.headers["content-length"] == str(len(CONTENT))
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            blocks.extend(answer.iter_content(1000))
    assert sum(map(len, blocks)) == 600_000


def test_a_short_body_announces_its_wrong_length(worker: Client) -> None:
    to_make = download_request(worker)
    worker.helper("POST", "/_faults", {"path": "/files/*/download", "short_body": 10})
    answer = make(to_make)
    assert (answer.headers["content-length"], len(answer.content)) == ("10", 10)


def test_headers_and_body_of_a_real_answer_can_be_replaced(worker: Client) -> None:
    worker.submit()
    worker.helper("POST", "/_faults", {"path": "/jobs", "headers": {"ETag": '"wrong"'}, "body": "{]"})
    answer = poll(worker)
    assert (answer.status_code, answer.headers["etag"], answer.text) == (200, '"wrong"', "{]")
    assert worker.helper("GET", "/_jobs")[0]["status"] == "pulled"


def test_a_request_hangs_until_the_fault_is_cleared(worker: Client) -> None:
    worker.helper("POST", "/_faults", {"path": "/jobs", "hang": True})
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(poll(worker).status_code))
    asking.start()
    while not any(fault["matched"] for fault in worker.helper("GET", "/_faults")):
        pass
    assert answers == []
    worker.helper("DELETE", "/_faults")
    asking.join(TIMEOUT_S)
    assert answers == [200]


def test_a_client_may_leave_a_request_that_hangs(worker: Client) -> None:
    worker.helper("POST", "/_faults", {"path": "/jobs", "hang": True})
    with pytest.raises(requests.ReadTimeout):
        requests.get(f"{worker.url}/jobs", headers=worker.headers, timeout=0.1)


def test_a_delay_comes_before_the_answer(worker: Client) -> None:
    worker.helper("POST", "/_faults", {"path": "/jobs", "delay_s": 0.2})
    begin = time.monotonic()
    assert poll(worker).status_code == 200
    assert time.monotonic() - begin >= 0.2


def test_a_server_with_hanging_requests_stops_and_comes_back_on_its_port(app: FastAPI) -> None:
    with reserved() as keeper:  # nobody else gets the port in between
        port = int(keeper.getsockname()[1])
        assert_server_stops_and_comes_back(app, port)


def assert_server_stops_and_comes_back(app: FastAPI, port: int) -> None:
    failed = threading.Event()

    def ask(worker: Client) -> None:
        try:
            poll(worker)
        except requests.ConnectionError:
            failed.set()

    with serve(app, port=port) as url:  # raises if it does not stop
        worker = Client(url, "worker-fixed-token")
        worker.helper("POST", "/_faults", {"path": "/jobs", "hang": True})
        threading.Thread(target=ask, args=[worker]).start()
        while not worker.helper("GET", "/_faults")[0]["matched"]:
            pass
    assert failed.wait(TIMEOUT_S)
    app.state.mock.faults.clear()
    with serve(app, port=port) as again:
        assert again == url
        assert poll(worker).status_code == 200


def test_latency_and_bandwidth_slow_every_answer_down(worker: Client) -> None:
    to_make = download_request(worker)
    worker.helper("POST", "/_config", {"latency_s": 0.1, "bandwidth": 10 * len(CONTENT)})
    begin = time.monotonic()
    assert make(to_make).content == CONTENT
    assert time.monotonic() - begin >= 0.2


def test_all_connections_share_a_line(worker: Client) -> None:
    downloads = [download_request(worker) for _ in range(3)]
    worker.helper("POST", "/_config", {"line": 10 * len(CONTENT)})
    threads = [threading.Thread(target=make, args=[each]) for each in downloads]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - begin >= 0.25


def test_the_helper_endpoints_are_spared(worker: Client) -> None:
    worker.helper("POST", "/_faults", {"cut": "before"})
    assert worker.helper("GET", "/_jobs") == []


def test_settings_are_read_from_the_environment() -> None:
    environment = {
        "MOCK_STORAGE": "s3",
        "MOCK_LATENCY_S": "0.5",
        "MOCK_ACCOUNTS": '[{"username": "a", "password": "b"}]',
    }
    config = config_from_environment(environment)
    assert (config.storage, config.latency_s, config.accounts[0].username) == ("s3", 0.5, "a")
    assert config_from_environment({}) == MockConfig()
