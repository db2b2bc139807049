"""`kill -9` of the real worker at moments spread over all stages of two jobs: nothing is lost, or done twice.

Two jobs follow each other, so that one finishes behind the other, and they share an input, which the cache keeps. The
kill comes in a stage of the one or of the other. The moments begin when the folder of that job is there. Before that
there is a window that no worker can close: the API has handed the job out and nobody has written that down; it queues
such a job again after 300 s, for another account.

A moment is a stage, seen from outside, and a delay in it, which is what is varied here: nothing is synchronised by it.
The delays are drawn from a seed. `KILLS=10 KILL_SEED=… pytest tests/recovery/test_kill.py` is the campaign: 120 kills.
"""

import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import docker
import pytest
from docker.models.containers import Container

from job_fetcher.engine.container import LABEL_JOB
from tests.recovery.support import TimesStarted, assert_finished_once, kill, state, wait_for_next_look
from tests.support.gate import Gate, running_gate
from tests.support.images import remove_images
from tests.support.platform import Platform
from tests.support.worker import TRIED, WorkerProcess, wait_until

StartWorker = Callable[..., WorkerProcess]

SEED = int(os.environ.get("KILL_SEED", "1905"))
KILLS = int(os.environ.get("KILLS", "2"))
"""For each of the 12 stages, by turns in the first job and in the second."""
BANDWIDTH = 8e6
INPUT = random.Random(SEED).randbytes(2 << 20)
"""On its way for a quarter of a second at `BANDWIDTH`; larger than a block, so that it is gone on with."""

LINE = (
    "cat /files/own /files/in /files/in > /files/output/copy; echo changed > /files/in;"
    " echo ran >> /files/output/ran; echo log; sleep 0.5; touch /files/output/end"
)
OUTPUTS = {
    "output/output/copy": INPUT * 3,
    "output/output/ran": b"ran\n",
    "output/output/end": b"",
    "log/log/container.log": b"log\n",
}
ORDER = ["preprocessing", "running", "postprocessing", "finished"]


@dataclass
class Run:
    """One job of the test, and what can be seen of it from outside. `own`: its input that no other job has."""

    mock: Platform
    worker: WorkerProcess
    gate: Gate
    job: str
    own: str

    def has_asked(self, path: str) -> bool:
        return any(path in each.path for each in list(self.mock.state.requests))

    def knows(self, field: str) -> bool:
        try:
            return bool(state(self.worker.base, self.job)[field])
        except FileNotFoundError:  # its folder is not made yet, or removed: long past that
            return self.mock.job(self.job).status == "finished"

    def has_file(self, path: str) -> bool:
        return (self.worker.base / self.job / path).exists() or self.mock.job(self.job).status == "finished"

    @property
    def containers(self) -> list[Container]:
        return [each for each in self.worker.containers() if each.labels[LABEL_JOB] == self.job]

    @property
    def is_handed_out_to_nobody(self) -> bool:
        """The API has handed it out to a worker that was killed before it had written that down."""
        return self.mock.job(self.job).status == "pulled" and not (self.worker.base / self.job).exists()


STAGES: dict[str, tuple[Callable[[Run], bool], float]] = {
    "taken": (lambda run: run.has_file("job.json"), 0.04),
    "pulling": (lambda run: run.gate.tries > 0, 0.2),
    "downloading": (lambda run: run.has_asked(f"{run.own}/download"), 0.3),
    "creating": (lambda run: run.knows("runs"), 0.05),
    "starting": (lambda run: bool(run.containers), 0.2),
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


def submit(mock: Platform, worker: WorkerProcess, gate: Gate, image: str, number: int) -> list[Run]:
    """Two jobs, queued in this order."""
    runs = []
    for which in ("first", "second"):
        own = mock.put_file(f"s3://bucket/user/{number}-{which}", INPUT)
        files = {"in": mock.put_file("s3://bucket/user/shared", INPUT), "own": own}
        job = mock.submit(LINE, image=image, files=files, up={"output": "output"})
        runs.append(Run(mock, worker, gate, job, own))
    return runs


def assert_in_order(mock: Platform, job: str) -> None:
    """No status of a job comes after a later one, whichever of the workers sent it."""
    sent = mock.statuses(job)
    assert sent == sorted(sent, key=ORDER.index)


@pytest.mark.parametrize("stage", [*STAGES, "going on"])
def test_killed_worker_loses_nothing_and_does_nothing_twice(
    mock: Platform,
    start_worker: StartWorker,
    registry_gate: Gate,
    job_image: str,
    times_started: TimesStarted,
    stage: str,
) -> None:
    """P27. In the stage `going on`, the worker that takes the jobs up is killed, too."""
    draw = random.Random(f"{SEED} {stage}")
    mock.configure(bandwidth=BANDWIDTH)
    worker = start_worker(CACHE_GIB="1")
    image = f"127.0.0.1:{registry_gate.port}/{job_image.split('/', 1)[1]}"
    for number in range(KILLS):
        name = stage if stage in STAGES else draw.choice(sorted(STAGES))
        reached, longest_s = STAGES[name]
        delays = [draw.uniform(0, longest_s)] + ([draw.uniform(0, 1.5)] if stage not in STAGES else [])
        which = ["first", "second"][number % 2]
        what = f"seed {SEED}, {stage} {number}: {name} of the {which}, killed after {delays} s"
        print(what)  # noqa: T201 - pytest shows it if the test has failed
        if name == "pulling" and which == "first":
            registry_gate.hold()
        runs = submit(mock, worker, registry_gate, image, number)
        if name == "pulling" and which == "second":
            wait_until(partial(runs[0].knows, "runs"), what, every_s=0.001)
            registry_gate.hold()
        wait_until(partial(reached, runs[number % 2]), what, every_s=0.001)
        for delay in delays:
            time.sleep(delay)  # a random moment of the stage, which is the point: nothing is waited for
            kill(worker)
            mock.api().get_status(runs[0].job)  # whatever the killed worker has asked for is answered before this
            if runs[-1].is_handed_out_to_nobody:  # the second: the folder of the first one is there, or was
                mock.cancel(runs.pop().job)
            worker.start()
        registry_gate.open()
        for run in runs:
            mock.wait_for_status(run.job)
            assert_finished_once(mock, run.job)
            assert_in_order(mock, run.job)
            assert mock.outputs(run.job) == OUTPUTS, what
            assert times_started(worker, run.job) == 1, what
    wait_for_next_look(mock)
    assert worker.stop() == 0
    if worker.containers():  # which the engine made late, for a worker that was killed: a later start removes it
        assert {each.status for each in worker.containers()} == {"created"}
        worker.start()
        wait_for_next_look(mock)
        assert worker.stop() == 0
    assert worker.containers() == []
    assert [name for name in worker.folders() if not name.startswith(TRIED)] == [".cache"]
