"""Workers with a stand-in for the engine: real processes, started with settings besides the usual ones."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import docker

from tests.support import preloaded
from tests.support.fake_engine import FakeEngine
from tests.support.leaks import Evidence
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess

StartWorker = Callable[..., WorkerProcess]
IMPATIENT = {"FIRST_SPAN_S": 0.2}
"""A worker with these constants tries again after tenths of a second, where others wait for seconds."""


@contextmanager
def fake_engine_workers(
    mock: Platform, engine: FakeEngine, evidence: Evidence, folder: Path, **usual: str | None
) -> Iterator[StartWorker]:
    """Gives what starts a worker of `engine`, with `usual` settings and more; its files lie below `folder`."""
    client = docker.DockerClient(engine.url, version="1.41")
    started: list[WorkerProcess] = []

    def start(*, constants: Mapping[str, float] | None = IMPATIENT, **settings: str | None) -> WorkerProcess:
        all_of_them = {"DOCKER_HOST": engine.url, "MIN_FREE_GIB": "0"} | usual | settings
        if constants is IMPATIENT and not preloaded.can_fork(all_of_them):
            constants = None
        started.append(WorkerProcess(mock, client, folder / "data", evidence.file("worker"), all_of_them, constants))
        return started[-1]

    yield start
    for worker in started:
        worker.end()
        print(worker.log)  # noqa: T201 - pytest shows it if the test has failed
    client.close()
    evidence.keep_history(mock)
