"""Jobs that were requeued are taken back by the account that had them, if nobody else has them."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.jobs import Offer
from job_fetcher.core.background import Cancellation, in_background
from job_fetcher.core.errors import JobFailed, MachineFault, StopRequested, Unavailable
from job_fetcher.core.job import Final, Job, JobStatus
from job_fetcher.worker import shutdown
from job_fetcher.worker.ending import Ending, ending_of, ending_without_folder
from job_fetcher.worker.reporter import Reporter
from job_fetcher.worker.shutdown import Shutdown
from job_fetcher.worker.take_back import MAX_FAILURES, MAX_TAKE_BACKS, TakeBack
from job_fetcher.workspace.job_folder import JobFolder
from job_fetcher.workspace.requeued import Requeues
from job_fetcher.workspace.workspace import Workspace
from tests.support.platform import Platform
from tests.support.worker import wait_until

OFFER: dict[str, str | int] = {"memory": 2**20, "cpu_cores": 8, "gpu_mem": 8000, "gpu_model": "RTX", "gpu_archi": "Ada"}
STOP = StopRequested("The worker was stopped (SIGTERM).")
FAULT = MachineFault("This worker can start no container now: no GPU.")
ACCOUNT = "worker"
OTHER = "worker2"
LONG_S = 60


class Machine:
    """A worker's machine without an engine: it requeues jobs, and takes them back."""

    def __init__(self, mock: Platform, base: Path, allowed: tuple[str, ...] = ("*",), wait_s: float = 0.0) -> None:
        self.mock, self.shutdown = mock, Shutdown()
        self.workspace = Workspace(base, f"{ACCOUNT} at {mock.url}")
        self.api = mock.api()
        self.notes = self.workspace.requeued
        self.reporter = Reporter(self.api, self.notes, self.shutdown, first_wait_s=wait_s)
        self._take_back = TakeBack(self.api, self.notes, allowed, self.shutdown.ending)

    def requeue(self, folder: JobFolder, reason: StopRequested | MachineFault = STOP) -> Ending:
        """What the loop does for a job in hand."""
        with folder:
            ending = ending_of(reason, folder)
            ending.record(folder)
            assert ending.final is not None
            self.reporter.report(folder.state.job, ending.final, Cancellation(), requeues=ending.requeues)
            folder.remove()
        return ending

    def make_folder(self, job: Job, requeues: Requeues) -> JobFolder | None:
        try:
            return self.workspace.create(job, None, requeues)
        except JobFailed as error:
            ending = ending_without_folder(error, requeues)
            assert ending.final is not None
            self.reporter.report(job, ending.final, Cancellation(), requeues=ending.requeues)
            return None

    def take_back(self) -> JobFolder | None:
        return self._take_back.next_folder(OFFER, self.make_folder)

    def had(self, reason: StopRequested | MachineFault = STOP, **job: Any) -> str:
        """A job that this account had, and that is queued again."""
        job_id = self.mock.submit("true", **job)
        assert pull(self.mock, ACCOUNT, **(job.get("hardware") or {})) == [job_id]
        folder = self.make_folder(Job(id=job_id, raw=self.mock.job(job_id).specs), Requeues())
        assert folder is not None
        self.requeue(folder, reason)
        assert self.mock.job(job_id).status == "queued"
        return job_id

    def questions(self) -> int:
        return len(self.mock.requests("GET", "/jobs/"))


@pytest.fixture
def machine(mock: Platform, tmp_path: Path) -> Iterator[Machine]:
    yield Machine(mock, tmp_path)
    assert not list(tmp_path.glob(".making-*"))


def pull(mock: Platform, account: str, gpu_model: str = "", gpu_archi: str = "", **_: Any) -> list[str]:
    """The jobs that `account` gets."""
    offer = Offer(memory=2**40, cpu_cores=2**20, gpu_mem=2**40, gpu_model=gpu_model, gpu_archi=gpu_archi)
    return list(mock.state.jobs.pull(account, offer))


