"""What answers say about a file, and the plan of its ranges: tables of pure functions."""

import pytest

from job_fetcher.transfer.ranges import (
    Answer,
    First,
    Next,
    Plan,
    Range,
    Version,
    content_range,
    first_answer,
    missing,
    next_answer,
    plan,
)

ONE, TWO = Version(etag='"1"'), Version(etag='"2"')
MONDAY, TUESDAY = Version(modified="Mon, 01 Jan 2024 00:00:00 GMT"), Version(modified="Tue, 02 Jan 2024 00:00:00 GMT")


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("bytes 0-4/8", (0, 8)),
        ("bytes=3-7/8", (3, 8)),
        ("bytes 3-7/*", (3, None)),
        ("bytes */8", (None, 8)),
        ("bytes */*", (None, None)),
        ("", (None, None)),
        ("nonsense", (None, None)),
        ("items 0-4/8", (None, None)),
        (f"bytes 0-4/{'9' * 5000}", (None, None)),
        ("bytes 0-4/8, bytes 5-7/8", (None, None)),
    ],
)
def test_a_content_range_gives_start_and_size(header: str, found: tuple[int | None, int | None]) -> None:
    assert content_range(header) == found


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(206, size=8, start=0), First.BEGINNING),
        (Answer(206, size=None, start=0), First.NO_RANGES),
        (Answer(206, size=8, start=3), First.NO_RANGES),
        (Answer(206), First.NO_RANGES),
        (Answer(200, size=8), First.WHOLE),
        (Answer(200, size=0), First.WHOLE),
        (Answer(200, is_chunked=True), First.WHOLE),
        (Answer(200), First.ENDLESS),
        (Answer(416, size=0), First.EMPTY),
        (Answer(416, size=8), First.NO_RANGES),
        (Answer(416), First.NO_RANGES),
    ],
)
def test_the_first_answer_tells_what_the_host_can_do(answer: Answer, kind: First) -> None:
    assert first_answer(answer) is kind


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(206, size=8, start=3, version=ONE), Next.WANTED),
        (Answer(206, size=8, start=3), Next.WANTED),
        (Answer(206, size=8, start=3, version=TWO), Next.CHANGED),
        (Answer(206, size=9, start=3, version=ONE), Next.CHANGED),
        (Answer(206, size=None, start=3, version=ONE), Next.CHANGED),
        (Answer(206, size=8, start=0, version=ONE), Next.OTHER_RANGE),
        (Answer(206, size=8, start=None, version=ONE), Next.OTHER_RANGE),
        (Answer(200, size=8, version=ONE), Next.CHANGED),
        (Answer(416, size=2, version=TWO), Next.CHANGED),
    ],
)
def test_each_later_answer_is_compared_with_the_first(answer: Answer, kind: Next) -> None:
    assert next_answer(answer, start=3, size=8, version=ONE) is kind


@pytest.mark.parametrize(
    ("one", "other", "differs"),
    [
        (ONE, ONE, False),
        (ONE, TWO, True),
        (Version(etag='W/"1"'), Version(etag='W/"2"'), True),
        (Version(etag='W/"1"'), ONE, False),
        (MONDAY, MONDAY, False),
        (MONDAY, TUESDAY, True),
        (Version('"1"', MONDAY.modified), Version('"1"', TUESDAY.modified), False),
        (Version('W/"1"', MONDAY.modified), Version('W/"1"', TUESDAY.modified), True),
        (Version('W/"1"', MONDAY.modified), Version('"1"', TUESDAY.modified), True),
        (Version('W/"1"', MONDAY.modified), Version('W/"1"', MONDAY.modified), False),
        (Version('W/"1"', MONDAY.modified), Version('W/"1"'), False),
        (Version('W/"1"', MONDAY.modified), Version('W/"2"', MONDAY.modified), True),
        (Version('"1"', MONDAY.modified), TUESDAY, True),
        (ONE, MONDAY, False),
        (ONE, Version(), False),
        (Version(), Version(), False),
    ],
)
def test_two_versions_differ_where_their_validators_do(one: Version, other: Version, differs: bool) -> None:
    assert one.differs_from(other) is other.differs_from(one) is differs


@pytest.mark.parametrize(
    ("first", "later", "known"),
    [
        (Version(), ONE, ONE),
        (Version(), MONDAY, MONDAY),
        (Version(), Version('W/"1"'), Version('W/"1"')),
        (MONDAY, Version('"1"', MONDAY.modified), Version('"1"', MONDAY.modified)),
        (ONE, Version('"1"', MONDAY.modified), Version('"1"', MONDAY.modified)),
        (ONE, Version(), ONE),
        (ONE, ONE, ONE),
        (Version('W/"1"'), ONE, Version('W/"1"')),
    ],
)
def test_a_validator_that_was_missing_is_taken_from_the_first_answer_that_has_it(
    first: Version, later: Version, known: Version
) -> None:
    assert first.completed_by(later) == known


@pytest.mark.parametrize(
    ("version", "value"),
    [
        (ONE, '"1"'),
        (Version('"1"', "Mon"), '"1"'),
        (Version('W/"1"', "Mon"), "Mon"),
        (Version('W/"1"'), ""),
        (Version(), ""),
    ],
)
def test_a_weak_etag_is_no_condition(version: Version, value: str) -> None:
    assert version.if_range == value


@pytest.mark.parametrize(
    ("size", "arrived", "gaps"),
    [
        (0, [], []),
        (10, [], [(0, 4), (4, 8), (8, 10)]),
        (8, [], [(0, 4), (4, 8)]),
        (10, [(0, 10)], []),
        (10, [(0, 3)], [(3, 7), (7, 10)]),
        (10, [(4, 8)], [(0, 4), (8, 10)]),
        (10, [(8, 10), (0, 2), (2, 4)], [(4, 8)]),
        (10, [(0, 6), (2, 4)], [(6, 10)]),
        (10, [(3, 3)], [(0, 3), (3, 7), (7, 10)]),
    ],
)
def test_what_has_not_arrived_is_missing_in_pieces(size: int, arrived: list[Range], gaps: list[Range]) -> None:
    assert missing(size, arrived, piece=4) == gaps


@pytest.mark.parametrize(
    ("size", "arrived", "planned"),
    [
        (0, [], Plan([], [])),
        (3, [(0, 1)], Plan([(1, 3)], [])),
        (3, [(0, 3)], Plan([], [])),
        (4, [(0, 4)], Plan([], [])),
        (10, [(0, 4)], Plan([(4, 8)], [(8, 10)])),
        (10, [(0, 2), (8, 9)], Plan([(2, 6)], [(6, 8), (9, 10)])),
    ],
)
def test_a_large_file_comes_in_parallel_once_one_range_has_come(size: int, arrived: list[Range], planned: Plan) -> None:
    assert plan(size, arrived, piece=4) == planned
