"""compose.yaml as docs/gpus-and-fleets.md shows it: workers for several GPUs by Compose, for many machines by Swarm."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from job_fetcher.core import health
from tests.support.leaks import Evidence
from tests.support.own_engine import OwnEngine
from tests.support.platform import PASSWORD, Platform, running_platform
from tests.support.swarm import BROKEN, NEW, OLD, Fleet, blocks, network_of, shown, swarm
from tests.support.swarm_jobs import (
    assert_looked_after,
    assert_nothing_left,
    begin_jobs,
    finish,
    gate_of_registry,
    holding,
    push_with_new_layer,
    wait_for_log,
    wait_for_next,
    wait_for_signs_of_life,
)
from tests.support.worker import wait_until

DEPLOY = "grep -v 'Compose only' compose.yaml | docker stack deploy --with-registry-auth --compose-file - decode"
REMOVE = "docker stack rm decode"
WORKER = "worker=$(docker ps --quiet --filter label=com.docker.swarm.service.name=decode_gpu-0)"
DRAIN = "docker node update --availability drain $MACHINE"
UPDATE = "export IMAGE=registry.example.org/job-fetcher:1.1"
WHOLE = (UPDATE, WORKER, DRAIN)
"""First lines of blocks that are run line by line, in the page's order."""


@pytest.fixture(scope="module")
def engine(worker_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnEngine]:
    with swarm(worker_image, tmp_path_factory.mktemp("swarm")) as engine:
        yield engine


@pytest.fixture
def mock(engine: OwnEngine, evidence: Evidence) -> Iterator[Platform]:
    """A mock in the network of `engine`."""
    with ExitStack() as running:
        with network_of(engine):
            platform = running.enter_context(running_platform(host="0.0.0.0"))
        yield platform
        evidence.keep_history(platform)


@pytest.fixture
def fleet(engine: OwnEngine, mock: Platform, evidence: Evidence, tmp_path: Path) -> Iterator[Fleet]:
    """compose.yaml with one GPU, and no worker yet. Swarm waits for a worker's health: it is asked more often here."""
    fleet = Fleet(engine, tmp_path, urlsplit(mock.url).port or 0)
    fleet.edit("interval: 10s", "interval: 1s")
    yield fleet
    fleet.end(evidence)


@pytest.fixture
def two(fleet: Fleet) -> Fleet:
    """compose.yaml with two GPUs."""
    fleet.add(shown("yaml"))
    return fleet


def test_page_shows_nothing_that_is_not_run_here() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    parts = [line for block in blocks("sh") if block[0] not in WHOLE for line in block]
    assert [line for line in parts if line and line not in source and not line.startswith("export IMAGE=")] == []


def test_compose_starts_a_worker_for_each_gpu(two: Fleet) -> None:
    """Each has its card and its folder, comes back, may take its time to stop, keeps its log small, is looked after."""
    two.run("docker compose up --detach")
    workers = two.workers()
    assert set(workers) == {"gpu-0", "gpu-1"}
    for service, worker in workers.items():
        config, host = worker.attrs["Config"], worker.attrs["HostConfig"]
        [request] = host["DeviceRequests"]
        assert (request["Driver"], request["DeviceIDs"]) == ("nvidia", [service[-1]])
        assert f"PATH_BASE=/data/{service}" in config["Env"]
        assert (host["RestartPolicy"]["Name"], config["StopTimeout"]) == ("unless-stopped", 30)
        assert_looked_after(worker)
    assert "gpu-1" in two.run("docker compose ps")


