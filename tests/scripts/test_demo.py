"""The demo: the mock, the worker and the job's container are the real ones, and there is a picture in the end."""

import os
import signal
import socket
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import requests
from scripts import demo
from scripts.demo import DEMO, PICTURES
from scripts.docker import ROOT

pytestmark = pytest.mark.usefixtures("needs_time")

WIDTH, HEIGHT = 1600, 1000


def pixels(png: bytes) -> bytes:
    """The rows of an RGB picture without filters, each after a zero."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, data = 8, b""
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length) == (zlib.crc32(kind + body),)
        if kind == b"IHDR":
            assert struct.unpack(">2I5B", body) == (WIDTH, HEIGHT, 8, 2, 0, 0, 0)
        data += body if kind == b"IDAT" else b""
        at += length + 12
    return zlib.decompress(data)


@pytest.mark.usefixtures("needs_engine")
def test_demo_ends_with_a_picture_and_a_log() -> None:
    """P24: the mock once did not answer what the worker asks, so that the documented trial could not work."""
    for file in PICTURES.glob("*"):
        file.unlink()
    result = subprocess.run(
        [sys.executable, "-m", "scripts.demo"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "The job is finished" in result.stdout
    picture = pixels((PICTURES / "superresolution.png").read_bytes())
    lit = sum(1 for value in picture if value > 64) / len(picture)
    assert 0.05 < lit < 0.5
    assert "59482 localizations" in (PICTURES / "log.log").read_text()


def run_demo(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-m", "scripts.demo", *arguments]
    return subprocess.run(
        line, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.usefixtures("needs_engine")
def test_port_that_is_in_use_is_told_in_a_sentence() -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        result = run_demo("--mock", str(taken.getsockname()[1]))
    assert result.returncode == 1
    assert result.stderr.startswith("The demo failed: [Errno 98] Address already in use")


def test_engine_that_does_not_answer_is_told_in_a_sentence(tmp_path: Path) -> None:
    result = run_demo(DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert result.returncode == 1
    assert result.stderr.startswith("The demo failed: the Docker engine cannot be used: ")
    assert result.stderr.endswith(" Does `docker info` work?\n")


@pytest.mark.usefixtures("needs_engine")
def test_mock_on_any_free_port_says_which_one() -> None:
    line = [sys.executable, "-m", "scripts.demo", "--mock", "0"]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = next(line for line in process.stdout if line.startswith("API_URL="))
        answer = requests.get(told.strip().partition("=")[2].replace("host.docker.internal", "127.0.0.1") + "/_jobs")
        process.send_signal(signal.SIGINT)
    assert answer.ok


def test_mock_starts_as_its_page_says() -> None:
    line = (demo.MOCK / "README.md").read_text().partition("```bash\n")[2].partition("\n")[0]
    assert line.startswith("poetry run uvicorn ")
    words = [word for word in line.split()[3:] if word != "--reload"]  # which waits for a mend when it fails
    words = [str(demo.PROGRAMS / "uvicorn"), *words, "--port", "0"]
    with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("Application startup complete" in said for said in process.stderr)
        process.terminate()


def test_worker_uses_the_engine_that_the_demo_uses(
    rootless: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "run"
    program.write_text('#!/bin/sh\necho "$DOCKER_HOST" > host\n')
    program.chmod(0o755)
    monkeypatch.setattr(demo, "PROGRAMS", tmp_path)
    with demo.running_worker("http://x", str(tmp_path)) as worker:
        worker.wait(60)
    assert (tmp_path / "host").read_text() == f"{rootless}\n"


def test_table_that_is_shipped_is_the_generated_one() -> None:
    generated = subprocess.run([sys.executable, str(DEMO / "generate.py")], capture_output=True, check=True).stdout
    assert generated == (DEMO / "data" / "localizations.csv").read_bytes()


def test_localization_is_drawn_where_it_was_found(tmp_path: Path) -> None:
    table, output = tmp_path / "table.csv", tmp_path / "new" / "picture.png"
    corner = f"{WIDTH * 8 - 1},{HEIGHT * 8 - 1}"
    table.write_text(f"x_nm,y_nm,z_nm,precision_nm\n4004,2404,0,10\n{corner},50,10\n")
    command = [sys.executable, str(DEMO / "render.py"), f"--input={table}", f"--output={output}"]
    subprocess.run(command, check=True, capture_output=True)
    picture = pixels(output.read_bytes())
    lit = {divmod(at, 3 * WIDTH + 1) for at, value in enumerate(picture[: 700 * (3 * WIDTH + 1)]) if value}
    assert {row for row, _ in lit} == set(range(297, 304))
    assert {(column - 1) // 3 for _, column in lit} == set(range(497, 504))
