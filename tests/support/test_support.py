"""The stand-ins do what the real parts do, as far as tests rely on it."""

import gc
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from types import SimpleNamespace

import docker
import pynvml
import pytest
from docker.errors import NotFound
from docker.types import DeviceRequest
from starlette.applications import Starlette

from app.store import StoredObject
from tests.support import turns
from tests.support.engine import remove_litter
from tests.support.images import JobImages, add_image, push, remove_images
from tests.support.litter import left, things
from tests.support.nvml import Gpu, NvmlStub
from tests.support.platform import Platform
from tests.support.raw_server import answer, raw_server
from tests.support.servers import serve
from tests.support.turns import MOST_S

ASK_NVML = """
import pynvml as n
try:
    n.nvmlInit()
    for index in range(n.nvmlDeviceGetCount()):
        card = n.nvmlDeviceGetHandleByIndex(index)
        memory = n.nvmlDeviceGetMemoryInfo(card)
        again = n.nvmlDeviceGetMemoryInfo(card, version=n.nvmlMemory_v2)
        assert (memory.total, memory.free, memory.used) == (again.total, again.free, again.used)
        assert n.nvmlDeviceGetIndex(n.nvmlDeviceGetHandleByUUID(n.nvmlDeviceGetUUID(card))) == index
        processes = n.nvmlDeviceGetComputeRunningProcesses(card) + n.nvmlDeviceGetGraphicsRunningProcesses(card)
        print(n.nvmlDeviceGetName(card), n.nvmlDeviceGetUUID(card), memory.total >> 20, memory.used >> 20,
              n.nvmlDeviceGetArchitecture(card), n.nvmlDeviceGetMinorNumber(card),
              [(process.pid, process.usedGpuMemory >> 20) for process in processes])
    n.nvmlShutdown()
except n.NVMLError as error:
    print(error)
"""

FIRST = Gpu("GPU-1", "NVIDIA RTX A4000", 16376, 450, 7, ((101, 400), (102, 50)))
SECOND = Gpu("GPU-2", "NVIDIA GeForce RTX 4090", 24564, 1, 8)
FIRST_LINE = "NVIDIA RTX A4000 GPU-1 16376 450 7 0 [(101, 400), (102, 50)]"
SECOND_LINE = "NVIDIA GeForce RTX 4090 GPU-2 24564 1 8 1 []"


def ask_nvml(nvml: NvmlStub, **environment: str) -> list[str]:
    command = [sys.executable, "-c", ASK_NVML]
    env = os.environ | nvml.environment | environment
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.splitlines()


def test_nvml_stub_describes_the_cards_as_pynvml_reads_them(nvml: NvmlStub) -> None:
    assert ask_nvml(nvml) == []
    nvml.show(FIRST, SECOND)
    assert ask_nvml(nvml) == [FIRST_LINE, SECOND_LINE]


@pytest.mark.parametrize(
    ("visible", "seen"),
    [
        ("all", [FIRST_LINE, SECOND_LINE]),
        ("1", [SECOND_LINE]),
        ("GPU-1", [FIRST_LINE]),
        ("GPU-2,0", [FIRST_LINE, SECOND_LINE]),
        ("none", []),
        ("void", ["Driver Not Loaded"]),
    ],
)
def test_nvml_stub_shows_the_cards_that_the_runtime_would(nvml: NvmlStub, visible: str, seen: list[str]) -> None:
    nvml.show(FIRST, SECOND)
    assert ask_nvml(nvml, NVIDIA_VISIBLE_DEVICES=visible) == seen


def test_nvml_stub_fails_where_it_is_told_to(nvml: NvmlStub) -> None:
    nvml.show(FIRST, failures={"nvmlInit": 9})
    assert ask_nvml(nvml) == ["Driver Not Loaded"]
    nvml.show(FIRST, failures={"nvmlDeviceGetMemoryInfo": 15})
    assert ask_nvml(nvml) == ["GPU is lost"]


def test_job_images_can_be_pulled(docker_client: docker.DockerClient, job_images: JobImages) -> None:
    docker_client.images.remove(job_images.job, force=True)
    docker_client.images.pull(job_images.job)
    assert docker_client.containers.run(job_images.job, remove=True) == b"own command\n"
    with pytest.raises(NotFound):
        docker_client.images.pull(job_images.missing)


def test_job_images_run_what_they_are_for(docker_client: docker.DockerClient, job_images: JobImages) -> None:
    line = ["/bin/sh", "-c", "mkdir /files && head -c 5 /dev/zero | md5sum && cat /etc/passwd | cut -d : -f 1"]
    zeros = b"ca9c491ac66b2c62500882e93f3719a8  -\nroot\n"
    run = docker_client.containers.run
    assert run(job_images.job, line, remove=True) == zeros
    assert run(job_images.entrypoint, line, remove=True).endswith(zeros)
    assert run(job_images.entrypoint, ["echo", "x"], remove=True) == b"entrypoint: echo x\nx\n"
    assert run(job_images.no_shell, remove=True) == b"no shell\n"
    fit = "mkdir -p /files/output && /docker/entrypoint.sh --fit --emitter_path=/files/output/emitter.h5"
    line = ["/bin/sh", "-c", f"{fit} && cat /files/output/emitter.h5"]
    assert run(job_images.application, line, remove=True).count(b"--fit --emitter_path") == 2


