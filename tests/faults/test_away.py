"""All of the platform is away, or the registry: each stage waits for it, and the job goes on when it is back."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.faults.conftest import StartWorker, behind
from tests.support.gate import Gate
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, wait_until

TRIES = 3
WAIT_FOR_GO = "until [ -e /files/go ]; do sleep 0.05; done; cp /files/a /files/output/a"


@dataclass(frozen=True)
class Stage:
    """A stage in which the platform goes away: the request that is under way then, if it is one."""

    method: str = ""
    path: str = ""
    query: str = "*"


STAGES = {
    "polling": Stage("GET", "/jobs"),
    "first status": Stage("PUT", "/jobs/*/status", "status=preprocessing*"),
    "download": Stage("GET", "/files/*/download"),
    "running": Stage(),
    "upload": Stage("POST", "/store/*"),
    "last status": Stage("PUT", "/jobs/*/status", "status=finished*"),
}


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_job_goes_on_after_the_platform_was_away(
    mock: Platform, gated_worker: WorkerProcess, gate: Gate, job_image: str, stage: Stage
) -> None:
    """P9: its port is closed, then connections are reset for some tries more; a command that runs notices nothing."""
    fault = mock.fault(stage.path, stage.method, query=stage.query, hang=True) if stage.path else None
    job = mock.submit(WAIT_FOR_GO, image=job_image, files={"a": b"content"}, up={"output": "output"})
    go = gated_worker.base / job / "files" / "go"
    if fault is None:
        mock.wait_for_status(job, "running")
        container = gated_worker.container()
    else:
        wait_until(lambda: (gated_worker.base / job / "files").exists() or stage.path == "/jobs", "the job's folder")
        if stage.method != "GET" and "preprocessing" not in stage.query:
            gated_worker.container()
            go.touch()
        mock.wait_until(lambda: fault.matched > 0, "the request that is under way")
    gate.close_port()
    mock.heal()
    gated_worker.wait_for_log("WARNING")
    gate.reset()
    wait_until(lambda: gate.tries >= TRIES, "more tries")
    if fault is None:
        container.reload()
        assert container.status == "running"
    gate.open()
    wait_until(lambda: mock.job(job).status == "finished" or (gated_worker.base / job).exists(), "the job")
    if mock.job(job).status != "finished" and not go.exists() and gated_worker.container():
        go.touch()
    mock.wait_for_status(job)
    assert mock.outputs(job)["output/output/a"] == b"content"
    assert [update.status.value for update in mock.job(job).history].count("finished") == 1
    gated_worker.stop()
    gated_worker.assert_nothing_left()


TROUBLE: dict[str, Callable[[Gate], None]] = {
    "closed": Gate.close_port,
    "reset": Gate.reset,
    "503": lambda gate: gate.answer("503 Service Unavailable", "maintenance"),
    "429": lambda gate: gate.answer(
        "429 Too Many Requests", '{"errors": [{"code": "TOOMANYREQUESTS", "message": "later"}]}'
    ),
}


@pytest.mark.parametrize("trouble", TROUBLE.values(), ids=TROUBLE)
def test_image_is_pulled_when_its_registry_is_back(
    mock: Platform, worker: WorkerProcess, registry_gate: Gate, remote_image: str, trouble: Callable[[Gate], None]
) -> None:
    trouble(registry_gate)
    job = mock.submit("echo", "x", image=remote_image)
    worker.wait_for_log("trying again until it works")
    assert mock.job(job).status == "preprocessing"
    registry_gate.open()
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished", mock.details(job)


@pytest.mark.parametrize("cut", [Gate.close_port, Gate.reset], ids=["closed", "reset"])
def test_image_is_pulled_although_its_registry_went_away_in_the_middle_of_a_layer(
    mock: Platform, worker: WorkerProcess, registry_gate: Gate, remote_image: str, cut: Callable[[Gate], None]
) -> None:
    registry_gate.stall_after(200_000)
    job = mock.submit("echo", "x", image=remote_image)
    wait_until(lambda: registry_gate.stalled, "the middle of the layer")
    cut(registry_gate)
    registry_gate.open()
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished", mock.details(job)


def test_worker_that_starts_while_the_platform_is_away_waits_for_it(
    mock: Platform, start_worker: StartWorker, gate: Gate, job_image: str
) -> None:
    job = mock.submit("echo", "x", image=job_image)
    gate.reset()
    worker = start_worker(**behind(gate))
    wait_until(lambda: gate.tries >= TRIES, "tries")
    gate.open()
    mock.wait_for_status(job)
    assert worker.is_running
