"""Images as jobs meet them: entrypoints that swallow the command, missing programs, PID 1, labels of tools."""

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.support.images import add_image, archive_of, busybox, push, remove_images, shell_files
from tests.support.own_engine import IMAGE, own_engine
from tests.support.platform import Platform
from tests.support.scripted_registry import scripted_registry
from tests.support.worker import WorkerProcess, run_job

pytestmark = pytest.mark.usefixtures("needs_engine")

LOG = "log/log/container.log"
AddImage = Callable[..., str]
Ends = Callable[..., tuple[str, str]]


@pytest.fixture
def image_of(docker_client: docker.DockerClient, registry: str, tmp_path: Path) -> Iterator[AddImage]:
    """Makes and pushes an image of a shell and `files`, with Dockerfile lines; all of them go with the test."""
    prefix = f"{registry}/odd-{tmp_path.name.lower().replace('_', '-')}"

    def make(*changes: str, files: dict[str, bytes | Path] | None = None, shell: bool = True) -> str:
        content = (shell_files() if shell else {"echo": busybox().read_bytes()}) | (files or {})
        name = add_image(docker_client, f"{prefix}-{os.urandom(3).hex()}:latest", content, *changes)
        push(docker_client, name)
        return name

    yield make
    remove_images(docker_client, prefix)


@pytest.fixture
def ends(mock: Platform, worker: WorkerProcess) -> Ends:
    """Runs a job and returns its last status and what its user was told."""

    def run(*cmd: str, **job: Any) -> tuple[str, str]:
        job_id = run_job(mock, *cmd, **job)
        return mock.job(job_id).status.value, mock.details(job_id)

    return run


def test_entrypoint_that_is_a_shell_runs_the_line(ends: Ends, image_of: AddImage) -> None:
    for entrypoint in ('["/bin/sh", "-c"]', '["sh", "-ec"]', '["/bin/sh"]', '["/bin/env", "sh", "-c"]'):
        status, told = ends("echo a && exit 3", image=image_of(f"ENTRYPOINT {entrypoint}"))
        assert (status, told[:35]) == ("error", "The command ended with exit code 3."), entrypoint
        assert told.endswith("\na"), "the whole line was run"


def test_entrypoint_that_ignores_the_command_is_refused_by_name(ends: Ends, image_of: AddImage, mock: Platform) -> None:
    for entrypoint in ("echo own", '["/bin/sh", "-c", "echo own"]', "exec echo $HOME own"):
        image = image_of(f"ENTRYPOINT {entrypoint}")
        status, told = ends("exit 3", image=image)
        assert status == "error"
        assert told.startswith(f"The image '{image}' ignores the job's command: its ENTRYPOINT is in shell form")
        assert ends(image=image)[0] == "finished", "its own command is not the job's"
    status, told = ends("exit 3", image=image_of('ENTRYPOINT exec "$0" "$@"'))
    assert (status, told[:35]) == ("error", "The command ended with exit code 3.")


def test_image_that_cannot_run_is_told_in_words_for_its_author(
    ends: Ends, image_of: AddImage, docker_client: docker.DockerClient
) -> None:
    script: dict[str, bytes | Path] = {
        "crlf.sh": b"#!/bin/sh\r\necho x\r\n",
        "lost.sh": b"#!/usr/bin/python9\n",
        "dead": Path("/nowhere"),
        "good.sh": b'#!/bin/sh\nexec "$@"\n',
    }
    for entrypoint, words in {
        '["/no-such"]': "it does not contain its ENTRYPOINT '/no-such'",
        '["no-such"]': "it does not contain its ENTRYPOINT 'no-such'",
        '["/dead"]': "it does not contain its ENTRYPOINT '/dead'",
        '["/tmp"]': "its ENTRYPOINT '/tmp' is not executable",
        '["/crlf.sh"]': "its ENTRYPOINT '/crlf.sh' has Windows line ends",
        '["/lost.sh"]': "its ENTRYPOINT '/lost.sh' needs /usr/bin/python9, which the image does not contain",
    }.items():
        image = image_of(f"ENTRYPOINT {entrypoint}", files=script)
        status, told = ends("true", image=image)
        assert (status, words in told) == ("error", True), told
        assert told.startswith(f"The image '{image}' is broken: ")
        assert "runc" not in told
    for entrypoint in ('["/good.sh"]', '["good.sh"]', '["./good.sh"]'):
        image = image_of(f"ENTRYPOINT {entrypoint}", "ENV PATH=/bin:/", files=script)
        assert ends("true", image=image)[0] == "finished"
    image = image_of(shell=False)
    assert ends("true", image=image)[1].startswith(f"The image '{image}' has no /bin/sh, which runs the job's command.")
    assert "does not contain its command '/no-such'" in ends(image=image_of('CMD ["/no-such"]'))[1]