def test_compose_starts_a_worker_on_a_machine_without_gpus(fleet: Fleet) -> None:
    fleet.set("PASSWORD", "'a$b'")
    fleet.run("grep -v 'Compose only' compose.yaml | docker compose --file - up --detach")
    [worker] = fleet.workers().values()
    assert not worker.attrs["HostConfig"]["DeviceRequests"]
    assert worker.attrs["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    assert "PASSWORD=a$b" in worker.attrs["Config"]["Env"]


def test_compose_updates_workers_in_the_middle_of_their_jobs(two: Fleet, mock: Platform) -> None:
    """One job is finished by the new worker, the other one requeued when the workers are stopped for good."""
    two.run("docker compose up --detach")
    jobs = begin_jobs(two, mock)
    before, containers = two.workers(), two.jobs()
    two.run("docker compose up --detach", image=NEW)
    for service in jobs:
        wait_for_next(two, service, before[service], NEW)
    assert two.jobs() == containers
    finish(two, mock, "gpu-0", jobs["gpu-0"])
    wait_for_log(two, "docker compose logs --tail 20 gpu-0", ": finished")
    two.run(
        "docker compose kill -s SIGTERM",
        "docker wait $(docker compose ps --all --quiet)",
        "docker compose down",
        image=NEW,
    )
    assert mock.statuses(jobs["gpu-1"])[-1] == "queued"
    assert_nothing_left(two)


def test_swarm_updates_workers_in_the_middle_of_their_jobs(two: Fleet, mock: Platform) -> None:
    """To another image, back again, and by force: containers and commands of the jobs do not notice."""
    two.run(DEPLOY)
    jobs = begin_jobs(two, mock)
    before, containers = two.workers(), two.jobs()
    two.run(DEPLOY, image=NEW)
    for service in jobs:
        wait_for_next(two, service, before[service], NEW)
    for line, image in (
        ("docker service rollback decode_gpu-0", OLD),
        ("docker service update --force decode_gpu-0", OLD),
    ):
        before = two.workers()
        two.run(line)
        wait_for_next(two, "gpu-0", before["gpu-0"], image)
    assert {state for _, state in containers.values()} == {"running"}
    assert two.jobs() == containers
    for service, job in jobs.items():
        finish(two, mock, service, job)
    assert "decode_gpu-1" in two.run("docker stack ps decode")
    wait_for_log(two, "docker service logs --tail 20 decode_gpu-0", ": finished")
    two.run(REMOVE)
    assert_nothing_left(two)


def test_swarm_fetches_an_image_while_its_workers_go_on(
    engine: OwnEngine, fleet: Fleet, mock: Platform, tmp_path: Path
) -> None:
    """However long the registry takes: the new layer comes when the platform was told of the job three times more."""
    fleet.run(DEPLOY)
    jobs = begin_jobs(fleet, mock, 1)
    before, containers = fleet.workers(), fleet.jobs()
    ((_, *lines),) = blocks("sh", UPDATE)
    with gate_of_registry(engine, tmp_path) as gate:
        image = f"127.0.0.1:{gate.port}/job-fetcher:1.1"
        layer = push_with_new_layer(engine, gate, image)
        with ThreadPoolExecutor() as pool, holding(gate, f"GET /v2/job-fetcher/blobs/{layer}") as asked:
            update = pool.submit(fleet.run, *lines, image=image)
            wait_until(asked.is_set, "the layer to be asked for")
            wait_for_signs_of_life(mock, jobs["gpu-0"], 3)
            assert fleet.workers() == before
        update.result()
    wait_for_next(fleet, "gpu-0", before["gpu-0"], image)
    assert fleet.jobs() == containers
    finish(fleet, mock, "gpu-0", jobs["gpu-0"])


def test_swarm_keeps_the_password_in_a_secret(fleet: Fleet, mock: Platform) -> None:
    fleet.keep_secret()
    fleet.edit("  env_file: .env\n", "  env_file: .env\n  secrets: [password]\n")
    fleet.edit("\nnetworks:", "\nsecrets: {password: {external: true}}\n\nnetworks:")
    fleet.run("docker secret create password ./password", DEPLOY)
    jobs = begin_jobs(fleet, mock, 1)
    assert PASSWORD not in str(fleet.workers()["gpu-0"].attrs)
    finish(fleet, mock, "gpu-0", jobs["gpu-0"])


def test_swarm_rolls_back_an_update_whose_workers_do_not_start(fleet: Fleet, mock: Platform) -> None:
    fleet.run(DEPLOY)
    jobs = begin_jobs(fleet, mock, 1)
    before, containers = fleet.workers(), fleet.jobs()
    fleet.run(DEPLOY, image=BROKEN)
    wait_for_next(fleet, "gpu-0", before["gpu-0"], OLD)
    assert fleet.jobs() == containers
    finish(fleet, mock, "gpu-0", jobs["gpu-0"])


def test_swarm_replaces_a_worker_that_hangs(fleet: Fleet, mock: Platform) -> None:
    """It is killed sooner than usual here."""
    fleet.edit("stop_grace_period: 30s", "stop_grace_period: 1s")
    fleet.run(DEPLOY)
    jobs = begin_jobs(fleet, mock, 1)
    hanging, containers = fleet.workers()["gpu-0"], fleet.jobs()
    wait_until(lambda: fleet.health("gpu-0") == "healthy", "the worker to be healthy")
    hanging.kill("SIGSTOP")
    assert hanging.exec_run(["python", "-c", f"import os; os.utime('{health.file()}', (1, 1))"]).exit_code == 0
    wait_for_next(fleet, "gpu-0", hanging, OLD)
    assert fleet.jobs() == containers
    finish(fleet, mock, "gpu-0", jobs["gpu-0"])


def test_swarm_starts_a_second_worker_where_a_label_says_so(fleet: Fleet) -> None:
    fleet.add(shown("yml"))
    fleet.run(DEPLOY)
    assert_looked_after(wait_until(lambda: fleet.workers(), "the first worker")["gpu-0"])
    assert fleet.docker("service", "ps", "--quiet", "decode_gpu-1") == ""
    fleet.run("docker node update --label-add gpus=2 $MACHINE")
    wait_until(lambda: set(fleet.workers()) == {"gpu-0", "gpu-1"}, "the second worker")


def test_swarm_requeues_jobs_or_finishes_them_when_its_stop_signal_says_so(two: Fleet, mock: Platform) -> None:
    two.run(DEPLOY)
    jobs = begin_jobs(two, mock)
    before, containers = two.workers(), two.jobs()
    two.run("docker service update --stop-signal SIGTERM decode_gpu-0")
    two.run("docker service update --stop-signal SIGQUIT --stop-grace-period 24h decode_gpu-1")
    for service in jobs:
        wait_for_next(two, service, before[service], OLD)
    assert two.jobs() == containers
    two.run(REMOVE)
    mock.wait_for_status(jobs["gpu-0"], "queued")
    wait_until(lambda: set(two.workers()) == {"gpu-1"}, "the first worker to end")
    assert set(two.jobs()) == {f"gpu-1/{jobs['gpu-1']}"}
    finish(two, mock, "gpu-1", jobs["gpu-1"])
    assert_nothing_left(two)
    assert mock.job(jobs["gpu-0"]).status == "queued"


def test_machine_is_taken_out_of_a_swarm_and_comes_back(fleet: Fleet, mock: Platform) -> None:
    """Its job is requeued; a worker that Swarm starts meanwhile takes none; the one after that takes it back."""
    fleet.run(DEPLOY)
    jobs = begin_jobs(fleet, mock, 1)
    before = fleet.workers()["gpu-0"]
    going_away, coming_back = blocks("sh", WORKER)
    fleet.run(*going_away)
    assert mock.job(jobs["gpu-0"]).status == "queued"
    assert (fleet.jobs(), fleet.folders()) == ({}, [])
    paused = wait_until(lambda: fleet.workers().get("gpu-0"), "Swarm to start the worker again")
    assert paused != before
    assert paused is not None
    wait_until(
        lambda: b"The worker asks for no job: the worker is paused" in paused.logs(), "it to say that it is paused"
    )
    ((drain, activate),) = blocks("sh", DRAIN)
    fleet.run(drain)
    assert_nothing_left(fleet)
    fleet.run(activate)
    wait_until(lambda: fleet.workers().get("gpu-0"), "the worker to be back")
    fleet.run(*coming_back)
    mock.wait_for_status(jobs["gpu-0"], "running")
