"""Any names, and any trees of links, FIFOs and odd names: nothing outside is read or written, and nothing hangs."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from job_fetcher import steps
from job_fetcher.core.background import in_background
from job_fetcher.core.errors import JobFailed
from job_fetcher.core.job import JobSpecs
from job_fetcher.workspace.ledger import Ledger
from tests.support.platform import Platform, running_platform

pytestmark = pytest.mark.usefixtures("needs_time")

SECRET = b"none of the job's business"
PATIENCE_S = 60

PARTS = st.sampled_from(
    ["..", ".", "", "a", "b", "ü", "c d", "-rf", "x" * 255, "x" * 256, "\n", "\0", "~", "$HOME", "%2e"]
)
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join) | st.text(max_size=20)
several = settings(max_examples=60)


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with running_platform(storage="s3") as platform:  # which has no trouble with a line break in a folder's name
        platform.put_file("input", b"input")
        yield platform


@contextmanager
def lab() -> Iterator[Path]:
    """A job's `files` in a folder where other things lie, which are as they were in the end."""
    with TemporaryDirectory() as folder:
        base = Path(folder)
        for path in ("secret", "1/job.json", "1/parts/0", "2/files/output/secret"):
            (base / path).parent.mkdir(parents=True, exist_ok=True)
            (base / path).write_bytes(SECRET)
        (base / "1/parts/0").unlink()
        files = base / "1/files"
        files.mkdir()
        before = set(_around(base, files))
        yield files
        assert set(_around(base, files)) == before


def _around(base: Path, files: Path) -> Iterator[tuple[str, bytes]]:
    for folder, _, names in os.walk(base):
        for name in names:
            path = Path(folder, name)
            if files not in path.parents:
                yield str(path), path.read_bytes()


@given(down=st.lists(PATHS, max_size=4), up=st.lists(PATHS, max_size=3))
@several
def test_whatever_the_names_are_only_the_jobs_folder_is_written_to(
    platform: Platform, down: list[str], up: list[str]
) -> None:
    """P5: an input named `../../x` or `/x` was written there."""
    handler = {"image_url": "x", "files_down": dict.fromkeys(down, "input")}
    with lab() as files:
        try:
            specs = JobSpecs.parse(
                {
                    "app": {},
                    "handler": handler | {"files_up": dict(zip(("output", "log", "artifact"), up, strict=False))},
                }
            )
            steps.download_inputs(platform.api(), specs, files, files.parent / "parts")
            steps.make_output_folders(specs, files)
        except JobFailed:
            return
        written = {str(path.relative_to(files)) for path in files.rglob("*") if path.is_file()}
        assert written == {str(PurePosixPath(f"{name}/input" if name.endswith("/.") else name)) for name in down}


NAMES = st.sampled_from([b"a", b"b", "ü".encode(), b"\xff", b"\n", b" ", b"x" * 255, b"-rf", b"container.log", b"%41"])
TARGETS = st.lists(
    st.sampled_from([b"..", b".", b"a", b"b", b"output", b"", b"/files", b"/proc/self/environ", b"secret", b"1", b"2"]),
    min_size=1,
    max_size=6,
).map(b"/".join)
MODES = st.sampled_from([0o000, 0o200, 0o444, 0o777, 0o6755])
NODES: st.SearchStrategy[object] = st.recursive(
    st.tuples(st.binary(max_size=5), MODES) | TARGETS | st.none(),
    lambda inner: st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def build(path: Path, node: object) -> Iterator[bytes]:
    """Make a tree: pairs are files with a mode, bytes are links, `None` a FIFO. Gives the contents of its files."""
    if isinstance(node, tuple):
        path.write_bytes(node[0])
        path.chmod(node[1])
        yield node[0]
    elif isinstance(node, bytes):
        with suppress(FileNotFoundError):  # no link is empty
            path.symlink_to(os.fsdecode(node))
    elif isinstance(node, dict):
        path.mkdir()
        for name, inner in node.items():
            yield from build(path / os.fsdecode(name), inner)
    else:
        os.mkfifo(path)


@given(output=NODES, beside=NODES)
@several
def test_whatever_a_job_leaves_only_files_of_its_output_folder_arrive(
    platform: Platform, output: object, beside: object
) -> None:
    """P4, through to the storage: only what the job has made. What is not sent is listed, and the log arrives."""
    specs = JobSpecs.parse({"app": {}, "handler": {"image_url": "x", "files_up": {"output": "output"}}})
    job = platform.pulled("true", meta={"unique": uuid.uuid4().hex})
    with lab() as files, TemporaryDirectory() as elsewhere:
        own = {*build(files / "a", beside), *build(files / "output", output)}  # a link may lead from one to the other
        log, ledger = Path(elsewhere, "b.log"), Ledger(Path(elsewhere, "ledger"))
        log.write_bytes(b"the log")
        upload = in_background(lambda: steps.upload_outputs(platform.api(), job, specs, files, log, ledger), "upload")
        assert upload.result(timeout=PATIENCE_S) == []
    arrived = platform.outputs(job)
    assert arrived.pop("log/log/container.log") == b"the log"
    told = arrived.pop("log/log/left-out.txt", b"")
    assert set(arrived.values()) <= own
    assert SECRET not in told
    assert all(path.startswith("output/output/") for path in arrived)
