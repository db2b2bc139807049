"""Keep-alives never miss, whatever the worker is busy with: the gaps are those that the platform itself has seen."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from tests.faults.conftest import StartWorker
from tests.support.gate import Gate
from tests.support.platform import Platform
from tests.support.turns import counted_turns

Gaps = Callable[[str], list[float]]

MIB = 2**20
FILES = 5_000
MOST = 1.5
"""The largest gap between two signs of life, in `TIMEOUT_STATUS`."""


@pytest.fixture
def gaps(mock: Platform) -> Iterator[Gaps]:
    """Tells the seconds between one sign of life of a job and the next, from the pull to the last status.

    A second in which the platform itself had no turn is none in which it has missed something.
    """
    with counted_turns() as seconds:

        def between(job: str) -> list[float]:
            times = [update.time for update in mock.job(job).history if update.account]
            return [seconds(before, after) for before, after in pairwise(times)]

        yield between


def _sent(mock: Platform, job: str, status: str) -> int:
    return sum(update.status == status for update in mock.job(job).history)


def test_keep_alives_go_on_through_slow_pulls_and_transfers_and_thousands_of_files(
    mock: Platform, start_worker: StartWorker, remote_image: str, registry_gate: Gate, gaps: Gaps
) -> None:
    """A pull that stalls, a large file each way on a slow line, 5,000 small files: each takes several keep-alives."""
    interval_s = 2.0
    mock.configure(bandwidth=3 * MIB)
    registry_gate.stall_after(200_000)
    start_worker(TIMEOUT_STATUS=str(interval_s))
    line = f"cd /files/output && for n in $(seq 1 {FILES}); do : > $n; done; cp /files/big big"
    job = mock.submit(line, image=remote_image, files={"big": bytes(20 * MIB)}, up={"output": "output"})
    mock.wait_until(lambda: _sent(mock, job, "preprocessing") > 4, "keep-alives while the pull stalls")
    registry_gate.open()
    mock.wait_for_status(job, timeout_s=400)
    assert mock.job(job).status == "finished", mock.details(job)
    assert len(mock.outputs(job)) == FILES + 1
    assert _sent(mock, job, "postprocessing") > 3
    assert max(gaps(job)) < MOST * interval_s


def test_keep_alives_come_in_time_although_the_api_takes_5_seconds_to_answer(
    mock: Platform, start_worker: StartWorker, job_image: str, gaps: Gaps
) -> None:
    interval_s = 5.0
    mock.fault("re:/(jobs|files).*", delay_s=5)
    start_worker(TIMEOUT_STATUS=str(interval_s))
    job = mock.submit(
        "sleep 12; cp /files/a /files/output/a", image=job_image, files={"a": b"a"}, up={"output": "output"}
    )
    mock.wait_for_status(job, timeout_s=400)
    assert mock.job(job).status == "finished", mock.details(job)
    assert len(gaps(job)) > 5
    assert max(gaps(job)) < MOST * interval_s


def test_job_that_runs_longer_than_max_runtime_is_stopped_and_told_so_with_its_outputs(
    mock: Platform, start_worker: StartWorker, job_image: str
) -> None:
    worker = start_worker(MAX_RUNTIME="2")
    line = "echo half > /files/output/a; echo so far; sleep 600"
    job = mock.submit(line, image=job_image, up={"output": "output"})
    mock.wait_for_status(job)
    reason = "The command was stopped after 2 s, this worker's MAX_RUNTIME. The owner of this worker has to raise that"
    arrived = "The worker uploaded 1 output file (5 bytes) and 1 log file (7 bytes)."
    told = f"{reason} for a longer run. {arrived}\n\nThe end of the log:\nso far"
    assert (mock.job(job).status, mock.details(job)) == ("error", told)
    assert mock.outputs(job) == {"output/output/a": b"half\n", "log/log/container.log": b"so far\n"}
    worker.stop()
    worker.assert_nothing_left()
