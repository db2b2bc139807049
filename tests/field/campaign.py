"""What is tried in each environment: `check`, and five jobs with the worker as a process. Each step gives a `Cell`.

Each step has a platform, a worker and a folder for itself, so that one that fails spoils no other.
"""

import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from docker.errors import DockerException
from docker.models.containers import Container

from job_fetcher.core.errors import EngineError, SettingsError
from job_fetcher.engine.container import LABEL_JOB
from job_fetcher.engine.isolation import LABEL_FOLDER
from tests.field.place import IMAGE, Place
from tests.support.platform import Platform, running_platform
from tests.support.worker import WorkerProcess, wait_until

PATIENCE_S = 60.0
LINES = 20_000
SHOWN = "/data"
"""What stands on the page for the folder of a step."""
RAN = "echo ran >> /files/output/ran"
WAIT_FOR_GO = "until [ -e /files/go ]; do sleep 0.1; done"
SENTENCES = {SettingsError.exit_code, EngineError.exit_code}
"""The exit codes of a worker that has said what its owner has to do."""
_TIME_AND_LEVEL = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [A-Z]+ +")
_NO_JOB = re.compile(r"The worker asks for no job: (.*)")


class Verdict(StrEnum):
    WORKS = "works"
    TOLD = "told"
    """It does not work, or not all of it. The worker says so, and no job is lost to it."""
    FAILS = "**does not**"
    NONE = "-"
    """Not tried: the disk is too large to fill."""


@dataclass(frozen=True)
class Cell:
    """What became of a step, and the sentence that says more: the worker's own if it is told."""

    verdict: Verdict
    sentence: str = ""


class Told(Exception):
    """The worker says in the message what it cannot do here, and the job waits for a machine that can."""


@dataclass
class Stage:
    """One step: a worker in a folder of its own, and its platform."""

    place: Place
    platform: Platform
    folder: Path
    worker: "FieldWorker" = field(init=False)

    def start(self, *arguments: str) -> "FieldWorker":
        self.worker = FieldWorker(self, *arguments)
        return self.worker

    def submit(self, line: str) -> str:
        files = {"data/in.bin": bytes(range(256)) * 4_096}
        return self.platform.submit(line, image=IMAGE, files=files, up={"output": "output"})

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for it. Raises `Told` if the worker says why it takes no job, and `AssertionError` for all else."""

        def is_over() -> bool:
            if condition():
                return True
            refusals = _NO_JOB.findall(self.worker.log)
            if refusals and not self.worker.folders():
                raise Told(refusals[-1])
            if not self.worker.is_running:
                self._judge_end()
            return False

        try:
            wait_until(is_over, what, PATIENCE_S)
        except AssertionError as error:
            raise AssertionError(f"{error}; the worker's last words: {self.last_words()}") from error

    def _judge_end(self) -> None:
        """The worker has ended by itself: with a sentence and no job in hand, or not as it should."""
        words = self.last_words()
        if self.worker.wait() in SENTENCES and not self.worker.folders():
            raise Told(words)
        raise AssertionError(f"the worker ended with {self.worker.wait()}: {words}")

    def until_over(self, job: str, status: str) -> None:
        """Wait for the job's end, which has to be `status`, and for all that the worker has of it to be removed."""
        self.until(lambda: self.platform.job(job).status in ("finished", "error"), "the job's end")
        if (ended := self.platform.job(job).status) != status:
            raise AssertionError(f"the job ended as {ended}: {self.platform.details(job)}")
        self.until_nothing_is_left()

    def until_nothing_is_left(self) -> None:
        wait_until(lambda: not self.containers(), "the job's container to be removed")
        wait_until(lambda: not self.worker.folders(), "the job's folder to be removed")

    def until_it_runs(self, job: str) -> None:
        """Wait for the command of a job that begins with `RAN`, and for the status that says so."""
        ran = self.worker.base / job / "files" / "output" / "ran"

        def is_running() -> bool:
            if (status := self.platform.job(job).status) in ("finished", "error"):
                raise AssertionError(f"the job ended as {status}: {self.platform.details(job)}")
            return ran.exists() and status == "running"

        self.until(is_running, "the command to begin")

    def containers(self) -> list[Container]:
        """The jobs' containers that this step has made."""
        found = self.place.client.containers.list(all=True, sparse=True, filters={"label": LABEL_JOB})
        return [each for each in found if self.folder.name in each.attrs["Labels"].get(LABEL_FOLDER, "")]

    def last_words(self) -> str:
        lines = [line for line in self.worker.log.splitlines() if line.strip()]
        return lines[-1] if lines else "(none)"


