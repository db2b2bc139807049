"""What tests of recovery share besides `support`: how often the engine has started each job's container."""

from collections.abc import Iterator

import docker
import pytest

from job_fetcher.engine.isolation import LABEL_FOLDER
from tests.recovery.support import TimesStarted
from tests.support.engine import events_told
from tests.support.worker import WorkerProcess


@pytest.fixture
def times_started(docker_client: docker.DockerClient) -> Iterator[TimesStarted]:
    """Tells how often the engine has started a container for a worker's job, whatever became of that."""
    with events_told(docker_client, type="container", event="start", label=LABEL_FOLDER) as told:

        def count(worker: WorkerProcess, job: str) -> int:
            folders = [each["Actor"]["Attributes"][LABEL_FOLDER] for each in told()]
            return folders.count(str(worker.base / job))

        yield count
