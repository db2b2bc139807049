"""What a job leaves in its output folder, read by somebody who holds secrets."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from job_fetcher.transfer.job_files import MAX_DEPTH
from job_fetcher.transfer.outputs import LeftOut, Output, OutputFolder

SECRET = b"the lab's password"
INPUTS = {"input", "data/raw"}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The files of a job, with an output folder; beside them is what is none of its business."""
    (tmp_path / "secret").write_bytes(SECRET)
    files = tmp_path / "files"
    (files / "out" / "deep").mkdir(parents=True)
    (files / "data").mkdir()
    for path in INPUTS:
        (files / path).write_bytes(b"an input")
    (files / "other" / "deep").mkdir(parents=True)
    (files / "other" / "file").write_bytes(b"other content")
    (files / "other" / "deep" / "file").write_bytes(b"other deep content")
    (files / "out" / "file").write_bytes(b"content")
    (files / "out" / "deep" / "file").write_bytes(b"deep content")
    return files


def contents(files: Path, name: str = "out") -> dict[str, bytes]:
    """All that would be uploaded, read as it would be."""
    folder = OutputFolder(files, name, inputs=INPUTS)
    found = {}
    for each in folder.walk():
        if isinstance(each, Output):
            with folder.open(each.place) as file:
                found[each.path] = file.read()
            assert each.size == len(found[each.path])
    return found


def left_out(files: Path, name: str = "out") -> dict[str, str]:
    walked = OutputFolder(files, name, inputs=INPUTS).walk()
    return {each.path: each.reason for each in walked if isinstance(each, LeftOut)}


GOOD = {"file": b"content", "deep/file": b"deep content"}


def test_every_file_is_found_in_a_stable_order(files: Path) -> None:
    assert contents(files) == GOOD
    assert list(contents(files)) == list(contents(files)) == ["file", "deep/file"]
    assert contents(files, "out/deep") == {"file": b"deep content"}
    assert left_out(files) == {}


@pytest.mark.parametrize("name", ["missing", "missing/deep", "out/missing"])
def test_a_folder_that_was_never_made_is_empty(files: Path, name: str) -> None:
    assert list(OutputFolder(files, name).walk()) == []


OUT_OF_IT = "is a link that leads out of the job's files"
TO_NOTHING = "is a link to nothing"
RING = "is a link in a ring, or in a chain of too many"
AROUND = "is a link to a folder that it lies in"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/proc/self/environ", OUT_OF_IT),
        ("/etc/passwd", OUT_OF_IT),
        ("/dev/zero", OUT_OF_IT),
        ("/", OUT_OF_IT),
        ("/filesystem", OUT_OF_IT),
        ("../../secret", OUT_OF_IT),
        ("../../files/input", OUT_OF_IT),
        ("/files/../secret", OUT_OF_IT),
        ("deep/../../../secret", OUT_OF_IT),
        ("deep/up/../secret", OUT_OF_IT),
        ("away", OUT_OF_IT),
        ("/files/outer/file", TO_NOTHING),
        ("missing", TO_NOTHING),
        ("missing/../file", TO_NOTHING),
        ("file/../deep/file", "leads through a file"),
        ("link", RING),
        ("deep/ring", RING),
        (".", AROUND),
        ("..", AROUND),
        ("/files", AROUND),
        ("/files/out", AROUND),
        ("deep/up", AROUND),
        ("../input", "is a link to an input"),
        ("/files/out/../input", "is a link to an input"),
        ("deep/up/data/raw", "is a link to an input"),
    ],
)
def test_a_link_out_of_the_jobs_files_is_never_followed(files: Path, target: str, reason: str) -> None:
    """P4: an output that links to `/proc/self/environ` gave the job's author the lab's password."""
    (files / "out" / "link").symlink_to(target)
    (files / "out" / "away").symlink_to("../../secret")
    (files / "out" / "deep" / "up").symlink_to("../..")
    (files / "out" / "deep" / "ring").symlink_to("../link")
    found = contents(files)
    assert {path: content for path, content in found.items() if path in ("file", "deep/file")} == GOOD
    assert SECRET not in found.values()
    assert left_out(files)["link"] == reason


@pytest.mark.parametrize(
    ("target", "content"),
    [
        ("file", b"content"),
        ("./deep/../file", b"content"),
        ("/files/out/file", b"content"),
        ("deep//..//file", b"content"),
        ("other-link", b"content"),
        ("../other/file", b"other content"),
        ("/files/other/file", b"other content"),
        ("/files//other/./deep/../file", b"other content"),
        ("deep/up/other/file", b"other content"),
    ],
)
def test_a_link_to_a_file_of_the_job_is_an_output(files: Path, target: str, content: bytes) -> None:
    """A finished job's results were missing."""
    (files / "out" / "other-link").symlink_to("file")
    (files / "out" / "deep" / "up").symlink_to("/files")
    (files / "out" / "link").symlink_to(target)
    assert contents(files)["link"] == content


OTHER = {"link/file": b"other content", "link/deep/file": b"other deep content"}


