"""A last status that the API answered with 500, on the cloud's side: the job's user is told by a later call."""

import os
import time
from pathlib import Path

import pytest
from scripts.cloud.handlers import RESENT_FOR_S

from app.users_side import user_page
from tests.support.cloud import OUTCOME, Cloud
from tests.support.platform import Platform


def untold(mock: Platform, cloud: Cloud, status: str) -> tuple[str, dict[str, object], Path]:
    """A job whose `status` the queue has kept, without its user knowing of it; what `report` was given."""
    job_id, event = cloud.pulled(files={"a": b"1"})
    event |= {"final": {"status": status, "details": "over"}}
    mock.fault(f"/jobs/{job_id}/status", "PUT", query=f"status={status}*", users_side_down=True)
    noted = cloud.base / job_id / "untold"
    assert cloud.out_of_time("report", event, noted.exists) == event | {"next": "report"}
    assert mock.job(job_id).status == status
    assert user_page(mock.job(job_id).history).status != status
    return job_id, event, cloud.base / job_id


@pytest.mark.parametrize("status", ["finished", "error"])
def test_last_status_that_its_user_has_not_seen_is_sent_by_the_next_call(
    mock: Platform, cloud: Cloud, status: str
) -> None:
    job_id, event, _ = untold(mock, cloud, status)
    tried = mock.job(job_id).history[:]
    again = cloud.out_of_time("report", event, lambda: len(mock.job(job_id).history) > len(tried))
    assert again["next"] == "report"
    mock.heal()
    for _ in range(2):
        assert cloud.call("report", event) == {"next": "end"}
    page = user_page(mock.job(job_id).history)
    assert (page.status, [each.status for each in page.mails]) == (status, [status])
    assert cloud.folders() == []


@pytest.mark.parametrize("late", ["fetch", "upload"])
def test_late_call_of_another_step_does_not_forget_that_the_user_has_not_seen_the_end(
    mock: Platform, cloud: Cloud, late: str
) -> None:
    job_id, event, _ = untold(mock, cloud, "finished")
    assert cloud.call(late, event | {"outcome": OUTCOME}) == {"next": "end"}
    mock.heal()
    assert cloud.call("report", event) == {"next": "end"}
    assert user_page(mock.job(job_id).history).status == "finished"


def test_last_status_is_not_sent_again_for_longer_than_half_an_hour_in_all_calls(mock: Platform, cloud: Cloud) -> None:
    _, event, folder = untold(mock, cloud, "finished")
    earlier = time.time() - RESENT_FOR_S
    os.utime(folder / "untold", (earlier, earlier))
    assert cloud.call("report", event) == {"next": "end"}
    assert cloud.folders() == []
