"""The file that `check` tries the storage with: no part of the contract."""

import pytest

from tests.mock_api.conftest import Client, Clock, make

CONTENT = bytes(range(256)) * 4096


@pytest.mark.parametrize("storage", ["own", "s3"])
def test_a_probe_file_comes_back_as_it_was_sent_until_its_time_is_over(
    worker: Client, clock: Clock, storage: str
) -> None:
    worker.helper("POST", "/_config", {"storage": storage})
    probe = worker.request("GET", "/_probe").json()
    assert make(probe["upload"], files={"file": ("probe", CONTENT)}).ok
    assert make(probe["download"]).content == CONTENT
    clock.now += 599
    worker.request("GET", "/_probe")
    assert make(probe["download"]).content == CONTENT
    clock.now += 1
    worker.request("GET", "/_probe")
    clock.now -= 1
    assert make(probe["download"]).status_code == 404


def test_each_call_has_a_file_of_its_own(worker: Client) -> None:
    one, other = (worker.request("GET", "/_probe").json() for _ in range(2))
    for probe, content in ((one, b"1"), (other, b"2")):
        assert make(probe["upload"], files={"file": ("probe", content)}).ok
    assert [make(probe["download"]).content for probe in (one, other)] == [b"1", b"2"]


def test_only_workers_get_one(url: str) -> None:
    assert Client(url, None).request("GET", "/_probe").status_code == 403
    assert Client(url, "newcomer-fixed-token").request("GET", "/_probe").status_code == 403
    assert Client(url, "wrong").request("GET", "/_probe").status_code == 401


def test_the_form_of_a_probe_file_takes_no_other_path(worker: Client) -> None:
    upload = worker.request("GET", "/_probe").json()["upload"]
    elsewhere = upload | {"url": upload["url"].replace("/inputs/probes/", "/inputs/")}
    assert make(elsewhere, files={"file": ("probe", b"1")}).status_code == 403