@pytest.mark.parametrize("reason", [STOP, FAULT], ids=["a stop", "a fault"])
def test_a_job_that_is_still_queued_is_taken_back_from_clean_inputs(
    mock: Platform, machine: Machine, reason: StopRequested | MachineFault
) -> None:
    job = machine.had(reason)
    assert pull(mock, ACCOUNT) == [], "the API does not give it to this account again"
    folder = machine.take_back()
    assert folder is not None
    with folder:
        assert (folder.job_id, folder.state.runs, list(folder.files.iterdir())) == (job, 0, [])
        assert mock.job(job).status == "preprocessing"
        assert pull(mock, OTHER) == []
        assert machine.notes.notes() == []
        folder.remove()
    assert machine.take_back() is None
    assert machine.questions() == 1


ENDS: dict[str, Callable[[Platform, Machine, str], object]] = {
    "deleted": lambda mock, _, job: mock.cancel(job),
    "given to another account": lambda mock, _, job: pull(mock, OTHER),
    "ended": lambda _, machine, job: machine.api.put_status(job, JobStatus.ERROR),
    "run by this account elsewhere": lambda _, machine, job: machine.api.put_status(job, JobStatus.RUNNING),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_job_that_is_not_queued_any_more_is_left_alone_and_forgotten(
    mock: Platform, machine: Machine, end: Callable[[Platform, Machine, str], object]
) -> None:
    """A PUT would revive a job that has ended."""
    job = machine.had()
    end(mock, machine, job)
    before = len(mock.requests("PUT"))
    assert machine.take_back() is None
    asked = machine.questions()
    assert machine.take_back() is None
    assert (len(mock.requests("PUT")), machine.notes.notes()) == (before, [])
    assert machine.questions() == asked, "it is asked about once"


def test_a_job_that_another_account_pulls_in_that_moment_is_left_to_it(mock: Platform, machine: Machine) -> None:
    """The API says `queued`, and answers the PUT with 404."""
    job = machine.had()
    assert pull(mock, OTHER) == [job]
    mock.fault(f"/jobs/{job}/status", "GET", status=200, body='"queued"')
    assert machine.take_back() is None
    assert (machine.notes.notes(), mock.job(job).holder) == ([], OTHER)


@pytest.mark.parametrize(
    "hardware",
    [{"memory": 2**20 + 1}, {"cpu_cores": 9}, {"gpu_mem": 8001}, {"gpu_model": "GTX"}, {"gpu_archi": "Volta"}],
)
def test_a_job_that_this_machine_does_not_suffice_for_waits_for_one_that_does(
    machine: Machine, hardware: dict[str, Any]
) -> None:
    """The owner has changed MEMORY_RESERVE_MIB or the GPU since."""
    job = machine.had(hardware=hardware)
    assert machine.take_back() is None
    assert (machine.questions(), [note.job.id for note in machine.notes.notes()]) == (0, [job])


@pytest.mark.parametrize("hardware", [{}, {"memory": None, "gpu_model": None}, {"memory": 2**20, "gpu_model": "RTX"}])
def test_a_job_that_this_machine_suffices_for_is_taken_back(machine: Machine, hardware: dict[str, Any]) -> None:
    machine.had(hardware=hardware)
    folder = machine.take_back()
    assert folder is not None
    folder.remove()


@pytest.mark.parametrize("allowed", [("ghcr.io/decode/*",), ("other",), ("image:2",)])
def test_a_job_whose_image_is_not_allowed_any_more_stays_queued(
    mock: Platform, machine: Machine, tmp_path: Path, allowed: tuple[str, ...]
) -> None:
    job = machine.had()
    strict = Machine(mock, tmp_path, allowed)
    assert strict.take_back() is None
    assert mock.job(job).status == "queued"
    folder = machine.take_back()
    assert folder is not None
    folder.remove()


def test_a_job_is_taken_back_three_times_and_fails_then(mock: Platform, machine: Machine) -> None:
    job = machine.had()
    for _ in range(MAX_TAKE_BACKS):
        folder = machine.take_back()
        assert folder is not None
        machine.requeue(folder)
    assert machine.take_back() is None
    assert (mock.job(job).status, machine.notes.notes()) == ("error", [])
    assert mock.details(job) == "The owner of this worker stopped it 4 times while it had the job."
    sent = [request.query.get("runtime_details") for request in mock.requests("PUT", f"/jobs/{job}/status")]
    assert sent.count([str(STOP)]) == 1, "the user reads it once"
    assert machine.take_back() is None


@pytest.mark.parametrize("kills", [1, 2, 3])
def test_an_end_that_its_user_has_not_seen_is_sent_by_the_next_start(
    mock: Platform, machine: Machine, tmp_path: Path, kills: int
) -> None:
    """The API keeps `error` and answers 500, and the worker is stopped before it has sent it again."""
    job = machine.had()
    machine.notes.write(machine.notes.notes()[0].job, Requeues(stops=MAX_TAKE_BACKS + 1), confirmed=True)
    for _ in range(kills):
        stopped = Machine(mock, tmp_path)
        untold = mock.fault(f"/jobs/{job}/status", "PUT", users_side_down=True)
        giving_up = in_background(stopped.take_back, "give-up")
        mock.wait_until(lambda fault=untold: fault.matched > 0, "the answer")  # type: ignore[misc]
        wait_until(lambda: machine.notes.notes()[0].untold, "the note of it")
        stopped.shutdown.stop("SIGTERM")
        with pytest.raises(StopRequested):
            giving_up.result(LONG_S)
        mock.heal()
        assert mock.job(job).status == "error", "the queue has it"
        assert not any(update.reported for update in mock.job(job).history if update.status == "error")
    assert Machine(mock, tmp_path).take_back() is None
    assert mock.job(job).history[-1].reported
    assert mock.job(job).status == "error"
    assert machine.notes.notes() == []


def test_a_machine_that_cannot_run_a_job_tries_again_without_end_and_tells_the_user_once(
    mock: Platform, machine: Machine
) -> None:
    job = machine.had(FAULT)
    for number in range(2 * MAX_TAKE_BACKS):
        folder = machine.take_back()
        assert folder is not None, number
        machine.requeue(folder, FAULT)
    assert mock.job(job).status == "queued"
    assert [update.runtime_details for update in mock.job(job).history if update.runtime_details] == [str(FAULT)]


def test_the_waits_grow_while_a_machine_cannot_run_a_job(mock: Platform, tmp_path: Path) -> None:
    machine = Machine(mock, tmp_path, wait_s=8)
    machine.had(FAULT)
    waits = []
    for _ in range(3):
        assert machine.take_back() is None, "not yet"
        [note] = machine.notes.notes()
        waits.append(note.wait_s)
        machine.notes.write(note.job, note.requeues, confirmed=True)
        folder = machine.take_back()
        assert folder is not None
        machine.requeue(folder, FAULT)
    assert 0 < waits[0] < waits[1] / 1.4 < waits[2] / 2
    assert machine.questions() == 3
    assert Machine(mock, tmp_path).take_back() is not None, "a start does not wait: its owner may have mended it"


def test_a_folder_that_cannot_be_made_requeues_the_job_once_more(mock: Platform, machine: Machine) -> None:
    """Something appears under its name between the look and the folder."""
    job = machine.had()
    thesis = machine.workspace.base / job / "thesis.txt"
    hanging = mock.fault(f"/jobs/{job}/status", "GET", hang=True)
    taking = in_background(machine.take_back, "take-back")
    mock.wait_until(lambda: hanging.matched > 0, "the question")
    thesis.parent.mkdir()
    thesis.write_text("three years of work")
    mock.heal()
    assert taking.result(LONG_S) is None
    assert (mock.job(job).status, thesis.read_text()) == ("queued", "three years of work")
    assert machine.take_back() is None
    thesis.unlink()
    thesis.parent.rmdir()
    folder = machine.take_back()
    assert folder is not None
    folder.remove()


def test_a_stop_that_the_api_did_not_hear_of_leaves_the_job_to_the_next_start(mock: Platform, machine: Machine) -> None:
    """The worker had pulled it, and had no folder yet: the job is this account's still."""
    job = mock.pulled("true", account=ACCOUNT)
    machine.notes.write(Job(id=job, raw=mock.job(job).specs), Requeues(stops=1, last_was_stop=True), confirmed=False)
    folder = machine.take_back()
    assert folder is not None
    assert mock.job(job).status == "preprocessing"
    folder.remove()


def test_a_worker_that_is_killed_while_it_takes_a_job_back_does_so_again(mock: Platform, machine: Machine) -> None:
    """Between the PUT and the folder: the API says `preprocessing`, which only this worker can have sent."""
    job = machine.had()
    mock.fault(f"/jobs/{job}/status", "PUT", cut="after")
    with pytest.raises(Unavailable):
        machine.take_back()
    mock.heal()
    assert mock.job(job).status == "preprocessing"
    folder = machine.take_back()
    assert folder is not None
    folder.remove()


def test_an_api_that_is_away_is_asked_again_before_a_new_job_but_one_job_does_not_block_the_others_for_ever(
    mock: Platform, machine: Machine
) -> None:
    job = machine.had()
    mock.fault(f"/jobs/{job}/status", "GET", status=503)
    for _ in range(MAX_FAILURES - 1):
        with pytest.raises(Unavailable):
            machine.take_back()
    assert machine.take_back() is None
    mock.heal()
    folder = machine.take_back()
    assert folder is not None
    folder.remove()


def test_several_workers_of_one_folder_take_a_job_back_once(mock: Platform, machine: Machine, tmp_path: Path) -> None:
    jobs = {machine.had(), machine.had()}
    workers = [Machine(mock, tmp_path) for _ in range(4)]
    together = threading.Barrier(len(workers))

    def take(worker: Machine) -> JobFolder | None:
        together.wait(LONG_S)
        return worker.take_back()

    taking = [in_background(lambda each=each: take(each), "worker") for each in workers]  # type: ignore[misc]
    folders = [folder for each in taking if (folder := each.result(LONG_S)) is not None]
    assert sorted(folder.job_id for folder in folders) == sorted(jobs)
    taken = [request for request in mock.requests("PUT") if request.query["status"] == ["preprocessing"]]
    assert len(taken) == 2
    for folder in folders:
        folder.remove()


BLOCKED: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a link": lambda lock: lock.symlink_to("/etc/hostname"),
    "a link to nothing": lambda lock: lock.symlink_to("nothing"),
}


