"""The contract's words: what is taken, what is refused and with which sentence."""

from contextlib import suppress
from typing import Any
from urllib.parse import quote, unquote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from job_fetcher.core.errors import JobFailed
from job_fetcher.core.job import MAX_DETAILS, Job, JobSpecs, OutputType, details

GOOD = {"app": {"cmd": None, "env": None}, "handler": {"image_url": "x", "files_down": None, "files_up": None}}
NAMES = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(["..", ".", "", "/", "a/b", "/etc/passwd"])


def specs(**handler: Any) -> dict[str, Any]:
    return {"app": {}, "handler": {"image_url": "x", **handler}}


def test_a_job_of_the_platform_is_understood() -> None:
    parsed = JobSpecs.parse(
        {
            "app": {"cmd": ["mkdir", "/files/output", "&&", "run"], "env": {"A": "1"}},
            "handler": {
                "image_url": "decode:v1",
                "image_name": "decode",
                "entrypoint": "fit",
                "files_down": {"config/a.yaml": "id 1", "./data//b.tif": "id 2"},
                "files_up": {"artifact": "output/", "log": "log"},
            },
            "meta": {"job_id": 7},
            "hardware": {},
            "something": "new",
        }
    )
    assert parsed.command_line == "mkdir /files/output && run"
    assert parsed.handler.files_down == {"config/a.yaml": "id 1", "data/b.tif": "id 2"}
    assert parsed.handler.files_up == {OutputType.ARTIFACT: "output", OutputType.LOG: "log"}


@pytest.mark.parametrize("cmd", [None, []])
def test_no_command_is_the_images_own(cmd: list[str] | None) -> None:
    assert JobSpecs.parse(GOOD | {"app": {"cmd": cmd}}).command_line is None


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (None, "the whole: "),
        ([], "the whole: "),
        ({}, "app: Field required; handler: Field required"),
        (specs(image_url=""), "handler.image_url: "),
        (specs(image_url=None), "handler.image_url: "),
        (specs(files_up={"video": "x"}), "handler.files_up.video: "),
        (specs(files_down={"a": 7}), "handler.files_down.a: "),
        (GOOD | {"app": {"cmd": "echo x"}}, "app.cmd: "),
        (GOOD | {"app": {"cmd": [1]}}, "app.cmd.0: "),
        (GOOD | {"app": {"env": {"A": 1}}}, "app.env.A: "),
        (specs(files_down={"a": "1", "a/b": "2"}), "'a/b' and 'a' cannot both be files"),
        (specs(files_down={"a/b/c": "1", "x": "2", "a": "3"}), "'a/b/c' and 'a' cannot both be files"),
        (specs(files_down={"a/b": "1", "a//b": "2"}), "'a/b' and 'a//b' are the same file"),
        (specs(files_down={"./a": "1", "b": "2", "a": "3"}), "'./a' and 'a' are the same file"),
    ],
)
def test_a_job_that_is_not_valid_fails_with_a_sentence_that_names_the_field(raw: Any, told: str) -> None:
    """P26: it once raised after the job had been pulled, and ended worker after worker."""
    with pytest.raises(JobFailed, match=r"^The job's description is not valid: .*\.$") as failed:
        JobSpecs.parse(raw)
    assert told in str(failed.value)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/etc/passwd", "is an absolute path"),
        ("../x", "leaves the job's folder by '..'"),
        ("a/../../x", "leaves the job's folder by '..'"),
        ("a/..", "leaves the job's folder by '..'"),
        ("", "names nothing inside of the job's folder"),
        (".", "names nothing inside of the job's folder"),
        ("a\0b", "has a character that a path cannot have"),
        ("x" * 256, "is too long"),
        ("ü" * 128, "is too long"),
        ("x/" * 2500 + "x", "is too long"),
        ("folder/", "names a folder, not a file"),
        ("folder/..", "leaves the job's folder by '..'"),
    ],
)
def test_an_input_outside_of_the_jobs_folder_is_refused_by_name(path: str, told: str) -> None:
    """P5: an input named `../../x` or `/x` was written there."""
    with pytest.raises(JobFailed) as failed:
        JobSpecs.parse(specs(files_down={path: "id"}))
    assert f"handler.files_down.{path[:500]}: " in str(failed.value)
    assert told in str(failed.value)


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"config/.": "s3://bucket/user/config/param.yaml"}, ["config/param.yaml"]),
        ({"data/.": "user/data/a b#1%20.tif", "config/.": "user/b.yaml"}, ["data/a b#1%20.tif", "config/b.yaml"]),
        ({"data/.": "c.csv"}, ["data/c.csv"]),
        ({"a/b/.": "x/ü.csv", "a/b/c": "y"}, ["a/b/ü.csv", "a/b/c"]),
        ({"a/./.": "x/y"}, ["a/y"]),
        ({"data/.": "x/back\\slash"}, ["data/back\\slash"]),
    ],
)
def test_a_single_file_for_a_folder_has_its_own_name_there(files: dict[str, str], named: list[str]) -> None:
    """The website lets a user pick a file where the application expects a folder: such jobs failed."""
    handler = JobSpecs.parse(specs(files_down=files)).handler
    assert handler.files_down == dict(zip(named, files.values(), strict=True))
    assert JobSpecs.parse({"app": {}, "handler": handler.model_dump()}).handler == handler


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"config/.": "x/a.yaml", "config/a.yaml": "2"}, "'config/.' and 'config/a.yaml' are the same file"),
        ({"config/.": "x/a.yaml", "config//.": "y/a.yaml"}, "'config/.' and 'config//.' are the same file"),
        ({"config/a.yaml": "1", "config/./.": "y/a.yaml"}, "'config/a.yaml' and 'config/./.' are the same file"),
        ({"a/.": "x/b", "a/b/.": "y/c"}, "'a/b/c' and 'a/b' cannot both be files"),
        ({"config/.": "s3://bucket/folder/"}, "the file id 's3://bucket/folder/' has none"),
        ({"config/.": "x/.."}, "the file id 'x/..' has none"),
        ({"/config/.": "x/a"}, "handler.files_down./config/a: is an absolute path"),
        ({"../config/.": "x/a"}, "handler.files_down.../config/a: leaves the job's folder by '..'"),
        ({"config/.": "x/a\0b"}, "has a character that a path cannot have"),
        ({"config/.": "x" * 256}, "is too long"),
    ],
)
def test_single_files_for_a_folder_that_collide_or_have_no_name_are_refused(files: dict[str, str], told: str) -> None:
    with pytest.raises(JobFailed) as failed:
        JobSpecs.parse(specs(files_down=files))
    assert told in str(failed.value)


