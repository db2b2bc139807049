"""What a job leaves in its output folder, read by somebody who holds secrets."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from job_fetcher.transfer.outputs import MAX_DEPTH, LeftOut, Output, OutputFolder

SECRET = b"the lab's password"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The files of a job, with an output folder; beside them is what is none of its business."""
    (tmp_path / "secret").write_bytes(SECRET)
    files = tmp_path / "files"
    (files / "out" / "deep").mkdir(parents=True)
    (files / "input").write_bytes(SECRET)
    (files / "other").mkdir()
    (files / "other" / "file").write_bytes(SECRET)
    (files / "out" / "file").write_bytes(b"content")
    (files / "out" / "deep" / "file").write_bytes(b"deep content")
    return files


def contents(files: Path, name: str = "out") -> dict[str, bytes]:
    """All that would be uploaded, read as it would be."""
    folder = OutputFolder(files, name)
    found = {}
    for each in folder.walk():
        if isinstance(each, Output):
            with folder.open(each.path) as file:
                found[each.path] = file.read()
            assert each.size == len(found[each.path])
    return found


def left_out(files: Path, name: str = "out") -> dict[str, str]:
    return {each.path: each.reason for each in OutputFolder(files, name).walk() if isinstance(each, LeftOut)}


GOOD = {"file": b"content", "deep/file": b"deep content"}


def test_every_file_is_found_in_a_stable_order(files: Path) -> None:
    assert contents(files) == GOOD
    assert list(contents(files)) == list(contents(files)) == ["file", "deep/file"]
    assert contents(files, "out/deep") == {"file": b"deep content"}
    assert left_out(files) == {}


@pytest.mark.parametrize("name", ["missing", "missing/deep", "out/missing"])
def test_a_folder_that_was_never_made_is_empty(files: Path, name: str) -> None:
    assert list(OutputFolder(files, name).walk()) == []


@pytest.mark.parametrize(
    "target",
    [
        "/proc/self/environ",
        "/etc/passwd",
        "../../secret",
        "../input",
        "../other/file",
        "/files/other/file",
        "/files/../secret",
        "/files/out/../input",
        "deep/../../input",
        "/files/out",
        "/files/outer/file",
        ".",
        "..",
        "deep",
        "missing",
        "link",
        "/dev/zero",
        "deep/up/input",
    ],
)
def test_a_link_out_of_the_folder_is_never_followed(files: Path, target: str) -> None:
    """P4: an output that links to `/proc/self/environ` gave the job's author the lab's password."""
    (files / "out" / "link").symlink_to(target)
    (files / "out" / "deep" / "up").symlink_to("../..")
    assert contents(files) == GOOD
    assert left_out(files)["link"] == "is a link that leads to no file of the same folder"


@pytest.mark.parametrize("target", ["file", "./deep/../file", "/files/out/file", "deep//..//file", "other-link"])
def test_a_link_to_a_file_of_the_same_folder_is_followed(files: Path, target: str) -> None:
    (files / "out" / "other-link").symlink_to("file")
    (files / "out" / "link").symlink_to(target)
    assert contents(files)["link"] == b"content"


@pytest.mark.parametrize("name", ["linked", "linked/deep"])
def test_an_output_folder_that_is_a_link_is_not_entered(files: Path, name: str) -> None:
    (files / "linked").symlink_to("..")
    (files.parent / "deep").mkdir()
    (files.parent / "deep" / "x").write_bytes(SECRET)
    assert contents(files, name) == {}
    assert list(left_out(files, name)) == [""]


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
            "loop": "is a link that leads to no file of the same folder",
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
    with pytest.raises(FileNotFoundError), folder.open("file"):
        pass


def test_a_folder_that_is_replaced_by_a_link_after_it_was_listed_is_not_entered(files: Path) -> None:
    folder = OutputFolder(files, "out")
    list(folder.walk())
    (files / "out" / "deep").rename(files / "gone")
    (files / "out" / "deep").symlink_to("../other")
    with pytest.raises(OSError, match=r"Not a directory|Too many"), folder.open("deep/file"):
        pass


def test_no_descriptor_is_left_open(files: Path) -> None:
    os.mkfifo(files / "out" / "fifo")
    (files / "out" / "link").symlink_to("../../secret")
    before = list(Path("/proc/self/fd").iterdir())
    contents(files)
    with suppress(FileNotFoundError), OutputFolder(files, "out").open("missing"):
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) == len(before)


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
def test_nothing_but_the_folders_own_files_is_ever_read(out: object, beside: object) -> None:
    """P4, for any tree of links, FIFOs and folders: and nothing hangs."""
    with TemporaryDirectory() as folder:
        files = Path(folder) / "files"
        files.mkdir()
        (Path(folder) / "secret").write_bytes(SECRET)
        list(build(files / "a", beside))
        (files / "environ").write_bytes(SECRET)
        own = set(build(files / "out", out))
        assert set(contents(files).values()) <= own
