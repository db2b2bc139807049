"""The life of a job whose folder lies on a file system that has limits, or fails in the middle. No engine is needed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from tests.field.faults import Fault, mounted
from tests.support.fake_engine import FakeEngine
from tests.support.leaks import Evidence
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, run_job, wait_until

LINE = "cat /files/data/a > /files/output/b; echo told"
FILES = {"data/a": b"in"}
UP = {"output": "output"}
SetFaults = Callable[..., None]


@pytest.fixture
def faults() -> tuple[Fault, ...]:
    """Of the file system when it is mounted."""
    return ()


@pytest.fixture
def disk(needs_mounts: None, needs_time: None, tmp_path: Path, faults: tuple[Fault, ...]) -> Iterator[SetFaults]:
    with mounted(tmp_path / "data", *faults) as set_faults:
        yield set_faults


@pytest.fixture
def worker(
    mock: Platform, engine: FakeEngine, disk: SetFaults, evidence: Evidence, tmp_path: Path
) -> Iterator[WorkerProcess]:
    client = docker.DockerClient(engine.url, version="1.41")
    settings = {"DOCKER_HOST": engine.url, "MIN_FREE_GIB": "0"}
    worker = WorkerProcess(mock, client, tmp_path / "data", evidence.file("worker"), settings)
    yield worker
    worker.end()
    client.close()
    print(worker.log)  # noqa: T201 - pytest shows it if the test has failed
    evidence.keep_history(mock)


def assert_nothing_left(worker: WorkerProcess) -> None:
    wait_until(lambda: not worker.folders(), "the job's folder to be removed")


@pytest.mark.parametrize(
    "faults",
    [
        (Fault.RENAME_OPEN,),
        (Fault.SILLY_RENAME,),
        (Fault.CHMOD_REFUSED, Fault.ALWAYS_OPEN),
        (Fault.FSYNC_FILE, Fault.FSYNC_FOLDER),
        (Fault.STATFS,),
        (Fault.FOLD_CASE, Fault.ODD_NAMES),
    ],
    ids=lambda faults: "+".join(faults),
)
def test_job_runs_on_a_file_system_with_limits(mock: Platform, worker: WorkerProcess) -> None:
    for _ in range(2):
        job = run_job(mock, LINE, files=FILES, up=UP)
        assert mock.statuses(job) == ["preprocessing", "running", "postprocessing", "finished"], mock.details(job)
        assert mock.outputs(job) == {"output/output/b": b"in", "log/log/container.log": b"told\n"}
        assert_nothing_left(worker)
    assert "cannot remove" not in worker.log


@pytest.mark.parametrize("faults", [(Fault.FOLD_CASE, Fault.ODD_NAMES)])
@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"A.txt": b"1", "a.txt": b"2"}, "takes 'A.txt' and 'a.txt' for one file"),
        ({"Output/x": b"1"}, "takes 'Output' and 'output' for one file"),
        ({"que?.txt": b"1"}, "cannot hold a file with the name 'que?.txt' (Invalid argument)"),
    ],
)
def test_job_whose_names_the_disk_does_not_keep_apart_fails_with_them_and_the_next_one_runs(
    mock: Platform, worker: WorkerProcess, files: dict[str, bytes], sentence: str
) -> None:
    job = run_job(mock, "true", files=files, up=UP)
    assert mock.job(job).status == "error"
    assert mock.details(job).startswith(f"The worker's disk {sentence}: give ")
    assert mock.job(run_job(mock, LINE, files=FILES, up=UP)).status == "finished"


@pytest.mark.parametrize("faults", [(Fault.EDQUOT,), (Fault.ENOSPC,)])
def test_worker_that_starts_on_a_full_disk_asks_for_no_job_until_there_is_room(
    mock: Platform, worker: WorkerProcess, disk: SetFaults
) -> None:
    """The disk has not even the worker's own lock yet."""
    job = mock.submit(LINE, files=FILES, up=UP)
    worker.wait_for_log(f"The worker asks for no job: PATH_BASE ({worker.base}) cannot be written to: ")
    disk()
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished", mock.details(job)


@pytest.mark.parametrize("fault", [Fault.RENAME_FOLDER, Fault.RENAME_FILE, Fault.CHMOD_REFUSED])
def test_job_whose_folder_cannot_be_made_is_requeued_and_taken_back_when_the_folder_works(
    mock: Platform, worker: WorkerProcess, disk: SetFaults, fault: Fault
) -> None:
    """Jobs behind it stay in the queue meanwhile: the worker asks for none."""
    mock.wait_until(lambda: len(mock.requests("GET", "/jobs")) > 0, "a look for a job")
    disk(fault)
    job = mock.submit(LINE, files=FILES, up=UP)
    worker.wait_for_log(f"job {job}: requeued")
    assert mock.details(job) == "The worker cannot make the job's folder: Operation not permitted."
    worker.wait_for_log("The worker asks for no job: The file system of PATH_BASE ")
    behind = mock.submit(LINE, files=FILES, up=UP)
    disk()
    for each in (job, behind):
        mock.wait_for_status(each)
        assert mock.job(each).status == "finished", mock.details(each)


@pytest.mark.parametrize("fault", [Fault.EIO, Fault.EROFS, Fault.ESTALE, Fault.EDQUOT, Fault.ENOSPC])
def test_what_a_job_has_left_goes_up_from_a_disk_that_fails_in_the_middle(
    mock: Platform, worker: WorkerProcess, disk: SetFaults, fault: Fault, tmp_path: Path
) -> None:
    """Neither its log nor its state can be written any more; no other job is asked for until the disk works again."""
    prints = "seq 1 200000 | xargs -n 500; echo told"
    line = f"echo kept > /files/output/b; until [ -e {tmp_path}/go ]; do sleep 0.02; done; {prints}"
    job = mock.submit(line, up=UP)
    output = worker.base / job / "files" / "output" / "b"
    wait_until(lambda: output.exists() and output.stat().st_size > 0, "the command to write")
    disk(fault)
    (tmp_path / "go").touch()
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished", mock.details(job)
    outputs = mock.outputs(job)
    assert outputs["output/output/b"] == b"kept\n"
    assert outputs["log/log/container.log"].startswith(b"[job-fetcher] The disk of this worker does not take the log.")
    assert outputs["log/log/container.log"].endswith(b" 199999 200000\ntold\n")
    assert len(outputs["log/log/container.log"]) < 1.1 * 2**20
    worker.wait_for_log(f"The worker asks for no job: PATH_BASE ({worker.base}) cannot be written to: ")
    behind = mock.submit(LINE, files=FILES, up=UP)
    disk()
    mock.wait_for_status(behind)
    assert mock.job(behind).status == "finished", mock.details(behind)
    assert_nothing_left(worker)
    assert worker.stop() == 0


@pytest.mark.parametrize("fault", [Fault.EIO, Fault.EROFS, Fault.ESTALE])
def test_job_that_the_disk_fails_before_its_command_runs_is_requeued_and_taken_back(
    mock: Platform, worker: WorkerProcess, disk: SetFaults, fault: Fault
) -> None:
    mock.fault("*/download", hang=True)
    job = mock.submit(LINE, files=FILES, up=UP)
    mock.wait_until(lambda: len(mock.requests("GET", "*/download")) > 0, "the download to begin")
    disk(fault)
    mock.heal()
    worker.wait_for_log(f"job {job}: requeued")
    assert mock.details(job).startswith("The disk of this worker fails: ")
    disk()
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished", mock.details(job)
    assert_nothing_left(worker)
