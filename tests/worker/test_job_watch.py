"""What the worker learns of two jobs that it has in hand: each has its own bytes, waits and retries."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path

import pytest

from job_fetcher.core.background import in_background
from job_fetcher.core.events import Moved, Transfer, TriedAgain, about, tell
from job_fetcher.core.job import Final, Job, JobStatus, Outcome
from job_fetcher.core.job_report import JobReport
from job_fetcher.core.version import UNKNOWN
from job_fetcher.transfer.upload_report import UploadReport
from job_fetcher.worker.job_watch import MIB, JobWatch
from job_fetcher.workspace.workspace import Workspace

OUTCOME = Outcome(exit_code=0, succeeded=True, reason="Done.")


@pytest.fixture
def watches(tmp_path: Path) -> Iterator[list[JobWatch]]:
    """Those of the jobs 17 and 18."""
    workspace = Workspace(tmp_path, "ada")
    with ExitStack() as stack:
        folders = [stack.enter_context(workspace.create(Job(id=each, raw={}))) for each in ("17", "18")]
        yield [stack.enter_context(JobWatch(folder).listening()) for folder in folders]


def report(watch: JobWatch) -> JobReport:
    return watch.report(OUTCOME, UploadReport(), Final(status=JobStatus.FINISHED, details=""), 0)


def downloaded(watch: JobWatch, meanwhile: Callable[[], None]) -> float | None:
    """MiB that moved for the job of `watch`, which fetches one MiB, while something else is done."""

    def download() -> None:
        tell(Moved(Transfer.DOWNLOAD, MIB))
        meanwhile()

    watch.downloading(download)()
    done = report(watch)
    return done.input_mib_per_s and done.download_s and done.input_mib_per_s * done.download_s


def uploaded(watch: JobWatch, meanwhile: Callable[[], None]) -> float | None:
    with watch.uploading():
        tell(Moved(Transfer.UPLOAD, MIB))
        meanwhile()
    done = report(watch)
    return done.output_mib_per_s and done.upload_s and done.output_mib_per_s * done.upload_s


def tried_again(watch: JobWatch, meanwhile: Callable[[], None]) -> float | None:
    tell(TriedAgain(1.0))
    meanwhile()
    done = report(watch)
    assert done.retries == done.retry_wait_s
    return done.retry_wait_s


@pytest.mark.parametrize("does", [downloaded, uploaded, tried_again])
def test_the_other_job_and_the_worker_itself_do_not_count(
    watches: list[JobWatch], does: Callable[[JobWatch, Callable[[], None]], float | None]
) -> None:
    def another() -> None:
        for transfer in Transfer:
            tell(Moved(transfer, 7 * MIB))
        tell(TriedAgain(7.0))

    def meanwhile() -> None:
        with about("17"):
            in_background(another, "another").result()

    with about("18"):
        assert does(watches[1], meanwhile) == pytest.approx(1)
    another()
    assert report(watches[1]).retries == (1 if does is tried_again else 0)


def test_a_source_tree_that_is_not_installed_has_a_report_too(
    watches: list[JobWatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a layer of a Lambda, or on a machine where the sources were only copied."""

    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert report(watches[0]).worker_version == UNKNOWN