@pytest.mark.parametrize("target", ["../other", "/files/other", "/files/other/", "../other/deep/..", "other-link"])
def test_a_link_to_a_folder_of_the_job_has_its_files(files: Path, target: str) -> None:
    (files / "out" / "link").symlink_to(target)
    if target == "other-link":
        (files / "other-link").symlink_to("other")
        (files / "out" / "link").unlink()
        (files / "out" / "link").symlink_to("../other-link")
    assert contents(files) == GOOD | OTHER
    assert left_out(files) == {}


def test_a_link_to_a_folder_of_inputs_has_what_the_job_has_added_to_it(files: Path) -> None:
    (files / "data" / "made").write_bytes(b"made")
    (files / "out" / "link").symlink_to("../data")
    assert contents(files) == GOOD | {"link/made": b"made"}
    assert left_out(files) == {"link/raw": "is a link to an input"}


def test_links_to_folders_come_after_the_folders_own_files(files: Path) -> None:
    """What is beyond MAX_OUTPUT_GIB is then the copies, and not what the job wrote there."""
    (files / "out" / "a").symlink_to("../other")
    (files / "out" / "deep" / "a").symlink_to("../../other/deep")
    assert list(contents(files)) == ["file", "deep/file", "a/file", "a/deep/file", "deep/a/file"]


def test_folders_that_link_to_each_other_end(files: Path) -> None:
    for one, two in (("a", "b"), ("b", "c"), ("c", "a")):
        (files / one).mkdir()
        (files / one / "file").write_bytes(one.encode())
        for name in ("1", "2"):
            (files / one / name).symlink_to(f"../{two}")
    (files / "out" / "link").symlink_to("../a")
    found = contents(files)
    assert found["link/1/2/file"] == b"c"
    assert len(found) == len(GOOD) + 1 + 2 + 4
    assert set(left_out(files).values()) == {AROUND}


@pytest.mark.parametrize("target", ["other", "/files/other", "out/../other", "more/other"])
def test_an_output_folder_that_is_a_link_within_the_jobs_files_is_entered(files: Path, target: str) -> None:
    (files / "more").mkdir()
    (files / "more" / "other").symlink_to("../other")
    (files / "linked").symlink_to(target)
    assert contents(files, "linked") == {"file": b"other content", "deep/file": b"other deep content"}
    assert contents(files, "linked/deep") == {"file": b"other deep content"}
    assert left_out(files, "linked") == {}


@pytest.mark.parametrize(("target", "reason"), [("..", OUT_OF_IT), ("/etc", OUT_OF_IT), ("missing", TO_NOTHING)])
@pytest.mark.parametrize("name", ["linked", "linked/deep"])
def test_an_output_folder_that_is_a_link_out_of_the_jobs_files_is_not_entered(
    files: Path, name: str, target: str, reason: str
) -> None:
    (files / "linked").symlink_to(target)
    (files.parent / "deep").mkdir()
    (files.parent / "deep" / "x").write_bytes(SECRET)
    assert contents(files, name) == {}
    assert left_out(files, name) == {"": reason}


@pytest.mark.parametrize("link", [None, "elsewhere", "other/elsewhere"])
def test_a_file_in_the_place_of_an_output_folder_is_its_only_file(files: Path, link: str | None) -> None:
    if link is None:
        (files / "made").write_bytes(b"made")
    else:
        (files / link).write_bytes(b"made")
        (files / "made").symlink_to(link)
    assert contents(files, "made") == {"made": b"made"}
    assert left_out(files, "made") == {}


def test_an_output_folder_that_is_a_link_to_an_input_is_left_out(files: Path) -> None:
    (files / "made").symlink_to("input")
    assert contents(files, "made") == {}
    assert left_out(files, "made") == {"made": "is a link to an input"}


def test_a_fifo_in_the_place_of_an_output_folder_is_left_out(files: Path) -> None:
    os.mkfifo(files / "made")
    assert left_out(files, "made") == {"made": "is a FIFO"}


@pytest.fixture
def not_root(files: Path) -> Iterator[Path]:
    """The files of a job, given to the worker, whose process is not root in this test."""
    user = os.geteuid() or 65534
    for path in (files, *files.rglob("*")):
        os.chown(path, user, -1)
    temporary = Path(tempfile.gettempdir())
    for above in files.parents[: list(files.parents).index(temporary) if temporary in files.parents else 3]:
        above.chmod(0o755)
    before = os.geteuid()
    os.seteuid(user)
    yield files
    os.seteuid(before)


@pytest.mark.parametrize(
    "paths",
    [["out/file"], ["out/deep"], ["out"], ["."], ["out/deep/file", "out/deep", "out", "."]],
    ids=["file", "folder", "output folder", "all files", "everything"],
)
@pytest.mark.parametrize("mode", [0o000, 0o111, 0o444, 0o222])
def test_what_nobody_may_read_is_read_by_a_worker_that_is_not_root(not_root: Path, paths: list[str], mode: int) -> None:
    """The job ended as `error`, and its results were removed."""
    for path in paths:
        (not_root / path).chmod(mode)
    assert contents(not_root) == GOOD
    assert left_out(not_root) == {}


