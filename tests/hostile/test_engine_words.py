"""What the engine says of a GPU that it cannot give, and what an image can make it say instead."""

from collections.abc import Iterator
from pathlib import Path
from time import time

import pytest

from job_fetcher import engine, probe
from job_fetcher.confinement import LABEL_BUILD
from job_fetcher.container import _NO_GPU, STARTING
from tests.support.gpu_hook import GpuHook
from tests.support.images import add_image, shell_files
from tests.support.leaks import Evidence
from tests.support.nvml import Gpu, NvmlStub
from tests.support.own_engine import OwnEngine, own_engine
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess

CREATE = "OCI runtime create failed: "
RUNC_1_0 = (
    "container_linux.go:380: starting container process caused: process_linux.go:545: container init caused: Running"
    " hook #0:: error running hook: exit status 1, stdout: , stderr: nvidia-container-cli: initialization error: nvml"
    " error: driver not loaded: unknown"
)
RUNC_1_1 = (
    "runc create failed: unable to start container process: error during container init: error running hook #0: error"
    " running hook: exit status 1, stdout: , stderr: Auto-detected mode as 'legacy'\nnvidia-container-cli:"
    " initialization error: load library failed: libnvidia-ml.so.1: cannot open shared object file: unknown"
)
RUNC_1_2 = RUNC_1_1.replace("error running hook #0", "error running prestart hook #0")
LOST = [
    'could not select device driver "" with capabilities: [[gpu]]',
    'could not select device driver "nvidia" with capabilities: [[gpu]]',
    f"{CREATE}{RUNC_1_0}",
    f"{CREATE}{RUNC_1_1}",
    f"failed to create shim: {CREATE}{RUNC_1_0}",
    f"failed to create shim task: {CREATE}{RUNC_1_1}",
    f"failed to create task for container: failed to create shim task: {CREATE}{RUNC_1_1}",
    f"failed to create task for container: failed to create shim task: {CREATE}{RUNC_1_2}",
]

WORDS = "error running hook #0: error running hook: exit status 1, stdout: , stderr: nvidia-container-cli"
EXEC = 'unable to start container process: exec: "{words}": stat {words}: no such file or directory: unknown'
NOT_LOST = [
    f"failed to create shim task: {CREATE}runc create failed: {EXEC}",
    f"{CREATE}container_linux.go:380: starting container process caused: {EXEC}",
    f'{CREATE}runc create failed: unable to start container process: chdir to cwd ("{{words}}") set in config.json: x',
    "unable to find user {words}: no matching entries in passwd file",
    "unable to find user could not select device driver: no matching entries in passwd file",
    "lstat /var/lib/docker/overlay2/0/merged/{words}: not a directory",
]


@pytest.mark.parametrize("said", LOST)
def test_lost_gpu_is_known_by_the_words_of_every_engine(said: str) -> None:
    assert _NO_GPU.match(f"The Docker engine cannot {STARTING}: {said}")


@pytest.mark.parametrize("said", NOT_LOST)
def test_words_of_an_image_are_not_those_of_the_engine(said: str) -> None:
    assert not _NO_GPU.match(f"The Docker engine cannot {STARTING}: {said.format(words=WORDS)}")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnEngine]:
    """An engine that gives containers cards, has no image of the worker's and reaches no registry."""
    with own_engine(GpuHook(tmp_path_factory.mktemp("hook")).folder) as engine:
        yield engine


LABEL = "LABEL job-fetcher.build=worker"
NAMES = ["127.0.0.1:1/evil:latest", "127.0.0.1:1/job-fetcher:latest", "x/job-fetcher:latest", "job-fetcher-x:latest"]


def test_image_is_not_the_workers_own_by_a_label_alone(own: OwnEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", own.url)
    client = engine.connect()
    for name in NAMES:
        add_image(own.client, name, {**shell_files(), "name": name.encode()}, LABEL)
    with pytest.raises(probe.ProbeFailed, match="there is no image to try it with"):
        probe.image(client)
    mine = own.client.images.get(add_image(own.client, "job-fetcher:x", shell_files(), LABEL)).id
    for name in NAMES:
        add_image(own.client, name, {**shell_files(), "name": f"newer {name}".encode()}, LABEL)
    assert probe.image(client) == mine
    client.close()


HOOK = "error running hook nvidia-container-cli"
PRETENDS = {
    "a program": 'ENTRYPOINT ["nvidia-container-cli"]',
    "a program with all words": f'ENTRYPOINT ["/{HOOK}"]',
    "a program with the words of another error": 'ENTRYPOINT ["could not select device driver"]',
}


def test_image_that_speaks_as_a_hook_that_fails_fails_its_job_and_starts_no_probe(
    own: OwnEngine, mock: Platform, nvml: NvmlStub, evidence: Evidence, tmp_path: Path
) -> None:
    nvml.show(Gpu())
    since = time()
    settings = {"DOCKER_HOST": own.url, **nvml.environment}
    worker = WorkerProcess(mock, own.client, tmp_path / "data", evidence.file("worker"), settings)
    try:
        for number, (what, changes) in enumerate(PRETENDS.items()):
            image = add_image(own.client, f"127.0.0.1:1/pretends:{number}", shell_files(), changes, LABEL)
            job = mock.submit("true", image=image)
            mock.wait_for_status(job, timeout_s=30)
            assert mock.job(job).status == "error", what
            assert "queued" not in mock.statuses(job), what
            assert mock.details(job).startswith("The Docker engine cannot "), what
        good = mock.submit("true", image="127.0.0.1:1/job:latest")
        mock.wait_for_status(good, timeout_s=30)
        assert mock.job(good).status == "finished"
        assert worker.stop() == 0
    finally:
        worker.end()
    filters = {"type": "container", "event": "create", "label": f"{LABEL_BUILD}=probe"}
    assert list(own.client.api.events(since=int(since), until=int(time()) + 1, filters=filters, decode=True)) == []
