"""An excerpt: the beginning and the end of a text of any length, in bounded space."""

from io import BytesIO

import pytest

from job_fetcher.transfer.excerpt import BETWEEN, HALF, MAX_EXCERPT, Excerpt, excerpt_of

LINE = b"a line of some length\n"
SIZES = [0, 1, HALF - 1, HALF, HALF + 1, 2 * HALF - 1, 2 * HALF]
LARGER = [2 * HALF + 1, 3 * HALF, 3 * HALF + 17, 4 * HALF, 20 * HALF + 3]


def _text(size: int) -> bytes:
    """Numbered lines."""
    return b"".join(b"line %9d\n" % number for number in range(size // 15 + 1))[:size]


def _streamed(text: bytes, piece: int = 16_384) -> tuple[bytes, int]:
    """The excerpt of a text that comes in pieces, and what its file takes."""
    file, target = BytesIO(), BytesIO()
    excerpt = Excerpt(file)
    for at in range(0, len(text), piece):
        excerpt.add(text[at : at + piece])
    excerpt.write_to(target)
    return target.getvalue(), len(file.getvalue())


def _of_file(text: bytes) -> bytes:
    target = BytesIO()
    excerpt = Excerpt(BytesIO())
    excerpt_of(BytesIO(text), excerpt)
    excerpt.write_to(target)
    return target.getvalue()


@pytest.mark.parametrize("size", SIZES)
def test_a_text_that_fits_stays_whole(size: int) -> None:
    text = _text(size)
    assert _streamed(text) == (text, size)
    assert _of_file(text) == text


@pytest.mark.parametrize("piece", [999, 16_384, 20 * HALF])
@pytest.mark.parametrize("size", LARGER)
def test_of_a_longer_text_the_whole_lines_of_both_ends_stay(size: int, piece: int) -> None:
    text = _text(size)
    excerpt, kept = _streamed(text, piece)
    beginning, between, end = excerpt.partition(BETWEEN)
    assert between
    assert text.startswith(beginning)
    assert text.endswith(end)
    assert beginning.endswith(b"\n")
    assert end.startswith(b"line ")
    assert len(beginning) > HALF - 20
    assert len(end) > HALF - 20 or piece == 999
    assert (len(excerpt) <= MAX_EXCERPT, kept) == (True, 2 * HALF)


@pytest.mark.parametrize("size", LARGER)
def test_the_excerpt_of_a_file_is_that_of_its_text_as_it_comes(size: int) -> None:
    beginning, _, end = _of_file(_text(size)).partition(BETWEEN)
    assert (_text(size).startswith(beginning), _text(size).endswith(end)) == (True, True)
    assert len(beginning) + len(end) > 2 * HALF - 40


@pytest.mark.parametrize("what", [b"x", b"\0", b"\xff", "ü".encode(), b"\x1b[31m"])
def test_a_line_without_an_end_is_cut_where_it_has_to_be(what: bytes) -> None:
    excerpt, kept = _streamed(what * (100 * HALF // len(what)), 1 << 20)
    assert len(excerpt) <= MAX_EXCERPT
    assert kept == 2 * HALF
    assert excerpt.count(BETWEEN) == 1


class _Shrinking(BytesIO):
    """A file that is truncated after its size was asked for."""

    def seek(self, offset: int, whence: int = 0) -> int:
        at = super().seek(offset, whence)
        if whence == 2:
            self.truncate(10)
        return at


@pytest.mark.parametrize("size", [100, 2 * HALF, 5 * HALF])
def test_a_file_that_becomes_shorter_meanwhile_gives_what_it_has(size: int) -> None:
    target = BytesIO()
    excerpt = Excerpt(BytesIO())
    excerpt_of(_Shrinking(_text(size)), excerpt)
    excerpt.write_to(target)
    assert target.getvalue().startswith(_text(10))
    assert len(target.getvalue()) <= MAX_EXCERPT
