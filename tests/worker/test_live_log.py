"""The live log: what a running command has said so far goes up as it grows, in time, bounded, and at no cost."""

import os
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from threading import enumerate as enumerate_threads
from types import SimpleNamespace
from typing import Any

import pytest

from job_fetcher import steps
from job_fetcher.core.background import Cancellation, in_background
from job_fetcher.core.errors import EngineUnavailable, JobFailed, JobFetcherError, JobGone
from job_fetcher.core.job import JobSpecs, JobStatus
from job_fetcher.transfer.excerpt import BETWEEN, MAX_EXCERPT
from job_fetcher.worker.keepalive import KeepAlive
from job_fetcher.worker.live_log import LAST_LINES, MAX_FILES, LiveLog
from job_fetcher.workspace.ledger import Ledger
from tests.support.platform import Platform
from tests.support.worker import wait_until

LOG = "log/log/container.log"
OFTEN_S = 0.01
LONG_S = 60


@dataclass
class Running:
    """A job whose command runs, as far as a live log sees of it: what it has printed, and its files."""

    mock: Platform
    folder: Path
    up: dict[str, str] | None = field(default_factory=lambda: {"log": "log"})
    printed: list[bytes] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    """What the engine raises to the next questions for the log."""
    when_read: Callable[[], object] = lambda: None
    """What happens in the moment after a look at what it has printed."""
    asked: list[int | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.id = self.mock.pulled("true", up=self.up)
        self.specs = JobSpecs.parse(self.mock.job(self.id).specs)
        self.cancelled = Cancellation()
        self.files = self.folder / "files"
        (self.files / "log").mkdir(parents=True)

    def read(self, last_lines: int | None) -> Generator[bytes]:
        self.asked.append(last_lines)
        if self.failures:
            raise self.failures.pop(0)
        said = list(self.printed if last_lines is None else self.printed[-last_lines:])
        self.when_read()
        yield from said

    @contextmanager
    def followed(self, interval_s: float = OFTEN_S) -> Iterator[LiveLog]:
        folder: Any = SimpleNamespace(job_id=self.id, path=self.folder, files=self.files)
        with KeepAlive(self.mock.api(), self.id, JobStatus.RUNNING, self.cancelled, OFTEN_S) as keep_alive:
            live = LiveLog(self.mock.api(), folder, self.specs, keep_alive, self.cancelled, interval_s=interval_s)
            with live.following(self.read):
                yield live

    def outputs(self) -> dict[str, bytes]:
        return self.mock.outputs(self.id)

    def wait_for(self, path: str, content: bytes) -> None:
        self.mock.wait_until(lambda: self.outputs().get(path) == content, f"{content[:30]!r} at {path}")

    def uploads(self) -> int:
        """How many files have arrived."""
        return len([each for each in self.mock.requests("POST", "/store") if each.status == 201])

    def forms(self) -> int:
        """How many forms were asked for."""
        return len(self.mock.requests("POST", "/jobs"))

    @property
    def is_followed(self) -> bool:
        """Whether the thread of its live log has not ended yet."""
        return any(each.name == f"live-log-{self.id}" for each in enumerate_threads())

    def wait_for_rounds(self, count: int = 3) -> None:
        """Wait until the log was looked at so often since now."""
        before = len(self.asked)
        self.mock.wait_until(lambda: len(self.asked) >= before + count, "the next rounds")


@pytest.fixture
def job(mock: Platform, tmp_path: Path) -> Running:
    return Running(mock, tmp_path)


def test_the_log_goes_up_when_it_has_grown_and_only_then(job: Running) -> None:
    job.printed.append(b"one\n")
    with job.followed() as live:
        job.wait_for(LOG, b"one\n")
        job.wait_for_rounds()
        assert job.uploads() == 1
        job.printed.append(b"two\n")
        job.wait_for(LOG, b"one\ntwo\n")
        job.wait_for_rounds()
        assert (job.uploads(), live.sent_bytes) == (2, 12)


def test_without_an_interval_nothing_goes_up(job: Running) -> None:
    job.printed.append(b"one\n")
    with job.followed(interval_s=0):
        job.mock.wait_until(lambda: len(job.mock.requests("PUT", f"/jobs/{job.id}/status")) > 3)
    assert (job.asked, job.uploads()) == ([], 0)


def test_an_empty_log_does_not_go_up(job: Running) -> None:
    (job.files / "log" / "log.log").touch()
    with job.followed():
        job.wait_for_rounds()
    assert job.outputs() == {}


@pytest.mark.parametrize("up", [{"log": "log"}, {"log": "a/logs"}])
def test_the_text_files_of_the_log_folder_go_up_as_they_grow(
    mock: Platform, tmp_path: Path, up: dict[str, str]
) -> None:
    """Comet sends its output to /files/log/log.log."""
    job = Running(mock, tmp_path, up)
    (folder := job.files / up["log"]).mkdir(parents=True, exist_ok=True)
    (folder / "events.tfevents").write_bytes(b"\x18\0\0\0event")
    with job.followed(), (folder / "log.log").open("ab", buffering=0) as log:
        for said in (b"one\n", b"two\n"):
            log.write(said)
            job.wait_for(f"log/{up['log']}/log.log", (folder / "log.log").read_bytes())
        job.wait_for_rounds()
    assert set(job.outputs()) == {f"log/{up['log']}/log.log"}
    assert job.uploads() == 2


@pytest.mark.parametrize("up", [None, {"output": "log"}, {"artifact": "log"}])
def test_files_of_a_folder_that_is_not_declared_as_the_logs_do_not_go_up(
    mock: Platform, tmp_path: Path, up: dict[str, str] | None
) -> None:
    job = Running(mock, tmp_path, up)
    (job.files / "log" / "log.log").write_text("x")
    job.printed.append(b"one\n")
    with job.followed():
        job.wait_for(LOG, b"one\n")
        job.wait_for_rounds()
    assert set(job.outputs()) == {LOG}


def test_of_many_files_the_newest_go_up_in_a_round(job: Running) -> None:
    for number in range(MAX_FILES + 3):
        (log := job.files / "log" / f"{number}.log").write_text("x")
        os.utime(log, (number, number))
    with job.followed():
        job.mock.wait_until(lambda: job.uploads() >= MAX_FILES, "the first round")
    newest = {f"log/log/{number}.log" for number in range(3, MAX_FILES + 3)}
    assert newest <= set(job.outputs())


def test_the_jobs_own_container_log_is_not_overwritten(job: Running) -> None:
    (job.files / "log" / "container.log").write_text("own")
    job.printed.append(b"one\n")
    with job.followed():
        job.wait_for("log/log/container-1.log", b"one\n")
        job.wait_for(LOG, b"own")


def test_each_upload_follows_a_keep_alive_that_was_heard_and_has_a_form_of_its_own(job: Running) -> None:
    """So that the folder of a deleted job does not appear again."""
    for name in ("a.log", "b.log"):
        (job.files / "log" / name).write_text(name)
    job.printed.append(b"one\n")
    with job.followed():
        job.mock.wait_until(lambda: job.uploads() == 3, "the first round")
    kinds: dict[tuple[str, str, int | None], str] = {
        ("PUT", "jobs", 204): "heard ",
        ("POST", "jobs", 201): "form ",
        ("POST", "store", 201): "file ",
    }
    seen = "".join(kinds.get((each.method, each.path.split("/")[1], each.status), "") for each in job.mock.requests())
    assert re.fullmatch("((heard )+form (heard )*file ){3}(heard )*", seen)


def test_without_a_keep_alive_that_is_heard_nothing_goes_up(job: Running) -> None:
    job.mock.fault("/jobs/*/status", "PUT", status=503)
    job.printed.append(b"one\n")
    with job.followed():
        job.mock.wait_until(lambda: len(job.mock.requests("PUT", f"/jobs/{job.id}/status")) > 2)
        assert (job.asked, job.mock.requests("POST", "/jobs")) == ([], [])
        job.mock.heal()
        job.wait_for(LOG, b"one\n")


@pytest.mark.parametrize("reason", [JobGone(), JobFailed("whatever ends it")])
def test_after_a_cancellation_nothing_goes_up(job: Running, reason: JobFetcherError) -> None:
    """The job is cancelled after a look at what is new."""
    ended = Event()

    def cancel() -> None:
        if b"two\n" in job.printed:
            job.cancelled.set(reason)
            ended.set()

    job.printed.append(b"one\n")
    job.when_read = cancel
    with job.followed() as live:
        job.wait_for(LOG, b"one\n")
        job.wait_for_rounds(1)  # the form of another round may be on its way
        forms = job.forms()
        job.printed.append(b"two\n")
        assert ended.wait(LONG_S)
        with suppress(JobFetcherError):
            live.wait_until_quiet(job.cancelled)
    wait_until(lambda: not job.is_followed, "the thread of the live log to end")
    assert (job.forms(), job.outputs()) == (forms, {LOG: b"one\n"})


def test_a_job_that_is_deleted_is_noticed_and_its_folder_does_not_come_back(job: Running) -> None:
    """It is deleted after a look at its log: a moment before that the API has said that it is there."""

    def delete() -> None:
        job.mock.cancel(job.id)
        job.printed.append(b"two\n")

    job.printed.append(b"one\n")
    with job.followed():
        job.wait_for(LOG, b"one\n")
        job.when_read = delete
        assert isinstance(job.cancelled.future.exception(LONG_S), JobGone)
    wait_until(lambda: not job.is_followed, "the thread of the live log to end")
    assert job.outputs().get(LOG) in (None, b"one\n")


def test_the_complete_log_waits_for_the_upload_that_is_on_its_way_and_comes_last(job: Running) -> None:
    """A live log that arrives later than the complete one would replace it."""
    job.printed.append(b"one\n")
    (job.files / "output").mkdir()
    (job.folder / "container.log").write_bytes(b"all\n")
    hanging = job.mock.fault("/store/*", "POST", delay_s=0.5, times=1)
    with job.followed() as live:
        job.mock.wait_until(lambda: hanging.matched > 0, "the upload to be on its way")
        ended = in_background(lambda: None, "ended")
    ended.result(LONG_S)
    steps.upload_outputs(
        job.mock.api(), job.id, job.specs, job.files, job.folder / "container.log", Ledger(job.folder / "ledger"),
        before_logs=live.wait_until_quiet,
    )  # fmt: skip
    assert job.outputs() == {LOG: b"all\n"}
    times = [each.time for each in job.mock.requests("POST", "/store")]
    assert (len(times), sorted(times)) == (2, times)


def test_other_outputs_do_not_wait_for_the_upload_that_is_on_its_way(job: Running) -> None:
    job.printed.append(b"one\n")
    specs = JobSpecs.parse(job.mock.job(job.id).specs | {"handler": {"image_url": "x", "files_up": {"output": "out"}}})
    (job.files / "out").mkdir()
    (job.files / "out" / "a").write_bytes(b"a")
    (job.folder / "container.log").write_bytes(b"all\n")
    hanging = job.mock.fault("/store/*/log/*", "POST", hang=True)
    with job.followed() as live:
        job.mock.wait_until(lambda: hanging.matched > 0, "the upload to be on its way")
    ending = in_background(
        lambda: steps.upload_outputs(
            job.mock.api(), job.id, specs, job.files, job.folder / "container.log", Ledger(job.folder / "ledger"),
            before_logs=live.wait_until_quiet,
        ),
        "upload",
    )  # fmt: skip
    job.wait_for("output/out/a", b"a")
    assert not ending.done()
    job.mock.heal()
    assert ending.result(LONG_S) == []
    assert job.outputs()[LOG] == b"all\n"


FAULTS: dict[str, Callable[[Running], object]] = {
    "no form": lambda job: job.mock.fault("/jobs/*/files/url", status=500, times=2),
    "no storage": lambda job: job.mock.fault("/store/*", status=503, times=2),
    "a refusal of the storage": lambda job: job.mock.fault("/store/*", status=403, times=2),
    "a page instead of the storage": lambda job: job.mock.fault("/store/*", status=200, body="<html>", times=2),
    "a cut connection": lambda job: job.mock.fault("/store/*", cut="before", times=2),
    "no engine": lambda job: job.failures.extend([EngineUnavailable("The engine is away")] * 2),
    "a log that the engine cannot read": lambda job: job.failures.extend([JobFailed("no driver")] * 2),
    "a disk that fails": lambda job: job.failures.extend([OSError(5, "Input/output error")] * 2),
    "a bug": lambda job: job.failures.extend([ValueError("unforeseen")] * 2),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_failure_is_logged_once_and_costs_the_job_nothing(
    job: Running, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    FAULTS[what](job)
    job.printed.append(b"one\n")
    with job.followed():
        job.wait_for(LOG, b"one\n")
    assert not job.cancelled.is_set()
    assert [each.getMessage().partition(": ")[2][:19] for each in caplog.records if each.levelname == "WARNING"] == [
        "live log not sent: "
    ]


HOSTILE: dict[str, bytes] = {
    "escape sequences": b"\x1b]0;title\x07\x1b[2J",
    "no UTF-8": b"\xff\xfe\x80",
    "markup": b"<script>alert(1)</script>",
    "one line without an end": b"x" * 16_384,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_log_of_100_mib_goes_up_as_an_excerpt_of_at_most_1_mib(job: Running, what: str) -> None:
    piece = (HOSTILE[what] * 16_384)[:16_384]
    job.printed = [piece] * 6_400  # the pieces of an engine
    (job.files / "log" / "log.log").write_bytes(piece * 100)
    with (job.files / "log" / "log.log").open("r+b") as log:
        log.seek(100 << 20)
        log.write(b"\nthe end")
    with job.followed() as live:
        job.mock.wait_until(lambda: job.uploads() == 2, "both logs")
    outputs = job.outputs()
    for log_path in (LOG, "log/log/log.log"):
        assert len(outputs[log_path]) <= MAX_EXCERPT
        assert outputs[log_path].startswith(piece[:100])
        assert BETWEEN in outputs[log_path]
    assert outputs["log/log/log.log"].endswith(b"\nthe end")
    job.mock.wait_until(lambda: live.sent_bytes == sum(map(len, outputs.values())), "both to be counted")
    assert job.asked[:2] == [None, LAST_LINES]


ODD: dict[str, Callable[[Path], object]] = {
    "a FIFO": lambda at: os.mkfifo(at),
    "a link to a device": lambda at: at.symlink_to("/dev/zero"),
    "a link to the worker's environment": lambda at: at.symlink_to("/proc/self/environ"),
    "a name of 255 odd bytes": lambda at: (at.parent / os.fsdecode(b"\xff" * 255)).write_text("x"),
    "a name with a quote": lambda at: (at.parent / 'a"b.log').write_text("x"),
}


@pytest.mark.parametrize("what", ODD)
def test_what_lies_beside_a_log_harms_it_not(job: Running, what: str) -> None:
    ODD[what](job.files / "log" / "odd.log")
    (job.files / "log" / "log.log").write_bytes(b"said\n")
    job.printed.append(b"one\n")
    with job.followed():
        job.wait_for(LOG, b"one\n")
        job.wait_for("log/log/log.log", b"said\n")
        job.wait_for_rounds()
    assert all(content in (b"one\n", b"said\n", b"x") for content in job.outputs().values())
