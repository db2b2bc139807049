"""What waiting cannot change is not waited for: the job fails at once, with a sentence; the worker does the next."""

import re

import pytest

from tests.faults.campaign import STAGES, Campaign
from tests.faults.cases import REFUSED, UNHEARD
from tests.faults.conftest import StartWorker
from tests.support.platform import Platform

CELLS = [(stage, status) for stage, sentences in REFUSED.items() for status in sentences]
IDS = [f"{stage}-{status}" for stage, status in CELLS]


@pytest.mark.parametrize(("stage", "status"), CELLS, ids=IDS)
def test_job_fails_at_once_with_a_sentence(campaign: Campaign, stage: str, status: int) -> None:
    """P2: none is taken for a deleted job. By 400 and 403 S3 also means that a URL is too old: three tries."""
    case = f"{stage} refused with {status}"
    job = campaign.job(case)
    assert job.status == "error"
    assert re.search(REFUSED[stage][status], campaign.platform.details(job.id))
    files = {"upload": 3, "upload URL": 4}.get(
        stage, 1
    )  # the output, the log, the list of what is left out, the report
    tries = 3 if stage in ("download", "upload") and status in (400, 403) and (stage, status) != ("upload", 400) else 1
    if stage.endswith("URL") and status in (403, 404):
        tries = 2  # the API's word is confirmed
    report = 1 if stage == "upload" else 0  # it is sent once
    assert campaign.ran[case].faults[stage].matched == files * tries + report


@pytest.mark.parametrize(("stage", "status"), UNHEARD, ids=[f"{stage}-{status}" for stage, status in UNHEARD])
def test_status_on_the_way_that_is_refused_is_no_reason_to_give_up_a_job(
    campaign: Campaign, stage: str, status: int
) -> None:
    assert campaign.job(f"{stage} refused with {status}").status == "finished"


@pytest.mark.parametrize("status", [400, 413, 422])
def test_last_status_that_is_refused_is_sent_without_its_details_and_then_given_up(
    campaign: Campaign, status: int
) -> None:
    case = f"last status refused with {status}"
    _, path, _ = STAGES["last status"]
    tries = [
        each.query
        for each in campaign.platform.requests("PUT", path.format(job=campaign.ran[case].job))
        if each.query["status"] == ["finished"]
    ]
    assert ["runtime_details" in query for query in tries] == [True, False]


def test_worker_whose_account_is_refused_ends_and_says_what_to_do(mock: Platform, start_worker: StartWorker) -> None:
    """A refusal is confirmed first: `tests/worker/test_loop_astray.py`. Three minutes are a second for this worker."""
    worker = start_worker(constants={"REFUSED_FOR_S": 1.0})
    mock.fault("/jobs", status=403, detail="no")
    assert worker.wait() == 3
    assert "Ask the platform to add it to the group 'workers'" in worker.log
