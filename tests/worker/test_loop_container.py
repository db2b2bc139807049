"""What a job's container gets of the machine and of the worker, and what it does not get."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import docker

from job_fetcher.core.job import Job
from job_fetcher.workspace.disk import boot_id
from job_fetcher.workspace.job_folder import JobState
from tests.support.platform import USERNAME, Platform
from tests.support.worker import WorkerProcess, run_job

StartWorker = Callable[..., WorkerProcess]

LOG = "log/log/container.log"


def _offered_memory_mib(mock: Platform) -> int:
    return int(mock.requests("GET", "/jobs")[0].query["memory"][0])


def test_environment_of_the_job_arrives_and_that_of_the_worker_does_not(
    mock: Platform, start_worker: StartWorker, job_image: str
) -> None:
    worker = start_worker(LAB_SECRET="x")
    job = run_job(mock, "env", image=job_image, env={"A": "b c", "B": "ü $HOME \"'"})
    variables = dict(line.partition("=")[::2] for line in mock.outputs(job)[LOG].decode().splitlines())
    assert (variables["A"], variables["B"]) == ("b c", "ü $HOME \"'")
    shells_own = {"PATH", "HOME", "HOSTNAME", "PWD", "SHLVL"}
    no_devices = {"NVIDIA_VISIBLE_DEVICES", "NVIDIA_GDS", "NVIDIA_MOFED", "NVIDIA_IMEX_CHANNELS"}
    assert set(variables) == {"A", "B"} | no_devices | shells_own
    assert not {"API_URL", "USERNAME", "PASSWORD", "LAB_SECRET"} - set(worker.environment)


def test_container_says_whose_it_is(mock: Platform, worker: WorkerProcess, job_image: str) -> None:
    """P19: its labels and its name; it is found by them, and gone when the job is over."""
    job = mock.submit("until [ -e /files/go ]; do sleep 0.05; done", image=job_image)
    container = worker.container()
    assert (container.name or "").startswith(f"job-{job}-")
    assert {name: value for name, value in container.labels.items() if value and name.startswith("job-fetcher.")} == {
        "job-fetcher.job": job,
        "job-fetcher.folder": str(worker.base / job),
        "job-fetcher.worker": socket.gethostname(),
        "job-fetcher.token": json.loads((worker.base / job / "job.json").read_text())["token"],
    }
    (worker.base / job / "files" / "go").touch()
    mock.wait_for_status(job)
    worker.stop()
    worker.assert_nothing_left()


def test_shared_memory_is_large_and_not_the_hosts(mock: Platform, worker: WorkerProcess, job_image: str) -> None:
    """P25."""
    line = "readlink /proc/self/ns/ipc; df -m /dev/shm | awk 'END {print $2}'"
    namespace, size_mib = mock.outputs(run_job(mock, line, image=job_image))[LOG].decode().split()
    assert Path(namespace) != Path("/proc/self/ns/ipc").readlink()
    assert int(size_mib) == _offered_memory_mib(mock) // 2


def test_container_has_limits_and_no_more_of_the_host_than_the_jobs_files(
    mock: Platform, worker: WorkerProcess, job_image: str, docker_client: docker.DockerClient
) -> None:
    """P25."""
    job = mock.submit("sleep 600", image=job_image)
    host_config = worker.container().attrs["HostConfig"]
    assert host_config["Memory"] == _offered_memory_mib(mock) * 2**20 <= docker_client.info()["MemTotal"]
    assert host_config["PidsLimit"] > 0
    assert host_config["LogConfig"]["Config"].keys() == {"max-file", "max-size", "mode"}
    assert host_config["Binds"] == [f"{worker.base / job / 'files'}:/files:rw"]
    assert "host" not in [host_config[f"{name}Mode"] for name in ("Ipc", "Network", "Pid", "UTS")]
    assert not host_config["Privileged"]
    assert not host_config["DeviceRequests"]


def test_jobs_folder_is_empty_at_the_start_whatever_an_earlier_try_has_left(
    mock: Platform, worker: WorkerProcess, job_image: str
) -> None:
    """P27."""
    mock.wait_until(lambda: len(mock.requests("GET", "/jobs")) > 1, "the worker to be past its start")
    stale = worker.base / "1" / "files" / "output" / "stale"
    stale.parent.mkdir(parents=True)
    stale.write_text("of an earlier try")
    state = JobState(boot_id=boot_id(), owner=f"{USERNAME} at {mock.url}", job=Job(id="1", raw={}))
    (worker.base / "1" / "job.json").write_text(state.model_dump_json())
    line = "find /files | sort; echo x > /files/output/fresh"
    job = run_job(mock, line, image=job_image, files={"a b": b"a"}, up={"output": "output"})
    assert job == "1"
    assert mock.outputs(job) == {LOG: b"/files\n/files/a b\n/files/output\n", "output/output/fresh": b"x\n"}


def test_somebody_elses_folder_stays_and_the_job_is_requeued(
    mock: Platform, worker: WorkerProcess, job_image: str
) -> None:
    mock.wait_until(lambda: len(mock.requests("GET", "/jobs")) > 1, "the worker to be past its start")
    thesis = worker.base / "1" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("three years of work")
    job = mock.submit("true", image=job_image)
    mock.wait_until(lambda: bool(mock.job(job).tried) and mock.job(job).status == "queued", "the job to be requeued")
    requeue = next(each for each in mock.job(job).history if each.status == "queued" and each.account)
    assert "Something else has the name of this job" in (requeue.runtime_details or ""), "a later one says it no more"
    assert thesis.read_text() == "three years of work"


def test_user_of_the_image_may_write_wherever_a_job_writes(
    mock: Platform, worker: WorkerProcess, docker_client: docker.DockerClient, job_image: str, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {job_image}\nUSER 1234:1234\n")
    name = job_image.replace("/job:", "/user:")
    docker_client.images.build(path=str(tmp_path), tag=name, rm=True)
    for event in docker_client.api.push(name, stream=True, decode=True):
        assert "error" not in event
    line = "id -u; cat /files/data/a; echo x | tee /files/x /files/data/y /files/data/a /files/output/deep/z"
    job = run_job(mock, line, image=name, files={"data/a": b"a\n"}, up={"output": "output/deep"})
    assert mock.details(job).startswith(
        "The command ended with exit code 0. The worker uploaded 1 output file (2 bytes)"
    )
    assert mock.details(job).endswith("\n\nThe end of the log:\n1234\na\nx")
    assert mock.outputs(job)["output/output/deep/z"] == b"x\n"
    worker.stop()
    worker.assert_nothing_left()