def test_program_without_the_right_to_be_executed_is_named(
    ends: Ends, docker_client: docker.DockerClient, registry: str
) -> None:
    buffer = io.BytesIO(archive_of(shell_files()))
    with tarfile.open(fileobj=buffer, mode="a") as archive:
        entry = tarfile.TarInfo("run.sh")
        entry.mode, entry.size = 0o644, 10
        archive.addfile(entry, io.BytesIO(b"#!/bin/sh\n"))
    name = f"{registry}/odd-mode:latest"
    data, changes = buffer.getvalue(), ['ENTRYPOINT ["/run.sh"]']
    docker_client.api.import_image_from_data(data, repository=f"{registry}/odd-mode", tag="latest", changes=changes)
    push(docker_client, name)
    try:
        assert "its ENTRYPOINT '/run.sh' is not executable" in ends("true", image=name)[1]
    finally:
        remove_images(docker_client, name)


def test_image_for_another_architecture_is_told_only_when_it_does_not_run(
    ends: Ends, docker_client: docker.DockerClient
) -> None:
    """An emulator in the kernel (binfmt) may run it, as the native program here stands for."""
    foreign = bytearray(busybox().read_bytes())
    foreign[18:20] = (0x16).to_bytes(2, "little")  # e_machine: s390
    with scripted_registry() as registry:
        image = f"{registry.address}/foreign:1"
        try:
            registry.use(archive_of(shell_files() | {"bin/busybox": bytes(foreign)}), "s390x")
            status, told = ends("true", image=image)
            assert status == "error"
            assert "The image is for s390x, this machine is " in told
            registry.use(archive_of(shell_files()), "s390x")
            assert ends("true", image=image)[0] == "finished"
        finally:
            remove_images(docker_client, f"{registry.address}/")  # both: the first one has only its digest left


SIGNALS = {
    "kill -SEGV $$; echo lived": "The command ended with exit code 139 (SIGSEGV).",
    "kill -TERM $$; echo lived": "The command ended with exit code 143 (SIGTERM).",
    "kill -USR1 $$; echo lived": "The command ended with exit code 138 (SIGUSR1).",
    "no-such-command": "The command ended with exit code 127 (the command was not found).",
    "/etc/passwd.txt": "The command ended with exit code 127 (the command was not found).",
    "/tmp": "The command ended with exit code 126 (the command cannot be executed).",
    "exit 42": "The command ended with exit code 42.",
}


def test_command_is_an_ordinary_process(ends: Ends, mock: Platform, job_image: str) -> None:
    for line, told in SIGNALS.items():
        assert ends(line, image=job_image)[1].startswith(told), line
    orphans = "(sleep 0 & exec true); sleep 0.3; while ps -o stat,comm | grep '^Z'; do sleep 0.1; done; echo pid $$"
    job = run_job(mock, orphans, image=job_image)
    assert mock.outputs(job)[LOG].decode().splitlines()[-1] != "pid 1", "and no zombie stays"


@pytest.mark.parametrize("entrypoint", ['["/init"]', '["/bin/tini", "--"]', '["dumb-init"]'])
def test_init_of_the_image_is_pid_1(
    ends: Ends, mock: Platform, worker: WorkerProcess, image_of: AddImage, entrypoint: str
) -> None:
    script = b'#!/bin/sh\n[ $$ = 1 ] || exit 99\n[ "$1" != -- ] || shift\n"$@"\n'
    files: dict[str, bytes | Path] = {"init": script, "bin/tini": script, "bin/dumb-init": script}
    assert ends("exit 3", image=image_of(f"ENTRYPOINT {entrypoint}", files=files))[1].startswith(
        "The command ended with exit code 3."
    )


def test_engine_without_its_init_runs_jobs_all_the_same(mock: Platform, tmp_path: Path, evidence: Any) -> None:
    """`InitBinary` of its `info` names one."""
    with own_engine(None, "--init-path", "/nowhere/docker-init") as engine:
        settings = {"DOCKER_HOST": engine.url}
        worker = WorkerProcess(mock, engine.client, tmp_path / "data", evidence.file("worker"), settings)
        try:
            for line in ("exit 3", "true"):
                job = run_job(mock, line, image=IMAGE)
                assert mock.details(job).startswith(f"The command ended with exit code {3 if '3' in line else 0}.")
            assert worker.log.count("The Docker engine has no init") == 1
            assert worker.stop() == 0
        finally:
            worker.end()
        assert engine.client.containers.list(all=True) == []


LABELS = {
    "com.docker.compose.project": "lab",
    "com.docker.compose.service": "web",
    "com.docker.compose.oneoff": "False",
    "com.docker.swarm.service.name": "lab_web",
    "com.docker.stack.namespace": "lab",
    "com.centurylinklabs.watchtower.enable": "true",
    "traefik.enable": "true",
    "org.opencontainers.image.title": "x",
}


def test_labels_of_the_image_steer_no_tool_of_the_owner(
    mock: Platform, worker: WorkerProcess, image_of: AddImage, docker_client: docker.DockerClient
) -> None:
    """Compose and Swarm look for their own by these labels, and remove what they take for it."""
    image = image_of("LABEL " + " ".join(f"{name}={value}" for name, value in LABELS.items()))
    job = mock.submit("until [ -e /files/go ]; do sleep 0.02; done", image=image)
    labels = worker.container().labels
    for name, value in LABELS.items():
        assert labels[name] == ""
        listed = docker_client.api.containers(all=True, filters={"label": f"{name}={value}"})
        assert [each for each in listed if each["Image"] == image] == []
    assert labels["job-fetcher.job"] == job
    (worker.base / job / "files" / "go").touch()
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished"
