"""What a job's user reads about the outputs: sentences that always fit into the job's details."""

from collections.abc import Sequence

import pytest

from job_fetcher.core.job import MAX_DETAILS, OutputType, details, encoded_length
from job_fetcher.transfer.upload_report import Arrived, Summary, UploadReport, conclusion, in_words

OUTPUT, LOG, ARTIFACT = OutputType.OUTPUT, OutputType.LOG, OutputType.ARTIFACT


@pytest.mark.parametrize(
    ("summary", "sentences"),
    [
        (Summary(), ["The worker uploaded no file."]),
        (Summary({LOG: Arrived(1, 8)}), ["The worker uploaded 1 log file (8 bytes)."]),
        (
            Summary({LOG: Arrived(2, 9), OUTPUT: Arrived(12, 3 << 30), ARTIFACT: Arrived(1, 1)}),
            ["The worker uploaded 12 output files (3.0 GiB), 1 artifact file (1 byte) and 2 log files (9 bytes)."],
        ),
        (
            Summary(empty=[(OUTPUT, "output")]),
            ["The worker uploaded no file.", "The job left no file in its output folder 'output'."],
        ),
        (
            Summary(empty=[(OUTPUT, "out"), (ARTIFACT, "model")]),
            [
                "The worker uploaded no file.",
                "The job left no file in its output folder 'out' and its artifact folder 'model'.",
            ],
        ),
        (
            Summary(left_out=1, named=["out/a: is a FIFO\n"], list_path="log/left-out.txt"),
            [
                "The worker uploaded no file.",
                "The worker left out 1 file or folder, listed in the log file 'log/left-out.txt': out/a: is a FIFO.",
            ],
        ),
        (
            Summary(left_out=9, named=["out/a: is a FIFO\n", "out/b: is a socket\n"], list_path="log/left-out-1.txt"),
            [
                "The worker uploaded no file.",
                "The worker left out 9 files or folders, listed in the log file 'log/left-out-1.txt':"
                " out/a: is a FIFO; out/b: is a socket; ….",
            ],
        ),
        (
            Summary(left_out=1, named=["out/a: is a FIFO\n"]),
            ["The worker uploaded no file.", "The worker left out 1 file or folder: out/a: is a FIFO."],
        ),
        (
            Summary(left_out=2, list_path="log/left-out.txt"),
            [
                "The worker uploaded no file.",
                "The worker left out 2 files or folders, listed in the log file 'log/left-out.txt'.",
            ],
        ),
    ],
)
def test_what_arrived_what_is_empty_and_what_is_missing_is_told(summary: Summary, sentences: list[str]) -> None:
    assert summary.sentences() == sentences


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (3 << 20, "3.0 MiB"),
        (int(3.4 * 2**30), "3.4 GiB"),
        (5000 << 40, "5000.0 TiB"),
    ],
)
def test_sizes_are_in_the_units_of_people(size: int, words: str) -> None:
    assert in_words(size) == words


def test_problems_come_before_the_summary() -> None:
    report = UploadReport(["The output 'a' is lost."], ["The worker uploaded no file."])
    assert conclusion("It ended.", report) == "It ended. The output 'a' is lost. The worker uploaded no file."


@pytest.mark.parametrize("problems", [[], ["The output 'a' is lost."]])
def test_callers_with_a_list_of_their_own_have_no_summary(problems: list[str]) -> None:
    assert conclusion("It ended.", problems) == " ".join(["It ended.", *problems])


SUMMARY = Summary({OUTPUT: Arrived(7, 7)}, [(ARTIFACT, "model")], 3, ["a: is a FIFO"], "log/left-out.txt").sentences()


@pytest.mark.parametrize("reason", ["It ended.", "ü" * 10_000], ids=["short", "endless"])
@pytest.mark.parametrize(
    "problems",
    [
        ["The output 'a' is lost."] * 2,
        [f"The output '{number}' is lost." for number in range(5_000)],
        [f"The output '{'ü' * 4_000}' is lost."] * 3,
        ["x" * 200] * 20,
    ],
    ids=["few", "many", "endless", "long"],
)
def test_no_reason_and_no_problem_hides_the_summary(reason: str, problems: Sequence[str]) -> None:
    text = details(conclusion(reason, UploadReport(problems, SUMMARY)), "the log\n" * 1_000)
    assert " ".join(SUMMARY) in text
    assert problems[0][:50] in text
    assert text.endswith("the log\nthe log")
    assert encoded_length(text) <= MAX_DETAILS


def test_the_number_of_problems_that_are_not_shown_is_told() -> None:
    text = conclusion("It ended.", UploadReport([f"The output '{number}' is lost." for number in range(100)]))
    assert text.endswith("The output '4' is lost. There are 95 more such problems.")
    text = conclusion("It ended.", UploadReport([f"The output '{number}' is lost." for number in range(6)]))
    assert text.endswith("The output '4' is lost. There is 1 more such problem.")


def test_names_without_measure_do_not_hide_what_arrived() -> None:
    named = [f"{'ü' * 80}…: is a FIFO\n"] * 3
    summary = Summary({OUTPUT: Arrived(1, 1)}, [(OUTPUT, "ü" * 4_000)], 9, named, f"{'ü' * 2000}/left-out.txt")
    text = details(conclusion("It ended.", UploadReport([], summary.sentences())))
    assert text.startswith("It ended. The worker uploaded 1 output file (1 byte). The job left no file in its output")
    assert encoded_length(text) <= MAX_DETAILS
