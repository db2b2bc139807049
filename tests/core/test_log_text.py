"""The end of a log is text that a person reads, whatever a program wrote for a terminal."""

import io
from pathlib import Path

import pytest

from job_fetcher import log_tail
from job_fetcher.core.log_text import clean

SPINNER = "\r|\r/\r-\r\\\r"


@pytest.mark.parametrize(
    ("log", "tail"),
    [
        (b"", ""),
        (b"first\nlast\n", "first\nlast\n"),
        (b"\x1b[31mred\x1b[0m \x1b]0;title\x07text\n", "red text\n"),
        ("ü€".encode() + b"\xff", "ü€\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_the_end_of_the_log_is_text(tmp_path: Path, log: bytes, tail: str) -> None:
    """P15: it was sent as `b'…'`."""
    (tmp_path / "log").write_bytes(log)
    assert log_tail(tmp_path / "log") == tail


def test_a_log_that_somebody_has_removed_is_empty(tmp_path: Path) -> None:
    assert log_tail(tmp_path / "log") == ""


@pytest.mark.parametrize(
    "sequence",
    [
        "\x1b[1;31m", "\x1b[?25l", "\x1b[2K", "\x9b0m",
        "\x1b(B", "\x1b)0", "\x1b%G", "\x1b#8",
        "\x1b=", "\x1b>", "\x1b7", "\x1b8", "\x1bc", "\x1bM", "\x1bD",
        "\x1b]0;title\x07", "\x1b]8;;https://x\x1b\\", "\x1bP1$r0m\x1b\\", "\x1b_x\x1b\\", "\x9dtitle\x9c",
    ],
    ids=ascii,
)  # fmt: skip
def test_an_escape_sequence_leaves_nothing_behind(sequence: str) -> None:
    assert clean(f"be{sequence}fore {sequence}{sequence}after{sequence}") == "before after"


@pytest.mark.parametrize("cut", ["\x1b", "\x1b[", "\x1b[1;3", "\x1b(", "\x1b]0;tit", "\x1bP1"], ids=ascii)
def test_an_escape_sequence_that_the_end_of_the_log_cuts_off_leaves_nothing_behind(cut: str) -> None:
    assert clean(f"text{cut}") == "text"


def test_a_title_that_never_ends_hides_no_other_line() -> None:
    assert clean("a \x1b]0;title\nthe error\n") == "a 0;title\nthe error\n"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a" + "\0" * 500 + "b", "ab"),
        ("\0" * 4096 + "the end", "the end"),
        ("a\ufffd\ufffd\ufffdb", "a\ufffdb"),
        ("a\ufffd\0\ufffdb", "a\ufffdb"),
        ("a\x07\x08\x7fb", "ab"),
        ("a\tb", "a\tb"),
    ],
    ids=ascii,
)
def test_what_nobody_can_read_takes_no_room(text: str, left: str) -> None:
    assert clean(text) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("10 %\r50 %\r100 %\n", "100 %\n"),
        ("windows\r\nlines\r\n", "windows\nlines\n"),
        ("50 %\r\r\nnext", "50 %\nnext"),
        ("50 %\r    \r", "50 %"),
        (f"working{SPINNER}done", "done"),
        ("50 %\rTraceback: boom\n", "Traceback: boom\n"),
        ("\r\n\r\n", "\n\n"),
    ],
    ids=ascii,
)
def test_a_line_that_was_overwritten_is_its_last_state(text: str, left: str) -> None:
    assert clean(text) == left


@pytest.mark.parametrize(
    ("log", "size", "tail"),
    [
        (b"first line\nsecond\n", 10, "second\n"),
        (b"first line\nsecond\n", 7, "second\n"),
        (b"first line\nsecond\n", 18, "first line\nsecond\n"),
        (b"first line\nsecond\n", 3, "nd\n"),
        (b"one endless line", 7, "ss line"),
        ("ü€€€€€".encode(), 8, "€€"),
        (b"\x1b[31mred\x1b[0m\nnext\n", 14, "next\n"),
    ],
)
def test_the_tail_begins_at_a_line(tmp_path: Path, log: bytes, size: int, tail: str) -> None:
    (tmp_path / "log").write_bytes(log)
    assert log_tail(tmp_path / "log", size) == tail


def test_only_the_end_of_a_large_log_is_read(tmp_path: Path) -> None:
    """P15: all of it was loaded."""
    with (tmp_path / "log").open("wb") as file:
        file.truncate(10 * 2**30)
        file.seek(0, io.SEEK_END)
        file.write(b"the end")
    assert log_tail(tmp_path / "log", 10) == "the end"
