"""What a power cut leaves on a real disk: only what was brought there. `kill -9` loses no page cache, this does."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest
from starlette.requests import Request
from starlette.responses import Response

from tests.support.fake_engine import FakeEngine
from tests.support.leaks import Evidence
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, run_job, wait_until

LINE = "cat /files/data/a > /files/output/b; echo told"
FILES = {"data/a": b"in" * 100_000}
MIB = 1 << 20


class Disk:
    """An ext4 in a file, mounted at `mounted`. Nothing goes to it by itself while a test runs."""

    def __init__(self, file: Path, mounted: Path) -> None:
        self._file, self.mounted = file, mounted

    @contextmanager
    def after_a_power_cut(self) -> Iterator[Path]:
        """The disk as it would be found if the power went now: what is in memory alone is lost."""
        copy, folder = self._file.with_suffix(".cut"), self._file.with_suffix(".found")
        shutil.copyfile(self._file, copy)
        folder.mkdir()
        _run("mount", "-o", "loop", str(copy), str(folder))
        try:
            yield folder
        finally:
            _run("umount", str(folder))
            folder.rmdir()
            copy.unlink()


@pytest.fixture
def disk(needs_loop_devices: None, needs_time: None, tmp_path: Path) -> Iterator[Disk]:
    file, mounted = tmp_path / "disk", tmp_path / "data"
    with file.open("wb") as target:
        target.truncate(64 * MIB)
    _run("mkfs.ext4", "-q", str(file))
    mounted.mkdir()
    _run("mount", "-o", "loop,commit=600", str(file), str(mounted))
    try:
        yield Disk(file, mounted)
    finally:
        _run("umount", str(mounted))


@pytest.fixture
def worker(mock: Platform, fake: FakeEngine, disk: Disk, evidence: Evidence) -> Iterator[WorkerProcess]:
    client = docker.DockerClient(fake.url, version="1.41")
    settings = {"DOCKER_HOST": fake.url, "MIN_FREE_GIB": "0"}
    worker = WorkerProcess(mock, client, disk.mounted, evidence.file("worker"), settings)
    yield worker
    worker.end()
    client.close()
    print(worker.log)  # noqa: T201 - pytest shows it if the test has failed


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _before(monkeypatch: pytest.MonkeyPatch, question: str, look: Callable[[], None]) -> None:
    """Call `look` before the engine answers a question (method and path, a regular expression)."""
    answer = FakeEngine._answer

    async def look_first(engine: FakeEngine, request: Request) -> Response:
        if re.fullmatch(question, f"{request.method} {request.url.path}"):
            look()
        return await answer(engine, request)

    monkeypatch.setattr(FakeEngine, "_answer", look_first)


def _record(folder: Path, job: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / job / "job.json").read_bytes())
    return found


def test_a_file_that_nobody_has_brought_to_the_disk_is_lost(disk: Disk) -> None:
    """Else the tests below would prove nothing."""
    (disk.mounted / "file").write_text("written")
    with disk.after_a_power_cut() as found:
        assert not (found / "file").exists()
    _run("sync", "--file-system", str(disk.mounted))
    with disk.after_a_power_cut() as found:
        assert (found / "file").read_text() == "written"


@pytest.mark.parametrize(
    ("question", "runs"),
    [
        ("GET .*/containers/json", 0),
        ("POST .*/images/create", 0),
        ("POST .*/containers/create", 1),
        ("POST .*/start", 1),
    ],
)
def test_a_job_is_on_the_disk_before_the_engine_hears_of_it(
    mock: Platform, disk: Disk, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch, question: str, runs: int
) -> None:
    """Without its record nobody would look for its container; with `runs` 0 its next run would not be a second one."""
    found: list[dict[str, Any]] = []

    def look() -> None:
        with disk.after_a_power_cut() as folder:
            found.extend(json.loads(each.read_bytes()) for each in folder.glob("[!.]*/job.json"))

    wait_until(lambda: mock.requests("GET", "/jobs"), "the worker to ask for jobs")
    _before(monkeypatch, question, look)
    job = run_job(mock, LINE, files=FILES, up={"output": "output"})
    assert {each["job"]["id"] for each in found} == {job}
    assert {each["runs"] for each in found} == {runs}
    assert {each["started"] is not None for each in found} == {runs > 0}


def test_what_a_command_has_made_is_on_the_disk_before_its_container_goes(
    mock: Platform, disk: Disk, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its outputs, its log, its outcome: after that the job is never run again."""
    found: list[tuple[dict[str, Any], bytes, bytes]] = []

    def look() -> None:
        with disk.after_a_power_cut() as folder:
            job = next(each.name for each in folder.glob("[!.]*") if (each / "job.json").exists())
            output, log = folder / job / "files/output/b", folder / job / "container.log"
            found.append((_record(folder, job), output.read_bytes(), log.read_bytes()))

    wait_until(lambda: mock.requests("GET", "/jobs"), "the worker to ask for jobs")
    _before(monkeypatch, "DELETE .*/containers/.*", look)
    run_job(mock, LINE, files=FILES, up={"output": "output"})
    [(record, output, log)] = found
    assert record["outcome"]["succeeded"]
    assert (output, log) == (FILES["data/a"], b"told\n")


def test_how_a_job_ends_is_on_the_disk_before_the_platform_hears_of_it(
    mock: Platform, disk: Disk, worker: WorkerProcess
) -> None:
    held = mock.fault("/jobs/*/status", "PUT", query="status=finished*", hang=True)
    job = mock.submit(LINE, files=FILES, up={"output": "output"})
    wait_until(lambda: held.matched, "the last status")
    with disk.after_a_power_cut() as folder:
        assert _record(folder, job)["final"]["status"] == "finished"
    mock.heal()
    mock.wait_for_status(job)
