"""What nobody else limits has a limit here: names, lists, answers, downloads, and what an image's `chown` may do."""

import gzip
import os
from pathlib import Path, PurePosixPath

import docker
import pytest

from job_fetcher import steps
from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import InvalidAnswer, JobFailed, StopRequested
from job_fetcher.core.job import JobSpecs
from job_fetcher.engine import cleanup, probe
from job_fetcher.engine import client as engine
from job_fetcher.engine.container import JobContainer
from job_fetcher.engine.isolation import Resources
from job_fetcher.platform import http
from job_fetcher.transfer import download, job_files, outbox
from job_fetcher.transfer.outputs import LeftOut, OutputFolder
from job_fetcher.workspace.ledger import Ledger
from tests.support.images import JobImages, add_image, shell_files
from tests.support.platform import Platform
from tests.support.raw_server import answer, raw_server

SPECS = JobSpecs.parse({"app": {}, "handler": {"image_url": "x", "files_up": {"output": "output"}}})


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The files of a job that has left many links to nothing."""
    for number in range(100):
        (folder := tmp_path / "files" / "output" / f"{number % 3}").mkdir(parents=True, exist_ok=True)
        (folder / f"link-{number}").symlink_to("/nowhere")
    (tmp_path / "log").write_bytes(b"")
    return tmp_path / "files"


def test_names_without_end_do_not_fill_the_workers_memory(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_files, "MAX_NAME_BYTES", 10_000)
    left_out = [each for each in OutputFolder(files, "output").walk() if isinstance(each, LeftOut)]
    assert len(left_out) < 100
    assert left_out[-1] == LeftOut("2/", "has more files than a worker looks at")


def test_list_of_what_is_left_out_ends(mock: Platform, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MAX_LISTED", 10)
    job = mock.pulled("true")
    steps.upload_outputs(mock.api(), job, SPECS, files, files.parent / "log", Ledger(files.parent / "ledger"))
    lines = mock.outputs(job)["log/log/left-out.txt"].decode().splitlines()
    assert (len(lines), lines[-1]) == (11, "… and more")


def test_look_through_the_outputs_is_left_when_the_job_is_given_up(mock: Platform, files: Path) -> None:
    cancelled = Cancellation()
    cancelled.set(StopRequested("now"))
    arguments = (mock.api(), "1", SPECS, files, files.parent / "log", Ledger(files.parent / "ledger"))
    with pytest.raises(StopRequested):
        steps.upload_outputs(*arguments, cancelled=cancelled)
    assert mock.requests() == []


@pytest.mark.parametrize("packed", [False, True])
def test_answer_without_end_does_not_fill_the_workers_memory(packed: bool) -> None:
    body = bytes(http.MAX_ANSWER + 1)
    reply = answer(gzip.compress(body), content_encoding="gzip") if packed else answer(body)
    with raw_server(reply) as server, pytest.raises(InvalidAnswer, match="answered with more than 32 MiB"):
        http.send("GET", server.url)


def test_input_without_end_does_not_fill_the_workers_disk(
    mock: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "SPARE", 1 << 60)
    chunk = b"1000000\r\n" + bytes(1 << 24) + b"\r\n"
    with raw_server(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 4) as server:
        body = f'{{"method": "get", "url": "{server.url}", "headers": {{}}, "data": {{}}}}'
        mock.fault("/files/*", status=200, body=body)
        specs = JobSpecs.parse({"app": {}, "handler": {"image_url": "x", "files_down": {"in": "id"}}})
        (tmp_path / "parts").mkdir()
        with pytest.raises(JobFailed, match="it is of unknown length, and the worker's disk is nearly full"):
            steps.download_inputs(mock.api(), specs, tmp_path, tmp_path / "parts")


def _none(client: engine.Client) -> str:
    raise probe.ProbeFailed("there is none")


def test_chown_of_a_hostile_image_has_no_more_rights_than_the_job_and_ends(
    docker_client: docker.DockerClient, job_images: JobImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is not root, and has no image of its own, has the job's give it the job's files."""
    chown = b"#!/bin/sh\ngrep -E '^(NoNewPrivs|CapBnd)' /proc/self/status > /files/seen\nexec sleep 600\n"
    others = {path: content for path, content in shell_files().items() if path != "bin/chown"}
    image = add_image(docker_client, f"{job_images.registry}/chown:latest", {**others, "bin/chown": chown})
    monkeypatch.setattr(cleanup, "CHOWN_S", 2)
    monkeypatch.setattr(probe, "image", _none)
    (tmp_path / "files").mkdir()
    specs = JobSpecs.parse({"app": {"cmd": ["true"]}, "handler": {"image_url": image}})
    job = JobContainer(engine.connect(), PurePosixPath(tmp_path), Cancellation(), Cancellation())
    job.create("1", specs, Resources(256, None))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    job.remove()
    assert (tmp_path / "files" / "seen").read_text() == "CapBnd:\t00000000000000fb\nNoNewPrivs:\t1\n"
    assert docker_client.containers.list(all=True, filters={"ancestor": image}) == []