class FieldWorker(WorkerProcess):
    """The worker of a step, run by the user of the place."""

    def __init__(self, stage: Stage, *arguments: str) -> None:
        place, self._stage = stage.place, stage
        self.run_by, self.python, self.arguments = place.run_by, place.python, arguments
        settings = {
            "DOCKER_HOST": place.url,
            "MIN_FREE_GIB": "0.01",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        settings |= place.settings
        if place.host_folder:
            settings["PATH_HOST_BASE"] = f"{place.host_folder}/{stage.folder.name}"
        log_file = place.scratch / f"{stage.folder.name}.log"
        super().__init__(stage.platform, place.client, stage.folder, log_file, settings)

    def containers(self) -> list[Container]:
        return self._stage.containers()


def check(stage: Stage) -> str:
    worker = stage.start("check", "--json")
    worker.wait()
    try:
        findings = json.loads(worker.log)
    except ValueError:
        raise AssertionError(f"check ended with {worker.wait()}: {stage.last_words()}") from None
    if wrong := [each["text"] for each in findings if not each["ok"]]:
        raise Told(". ".join(wrong))
    return ". ".join(_capitalised(each["text"]) for each in findings if each["limit"])


def job(stage: Stage) -> str:
    """Inputs, to which the command writes, outputs that are its user's alone, and a log of 20,000 lines."""
    worker = stage.start()
    lines = ["set -e; umask 077; mkdir /files/output/own", "cp /files/data/in.bin /files/output/own/out.bin"]
    made = stage.submit("; ".join([*lines, "echo more >> /files/data/in.bin", f"seq {LINES}"]))
    stage.until_over(made, "finished")
    outputs = stage.platform.outputs(made)
    assert outputs["output/output/own/out.bin"] == bytes(range(256)) * 4_096, "the output differs from the input"
    lines = outputs["log/log/container.log"].decode().split("\n")[:-1]
    numbers = [line for line in lines if line.isdigit()]
    if len(numbers) == LINES:
        return ""
    hole = next((line for line in lines if not line.isdigit()), "")
    assert hole, f"the log has {len(numbers)} of {LINES} lines, and does not say so: {worker.log_file}"
    raise Told(hole)


def exit_code(stage: Stage) -> str:
    stage.start()
    made = stage.submit("echo half > /files/output/half; exit 3")
    stage.until_over(made, "error")
    details = stage.platform.details(made)
    assert "exit code 3" in details, f"the details do not name exit code 3: {details}"
    assert stage.platform.outputs(made).get("output/output/half") == b"half\n", "the outputs are lost"
    return ""


def kill(stage: Stage) -> str:
    """`kill -9` of the worker while the command runs. The next start goes on with it."""
    worker = stage.start()
    made = stage.submit(f"{RAN}; {WAIT_FOR_GO}; echo went")
    stage.until_it_runs(made)
    worker.signal(signal.SIGKILL)
    worker.wait()
    worker.start()
    worker.wait_for_log(f"job {made}: resuming")
    (worker.base / made / "files" / "go").touch()
    stage.until_over(made, "finished")
    outputs = stage.platform.outputs(made)
    assert outputs["output/output/ran"] == b"ran\n", "the command ran twice"
    assert outputs["log/log/container.log"] == b"went\n", f"the log is {outputs['log/log/container.log']!r}"
    return ""


def cancel(stage: Stage) -> str:
    stage.start()
    made = stage.submit(f"{RAN}; {WAIT_FOR_GO}")
    stage.until_it_runs(made)
    stage.platform.cancel(made)
    stage.until_nothing_is_left()
    stage.until_over(stage.submit("true"), "finished")
    return ""


def stop(stage: Stage) -> str:
    worker = stage.start()
    made = stage.submit(f"{RAN}; {WAIT_FOR_GO}")
    stage.until_it_runs(made)
    assert (code := worker.stop()) == 0, f"the worker ends with {code}: {stage.last_words()}"
    assert (status := stage.platform.job(made).status) == "queued", f"the stopped job is {status}"
    stage.until_nothing_is_left()
    return ""


def full_disk(stage: Stage) -> str:
    """A job fills the disk: what it had made before arrives, and the next job runs."""
    stage.start()
    made = stage.submit(f"echo kept > /files/output/kept; {stage.place.filler}")
    stage.until_over(made, "error")
    details = stage.platform.details(made)
    assert "exit code 1" in details, f"the details do not name exit code 1: {details}"
    assert stage.platform.outputs(made).get("output/output/kept") == b"kept\n", f"the outputs are lost: {details}"
    stage.until_over(stage.submit("true"), "finished")
    return ""


STEPS: dict[str, Callable[[Stage], str]] = {
    "check": check,
    "job": job,
    "exit code 3": exit_code,
    "kill -9": kill,
    "cancel": cancel,
    "stop": stop,
    "full disk": full_disk,
}
"""The steps. Each returns what else the worker says, and raises `Told` or `AssertionError`."""


def run(
    place: Place, note: Callable[[str], None], steps: Mapping[str, Callable[[Stage], str]] = STEPS
) -> dict[str, Cell]:
    """The steps in this place, by their names. `note` is told each result as soon as there is one."""
    cells = {}
    for name, step in steps.items():
        if step is full_disk and not place.filler:
            cells[name] = Cell(Verdict.NONE)
            continue
        with _stage(place) as stage:
            cells[name] = cell = _cell(step, stage)
        note(f"{name}: {cell.verdict} {cell.sentence}".rstrip())
    return cells


def _cell(step: Callable[[Stage], str], stage: Stage) -> Cell:
    try:
        sentence = step(stage)
        verdict = Verdict.TOLD if sentence else Verdict.WORKS
    except Told as told:
        verdict, sentence = Verdict.TOLD, str(told)
    except (AssertionError, OSError, KeyError, DockerException) as error:
        verdict, sentence = Verdict.FAILS, str(error) or type(error).__name__
    words = _TIME_AND_LEVEL.sub("", " ".join(sentence.replace(str(stage.folder), SHOWN).split()))
    return Cell(verdict, _capitalised(words))


def _capitalised(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


@contextmanager
def _stage(place: Place) -> Iterator[Stage]:
    folder = Path(tempfile.mkdtemp(prefix="step-", dir=place.folder))
    place.give(folder)
    folder.with_name(f"{folder.name}-cwd").mkdir()
    with running_platform() as platform:
        stage = Stage(place, platform, folder)
        try:
            with place.spoiled():
                yield stage
        finally:
            stage.worker.end()
