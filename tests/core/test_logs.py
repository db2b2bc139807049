"""The worker's own log: readable, and without a secret."""

import json
import logging
import subprocess
import sys

import pytest

from job_fetcher.core.logs import RedactingFormatter

SECRETS = ["pass word+?", "t0ken"]


def formatted(message: str, *arguments: object, error: BaseException | None = None) -> str:
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("job_fetcher", logging.WARNING, "here", 1, message, arguments, info)
    return RedactingFormatter([*SECRETS, ""]).format(record)


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("the password is pass word+?.", "the password is …."),
        ("t0ken t0ken", "… …"),
        ("Authorization: Bearer eyJhbGciOi.x.y, and more", "Authorization: Bearer … and more"),
        ("'authorization': 'bearer abc'", "'authorization': 'bearer …"),
        ("GET https://host/a b?X-Amz-Signature=5ecre7&x=1 failed", "GET https://host/a b?… failed"),
        ("GET https://host/a?signature=5ecre7 failed", "GET https://host/a?… failed"),
        ("url: /bucket/key?X-Amz-Signature=5ecre7 (Caused by x)", "url: /bucket/key?… (Caused by x)"),
        ("What is it? Nothing.", "What is it? Nothing."),
        ("two\nlines\x1b[2J\r", "two\\nlines\\x1b[2J\\r"),
        ("ü 日本 €", "ü 日本 €"),
    ],
)
def test_a_line_has_no_secret_and_is_one_line(said: str, written: str) -> None:
    assert formatted("%s", said).endswith(f"WARNING {written}")
    assert formatted(said.replace("%", "%%")).count("\n") == 0


def test_a_traceback_has_no_secret() -> None:
    def fail(password: str) -> None:
        raise ValueError(f"cannot log in with {password} at https://host/x?token=5ecre7")

    with pytest.raises(ValueError, match="cannot log in") as raised:
        fail(SECRETS[0])
    text = formatted("It went wrong", error=raised.value)
    assert "Traceback (most recent call last):\n" in text
    assert SECRETS[0] not in text
    assert "5ecre7" not in text


def test_only_our_own_package_is_heard_of_from_info_on() -> None:
    code = (
        "import logging; from job_fetcher.core.logs import configure; configure(['hush'])\n"
        "logging.getLogger('urllib3').info('chatter'); logging.getLogger('job_fetcher.x').info('hush: a job')\n"
        "logging.getLogger('urllib3').warning('a warning'); logging.getLogger('job_fetcher.x').debug('detail')"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert [line.split(maxsplit=3)[3] for line in ran.stderr.splitlines()] == ["…: a job", "a warning"]
    assert ran.stdout == ""


def test_json_lines_have_the_same_without_secrets() -> None:
    code = (
        "import logging; from job_fetcher.core.logs import configure; configure(['hush'], 'DEBUG', as_json=True)\n"
        "log = logging.getLogger('job_fetcher.x')\n"
        "log.debug('job %s: pulled\\n{', '17'); log.warning('hush \\x1b[2J \\ud800 ü https://h/x?sig=1')\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError: log.exception('hush')"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    first, second, third = map(json.loads, ran.stderr.splitlines())
    assert first.pop("time").endswith("+00:00")
    assert first == {"level": "DEBUG", "logger": "job_fetcher.x", "message": "job 17: pulled\n{", "job": "17"}
    assert second["message"] == "… \\x1b[2J \\ud800 ü https://h/x?…"
    assert third["message"] == "…"
    assert "ZeroDivisionError" in third["exception"]
    assert "hush" not in ran.stderr


@pytest.mark.parametrize(("level", "lines"), [("DEBUG", 4), ("INFO", 3), ("WARNING", 2), ("ERROR", 1)])
def test_log_has_what_its_level_says(level: str, lines: int) -> None:
    code = (
        f"import logging; from job_fetcher.core.logs import configure; configure([], {level!r})\n"
        "log = logging.getLogger('job_fetcher.x')\n"
        "log.debug('d'); log.info('i'); log.warning('w'); log.error('e')"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert len(ran.stderr.splitlines()) == lines
