"""What watches the worker may fail: the log says so once, and nobody else hears of it."""

import pytest

from job_fetcher.config.settings import Settings
from job_fetcher.monitoring import monitor
from tests.support.worker import wait_until


@pytest.mark.parametrize("error", [SystemExit(), MemoryError(), OSError(24, "Too many open files")])
def test_thread_that_ends_is_told_once(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise error

    monitor.keep("page", fail)
    wait_until(lambda: caplog.records, "a line of the log", 10)
    assert [record.getMessage() for record in caplog.records] == [
        "The thread `page` has ended: an unforeseen error. The jobs go on"
    ]


def test_secrets_are_no_settings_that_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "Hush-1"
    settings = Settings(api_url="https://api.example.org", username="lab", password=secret, access_token=secret)  # type: ignore[arg-type]
    shown = monitor.shown(settings)
    assert shown["PASSWORD"] == shown["ACCESS_TOKEN"] == "(set)"
    assert secret not in str(shown)
    assert shown["USERNAME"] == "lab"
