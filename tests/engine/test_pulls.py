"""Pulls that fail, with a real engine: what is the job's is told at once, what passes is waited out."""

import socket
import ssl
import subprocess
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import docker
import pytest

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import JobFailed, MachineFault
from job_fetcher.engine import client as engine
from job_fetcher.engine import images, pull
from job_fetcher.engine.images import Images
from job_fetcher.workspace.workspace import Workspace
from tests.support.images import remove_images
from tests.support.scripted_registry import (
    CONFIG,
    LAYER,
    MANIFEST,
    MANIFEST_LIST,
    Answer,
    ScriptedRegistry,
    digest,
    error,
    page,
    scripted_registry,
)

pytestmark = pytest.mark.usefixtures("needs_engine")

HELM = {"mediaType": "application/vnd.cncf.helm.config.v1+json", "size": 2, "digest": digest(b"{}")}
S3_PAGE = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"

REFUSED = {
    "manifest unknown": (error(404, "MANIFEST_UNKNOWN", "manifest unknown"), "is not found at the registry"),
    "name unknown": (error(404, "NAME_UNKNOWN", "repository name not known"), "is not found at the registry"),
    "denied": (error(403, "DENIED", "requested access to the resource is denied"), "refuses access"),
    "unauthorized": (error(401, "UNAUTHORIZED", "access to the resource is not authorized"), "refuses access"),
    "unsupported": (error(405, "UNSUPPORTED", "The operation is unsupported."), "is no image that Docker can run"),
}


def _pull(worker_images: Images, image: str) -> None:
    worker_images.pull(image, cancelled=Cancellation())


def _fails(worker_images: Images, image: str) -> str:
    """The sentence of a pull that is the job's fault."""
    with pytest.raises(JobFailed) as failed:
        _pull(worker_images, image)
    assert not isinstance(failed.value, MachineFault)
    return str(failed.value)


@pytest.mark.parametrize(("answer", "told"), REFUSED.values(), ids=REFUSED)
def test_registrys_own_word_fails_the_job_at_once_and_the_next_job_does_not_ask_again(
    odd_registry: ScriptedRegistry, worker_images: Images, waits: list[float], answer: Answer, told: str
) -> None:
    odd_registry.fail("/manifests/", answer)
    image = f"{odd_registry.address}/a/b:1"
    first = _fails(worker_images, image)
    assert first.startswith(f"The image '{image}' cannot be pulled: ")
    assert told in first
    assert waits == []
    asked = len(odd_registry.paths)
    again = _fails(worker_images, image)
    assert again.startswith(first)
    assert "asks the registry again in" in again
    assert len(odd_registry.paths) == asked
    odd_registry.faults.clear()
    _pull(worker_images, f"{odd_registry.address}/a/b:other")


