"""The campaign judges by what became of a job: with a stand-in for the engine, which can be told to fail."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from tests.field import campaign
from tests.field.campaign import Stage, Verdict
from tests.field.faults import Fault
from tests.field.filesystems import faulty
from tests.field.place import IMAGE, Place
from tests.support.fake_engine import FakeEngine

pytestmark = pytest.mark.usefixtures("needs_time")


@pytest.fixture
def engine(fake: FakeEngine) -> FakeEngine:
    fake.images = {IMAGE}
    return fake


@pytest.fixture
def place(engine: FakeEngine, tmp_path: Path) -> Iterator[Place]:
    (folder := tmp_path / "jobs").mkdir()
    client = docker.DockerClient(engine.url, version="1.41")
    yield Place(engine.url, client, folder, tmp_path, settings={"MIN_FREE_GIB": "0"})
    client.close()


def cell(place: Place, step: Callable[[Stage], str]) -> campaign.Cell:
    [found] = campaign.run(place, lambda line: None, {"step": step}).values()
    return found


def test_job_that_ends_as_it_should_works(place: Place) -> None:
    assert cell(place, campaign.exit_code) == campaign.Cell(Verdict.WORKS)


def test_job_that_is_lost_to_the_engine_does_not_work(place: Place, engine: FakeEngine) -> None:
    engine.refusals["POST /start"] = (400, "not today")
    found = cell(place, campaign.exit_code)
    assert found.verdict is Verdict.FAILS
    assert "not today" in found.sentence


def test_worker_that_says_why_it_takes_no_job_has_told_it(place: Place, needs_mounts: None) -> None:
    with faulty([Fault.EDQUOT], place.folder) as spoiled:
        found = cell(replace(place, spoiled=spoiled), campaign.exit_code)
    assert found.verdict is Verdict.TOLD
    assert found.sentence.startswith("PATH_BASE (/data) cannot be written to: Disk quota exceeded - ")
