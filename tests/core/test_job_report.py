"""The report of a job: its names have units, and its page describes each field."""

import re
from pathlib import Path

import pytest

from job_fetcher.core.cause import Cause
from job_fetcher.core.job_report import JobReport, JobResult

PAGE = (Path(__file__).parents[2] / "docs" / "job-report.md").read_text(encoding="utf-8")
UNITS = {"mib_per_s": "MiB/s", "s": "s", "mib": "MiB", "bytes": "bytes", "percent": "%", "files": "number"}
LEAST = JobReport(job_id="17", worker_version="0.1.0")


def _rows() -> dict[str, list[str]]:
    """The cells of all rows of the page's tables, by the name in the first one."""
    rows = [line.strip("|").split(" | ") for line in PAGE.splitlines() if line.startswith("| `")]
    return {cells[0].strip(" `"): [cell.strip() for cell in cells[1:]] for cells in rows}


@pytest.mark.parametrize(("name", "field"), JobReport.model_fields.items())
def test_the_page_describes_each_field_in_the_words_of_the_model(name: str, field: object) -> None:
    assert _rows()[name][1] == getattr(field, "description", None)


def test_the_page_describes_no_field_and_no_word_that_is_not_there() -> None:
    words = {*JobResult, *Cause}
    assert set(_rows()) == set(JobReport.model_fields) | {word.value for word in words}


@pytest.mark.parametrize(
    "name", [name for name in JobReport.model_fields if re.search(r"_(s|mib|bytes|percent)$", name)]
)
def test_a_number_with_a_unit_has_it_in_its_name_and_on_the_page(name: str) -> None:
    suffix = next(suffix for suffix in UNITS if name.endswith(f"_{suffix}"))
    assert _rows()[name][0] == UNITS[suffix]


def test_what_is_not_known_is_null_and_not_zero() -> None:
    known = {"version", "job_id", "worker_version"}
    assert {name for name, value in LEAST if value is not None} == known
    assert JobReport.model_validate_json(LEAST.model_dump_json()) == LEAST
