"""What passes is waited out: in every stage the job goes on where it was and finishes, told of once."""

import pytest

from app.faults import ArmedFault
from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import Unavailable
from job_fetcher.core.retry import MAX_WAIT_S, retrying
from tests.faults.campaign import POLLING, STAGES, Campaign
from tests.faults.cases import CUT_DOWNLOAD, HANGING, PASSING, TRIES

CELLS = [(fault, stage) for fault, (_, stages) in PASSING.items() for stage in stages]
HANGING_CELLS = [(case, stage) for case, stages in HANGING.items() for stage in stages]
ON_THE_WAY = ["preprocessing", "running", "postprocessing"]


def _assert_finished(campaign: Campaign, case: str) -> None:
    """With what its command has made, one `finished`, and nothing of the job left."""
    ran = campaign.ran[case]
    assert campaign.job(case).status == "finished", campaign.platform.details(ran.job)
    outputs = campaign.platform.outputs(ran.job)
    assert outputs == {"output/output/a": ran.content, "log/log/container.log": b"done\n"}
    history = [update.status.value for update in campaign.job(case).history]
    assert history.count("finished") == 1
    assert history[-1] == "finished"
    assert not any((worker.base / ran.job).exists() for worker in campaign.workers)


def _requests(campaign: Campaign, case: str, stage: str) -> list[float]:
    """When each request of a stage was made."""
    method, path, _ = STAGES[stage]
    beginning = path.format(job=campaign.ran[case].job).split("*")[0]
    return [each.time for each in campaign.platform.requests(method, beginning)]


@pytest.mark.parametrize(("fault", "stage"), CELLS, ids=[f"{stage}-{fault}" for fault, stage in CELLS])
def test_job_goes_on_after_a_fault(campaign: Campaign, fault: str, stage: str) -> None:
    """P9, P10: several tries of that request fail before one works."""
    armed = campaign.ran[fault].faults[stage]
    _assert_finished(campaign, fault)
    if (fault, stage) == ("cut after the request is done", "last status"):
        assert armed.matched == 1  # it has arrived, which the worker finds out before it sends it, and a mail, again
    elif stage == "postprocessing":  # the job may be over before that is sent, in one case or another
        met = [ran.faults[stage].matched > 0 for ran in campaign.ran.values() if stage in ran.faults]
        assert met.count(True) > len(met) / 2
    else:
        assert armed.matched >= TRIES


def test_retry_after_is_waited_out_in_every_stage(campaign: Campaign) -> None:
    """But for keep-alives, which come at their own pace."""
    for stage in ("input URL", "download"):
        first, second, third = _requests(campaign, "429 with Retry-After", stage)[:3]
        assert second - first >= 1
        assert third - second >= 1


def test_statuses_are_sent_in_order_whatever_went_wrong(campaign: Campaign) -> None:
    """P14: the first ones may have been overtaken by the job itself, the last ones not."""
    for case in (*PASSING, *HANGING, CUT_DOWNLOAD):
        sent = campaign.sent(case)
        assert sent == [status for status in ON_THE_WAY if status in sent] + ["finished"], case


@pytest.mark.parametrize(("case", "stage"), HANGING_CELLS, ids=[stage for _, stage in HANGING_CELLS])
def test_job_goes_on_after_a_request_that_is_never_answered(campaign: Campaign, case: str, stage: str) -> None:
    """P21."""
    _assert_finished(campaign, case)
    assert campaign.ran[case].faults[stage].matched >= 1


def test_download_that_is_cut_goes_on_where_it_was(campaign: Campaign) -> None:
    _assert_finished(campaign, CUT_DOWNLOAD)
    path = STAGES["download"][1].format(job=campaign.ran[CUT_DOWNLOAD].job).split("*")[0]
    sent = [each for each in campaign.platform.requests("GET", path) if not each.path.endswith("/url")]
    begins = [_begin(each.range) for each in sent]
    assert len(begins) == 1 + TRIES
    assert 0 == begins[0] < begins[1] < begins[2]


def _begin(asked: str | None) -> int:
    """Of a `Range`; without one all of the file is asked for."""
    return int((asked or "bytes=0-").removeprefix("bytes=").split("-")[0])


def test_worker_goes_on_polling_after_any_fault(campaign: Campaign) -> None:
    polls: dict[str, ArmedFault] = campaign.polls
    assert {"500", "503", "429", "400", "404", "hanging", "cut after the request is done"} < polls.keys()
    assert all(each.matched for each in polls.values())
    assert campaign.died == []


def test_patience_has_no_end(waits: list[float]) -> None:
    """P9: somebody is away for a day, and then comes back."""
    day_s = 86_400

    def call() -> str:
        if sum(waits) < day_s:
            raise Unavailable("away")
        return "back"

    assert retrying(Cancellation())(call) == "back"
    assert max(waits) <= MAX_WAIT_S
    assert len(waits) > day_s / MAX_WAIT_S


def test_faults_are_met_in_every_stage() -> None:
    """No stage is left out by mistake."""
    met = {stage for _, stage in CELLS} | {POLLING}
    assert met == {*STAGES, POLLING}
    assert {stage for _, stage in HANGING_CELLS} == set(STAGES)
