"""What the README tells a newcomer to do, done."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
from scripts.demo import PICTURES
from scripts.docker import ROOT

from tests.support.leaks import Evidence

SOURCE = ROOT / "src" / "job_fetcher"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def command(beginning: str) -> str:
    """The command of the README that begins so, with its continued lines."""
    found = re.search(rf"^ *({re.escape(beginning)}(?:.*\\\n)*.*)$", README, re.MULTILINE)
    assert found is not None, f"the README does not show {beginning}"
    return found[1]


@contextmanager
def mock_of_the_demo() -> Iterator["subprocess.Popen[str]"]:
    """`./scripts/demo.sh --mock`, on a port that is free."""
    line = [sys.executable, "-m", "scripts.demo", "--mock", "0"]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()


def read_until(process: "subprocess.Popen[str]", text: str) -> list[str]:
    """The lines that it prints, up to the one with `text`."""
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if text in line:
            return lines
    raise AssertionError(f"it ended without saying {text!r}: {lines}")


def filled_in(settings: list[str]) -> str:
    """`.env.example` with those settings."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    for setting in settings:
        name = setting.split("=")[0]
        text, count = re.subn(rf"^{name}=.*$", setting, text, flags=re.MULTILINE)
        assert count == 1, name
    return text


def test_worker_of_the_readme_finishes_the_demo_job_in_the_background(
    docker_client: docker.DockerClient, worker_image: str, gpu_engine: docker.DockerClient, evidence: Evidence,
    tmp_path: Path,
) -> None:  # fmt: skip
    """With its command line as it stands, but for the names of the image, the container and the folder."""
    assert "./scripts/demo.sh --mock" in README
    for file in PICTURES.glob("*"):
        file.unlink()
    name = f"readme-{os.getpid()}"
    line = command("docker run --detach").replace("job-fetcher:main", worker_image).replace("/srv/jobs", str(tmp_path))
    line = line.replace("--name job-fetcher", f"--name {name}")
    with mock_of_the_demo() as mock:
        settings = [each for each in read_until(mock, "Submitted") if re.match(r"[A-Z_]+=", each)]
        (tmp_path / ".env").write_text(filled_in(settings), encoding="utf-8")
        subprocess.run(["bash", "-euc", line], cwd=tmp_path, check=True, capture_output=True)
        container = docker_client.containers.get(name)
        try:
            picture = Path(read_until(mock, "The picture is")[-1].removesuffix("\033[0m").rsplit(" ", 1)[-1])
            assert picture.read_bytes().startswith(b"\x89PNG")
            container.stop()
            assert container.wait()["StatusCode"] == 0
        finally:
            evidence.file("readme").write_bytes(container.logs())
            container.remove(force=True)
