"""The demo job from the queue to its picture: the platform's mock, the real worker, a real container.

`scripts/demo.sh` prepares the machine and runs this. Unless the job is `finished`, it ends with 1 and the reason.
With `--mock` it starts no worker: the mock and the job wait for one of yours.
"""

import argparse
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import DockerException

from scripts.docker import engine_host

ROOT = Path(__file__).resolve().parent.parent
MOCK = ROOT / "mock_api"
DEMO = MOCK / "demo"
PICTURES = ROOT / "demo-output"
PROGRAMS = Path(sys.executable).parent  # of the environment that this runs in
INPUT = "demo/localizations.csv"
DEADLINE_S = 600
ENDS = ("finished", "error")


class DemoFailed(Exception):
    """The reason, for the person at the terminal."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the demo job.")
    parser.add_argument(
        "--mock", nargs="?", type=int, const=8000, metavar="PORT",
        help="start only the platform's mock, with the job, for a worker of yours (port %(const)s)",
    )  # fmt: skip
    options = parser.parse_args()
    try:
        step("Building the job's image")
        build_image()
        if options.mock is not None:
            serve_mock(options.mock)
        else:
            run_demo()
    except (DemoFailed, DockerException, OSError) as error:
        sys.exit(f"The demo failed: {error}")
    except KeyboardInterrupt:
        sys.exit("Interrupted.")


def run_demo() -> None:
    """The mock, the job and a worker, until there is a picture."""
    with running_mock() as url:
        step(f"The platform's mock runs at {url}")
        job_id = submit(url)
        step("Starting the worker")
        with tempfile.TemporaryDirectory(prefix="job-fetcher-") as base, running_worker(url, base) as worker:
            job = follow(url, job_id, worker)
        show(url, job)


def serve_mock(port: int) -> None:
    """The mock and the job, until Ctrl-C or `kill`, also if a shell has started this in the background."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.default_int_handler)
    with running_mock("0.0.0.0", port) as url, suppress(KeyboardInterrupt):  # noqa: S104 - containers reach it so
        step(f"The platform's mock runs at {url}, until Ctrl-C. Settings of a worker in a container, for .env:")
        host = url.replace("127.0.0.1", "host.docker.internal")
        print("".join(f"{name}={value}\n" for name, value in settings(host).items()), end="", flush=True)
        job_id = submit(url)
        show(url, follow(url, job_id))
        signal.pause()


def show(url: str, job: dict[str, Any]) -> None:
    """Fetch the job's outputs and say where the picture is."""
    if job["status"] != "finished":
        raise DemoFailed(f"the job ended with {job['history'][-1]}")
    files = download_outputs(url, job)
    step(f"The picture is {next(file for file in files if file.suffix == '.png')}")


def step(text: str) -> None:
    print(f"\033[1m==> {text}\033[0m", flush=True)


def build_image() -> None:
    """Build the application's image; the worker finds it on this machine, since no registry `localhost` answers."""
    try:
        client = docker.from_env()
    except DockerException as error:
        raise DemoFailed(f"the Docker engine cannot be used: {error}. Does `docker info` work?") from error
    client.images.build(path=str(DEMO), tag=image_name(), rm=True)
    client.close()


def job_specs() -> Any:
    return json.loads((DEMO / "job.json").read_text(encoding="utf-8"))


def image_name() -> str:
    return str(job_specs()["handler"]["image_url"])


@contextmanager
def running_mock(host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """The URL of the mock, which ends with the `with` block; on a free port unless one is given."""
    with socket.socket() as keeper:  # keeps the port for the mock, which shares it
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind((host, port))
        with mock_at(host, keeper.getsockname()[1]) as url:
            yield url


@contextmanager
def mock_at(host: str, port: int) -> Iterator[str]:
    """The same on a port that this process keeps for it."""
    where = ["--host", host, "--port", str(port)]
    command = [str(PROGRAMS / "uvicorn"), "app.app:app", *where, "--log-level", "warning"]
    url = f"http://127.0.0.1:{port}"
    with ending(subprocess.Popen(command, cwd=MOCK)) as mock:  # noqa: S603
        while not answers(url):
            if mock.poll() is not None:
                raise DemoFailed(f"the mock ended with {mock.returncode}")
            time.sleep(0.1)
        yield url


def settings(url: str) -> dict[str, str]:
    """The settings of a worker for the mock."""
    return {
        "API_URL": url,
        "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": f"{url}/cognito/",
        "USERNAME": "worker",
        "PASSWORD": "Worker-password-1",
    }


@contextmanager
def running_worker(url: str, base: str) -> Iterator["subprocess.Popen[bytes]"]:
    """What `poetry run run` starts, with the mock's own account; its log goes to the terminal."""
    environment = {
        **os.environ,
        "ACCESS_TOKEN": "",  # perhaps of another worker in this shell
        **settings(url),
        "DOCKER_HOST": engine_host(),  # the worker knows nothing of contexts
        "PATH_BASE": base,
        "PATH_HOST_BASE": base,
        "TIMEOUT_JOB": "1",
        "TIMEOUT_STATUS": "2",
    }
    # Started in the folder of the jobs, it does not see the `.env` of this one.
    with ending(subprocess.Popen([str(PROGRAMS / "run")], cwd=base, env=environment)) as worker:  # noqa: S603
        yield worker


@contextmanager
def ending(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    """End the process with SIGTERM, as an engine or init does."""
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/access_info", timeout=5).ok
    except requests.RequestException:
        return False


def submit(url: str) -> str:
    """Upload the table, submit the job; the job's id."""
    table = (DEMO / "data" / "localizations.csv").read_bytes()
    requests.put(f"{url}/_files/{INPUT}", data=table, timeout=10).raise_for_status()
    answer = requests.post(f"{url}/_jobs", json=job_specs(), timeout=10)
    answer.raise_for_status()
    step(f"Submitted the demo job ({len(table) / 1e6:.1f} MB of localizations)")
    return str(answer.json()["id"])


def follow(url: str, job_id: str, worker: "subprocess.Popen[bytes] | None" = None) -> dict[str, Any]:
    """The job as the platform sees it at the end; prints each of its statuses on the way. Waits for your worker."""
    shown = ""
    give_up = time.monotonic() + (DEADLINE_S if worker is not None else math.inf)
    while time.monotonic() < give_up:
        job: dict[str, Any] = requests.get(f"{url}/_jobs/{job_id}", timeout=10).json()
        if job["status"] != shown:
            shown = job["status"]
            step(f"The job is {shown}")
        if shown in ENDS:
            return job
        if worker is not None and worker.poll() is not None:
            raise DemoFailed(f"the worker ended with {worker.returncode} before the job did")
        time.sleep(0.1)
    raise DemoFailed(f"the job was still {shown} after {DEADLINE_S} s")


def download_outputs(url: str, job: dict[str, Any]) -> list[Path]:
    """Everything that the job has uploaded, in `demo-output/`."""
    PICTURES.mkdir(exist_ok=True)
    files = []
    for output in job["outputs"]:
        answer = requests.get(f"{url}/_jobs/{job['id']}/outputs/{output['type']}/{output['path']}", timeout=10)
        answer.raise_for_status()
        files.append(PICTURES / Path(output["path"]).name)
        files[-1].write_bytes(answer.content)
    return files


if __name__ == "__main__":
    main()
