"""Quiet hours: which minutes of the week belong to them, and what is no text for them."""

from datetime import datetime, timedelta

import pytest

from job_fetcher.config import quiet_hours

MONDAY = datetime(2026, 11, 23)


def quiet(text: str, day: str, clock: str) -> bool:
    """Whether these hours are quiet on that weekday."""
    hour, minute = map(int, clock.split(":"))
    days = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun").index(day)
    now = MONDAY + timedelta(days=days, hours=hour, minutes=minute)
    return any(now in hours for hours in quiet_hours.parse(text))


@pytest.mark.parametrize(
    ("text", "day", "inside", "outside"),
    [
        ("08:00-18:00", "Sun", ["08:00", "17:59"], ["07:59", "18:00"]),
        ("Mon-Fri 08:00-18:00", "Fri", ["08:00"], ["18:00"]),
        ("Mon-Fri 08:00-18:00", "Sat", [], ["08:00", "12:00"]),
        ("Sat 10:00-14:00", "Sat", ["10:00"], ["09:59", "14:00"]),
        ("Sat 10:00-14:00", "Fri", [], ["12:00"]),
        ("Fri-Mon 10:00-14:00", "Fri", ["12:00"], []),
        ("Fri-Mon 10:00-14:00", "Sun", ["12:00"], []),
        ("Fri-Mon 10:00-14:00", "Mon", ["12:00"], []),
        ("Fri-Mon 10:00-14:00", "Tue", [], ["12:00"]),
        ("Fri-Mon 10:00-14:00", "Thu", [], ["12:00"]),
        ("22:00-06:00", "Wed", ["22:00", "23:59", "00:00", "05:59"], ["06:00", "21:59"]),
        ("Sat 22:00-06:00", "Sat", ["22:00"], ["05:59", "12:00"]),
        ("Sat 22:00-06:00", "Sun", ["05:59"], ["06:00", "22:00"]),
        ("Sun 22:00-06:00", "Mon", ["05:59"], ["22:00"]),
        ("Sun 18:00-24:00", "Sun", ["18:00", "23:59"], ["00:00", "17:59"]),
        ("Sun 18:00-24:00", "Mon", [], ["00:00", "18:00"]),
        ("00:00-24:00", "Sun", ["00:00", "12:00", "23:59"], []),
        ("00:00-00:00", "Mon", ["00:00", "12:00", "23:59"], []),
        ("Mon 00:00-00:00", "Tue", [], ["00:00", "23:59"]),
        ("mon-FRI 08:00-12:00 ,  Sat  10:00-11:00", "Tue", ["08:00"], ["12:00"]),
        ("mon-FRI 08:00-12:00 ,  Sat  10:00-11:00", "Sat", ["10:59"], ["08:00", "11:00"]),
    ],
)
def test_hours_are_quiet_from_their_beginning_to_before_their_end(
    text: str, day: str, inside: list[str], outside: list[str]
) -> None:
    """Over midnight they belong to the day on which they begin, and weekdays go round."""
    assert [clock for clock in inside if not quiet(text, day, clock)] == []
    assert [clock for clock in outside if quiet(text, day, clock)] == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "08:00-18:00,",
        "8:00-18:00",
        "08:00",
        "08:00-24:01",
        "24:00-08:00",
        "08:60-18:00",
        "08:00 - 18:00",
        "Monday 08:00-18:00",
        "Mon-Fri",
        "Mon- 08:00-18:00",
        "Mo-Fr 08:00-18:00",
        "Mon,Tue 08:00-18:00",
        "Mon-Fri08:00-18:00",
        "08:00-18:00 Mon",
        "\N{ARABIC-INDIC DIGIT ZERO}8:00-18:00",
    ],
)
def test_a_text_that_is_not_understood_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write hours such as 08:00-18:00 or Mon-Fri 08:00-18:00"):
        quiet_hours.parse(text)