def test_engine_starts_containers_with_gpus(gpu_engine: docker.DockerClient, job_image: str) -> None:
    card = DeviceRequest(device_ids=["GPU-1"], capabilities=[["gpu"]])
    output = gpu_engine.containers.run(job_image, ["env"], device_requests=[card], remove=True)
    assert b"NVIDIA_VISIBLE_DEVICES=GPU-1" in output


def test_litter_of_jobs_is_found_and_removed(docker_client: docker.DockerClient, job_images: JobImages) -> None:
    left = docker_client.containers.create(job_images.no_shell, labels={"job-fetcher.job": "7"})
    docker_client.containers.create(job_images.no_shell)
    assert remove_litter(docker_client, job_images.no_shell) == [left.name]
    assert remove_litter(docker_client, job_images.no_shell) == []


def test_stub_can_stand_in_for_the_library_of_this_process(nvml: NvmlStub, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml.show(FIRST)
    nvml.preload()
    monkeypatch.setenv("NVML_STUB", str(nvml.description))
    pynvml.nvmlInit()
    assert pynvml.nvmlDeviceGetCount() == 1
    pynvml.nvmlShutdown()


def test_image_that_lost_its_name_to_another_is_removed(docker_client: docker.DockerClient, registry: str) -> None:
    name = f"{registry}/twice:latest"
    before = str(docker_client.images.get(add_image(docker_client, name, {"a": b"1"})).id)
    add_image(docker_client, name, {"a": b"2"})
    with pytest.raises(NotFound):
        docker_client.images.get(before)
    remove_images(docker_client, name)
    assert docker_client.api.images(name=name) == []


def test_image_without_a_tag_is_removed_by_its_digest(docker_client: docker.DockerClient, registry: str) -> None:
    name = f"{registry}/pushed:latest"
    push(docker_client, add_image(docker_client, name, {"a": b"1"}))
    image = str(docker_client.images.get(name).id)
    docker_client.api.import_image_from_data(b"\0" * 1024, repository=f"{registry}/pushed", tag="latest")
    remove_images(docker_client, f"{registry}/pushed")
    with pytest.raises(NotFound):
        docker_client.images.get(image)


@pytest.mark.parametrize("kind", ["container", "image", "volume", "network"])
def test_what_is_left_on_the_engine_is_told(docker_client: docker.DockerClient, job_image: str, kind: str) -> None:
    before, name = things(docker_client), f"left-{os.getpid()}"
    if kind == "image":
        docker_client.images.get(job_image).tag(name)
        before = {key: words for key, words in before.items() if job_image not in words}
        made = None
    elif kind == "container":
        made = docker_client.containers.create(job_image, name=name)
    else:
        made = getattr(docker_client, f"{kind}s").create(name)
    try:
        told = [line for line in left(docker_client, before) if name in line]
        assert [line.split()[0] for line in told] == [kind]
    finally:
        docker_client.images.remove(name) if made is None else made.remove()


@pytest.mark.parametrize(
    ("times", "seconds"), [((0.02, 0.05), 0.05), ((5.0,), MOST_S), ((0.02, 3.0, 3.02), 0.04 + MOST_S)]
)
def test_pause_of_the_machine_is_one_turn(
    monkeypatch: pytest.MonkeyPatch, times: tuple[float, ...], seconds: float
) -> None:
    looks = iter((0.0, *times))
    monkeypatch.setattr(turns, "time", SimpleNamespace(monotonic=lambda: next(looks)))
    clock = turns.Turns()
    for _ in times:
        clock.tick()
    assert clock.seconds == pytest.approx(seconds)


def exchange(url: str, request: bytes) -> bytes:
    """The answer to a request that is sent whole before the first byte of the answer is read."""
    host, port = url.split("//")[1].split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("size", [1, 100_000, 2_000_000])
def test_raw_server_that_has_not_read_all_of_a_request_is_heard_all_the_same(size: int) -> None:
    """A socket that is closed with something unread resets the connection, and the client may lose the answer."""
    chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % size + bytes(size)
    with raw_server(answer(b"heard")) as server:
        assert exchange(server.url, chunked).endswith(b"heard")


@pytest.mark.parametrize("request_", [b"", b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n1234"])
def test_raw_server_goes_on_after_a_client_that_left_in_the_middle_of_its_request(request_: bytes) -> None:
    with raw_server(answer(b"heard")) as server:
        host, port = server.url.split("//")[1].split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(request_)
        assert exchange(server.url, b"GET / HTTP/1.1\r\n\r\n").endswith(b"heard")
    assert server.received == [b"GET / HTTP/1.1\r\n\r\n"]


@pytest.mark.parametrize("connections", [1, 5, 50])
def test_server_ends_with_connections_that_clients_have_only_just_made(connections: int) -> None:
    """No socket stays open, whose ResourceWarning would fail another test."""
    with ExitStack() as clients:
        with serve(Starlette()) as url:
            host, port = url.split("//")[1].split(":")
            for _ in range(connections):
                client = clients.enter_context(socket.create_connection((host, int(port))))
                client.sendall(b"GET / HTTP/1.1\r\n")
        gc.collect()


def test_outputs_that_a_live_log_replaces_meanwhile_are_read_whole(
    mock: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, key = mock.state.store, "jobs/1/log/log/container.log"
    under = store.under

    def replaced_since(prefix: str) -> list[StoredObject]:
        found = under(prefix)
        store.remove(key)
        store.put(key, b"begun\ndone\n")
        return found

    store.put(key, b"begun\n")
    monkeypatch.setattr(store, "under", replaced_since)
    assert mock.outputs("1") == {"log/log/container.log": b"begun\ndone\n"}