def test_what_is_no_file_is_listed_and_stops_nothing(files: Path) -> None:
    out = files / "out"
    os.mkfifo(out / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(out / "socket"))
        (out / "loop").symlink_to("loop")
        os.close(os.open(os.fsencode(out) + b"/\xff", os.O_CREAT))
        assert contents(files) == GOOD
        assert left_out(files) == {
            "fifo": "is a FIFO",
            "socket": "is a socket",
            "loop": RING,
            "\udcff": "its name is not UTF-8",
        }


def test_a_folder_that_cannot_be_opened_is_lost_and_not_only_left_out(files: Path) -> None:
    """Root may open all of them, so that here one is removed after it was listed."""
    found = OutputFolder(files, "out").walk()
    assert next(found) == Output("file", 7)
    shutil.rmtree(files / "out" / "deep")
    assert list(found) == [LeftOut("deep", "cannot be opened (No such file or directory)", is_lost=True)]


@pytest.mark.parametrize("name", ["new\nline", "sp ace", "ü", "x" * 255, "-rf", "\\", '"', "#?%20", "\x1b[31m"])
def test_odd_names_are_names(files: Path, name: str) -> None:
    (files / "out" / name).write_bytes(b"odd")
    assert contents(files) == GOOD | {name: b"odd"}


def test_a_list_of_what_is_left_out_has_a_line_for_each_however_it_is_named() -> None:
    told = LeftOut("a\nfinished: \x1b[2Jü\udcff", "is a FIFO").line("out")
    assert told == "out/a\\nfinished: \\x1b[2Jü\\xff: is a FIFO\n"


def test_folders_are_followed_deep_and_not_for_ever(files: Path) -> None:
    at = os.open(files / "out", os.O_RDONLY)
    for _ in range(MAX_DEPTH + 5):
        os.close(os.open("here", os.O_CREAT, dir_fd=at))
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    assert len([path for path in contents(files) if path.endswith("here")]) == MAX_DEPTH
    assert list(left_out(files).values()) == [f"is deeper than {MAX_DEPTH} folders"]


@pytest.mark.parametrize("replacement", ["link", "fifo", "folder"])
def test_a_file_that_is_replaced_after_it_was_listed_is_not_read(files: Path, replacement: str) -> None:
    folder, path = OutputFolder(files, "out"), files / "out" / "file"
    assert Output("file", 7) in list(folder.walk())
    path.unlink()
    match replacement:
        case "link":
            path.symlink_to("/etc/passwd")
        case "fifo":
            os.mkfifo(path)
        case _:
            path.mkdir()
    with pytest.raises(FileNotFoundError), folder.open("out/file"):
        pass


def test_a_folder_that_is_replaced_by_a_link_after_it_was_listed_is_not_entered(files: Path) -> None:
    folder = OutputFolder(files, "out")
    list(folder.walk())
    (files / "out" / "deep").rename(files / "gone")
    (files / "out" / "deep").symlink_to("../other")
    with pytest.raises(OSError, match=r"Not a directory|Too many"), folder.open("out/deep/file"):
        pass


def open_files() -> Iterator[str]:
    """The paths of all files that this process, whichever of its threads, has open."""
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield str(descriptor.readlink())


def test_no_descriptor_is_left_open(files: Path) -> None:
    os.mkfifo(files / "out" / "fifo")
    (files / "out" / "link").symlink_to("../../secret")
    contents(files)
    with suppress(FileNotFoundError), OutputFolder(files, "out").open("out/missing"):
        pass
    assert [each for each in open_files() if each.startswith(str(files))] == []


NAMES = st.sampled_from(["a", "b", "ü", "x\ny"])
TARGETS = st.lists(
    st.sampled_from(["..", ".", "a", "b", "out", "", "/files", "/proc/self", "environ", "secret"]), min_size=1
)
NODES: st.SearchStrategy[object] = st.recursive(
    st.binary(max_size=5) | TARGETS.map("/".join) | st.just(None),
    lambda inner: st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def build(path: Path, node: object) -> Iterator[bytes]:
    """Make a tree: bytes are files, texts links, `None` FIFOs. Gives the contents of its files."""
    if isinstance(node, bytes):
        path.write_bytes(node)
        yield node
    elif isinstance(node, str):
        with suppress(FileNotFoundError):  # no link is empty
            path.symlink_to(node)
    elif isinstance(node, dict):
        path.mkdir()
        for name, inner in node.items():
            yield from build(path / name, inner)
    else:
        os.mkfifo(path)


@given(NODES, NODES)
def test_nothing_but_the_jobs_own_files_is_ever_read(out: object, beside: object) -> None:
    """P4, for any tree of links, FIFOs and folders: links lead within the job's files only, and nothing hangs."""
    with TemporaryDirectory() as folder:
        files = Path(folder) / "files"
        files.mkdir()
        (Path(folder) / "secret").write_bytes(SECRET)
        (files / "environ").write_bytes(b"the job's own")
        own = {b"the job's own", *build(files / "a", beside), *build(files / "out", out)}
        assert set(contents(files).values()) <= own
