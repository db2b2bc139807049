"""The worker's own short containers: what they are given, and what a folder of jobs, or a registry away, gets a job."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import docker
import pytest
from docker.errors import NotFound

from job_fetcher.engine import client as engine
from job_fetcher.engine import probe
from job_fetcher.engine.isolation import LABEL_HELPER, PIDS_LIMIT
from tests.preflight.conftest import run_check
from tests.support.engine import events_told
from tests.support.gate import DOCKER_SOCKET, free_socket, running_gate
from tests.support.images import add_image, push, remove_images, shell_files
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, run_job, wait_until

StartWorker = Callable[..., WorkerProcess]


@pytest.fixture
def workers_image(docker_client: docker.DockerClient) -> Iterator[str]:
    """An image of the worker's own, by its name and label; a tiny one."""
    name = f"job-fetcher:hostile-{os.getpid()}"
    yield add_image(docker_client, name, shell_files(), "LABEL job-fetcher.build=worker")
    remove_images(docker_client, name)


def test_probe_has_no_more_rights_than_a_job_and_no_network(job_image: str) -> None:
    client = engine.connect()
    line = (
        "grep -E '^(NoNewPrivs|CapBnd|Seccomp):' /proc/self/status; ls /sys/class/net; grep -c /probe /proc/mounts;"
        " cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2> /dev/null; true"
    )
    assert probe.run(client, job_image, line).split() == (
        f"CapBnd: 00000000000000fb NoNewPrivs: 1 Seccomp: 2 lo 0 {PIDS_LIMIT}".split()
    )
    client.close()


SAYS = {
    "its program sees it": ("echo GPU-1", 0, "GPU-1"),
    "its program does not, the files do": ("exit 9", 1, ""),
    "no program, or none for this image": ("exit 127", 0, "GPU-1"),
}


@pytest.mark.parametrize(("program", "code", "seen"), SAYS.values(), ids=SAYS)
def test_card_is_seen_by_its_own_program_and_by_files_only_where_that_cannot_run(
    tmp_path: Path, program: str, code: int, seen: str
) -> None:
    for name, line in {"nvidia-smi": program, "cat": "echo GPU-1"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    shell = ["/bin/sh", "-c", f"({probe.LIST_GPUS}); echo $?"]
    told = subprocess.run(shell, env={"PATH": str(tmp_path)}, check=True, capture_output=True, text=True).stdout.split()
    assert told == ([seen] if seen else []) + [str(code)]


def test_probe_of_the_folder_sees_an_empty_one_of_its_own_and_leaves_none(
    mock: Platform,
    start_worker: StartWorker,
    docker_client: docker.DockerClient,
    workers_image: str,
    tmp_path: Path,
) -> None:
    """A container with PATH_BASE could turn a job's folder into a link to `/`. Each is looked at before its start."""
    base, link = tmp_path / "data", tmp_path / "link"
    (base / "1" / "files").mkdir(parents=True)
    link.symlink_to(base)
    seen: list[tuple[Path, list[str]]] = []

    def look() -> None:
        for each in docker_client.api.containers(all=True, filters={"label": "job-fetcher.build=probe"}):
            with suppress(NotFound):
                mounts = docker_client.api.inspect_container(each["Id"])["Mounts"]
                folders = [Path(mount["Source"]) for mount in mounts if mount["Source"].startswith(str(tmp_path))]
                seen.extend((folder, [each.name for each in folder.iterdir()]) for folder in folders if folder.is_dir())

    socket = free_socket()
    with running_gate(DOCKER_SOCKET, socket) as gate:
        gate.before(b"/start", look)
        worker = start_worker(PATH_HOST_BASE=str(link), DOCKER_HOST=f"unix://{socket}")
        worker.wait_for_log("Offering")
        by_start = len(seen)
        assert "is believed" not in worker.log
        run_check(environment=worker.environment, cwd=tmp_path)
    assert 0 < by_start < len(seen)
    for folder, content in seen:
        assert (folder.parent, folder.name.startswith(".probe-"), content) == (link, True, [])
    assert not list(base.glob(".probe-*"))


def _wait_for_one_of(worker: WorkerProcess, *words: str) -> None:
    wait_until(lambda: any(each in worker.log for each in words), f"{words} in the worker's log")


def test_image_that_was_never_pushed_cannot_be_had_by_its_id(
    mock: Platform, worker: WorkerProcess, docker_client: docker.DockerClient
) -> None:
    """Names without a registry are Docker Hub's, and 127.0.0.1:1 is none: what is not pulled is not run."""
    image = add_image(docker_client, f"127.0.0.1:1/private-{os.getpid()}:latest", shell_files())
    image_id = str(docker_client.images.get(image).id).removeprefix("sha256:")
    try:
        for name in (f"sha256:{image_id[:12]}", f"127.0.0.1:1/{image_id[:12]}", image_id[:12], image_id):
            job = mock.submit("echo private", image=name)
            _wait_for_one_of(worker, f"The image '{name}' cannot be pulled: ", f"The worker cannot pull `{name}`: ")
            assert "the image is here" not in worker.log
            mock.cancel(job)
            wait_until(lambda: worker.folders() == [], "the job to be dropped")
        assert mock.job(run_job(mock, "true", image=image)).status == "finished", "by its name it is used, as it is"
    finally:
        remove_images(docker_client, image)


def test_files_of_root_are_removed_although_the_image_of_the_job_has_no_chown(
    mock: Platform,
    unprivileged_worker: WorkerProcess,
    docker_client: docker.DockerClient,
    registry: str,
    workers_image: str,
) -> None:
    files = {path: content for path, content in shell_files().items() if path != "bin/chown"}
    image = add_image(docker_client, f"{registry}/no-chown:latest", files)
    push(docker_client, image)
    with events_told(docker_client, type="container", event="create", label=LABEL_HELPER) as told:
        job = run_job(mock, "mkdir -m 700 /files/d; echo x > /files/d/x; chmod 600 /files/d/x", image=image)
        assert mock.job(job).status == "finished"
        assert unprivileged_worker.stop() == 0
        created = [each["Actor"]["Attributes"] for each in told()]
    unprivileged_worker.assert_nothing_left()
    assert "The worker cannot remove all of" not in unprivileged_worker.log
    folder = str(unprivileged_worker.base / job)
    assert docker_client.api.containers(all=True, filters={"label": f"{LABEL_HELPER}={folder}"}) == []
    builds = {each["job-fetcher.build"] for each in created if each[LABEL_HELPER] == folder}
    assert builds == {""}, "they are no workers, by the label of their image"
