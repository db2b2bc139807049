"""The report of a job: sent with each job that ends, right in its numbers, and never in its way."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from job_fetcher.core.job_report import JobReport
from job_fetcher.worker.job_watch import MIB
from tests.support.fake_engine import FakeEngine
from tests.support.fake_engine_workers import StartWorker, fake_engine_workers
from tests.support.leaks import Evidence
from tests.support.nvml import Gpu, NvmlStub
from tests.support.platform import Platform
from tests.support.worker import run_job

REPORT = "log/log/job-report.json"
WAIT = "until [ -e /files/go ]; do sleep 0.02; done"


@pytest.fixture
def start(
    needs_time: None, mock: Platform, engine: FakeEngine, evidence: Evidence, tmp_path: Path
) -> Iterator[StartWorker]:
    with fake_engine_workers(mock, engine, evidence, tmp_path) as start:
        yield start


def _report(mock: Platform, job: str) -> JobReport:
    return JobReport.model_validate_json(mock.outputs(job, report=True)[REPORT])


def test_a_job_brings_its_report_along_and_it_is_sent_last(mock: Platform, start: StartWorker) -> None:
    start()
    job = run_job(
        mock,
        "cp /files/a /files/output/b; echo said",
        files={"a": b"x" * 3000},
        up={"output": "output"},
        meta={"job_id": 2},
    )
    report = _report(mock, job)
    assert (report.job_id, report.user_job_id, report.image, report.result, report.cause) == (
        job, 2, "image", "finished", "exit",
    )  # fmt: skip
    assert (report.exit_code, report.runs, report.retries, report.left_out_files) == (0, 1, 0, 0)
    assert (report.input_files, report.input_bytes, report.output_files, report.output_bytes) == (1, 3000, 2, 3005)
    assert report.engine_version
    assert report.gpu_model is None
    assert report.input_mib_per_s is not None
    assert report.output_mib_per_s is not None
    assert (report.download_s or 0) * report.input_mib_per_s * MIB == pytest.approx(3000)
    assert (report.upload_s or 0) * report.output_mib_per_s * MIB == pytest.approx(3005)
    stages = (report.preprocessing_s, report.running_s, report.postprocessing_s)
    assert all(each is not None and 0 <= each < 60 for each in stages)
    assert all(each is not None and each > 0 for each in (report.pull_s, report.download_s, report.upload_s))
    sent = [(each.method, each.path) for each in mock.requests() if each.method in ("PUT", "POST")]
    last = max(number for number, (method, path) in enumerate(sent) if method == "POST" and path.startswith("/store"))
    assert [path for _, path in sent[last + 1 :]].count(f"/jobs/{job}/status") >= 1
    assert mock.outputs(job) == {"output/output/b": b"x" * 3000, "log/log/container.log": b"said\n"}


ENDS: dict[str, tuple[str, dict[str, str], int, str]] = {
    "an exit code": ("exit 7", {}, 7, "exit"),
    "a signal": ("kill -SEGV $$", {}, 139, "signal"),
    "a time limit": ("sleep 600", {"MAX_RUNTIME": "1"}, 143, "time_limit"),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_report_says_what_ended_the_command(mock: Platform, start: StartWorker, end: str) -> None:
    line, settings, code, cause = ENDS[end]
    start(**settings)
    report = _report(mock, run_job(mock, line))
    assert (report.result, report.exit_code, report.cause) == ("error", code, cause)
    assert report.reason


FAULTS: dict[str, Callable[[Platform], object]] = {
    "no form": lambda mock: mock.fault("/jobs/*/files/url", status=500),
    "no form, refused": lambda mock: mock.fault("/jobs/*/files/url", status=404, detail="no"),
    "no storage": lambda mock: mock.fault("/store/*", status=503),
    "a refusal of the storage": lambda mock: mock.fault("/store/*", status=400),
    "a cut connection": lambda mock: mock.fault("/store/*", cut="after"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_report_that_cannot_be_sent_is_logged_and_the_job_ends_as_it_would_have(
    mock: Platform, start: StartWorker, what: str
) -> None:
    """This job has no other file to send."""
    FAULTS[what](mock)
    worker = start()
    job = run_job(mock, "true")
    assert mock.job(job).status == "finished"
    worker.wait_for_log(f"job {job}: report not sent: ")


def test_a_name_that_the_job_has_taken_is_left_to_it(mock: Platform, start: StartWorker) -> None:
    start()
    job = run_job(mock, "echo own > /files/log/job-report.json", up={"log": "log"})
    outputs = mock.outputs(job, report=True)
    assert outputs[REPORT] == b"own\n"
    assert json.loads(outputs["log/log/job-report-1.json"])["job_id"] == job


def test_a_worker_that_goes_on_with_a_job_says_null_for_what_it_does_not_know(
    mock: Platform, start: StartWorker
) -> None:
    worker = start()
    job = mock.submit(WAIT, files={"a": b"a"})
    mock.wait_for_status(job, "running")
    worker.signal(9)
    worker.wait()
    worker.start()
    worker.wait_for_log(f"job {job}: resuming")
    (worker.base / job / "files" / "go").touch()
    mock.wait_for_status(job)
    report = _report(mock, job)
    unknown = (report.preprocessing_s, report.pull_s, report.download_s, report.input_bytes, report.input_mib_per_s)
    assert unknown == (None,) * 5
    assert report.running_s is not None
    assert (report.input_files, report.result) == (1, "finished")


def test_the_gpus_figures_are_those_of_the_card(
    mock: Platform, engine: FakeEngine, start: StartWorker, nvml: NvmlStub
) -> None:
    card = Gpu(used_mib=1234)
    nvml.show(card)
    worker = start(**nvml.environment)
    job = mock.submit(WAIT)
    _wait_for_sample(engine)
    (worker.base / job / "files" / "go").touch()
    mock.wait_for_status(job)
    report = _report(mock, job)
    assert (report.gpu_model, report.gpu_peak_memory_mib) == (card.name, 1234)
    assert (report.gpu_busy_s, report.gpu_utilisation_percent) == (None, None), "this driver does not tell"


@pytest.mark.parametrize("line", ["exit 3", "false", "kill -KILL $$"])
def test_a_gpu_that_was_lost_is_the_cause_of_a_failure(
    mock: Platform, start: StartWorker, nvml: NvmlStub, line: str
) -> None:
    card = Gpu()
    nvml.show(card)
    worker = start(**nvml.environment)
    job = mock.submit(f"{WAIT}; {line}")
    mock.wait_for_status(job, "running")
    nvml.show(card, failures={"nvmlDeviceGetHandleByUUID": 15})
    _wait_for_samples(mock, job)
    (worker.base / job / "files" / "go").touch()
    mock.wait_for_status(job)
    assert _report(mock, job).cause == "gpu_lost"


def _wait_for_sample(engine: FakeEngine) -> None:
    """The worker looks at the GPU first, and then asks the engine for its statistics of the container."""
    engine.wait_for_call("/stats", "a sample")


def _wait_for_samples(mock: Platform, job: str) -> None:
    """Keep-alives are sent every second at most, as samples are."""
    before = len(mock.requests("PUT", f"/jobs/{job}"))
    mock.wait_until(lambda: len(mock.requests("PUT", f"/jobs/{job}")) > before + 3, "three keep-alives")
