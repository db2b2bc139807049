"""What the figures are measured with: the platform's mock and the worker as processes of their own, a real engine."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from threading import Thread, Timer
from typing import Any, TypeVar

import docker
import requests
from tests.support.engine import connect, running_registry
from tests.support.images import add_image, push, remove_images, shell_files

from job_fetcher.engine.container import LABEL_JOB
from job_fetcher.engine.isolation import LABEL_FOLDER

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "worker-fixed-token"  # noqa: S105 - the mock's own
MIB = 2**20
PATIENCE_S = 900.0

GO_ON = "mkfifo /files/go; read word < /files/go"
"""A command that ends when `let_go` tells it to, by the FIFO `go` in the job's folder."""

T = TypeVar("T")
Values = dict[str, tuple[float, float | None]]
"""What one run of a scenario gives: by row, the value and its floor."""


def wait_for(found: Callable[[], T | None], what: str, every_s: float = 0.005, timeout_s: float = PATIENCE_S) -> T:
    """What `found` returns as soon as there is something; raises `TimeoutError` if there never is."""
    end = time.monotonic() + timeout_s
    while not (result := found()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {timeout_s:g} s in vain for {what}")
        time.sleep(every_s)
    return result


def let_go(files: Path, settle_s: float = 0.0) -> float:
    """Let the command `GO_ON` end that waits in `files`; when that was, in seconds since the epoch."""
    wait_for((files / "go").exists, "the command")
    time.sleep(settle_s)  # what belongs to its start is over then
    with (files / "go").open("w") as fifo:  # opens when the command reads
        ended = time.time()
        fifo.write("on\n")
    return ended


def make_even(folder: Path, size: int) -> None:
    """What is measured next begins with no other writes under way, and with memory for `size` bytes of files at hand.

    A virtual machine may have given memory that lay idle for some seconds back to its host (virtio's "free page
    reporting"), and then pays for each page: writing a file of 2 GiB took 4 to 8 times as long after a rest of 6 s.
    """
    file, zeros = folder / "even", bytes(MIB)
    with file.open("wb", buffering=0) as target:
        for _ in range(0, size, MIB):
            target.write(zeros)
    os.sync()
    file.unlink()


class Mock:
    """The platform's mock: a process that keeps its files in `store`."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._session = requests.Session()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "uvicorn", "app.app:app", "--port", str(port), "--log-level", "warning"]
        environment = {**os.environ, "MOCK_STORE_DIR": str(store), "MOCK_STORAGE": "s3"}
        self._process = subprocess.Popen(command, cwd=ROOT / "mock_api", env=environment)  # noqa: S603
        wait_for(self._answers, "the mock")

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/access_info", timeout=5).ok
        except requests.ConnectionError:
            return False

    def close(self) -> None:
        self._session.close()
        self._process.terminate()
        self._process.wait()

    def ask(self, method: str, path: str, **more: Any) -> Any:
        """The JSON that the mock answers, `None` for nothing."""
        answer = self._session.request(method, self.url + path, timeout=300, **more)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def configure(self, **settings: Any) -> None:
        self.ask("POST", "/_config", json=settings)

    def put_file(self, file_id: str, path: Path) -> None:
        with path.open("rb") as file:
            self.ask("PUT", f"/_files/{file_id}", data=file)

    def put_random(self, file_ids: Iterable[str], size: int) -> None:
        """Store inputs of `size` random bytes, the same for all."""
        file = self._store.with_name("random")
        with file.open("wb") as target:
            for at in range(0, size, MIB):
                target.write(os.urandom(min(MIB, size - at)))
        for file_id in file_ids:
            self.put_file(file_id, file)
        file.unlink()

    def submit(self, line: str, image: str, inputs: Mapping[str, str] | None = None, output: str | None = None) -> str:
        """Queue a job that runs a shell line; its id. `inputs`: file ids by path; `output`: the folder to upload."""
        up = {"output": output} if output else None
        handler = {"image_url": image, "files_down": dict(inputs or {}) or None, "files_up": up}
        job = self.ask("POST", "/_jobs", json={"app": {"cmd": [line], "env": None}, "handler": handler})
        return str(job["id"])

    def times(self, job_id: str) -> dict[str, float]:
        """When the job had each of its statuses first, in seconds since the epoch."""
        first: dict[str, float] = {}
        for update in self.ask("GET", f"/_jobs/{job_id}")["history"]:
            first.setdefault(update["status"], update["time"])
        return first

    def ended(self, job_id: str) -> dict[str, float]:
        """Wait until the job is finished; its times. Raises `RuntimeError` if it fails."""
        times = wait_for(lambda: self._ended(job_id), f"job {job_id}", every_s=0.1)
        if "error" in times:
            raise RuntimeError(f"job {job_id} failed: {self.ask('GET', f'/_jobs/{job_id}')['history'][-1]}")
        return times

    def _ended(self, job_id: str) -> dict[str, float] | None:
        times = self.times(job_id)
        return times if {"finished", "error"} & times.keys() else None

    def report(self, job_id: str) -> Any:
        """The report that the worker has made of a finished job (docs/job-report.md)."""
        return self.ask("GET", f"/_jobs/{job_id}/outputs/log/log/job-report.json")

    def first_request(self, path: str) -> float | None:
        """When the first request for `path` came, of those since `forget_requests`."""
        times = [each["time"] for each in self.ask("GET", "/_requests") if each["path"] == path]
        return min(times, default=None)

    def sent_bytes(self, path: str) -> int:
        """Of answers to requests for paths that begin so, since `forget_requests`."""
        return sum(each["sent"] for each in self.ask("GET", "/_requests") if each["path"].startswith(path))

    def forget_requests(self) -> None:
        self.ask("DELETE", "/_requests")

    @contextmanager
    def forgetting_uploads(self) -> Iterator[None]:
        """Remove from the disk what is uploaded meanwhile."""
        before = {path.name for path in self._store.iterdir()} if self._store.exists() else set()
        try:
            yield
        finally:
            for path in self._store.iterdir():
                if path.name not in before:
                    path.unlink()


class Worker:
    """`python -m job_fetcher`, as a lab starts it, with the default settings but for `settings`."""

    def __init__(self, mock: Mock, folder: Path, **settings: str) -> None:
        self.base = folder / "data"
        self.base.mkdir(parents=True, exist_ok=True)
        passed_on = {name: os.environ[name] for name in ("PATH", "DOCKER_HOST") if name in os.environ}
        environment = passed_on | {
            "API_URL": mock.url,
            "USERNAME": "worker",
            "PASSWORD": "Worker-password-1",
            "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": f"{mock.url}/cognito/",
            "PATH_BASE": str(self.base),
        }
        command = [sys.executable, "-m", "job_fetcher"]
        with (folder / "worker.log").open("ab") as log:
            self.started_at = time.time()
            self._process = subprocess.Popen(  # noqa: S603
                command, env=environment | settings, cwd=folder, stdout=log, stderr=log
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def memory_mib(self, which: str) -> float:
        """`VmHWM`, the peak of what it had in memory, or `VmRSS`, what it has (proc_pid_status(5)), in MiB."""
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(which))

    def cpu_s(self) -> float:
        """CPU seconds so far, of all of its threads, in user and in system mode (proc_pid_stat(5))."""
        after_name = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> float:
        """Stop it as `docker stop` does; the seconds until it has ended."""
        late = Timer(30, self._process.kill)  # a `wait` with a time-out would look only every 50 ms
        late.start()
        began = time.perf_counter()
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait()
        took = time.perf_counter() - began
        late.cancel()
        if code != 0:
            raise RuntimeError(f"the worker ended with {code}")
        return took

    def end(self) -> None:
        """However things are, it does not outlive its scenario."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


class Stage:
    """Mock, engine, an image for jobs and a folder, for scenarios that are run again and again."""

    def __init__(self, mock: Mock, client: docker.DockerClient, image: str, folder: Path) -> None:
        self.mock, self.client, self.image, self.folder = mock, client, image, folder
        self.run = 0
        self._events: dict[tuple[Path, str], tuple[float, float]] = {}
        self._workers: list[Worker] = []
        Thread(target=self._watch, name="engine-events", daemon=True).start()

    def both(self, ours: Callable[[], T], floor: Callable[[], T]) -> tuple[T, T]:
        """What both return; who comes first alternates from run to run."""
        if self.run % 2:
            floored = floor()
            return ours(), floored
        return ours(), floor()

    def worker(self, **settings: str) -> AbstractContextManager[Worker]:
        """A worker that has asked for a job, in vain, and waits for a second with the next question."""
        return self.worker_of(self.mock, self.folder, **settings)

    @contextmanager
    def worker_of(self, mock: Mock, folder: Path, /, **settings: str) -> Iterator[Worker]:
        """The same of another mock, or in another folder."""
        mock.forget_requests()
        worker = Worker(mock, folder, **({"TIMEOUT_JOB": "0.2"} | settings))
        self._workers.append(worker)
        try:
            wait_for(lambda: mock.first_request("/jobs"), "the worker's first request for a job")
            yield worker
        finally:
            worker.end()
            self._workers.remove(worker)

    def event(self, job_id: str, action: str, worker: Worker | None = None) -> tuple[float, float]:
        """When the engine said `create`, `start`, `die`, … of the job's container; the worker's CPU seconds then.

        `worker`: which one has the job, if there are several.
        """
        folder = (worker or self._workers[-1]).base / job_id
        return wait_for(lambda: self._events.get((folder, action)), f"the container's '{action}'")

    def _watch(self) -> None:
        """Note what becomes of jobs' containers of this stage, by the engine's clock."""
        for event in self.client.api.events(decode=True, filters={"type": "container", "label": LABEL_JOB}):
            folder = Path(event["Actor"]["Attributes"].get(LABEL_FOLDER, ""))
            for worker in list(self._workers):
                if worker.base == folder.parent:
                    self._events[folder, event["Action"]] = (event["timeNano"] / 1e9, worker.cpu_s())


@contextmanager
def open_stage(folder: Path) -> Iterator[Stage]:
    """A stage in `folder`, with a registry for the image, as jobs' images have one."""
    with ExitStack() as stack:
        (folder / "registry").mkdir()
        client = stack.enter_context(closing(connect()))
        registry = stack.enter_context(running_registry(folder / "registry"))
        image = add_image(client, f"{registry}/job:latest", shell_files())
        stack.callback(remove_images, client, registry)
        push(client, image)
        mock = Mock(folder / "store")
        stack.callback(mock.close)
        yield Stage(mock, client, image, folder)
