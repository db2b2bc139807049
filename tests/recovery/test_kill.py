"""`kill -9` of the real worker at moments spread over all stages of a job, start again: nothing is lost, or done twice.

The moments begin when the folder of the job is there. Before that there is a window that no worker can close: the API
has handed the job out and nobody has written that down; it queues such a job again after 300 s, for another account.

A moment is a stage, seen from outside, and a delay in it, which is what is varied here: nothing is synchronised by it.
The delays are drawn from a seed; `KILL_SEED=… pytest tests/recovery/test_kill.py` repeats them.
"""

import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import docker
import pytest

from tests.recovery.support import assert_finished_once, kill, state, times_started, wait_for_next_look
from tests.support.gate import Gate, running_gate
from tests.support.images import remove_images
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, wait_until

StartWorker = Callable[..., WorkerProcess]

SEED = int(os.environ.get("KILL_SEED", "1905"))
KILLS = 5
"""For each of the 12 stages."""
BANDWIDTH = 8e6
INPUT = random.Random(SEED).randbytes(2 << 20)
"""On its way for a quarter of a second at `BANDWIDTH`; larger than a block, so that it is gone on with."""

LINE = "cat /files/in > /files/output/copy; echo ran >> /files/output/ran; echo log; sleep 0.5; touch /files/output/end"
OUTPUTS = {
    "output/output/copy": INPUT,
    "output/output/ran": b"ran\n",
    "output/output/end": b"",
    "log/log/container.log": b"log\n",
}


@dataclass
class Run:
    """One job of the test, and what can be seen of it from outside."""

    mock: Platform
    worker: WorkerProcess
    gate: Gate
    job: str
    seen: int
    """How many requests there had been before it."""

    def has_asked(self, path: str) -> bool:
        return any(path in each.path for each in list(self.mock.state.requests)[self.seen :])

    def knows(self, field: str) -> bool:
        try:
            return bool(state(self.worker.base, self.job)[field])
        except FileNotFoundError:  # its folder is removed: long past that
            return self.mock.job(self.job).status == "finished"

    def has_file(self, path: str) -> bool:
        return (self.worker.base / self.job / path).exists() or self.mock.job(self.job).status == "finished"


STAGES: dict[str, tuple[Callable[[Run], bool], float]] = {
    "taken": (lambda run: run.has_file("job.json"), 0.04),
    "pulling": (lambda run: run.gate.tries > 0, 0.2),
    "downloading": (lambda run: run.has_asked("/download"), 0.3),
    "creating": (lambda run: run.knows("runs"), 0.05),
    "starting": (lambda run: bool(run.worker.containers()), 0.2),
    "running": (lambda run: run.mock.job(run.job).status == "running", 0.5),
    "ending": (lambda run: run.has_file("files/output/end"), 0.2),
    "ended": (lambda run: run.knows("outcome"), 0.03),
    "uploading": (lambda run: run.has_asked(f"/store/jobs/{run.job}"), 0.3),
    "reporting": (lambda run: run.knows("final"), 0.01),
    "cleaning": (lambda run: run.mock.job(run.job).status == "finished", 0.02),
}
"""How each stage is known to have begun, and the longest delay in it, in seconds."""


@pytest.fixture
def registry_gate(docker_client: docker.DockerClient, registry: str) -> Iterator[Gate]:
    """Between the engine and the registry: holds a pull for as long as it takes to kill the worker in it."""
    with running_gate(int(registry.rsplit(":", 1)[1])) as gate:
        yield gate
        gate.open()
        remove_images(docker_client, f"127.0.0.1:{gate.port}/")


@pytest.mark.parametrize("stage", [*STAGES, "going on"])
def test_killed_worker_loses_nothing_and_does_nothing_twice(
    mock: Platform,
    worker: WorkerProcess,
    registry_gate: Gate,
    job_image: str,
    docker_client: docker.DockerClient,
    stage: str,
) -> None:
    """P27. In the stage `going on`, the worker that takes the job up is killed, too."""
    draw = random.Random(f"{SEED} {stage}")
    mock.configure(bandwidth=BANDWIDTH)
    image = f"127.0.0.1:{registry_gate.port}/{job_image.split('/', 1)[1]}"
    for number in range(KILLS):
        name = stage if stage in STAGES else draw.choice(sorted(STAGES))
        reached, longest_s = STAGES[name]
        delays = [draw.uniform(0, longest_s)] + ([draw.uniform(0, 1.5)] if stage not in STAGES else [])
        what = f"seed {SEED}, {stage} {number}: {name}, killed after {' and '.join(f'{each:.3f} s' for each in delays)}"
        print(what)  # noqa: T201 - pytest shows it if the test has failed
        if name == "pulling":
            registry_gate.hold()
        since, seen = time.time(), len(mock.state.requests)
        job = mock.submit(LINE, image=image, files={"in": INPUT}, up={"output": "output"})
        run = Run(mock, worker, registry_gate, job, seen)
        wait_until(partial(reached, run), what, every_s=0.001)
        for delay in delays:
            time.sleep(delay)
            kill(worker)
            worker.start()
        registry_gate.open()
        mock.wait_for_status(job)
        assert_finished_once(mock, job)
        assert mock.outputs(job) == OUTPUTS, what
        assert times_started(docker_client, worker, job, since) == 1, what
    wait_for_next_look(mock)
    assert worker.stop() == 0
    worker.assert_nothing_left()