@pytest.mark.parametrize("block", BLOCKED.values(), ids=BLOCKED)
def test_a_lock_that_cannot_be_had_keeps_the_worker_from_nothing_else(
    machine: Machine, tmp_path: Path, block: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    machine.had()
    block(tmp_path / ".requeued.lock")
    assert machine.take_back() is None
    assert "takes none back" in caplog.text


AWAY: dict[str, dict[str, Any]] = {
    "it hangs": {"hang": True},
    "it has trouble": {"status": 503},
    "a cut": {"cut": "before"},
}


@pytest.mark.parametrize("trouble", AWAY.values(), ids=AWAY)
@pytest.mark.parametrize("stopped", [True, False], ids=["a stop", "an error that ends the worker"])
def test_a_worker_that_ends_waits_for_the_api_for_some_seconds_only_and_the_next_start_goes_on(
    mock: Platform, machine: Machine, trouble: dict[str, Any], stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutdown, "STOP_S", 0.2)
    monkeypatch.setattr(shutdown, "REQUEUE_S", 0.2)
    job_id = mock.pulled("true", account=ACCOUNT)
    job = Job(id=job_id, raw=mock.job(job_id).specs)
    mock.fault(f"/jobs/{job_id}/status", "PUT", **trouble)
    if stopped:
        machine.shutdown.stop("SIGTERM")
    final = Final(status=JobStatus.QUEUED, details="")
    over = machine.reporter.report(job, final, Cancellation(), requeues=Requeues(faults=1), worker_ends=not stopped)
    assert not over, "the folder stays"
    mock.heal()
    folder = Machine(mock, machine.workspace.base).take_back()
    assert folder is not None
    folder.remove()


def test_a_fault_of_the_machine_waits_for_the_api(mock: Platform, machine: Machine) -> None:
    job_id = mock.pulled("true", account=ACCOUNT)
    job = Job(id=job_id, raw=mock.job(job_id).specs)
    away = mock.fault(f"/jobs/{job_id}/status", "PUT", status=503)
    final = Final(status=JobStatus.QUEUED, details=str(FAULT))
    reporting = in_background(
        lambda: machine.reporter.report(job, final, Cancellation(), requeues=Requeues(faults=1)), "report"
    )
    mock.wait_until(lambda: away.matched > 1, "a second try")
    mock.heal()
    assert reporting.result(LONG_S)
    assert (mock.job(job_id).status, mock.details(job_id)) == ("queued", str(FAULT))