def test_image_that_was_refused_is_pulled_again_after_a_while(
    odd_registry: ScriptedRegistry, worker_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd_registry.fail("/manifests/", error(404, "MANIFEST_UNKNOWN"))
    _fails(worker_images, f"{odd_registry.address}/a/b:1")
    monkeypatch.setattr(images, "REFUSED_S", 0.0)
    odd_registry.faults.clear()
    _pull(worker_images, f"{odd_registry.address}/a/b:1")


@pytest.mark.parametrize("kind", ["helm chart", "other platform", "wrong digest", "nothing by that digest"])
def test_what_is_no_image_for_this_machine_fails_the_job(
    odd_registry: ScriptedRegistry, worker_images: Images, waits: list[float], kind: str
) -> None:
    image, told = f"{odd_registry.address}/a/b:1", "is no image that Docker can run"
    if kind == "helm chart":
        odd_registry.give("application/vnd.oci.image.manifest.v1+json", config=HELM, layers=[])
    elif kind == "other platform":
        odd_registry.give(MANIFEST_LIST, **odd_registry.platform_list("s390x"))
        told = "no variant for the operating system and the CPU"
    elif kind == "wrong digest":
        layer = {"mediaType": LAYER, "size": 2, "digest": digest(b"other")}
        config = {"mediaType": CONFIG, "size": 3, "digest": odd_registry.config}
        odd_registry.give(MANIFEST, config=config, layers=[layer])
        told = "is damaged"
    else:
        image, told = f"{odd_registry.address}/a/b@{digest(b'')}", "is damaged"
    assert told in _fails(worker_images, image)
    assert len(waits) == (images.BROKEN_TRIES - 1 if told == "is damaged" else 0)


def test_host_that_does_not_exist_fails_the_job_while_other_names_resolve(
    engine_client: engine.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "WELL_KNOWN", ())
    worker_images = Images(engine_client, Workspace(tmp_path, "me"), 0, hosts=[socket.gethostname()])
    for host in ("registry.invalid", "no-such-host.example.com", "nosuchhost.nosuchtld:5000"):
        assert f"the registry {host} does not exist" in _fails(worker_images, f"{host}/a/b:1")


@pytest.mark.parametrize("hosts", [(), ("127.0.0.1", "localhost"), ("no-such-host.nosuchtld",)], ids=str)
def test_job_is_requeued_while_no_name_resolves(
    engine_client: engine.Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    hosts: tuple[str, ...],
) -> None:
    monkeypatch.setattr(pull, "WELL_KNOWN", ())
    worker_images = Images(engine_client, Workspace(tmp_path, "me"), 0, hosts=hosts)
    with pytest.raises(MachineFault, match="this machine cannot resolve host names now"):
        _pull(worker_images, "registry.nosuchtld/a/b:1")
    assert "Correct its DNS servers" in caplog.text


def test_name_that_can_never_exist_fails_the_job_though_nothing_resolves(
    worker_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "WELL_KNOWN", ())
    assert "does not exist" in _fails(worker_images, "registry.invalid/a/b:1")


PASSING: dict[str, tuple[str, Answer]] = {
    "a page with 404": ("/manifests/", page(404)),
    "a page with 403": ("/manifests/", page(403)),
    "a page with 200": ("", page(200)),
    "429": ("/manifests/", error(429, "TOOMANYREQUESTS", "You have reached your pull rate limit.")),
    "429 with a page": ("/manifests/", page(429)),
    "503": ("/manifests/", error(503, "UNAVAILABLE")),
    "an expired address of a layer": ("/blobs/", Answer(403, S3_PAGE, "application/xml")),
    "an expired token of the storage": ("/blobs/", Answer(400, S3_PAGE, "application/xml")),
}


@pytest.mark.parametrize(("path", "answer"), PASSING.values(), ids=PASSING)
def test_what_passes_is_waited_out(
    odd_registry: ScriptedRegistry, worker_images: Images, waits: list[float], path: str, answer: Answer
) -> None:
    odd_registry.fail(path, answer, times=4)
    _pull(worker_images, f"{odd_registry.address}/a/b:1")
    assert waits


@pytest.mark.parametrize(("path", "answer"), PASSING.values(), ids=PASSING)
def test_job_is_requeued_when_it_does_not_pass(
    odd_registry: ScriptedRegistry,
    worker_images: Images,
    waits: list[float],
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    answer: Answer,
) -> None:
    monkeypatch.setattr(images, "PATIENCE_S", 0.05)
    odd_registry.fail(path, answer)
    image = f"{odd_registry.address}/a/b:1"
    with pytest.raises(MachineFault, match=f"The image '{image}' cannot be pulled: "):
        _pull(worker_images, image)
    odd_registry.faults.clear()
    _pull(worker_images, image)


def test_registry_that_asks_for_more_than_the_patience_is_not_waited_for(
    odd_registry: ScriptedRegistry, worker_images: Images, waits: list[float]
) -> None:
    image = f"{odd_registry.address}/a/b:1"
    odd_registry.fail("/manifests/", error(429, "TOOMANYREQUESTS", "retry-after: 2m, allowed: 1/minute"), times=2)
    _pull(worker_images, image)
    assert waits[0] >= 120
    odd_registry.fail("/manifests/", error(429, "TOOMANYREQUESTS", "retry-after: 1h, allowed: 1/minute"))
    with pytest.raises(MachineFault, match="limits how many images this machine may pull"):
        _pull(worker_images, f"{odd_registry.address}/other:1")
    assert len(waits) == 1


@pytest.mark.parametrize("kind", ["unknown certificate", "no TLS", "TLS that breaks"])
def test_job_is_requeued_for_a_registry_that_this_machine_does_not_trust(
    docker_client: docker.DockerClient,
    worker_images: Images,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    waits: list[float],
    kind: str,
) -> None:
    monkeypatch.setattr(images, "PATIENCE_S", 0.05)
    bridge: dict[str, Any] = docker_client.api.inspect_network("bridge")
    host = str(ip_network(bridge["IPAM"]["Config"][0]["Subnet"])[1])  # engines trust 127.0.0.1 alone
    context = None
    if kind != "no TLS":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pair = [str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")]
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        subject = ["-subj", "/CN=x", "-addext", f"subjectAltName=IP:{host}"]
        subprocess.run([*command, "-keyout", pair[0], "-out", pair[1], *subject], check=True, capture_output=True)
        context.load_cert_chain(pair[1], pair[0])
        if kind == "TLS that breaks":
            context.verify_mode = ssl.CERT_REQUIRED  # of the client, which has none
            context.load_verify_locations(pair[1])
    with (
        scripted_registry(host, context) as registry,
        pytest.raises(MachineFault, match="owner of this worker has to"),
    ):
        _pull(worker_images, f"{registry.address}/a/b:1")
    assert ("insecure-registries" if kind == "no TLS" else "Put the certificate of its CA into") in caplog.text
    assert waits == []


@pytest.mark.parametrize("fault", ["a page with 404", "503", "429"])
def test_image_that_is_here_is_used_where_its_registry_gives_no_word_about_it(
    odd_registry: ScriptedRegistry,
    worker_images: Images,
    waits: list[float],
    caplog: pytest.LogCaptureFixture,
    fault: str,
) -> None:
    image = f"{odd_registry.address}/a/b:1"
    _pull(worker_images, image)
    odd_registry.fail(*PASSING[fault])
    _pull(worker_images, image)
    assert "the image is here and is used as it is" in caplog.text
    assert waits == []
    odd_registry.fail("/manifests/", error(404, "MANIFEST_UNKNOWN"))
    odd_registry.faults.pop("", None)
    assert "is not found" in _fails(worker_images, image)


def test_image_that_is_pruned_as_soon_as_it_is_here_is_pulled_again(
    odd_registry: ScriptedRegistry,
    engine_client: engine.Client,
    docker_client: docker.DockerClient,
    worker_images: Images,
    waits: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image, left = f"{odd_registry.address}/a/b:1", [3]
    inspect = engine_client.inspect_image

    def pruned(name: str) -> Any:
        if left[0] > 0:
            left[0] -= 1
            remove_images(docker_client, odd_registry.address)
        return inspect(name)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(engine_client, "inspect_image", pruned)
    _pull(worker_images, image)
    assert left == [0]
    left[0] = 10**9
    monkeypatch.setattr(images, "PATIENCE_S", 0.05)
    with pytest.raises(MachineFault, match="something on this machine removes images"):
        _pull(worker_images, image)
