"""The log of a container that runs: its frames are taken apart wherever they are cut, and errors are translated."""

from contextlib import closing
from pathlib import Path

import docker
import pytest

from job_fetcher.core.errors import EngineUnavailable, JobFailed
from job_fetcher.engine.client import Client, Missing
from job_fetcher.engine.log_so_far import _contents, so_far
from tests.support.fake_engine import fake_engine

LINES = [b"", b"a\n", b"\xff\0\x01\0\0\0\0\x05", b"x" * 16_384]
FRAMES = b"".join(b"\x01\0\0\0" + len(line).to_bytes(4, "big") + line for line in LINES)


@pytest.mark.parametrize("size", [1, 3, 7, 8, 9, 1000, 1 << 20])
def test_the_frames_are_taken_apart_wherever_the_stream_is_cut(size: int) -> None:
    blocks = [FRAMES[at : at + size] for at in range(0, len(FRAMES), size)]
    assert b"".join(_contents(blocks)) == b"".join(LINES)


def test_a_stream_that_ends_in_a_frame_gives_what_it_has() -> None:
    assert b"".join(_contents([FRAMES[:-1]])) == b"".join(LINES)[:-1]


@pytest.mark.parametrize(("status", "error"), [(404, Missing), (501, EngineUnavailable), (409, JobFailed)])
def test_an_answer_of_failure_is_translated(tmp_path: Path, status: int, error: type[Exception]) -> None:
    with fake_engine(tmp_path) as engine, closing(Client(engine.url, version="1.41")) as client:
        engine.refusals["GET /logs"] = (status, "no")
        with pytest.raises(error):
            list(so_far(client, "x"))


def test_a_real_engine_gives_all_of_it_the_last_lines_or_as_much_as_is_taken(
    docker_client: docker.DockerClient, job_image: str
) -> None:
    made = docker_client.containers.run(job_image, ["sh", "-c", "seq 5000; echo so >&2"], detach=True)
    try:
        made.wait()
        client = Client(version=docker_client.api.api_version)
        everything = b"".join(so_far(client, str(made.id)))
        assert sorted(everything.splitlines()) == sorted([*(b"%d" % each for each in range(1, 5001)), b"so"])
        assert len(b"".join(so_far(client, str(made.id), 100)).splitlines()) == 100
        with closing(so_far(client, str(made.id))) as pieces:
            assert next(pieces) in (b"1\n", b"so\n")  # the engine reads both streams at once
        client.close()
    finally:
        made.remove(force=True)