@pytest.mark.parametrize(
    ("cmd", "line"),
    [
        (["echo a\r\necho b"], "echo a\necho b"),
        (["echo", "a\r\n", "echo", "b\r\n"], "echo a\n echo b\n"),
        (["echo a\r"], "echo a"),
        (["printf 'a\rb'"], "printf 'a\rb'"),
        (["run\r", "--x=1\r", "--y"], "run --x=1 --y"),
        (["run\r", "\r", "--y\r"], "run  --y"),
        (["a\r\nb\r", "c\r\n", "d"], "a\nb c\n d"),
        (["a\r\r", "b"], "a b"),
    ],
)
def test_the_line_breaks_of_a_web_form_are_those_of_a_shell(cmd: list[str], line: str) -> None:
    assert JobSpecs.parse(GOOD | {"app": {"cmd": cmd}}).command_line == line


@given(st.lists(NAMES, max_size=5).map("/".join))
def test_no_path_that_is_taken_leaves_the_folder(path: str) -> None:
    """P5."""
    for field in ({"files_down": {path: "id"}}, {"files_up": {"output": path}}):
        try:
            handler = JobSpecs.parse(specs(**field)).handler
        except JobFailed:
            continue
        [taken] = handler.files_down or (handler.files_up or {}).values()
        parts = taken.split("/")
        assert not {"", ".", ".."} & set(parts)
        named = path.removesuffix(".") + "id" if path.endswith("/.") and "files_down" in field else path
        assert parts == [part for part in named.split("/") if part not in ("", ".")]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_no_description_brings_out_an_error_of_another_kind(raw: Any) -> None:
    """P26."""
    for description in (raw, {"app": raw, "handler": raw}, specs(files_down=raw, files_up=raw)):
        with suppress(JobFailed):
            JobSpecs.parse(description)


@pytest.mark.parametrize("job_id", ["../x", "a/b", ".hidden", "", "x" * 129, "a b", "-rf", "ü", "a\n"])
def test_an_id_that_is_no_folders_name_makes_no_folder(job_id: str) -> None:
    with pytest.raises((JobFailed, ValueError)):
        _ = Job(id=job_id, raw=None).folder_name


ANY_TEXT = st.text(st.characters() | st.characters(categories=["Cs"]))  # which a name that is not UTF-8 has


@given(ANY_TEXT, ANY_TEXT)
def test_details_always_fit_into_the_request_line(reason: str, log: str) -> None:
    """P15 and the contract: percent-encoded, they stay below 4 KiB."""
    for text in (details(reason * 50, log * 50), details(reason, log * 500), details(reason * 500)):
        assert len(urlencode({"runtime_details": text})) <= MAX_DETAILS + len("runtime_details=")


def test_details_keep_the_reason_and_the_end_of_the_log() -> None:
    """P15: the tail is text, not `b'…'`."""
    log = "\n".join(f"line {number} ü" for number in range(10_000))
    text = details("It exited with code 7.", log + "\n\n")
    assert text.startswith("It exited with code 7.\n\nThe end of the log:\n")
    assert text.endswith("line 9998 ü\nline 9999 ü")
    assert MAX_DETAILS - 2 * len(quote("line 9999 ü\n")) < len(quote(text, safe="")) <= MAX_DETAILS


@pytest.mark.parametrize("length", range(100, 112))
def test_the_log_in_the_details_begins_at_a_line(length: int) -> None:
    """It began in the middle of a word, or of an escape sequence."""
    text = details("Why.", "\n".join(str(number).rjust(length, "x") for number in range(1000)))
    _, _, log = text.partition("The end of the log:\n")
    assert {len(line) for line in log.split("\n")} == {length}


def test_one_endless_line_of_a_log_is_cut_at_its_beginning() -> None:
    text = details("Why.", "x" * 10_000 + "the end")
    assert text.endswith("xthe end")
    assert len(quote(text, safe="")) == MAX_DETAILS


@pytest.mark.parametrize("log", ["", "  \n\n"])
def test_details_without_a_log_are_the_reason_alone(log: str) -> None:
    assert details("Why.", log) == "Why."


def test_a_reason_that_fills_the_details_leaves_the_log_out() -> None:
    assert details("ü" * 10_000, "log") == "ü" * (MAX_DETAILS // len(quote("ü")))


def test_no_character_is_cut_in_half() -> None:
    for length in range(MAX_DETAILS - 30, MAX_DETAILS + 1):
        text = details("x" * length, "€" * 50)
        assert unquote(quote(text), errors="strict") == text
