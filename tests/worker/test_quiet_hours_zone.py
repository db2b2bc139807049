"""Quiet hours in the owner's own time zone: the clock of Docker Desktop's machine, say, is UTC."""

from pathlib import Path

import pytest

from job_fetcher.config.settings import WorkerSettings
from job_fetcher.engine.client import Client
from job_fetcher.engine.images import Images
from job_fetcher.worker.readiness import Readiness
from job_fetcher.workspace.workspace import Workspace
from tests.support.fake_engine import FakeEngine

QUIET = "these are quiet hours (QUIET_HOURS)"


@pytest.mark.parametrize(
    ("by_the_host", "hours", "zone", "quiet"),
    [
        ("2026-11-23T07:30:00Z", "Mon-Fri 08:00-18:00", None, False),
        ("2026-11-23T07:30:00Z", "Mon-Fri 08:00-18:00", "Europe/Berlin", True),
        ("2026-07-06T06:30:00Z", "Mon-Fri 08:00-18:00", "Europe/Berlin", True),  # summer: two hours ahead
        ("2026-11-22T23:30:00Z", "Mon 00:00-06:00", "Europe/Berlin", True),  # still Sunday by the host
        ("2026-11-23T17:30:00Z", "Mon-Fri 08:00-18:00", "Europe/Berlin", False),
        ("2026-11-23T09:30:00+09:00", "Sun 19:00-20:00", "America/New_York", True),
        ("2026-11-23T07:30:00+01:00", "Mon-Fri 08:00-18:00", None, False),
    ],
)
def test_quiet_hours_are_those_of_their_own_zone(
    fake: FakeEngine, client: Client, tmp_path: Path, by_the_host: str, hours: str, zone: str | None, quiet: bool
) -> None:
    fake.info["SystemTime"] = by_the_host
    folders = Workspace(tmp_path / "data", owner="test")
    folders.prepare()
    polling = WorkerSettings(quiet_hours=hours, quiet_hours_tz=zone, min_free_gib=0)
    images = Images(client, folders, 0, may_remove=False)
    reason = Readiness(client, folders, images, None, polling, network="bridge").reason_against()
    assert reason == (QUIET if quiet else None)
