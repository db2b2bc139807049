"""What stands between the worker and the API: a proxy's password, and odd words about when to come again."""

import random
from collections.abc import Callable

import pytest

from job_fetcher import http
from job_fetcher.background import Cancellation
from job_fetcher.errors import StopRequested, Unavailable
from tests.support.raw_server import answer, raw_server
from tests.support.worker import WorkerProcess

StartWorker = Callable[..., WorkerProcess]

LETTERS = '0123456789 ,:+-JanMonGMT()"\\;/.٣²'
TIMES = [
    *("²", "٣", "9" * 4000, "-1", "1e9", "nan", "inf", "Mon, 01 Jan 0001 00:00:00 +2359"),
    *("Fri, 31 Dec 9999 23:59:59 -2359", f"Mon, 01 Jan 2026 00:00:00 +{'9' * 4000}", f"1 Jan {'9' * 4000} 00:00:00"),
]


@pytest.mark.parametrize("address", ["http://ada:hush@127.0.0.1:1", "http://ada:hush@127.0.0.1:1:1"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_password_of_a_proxy_is_in_no_log(start_worker: StartWorker, address: str, scheme: str) -> None:
    variables = {f"{scheme}_proxy": address, f"{scheme.upper()}_PROXY": address}
    worker = start_worker(API_URL=f"{scheme}://api.local", **variables)
    worker.wait_for_log("/access_info: ")
    worker.stop()
    assert "hush" not in worker.log


def test_odd_time_to_come_again_is_one_to_wait_for_or_none() -> None:
    chance = random.Random(4)
    odd = ["".join(chance.choices(LETTERS, k=chance.randrange(30))) for _ in range(300)]
    cancelled = Cancellation()
    cancelled.set(StopRequested("the test"))
    for value in [*TIMES, *odd]:
        reply = answer(b"", "503 x", retry_after=value.encode().decode("latin-1"))
        with raw_server(reply) as server, pytest.raises(Unavailable) as raised:
            http.send("GET", server.url)
        assert 0 <= (raised.value.retry_after_s or 0) <= http.LONGEST_RETRY_AFTER_S, value
