"""Whose a job is, by whatever its description holds."""

from typing import Any

import pytest

from job_fetcher.core.whose import LONGEST, Whose, noted

RAW = {
    "meta": {"job_id": 2},
    "handler": {"image_url": "x:1", "image_name": "decode", "image_version": "v0_10_1"},
}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (RAW, " (user's job 2, decode/v0_10_1)"),
        ({**RAW, "meta": {}}, " (decode/v0_10_1)"),
        ({**RAW, "handler": {"image_url": "x:1"}}, " (user's job 2, x:1)"),
        ({**RAW, "handler": {"image_name": "decode"}}, " (user's job 2, decode)"),
        ({}, ""),
        (None, ""),
        ([1], ""),
        ({"meta": 3, "handler": "x"}, ""),
        ({"meta": {"job_id": True}, "handler": {"image_url": 5}}, ""),
        ({"meta": {"job_id": 10**400}}, ""),
    ],
)
def test_log_says_what_is_known(raw: Any, said: str) -> None:
    assert noted(raw) == said


@pytest.mark.parametrize("name", ["\x1b[2Jx", "a\nb", "\x9b31m", "\u202eevil", "\ud800", "x" * 10_000, "\x7f" * 255])
def test_name_that_means_harm_becomes_one_short_line_of_printable_text(name: str) -> None:
    whose = Whose.of({"handler": {"image_name": name, "image_url": name}})
    for text in (whose.application, whose.image):
        assert text is not None
        assert text.isprintable()
        assert len(text) <= LONGEST
        text.encode()
