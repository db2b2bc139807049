"""The floors: the same work without a worker, by the plainest means."""

import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from docker.errors import NotFound

from job_fetcher.engine import client as engine
from job_fetcher.engine import isolation
from job_fetcher.engine.isolation import Resources
from scripts.benchmark.stage import TOKEN, Stage, let_go, wait_for

SHELL = ["/bin/sh", "-c"]


def engine_cycle(stage: Stage, line: str, limits: dict[str, Any] | None = None) -> float:
    """Seconds that the engine needs for a shell line by itself: create, start, wait, remove.

    `limits`: those of a job's container (`job_limits`).
    """
    api = stage.client.api
    began = time.perf_counter()
    container = api.create_container(stage.image, [*SHELL, line], host_config=limits)["Id"]
    api.start(container)
    api.wait(container)
    api.remove_container(container, v=True)
    return time.perf_counter() - began


def job_limits(stage: Stage) -> dict[str, Any]:
    """The `HostConfig` of a job's container: its limits, capabilities, folder, network, log, and the engine's init."""
    client = engine.connect()
    (stage.folder / "limits" / "files").mkdir(parents=True, exist_ok=True)
    resources = Resources(engine.machine(client).memory_mib, None, "bridge")
    config: dict[str, Any] = isolation.host_config(client, PurePosixPath(stage.folder / "limits"), resources, init=True)
    client.close()
    return config


@contextmanager
def running(stage: Stage, line: str, files: Path) -> Iterator[str]:
    """A container that runs a shell line with the folder `files` at `/files`."""
    api = stage.client.api
    files.mkdir(exist_ok=True)
    config = api.create_host_config(binds={str(files): {"bind": "/files", "mode": "rw"}})
    container = api.create_container(stage.image, [*SHELL, line], host_config=config)["Id"]
    api.start(container)
    try:
        yield container
    finally:
        with suppress(NotFound):
            api.remove_container(container, v=True, force=True)


def engine_turnaround(stage: Stage, line: str, settle_s: float) -> float:
    """Seconds from the end of a command until the next container has started: wait, remove, create, start."""
    api, files = stage.client.api, stage.folder / "bare"
    (files / "output").mkdir(parents=True, exist_ok=True)
    with running(stage, line, files) as container:
        ended = let_go(files, settle_s)
        api.wait(container)
        api.remove_container(container, v=True)
        following = api.create_container(stage.image, [*SHELL, "sleep 1000"])["Id"]
        api.start(following)
        started = time.time()
        api.remove_container(following, v=True, force=True)
    for each in (files / "go", files / "output" / "large"):
        each.unlink()
    return started - ended


def copy_and_create(stage: Stage, source: Path, target: Path, *options: str) -> tuple[float, float]:
    """Seconds that cp(1) needs for a file, and until the engine has created a container after that."""
    api = stage.client.api
    began = time.perf_counter()
    subprocess.run(["cp", *options, str(source), str(target)], check=True)  # noqa: S603, S607
    copied_s = time.perf_counter() - began
    container = api.create_container(stage.image, [*SHELL, "true"])["Id"]
    made_s = time.perf_counter() - began
    api.remove_container(container, v=True)
    target.unlink()
    return copied_s, made_s


def engine_tells_exit(stage: Stage, line: str, let_go: Callable[[Path], float]) -> float:
    """Seconds from the end of a command, which `let_go` causes, until the engine reports it."""
    files = stage.folder / "bare"
    reported: list[float] = []

    def wait(container: str) -> None:
        stage.client.api.wait(container)
        reported.append(time.time())

    with running(stage, line, files) as container:
        waiting = threading.Thread(target=wait, args=[container])
        waiting.start()
        ended = let_go(files)
        waiting.join()
    (files / "go").unlink()
    return reported[0] - ended


def engine_stops(stage: Stage, line: str, timeout_s: int) -> float:
    """Seconds that the engine needs to stop and remove a container that runs a shell line."""
    with running(stage, line, stage.folder / "bare") as container:
        wait_for(lambda: stage.client.api.logs(container), "the command to begin")
        began = time.perf_counter()
        stage.client.api.stop(container, timeout=timeout_s)
        stage.client.api.remove_container(container, v=True)
        return time.perf_counter() - began


def bare_python() -> float:
    """Seconds that an interpreter needs to start and to end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - began


def curl_down(stage: Stage, file_ids: Iterable[str], folder: Path) -> tuple[float, float]:
    """Fetch inputs by one `curl` each, all at once; seconds, and their CPU seconds."""
    return _curl(*(_get(stage, file_id, folder / str(number)) for number, file_id in enumerate(file_ids)))


def _get(stage: Stage, file_id: str, target: Path) -> Callable[[], list[str]]:
    def command() -> list[str]:
        request = _handed_out(stage, "GET", f"/files/{file_id}/url")
        return [*_headers(request), "--output", str(target), request["url"]]

    return command


def curl_up(
    stage: Stage, job_id: str, base_path: str, files: Iterable[Path], *, hashed: bool = False
) -> tuple[float, float]:
    """Send outputs of a job by one `curl` each, all at once; seconds, and their CPU seconds.

    `hashed`: beside each, `md5sum` computes what the storage's `ETag` is compared with.
    """
    files = list(files)
    sums = [["md5sum", "--binary", str(file)] for file in files] if hashed else []
    return _curl(*(_post(stage, job_id, base_path, file) for file in files), beside=sums)


def _post(stage: Stage, job_id: str, base_path: str, file: Path) -> Callable[[], list[str]]:
    def command() -> list[str]:
        request = _handed_out(stage, "POST", f"/jobs/{job_id}/files/url?type=output&base_path={base_path}")
        fields = [word for name, value in request["data"].items() for word in ("--form-string", f"{name}={value}")]
        return [*_headers(request), *fields, "--form", f"file=@{file}", request["url"]]

    return command


def _handed_out(stage: Stage, method: str, path: str) -> Any:
    return stage.mock.ask(method, path, headers={"Authorization": f"Bearer {TOKEN}"})


def _headers(request: Any) -> list[str]:
    return [word for name, value in request["headers"].items() for word in ("--header", f"{name}: {value}")]


def _curl(*commands: Callable[[], list[str]], beside: Iterable[list[str]] = ()) -> tuple[float, float]:
    cpu, began = _children_cpu_s(), time.perf_counter()
    curl = ["curl", "--silent", "--show-error", "--fail"]
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in beside]  # noqa: S603
    processes += [subprocess.Popen([*curl, *command()], stdout=subprocess.DEVNULL) for command in commands]  # noqa: S603
    for process in processes:
        if process.wait() != 0:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
    return time.perf_counter() - began, _children_cpu_s() - cpu


def _children_cpu_s() -> float:
    """CPU seconds of children that have ended and were waited for (getrusage(2))."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
