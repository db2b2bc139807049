"""What the engine says of a container that does not start may be an image's own words: nobody believes them."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from docker.errors import ImageNotFound

from job_fetcher.engine import client as engine
from job_fetcher.engine import probe
from tests.support.gpu_hook import GpuHook
from tests.support.images import add_image, shell_files
from tests.support.leaks import Evidence
from tests.support.nvml import Gpu, NvmlStub
from tests.support.own_engine import OwnEngine, own_engine
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess


@pytest.fixture(scope="module")
def own(needs_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnEngine]:
    """An engine that gives containers cards, has no image of the worker's at first and reaches no registry."""
    with own_engine(GpuHook(tmp_path_factory.mktemp("hook")).folder) as engine:
        yield engine


LABEL = "LABEL job-fetcher.build=worker"
NAMES = ["127.0.0.1:1/evil:latest", "127.0.0.1:1/job-fetcher:latest", "x/job-fetcher:latest", "job-fetcher-x:latest"]


def test_image_is_not_the_workers_own_by_a_label_alone(own: OwnEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", own.url)
    client = engine.connect()
    for name in NAMES:
        add_image(own.client, name, {**shell_files(), "name": name.encode()}, LABEL)
    with pytest.raises(probe.NoImage, match="there is no image to try it with"):
        probe.image(client)
    mine = own.client.images.get(add_image(own.client, "job-fetcher:x", shell_files(), LABEL)).id
    for name in NAMES:
        add_image(own.client, name, {**shell_files(), "name": f"newer {name}".encode()}, LABEL)
    assert probe.image(client) == mine
    client.close()


HOOK = "error running hook nvidia-container-cli"
PRETENDS = {
    "a user": "USER nvidia-container-cli",
    "a user with all words": f"USER {HOOK}",
    "a user with the words of another error": "USER could not select device driver",
}


@pytest.mark.parametrize("told", [False, True], ids=["no image to try it with", "another container starts"])
def test_image_that_speaks_as_a_hook_that_fails_fails_its_job(
    told: bool, own: OwnEngine, mock: Platform, nvml: NvmlStub, evidence: Evidence, tmp_path: Path
) -> None:
    nvml.show(Gpu())
    with suppress(ImageNotFound):
        own.client.images.remove("job-fetcher:x")
    if told:
        add_image(own.client, "job-fetcher:x", shell_files(), LABEL)
    settings = {"DOCKER_HOST": own.url, **nvml.environment}
    worker = WorkerProcess(mock, own.client, tmp_path / "data", evidence.file("worker"), settings)
    try:
        for number, (what, changes) in enumerate(PRETENDS.items()):
            image = add_image(own.client, f"127.0.0.1:1/pretends:{number}", shell_files(), changes, LABEL)
            job = mock.submit("true", image=image)
            mock.wait_for_status(job)
            assert mock.job(job).status == "error", what
            assert "queued" not in mock.statuses(job), what
            assert mock.details(job).startswith("The Docker engine cannot "), what
        good = mock.submit("true", image="127.0.0.1:1/job:latest")
        mock.wait_for_status(good)
        assert mock.job(good).status == "finished"
        assert ("the worker cannot find out whether the job is to blame" in worker.log) is not told
        assert worker.stop() == 0
    finally:
        worker.end()
