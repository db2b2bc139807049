"""The settings: where they come from, and what a person is told who has set them wrongly."""

import os
import pwd
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from job_fetcher.config.settings import GROUPS, Settings, WorkerSettings
from job_fetcher.core.errors import SettingsError
from tests.support.installation import ENOUGH, Installation


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Installation:
    return Installation(monkeypatch, tmp_path / ".env")


def test_the_environment_beats_the_env_file_beats_the_default(here: Installation) -> None:
    here.env_file.write_text("API_URL=https://file\nACCESS_TOKEN=from-file\nTIMEOUT_JOB=7\nSOMETHING_ELSE=1\n")
    settings = here.read(API_URL="https://environment/")
    assert settings.api_url == "https://environment"
    assert settings.access_token == SecretStr("from-file")
    assert (settings.timeout_job, settings.timeout_status) == (7, 10)


@pytest.mark.parametrize("group", [*GROUPS, Settings], ids=lambda group: group.__name__)
def test_no_room_can_change_a_setting(here: Installation, group: type[BaseModel]) -> None:
    settings = here.read(**ENOUGH)
    assert isinstance(settings, group)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings, next(iter(group.model_fields)), "changed")


def test_what_the_worker_reads_has_a_default_and_comes_from_no_environment(here: Installation) -> None:
    here.set(TIMEOUT_JOB="7", ALLOWED_IMAGES="mine")
    settings = WorkerSettings()
    assert (settings.timeout_job, settings.image_patterns, settings.quiet) == (10, ("*",), ())
    assert settings.min_free == 10 * 2**30


def test_empty_values_count_as_unset(here: Installation) -> None:
    here.env_file.write_text("API_URL=https://file\nTIMEOUT_STATUS=\nGPU_MODEL=\n")
    settings = here.read(ACCESS_TOKEN="t", API_URL="", PATH_HOST_BASE="", TIMEOUT_JOB="")
    assert (settings.api_url, settings.path_host_base, settings.gpu_model) == ("https://file", None, None)
    assert (settings.timeout_job, settings.timeout_status) == (10, 10)
    here.env_file.unlink()
    assert here.refusal() == ["API_URL is not set"]


PLATFORMS_OWN_STACK = {
    "API_URL": "http://workerfacing-api:8001",
    "ACCESS_TOKEN": "",
    "USERNAME": "ada@lab.example",
    "PASSWORD": "p",
    "PATH_BASE": "/data",
    "PATH_HOST_BASE": "./job_fetcher_data",
    "TIMEOUT_JOB": "30",
    "TIMEOUT_STATUS": "30",
}
"""What the platform's Compose file sets for its worker."""


@pytest.mark.parametrize("more", [{}, {"EMAIL": "ada@lab.example"}, {"STATUS_HOLD": "10"}, {"COGNITO_REGION": "x"}])
def test_what_the_platforms_own_stack_sets_works_unchanged(here: Installation, more: dict[str, str]) -> None:
    """Only Compose knows from where `./job_fetcher_data` is; the mounts of the container tell."""
    settings = here.read(**PLATFORMS_OWN_STACK, **more)
    assert (settings.access_token, settings.path_host_base) == (None, None)
    assert settings.status_hold == float(more.get("STATUS_HOLD", 0))


@pytest.mark.parametrize("value", ["-1", "121", "nan", "soon"])
def test_a_hold_that_would_lose_the_job_is_refused(here: Installation, value: str) -> None:
    """The platform gives a job up after 300 s of silence."""
    told = here.refusal(**ENOUGH, STATUS_HOLD=value)
    assert told[0].startswith(f"STATUS_HOLD (is '{value}')")


def test_the_env_file_is_read_as_docker_reads_it(here: Installation) -> None:
    """A `$` in a password is one."""
    here.env_file.write_text("API_URL=https://file\nUSERNAME=ada\nPASSWORD=pa${HOME}ss$x\n")
    assert here.read().password == SecretStr("pa${HOME}ss$x")


def test_the_username_of_the_desktop_session_does_not_beat_the_one_in_the_env_file(here: Installation) -> None:
    here.env_file.write_text("API_URL=https://file\nUSERNAME=ada@lab.example\nPASSWORD=p\n")
    login = pwd.getpwuid(os.getuid()).pw_name
    assert here.read(USERNAME=login).username == "ada@lab.example"
    assert here.read(USERNAME="meant").username == "meant"
    assert here.read(USERNAME="bob", SUDO_USER="bob").username == "ada@lab.example"  # `sudo -E poetry run run`
    here.env_file.write_text("API_URL=https://file\nPASSWORD=p\n")
    assert here.read(USERNAME=login).username == login


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "Neither USERNAME and PASSWORD nor ACCESS_TOKEN are set"),
        ({"USERNAME": "ada"}, "PASSWORD is not set"),
        ({"PASSWORD": "p"}, "USERNAME is not set"),
    ],
)
def test_a_token_or_a_username_with_its_password_is_needed(
    here: Installation, given: dict[str, str], told: str
) -> None:
    assert here.refusal(API_URL="https://x", **given) == [told]


def test_all_that_is_wrong_is_told_in_one_message(here: Installation) -> None:
    here.env_file.write_text("PATH_BASE=data\n")
    told = here.refusal(TIMEOUT_JOB="soon", TIMEOUT_STATUS="500", MAX_RUNTIME="0", PASSWORD="pass")
    assert told == [
        "API_URL is not set",
        "USERNAME is not set",
        "PATH_BASE (is 'data'): write an absolute path, such as /data",
        "TIMEOUT_JOB (is 'soon'): write a number, such as 30",
        "TIMEOUT_STATUS (is '500'): write a number of 120 or less",
        "MAX_RUNTIME (is '0'): write a number above 0",
    ]


@pytest.mark.parametrize("name", ["TIMEOUT_JOB", "TIMEOUT_STATUS", "MAX_RUNTIME"])
@pytest.mark.parametrize("value", ["nan", "inf", "1e300", "-1", "0", "½", "30s", "0x10"])
def test_no_number_gets_through_that_cannot_be_waited_for(here: Installation, name: str, value: str) -> None:
    [told] = here.refusal(**ENOUGH, **{name: value})
    assert told.startswith(f"{name} (is '{value}'): write a number")


NO_URLS = ["example.org", "ftp://x", "https://", "https://a b", "https://x/?a=1", "https://x#y"]
NO_HOSTS = ["http://[::1", "http://[x]", "https://h:abc", "https://h:0", "https://h:70000"]


@pytest.mark.parametrize("url", NO_URLS + NO_HOSTS)
def test_an_address_that_is_no_url_is_told(here: Installation, url: str) -> None:
    assert here.refusal(**ENOUGH | {"API_URL": url}) == [
        f"API_URL (is '{url}'): write a URL, such as https://api.example.org"
    ]


def test_no_message_shows_a_secret(here: Installation) -> None:
    secrets = {"PASSWORD": '"hush-password"', "ACCESS_TOKEN": "hush-token # mine"}
    told = " ".join(here.refusal(**secrets))
    assert "PASSWORD has quotes" in told
    assert "ACCESS_TOKEN has a comment" in told
    here.env_file.write_text("API_URL=https://x\nPASSWORD=hush-password\nACCESS_TOKEN=hush-token\nUSERNAME=ada\n")
    for name in secrets:
        here.set(**{name: None})
    assert "hush" not in told + repr(here.read()) + str(here.read())


def test_secrets_come_from_files_too(here: Installation, tmp_path: Path) -> None:
    """As Docker mounts its secrets."""
    secret = tmp_path / "secret"
    secret.write_text("hush\n")
    settings = here.read(API_URL="https://x", USERNAME="ada", PASSWORD_FILE=str(secret))
    assert settings.password == SecretStr("hush")
    assert here.read(ACCESS_TOKEN_FILE=str(secret), PASSWORD="").access_token == SecretStr("hush")
    told = here.refusal(PASSWORD_FILE=str(tmp_path / "missing"), ACCESS_TOKEN_FILE="")
    assert f"PASSWORD_FILE (is '{tmp_path}/missing'): write the path of a file that this user can read" in " ".join(
        told
    )


@pytest.mark.parametrize(
    ("url", "refused"),
    [
        ("http://api.example.org", True),
        ("http://8.8.8.8:8000", True),
        ("http://8.8.8.8/{braces}", True),
        ("https://api.example.org", False),
        ("http://localhost:8000", False),
        ("http://127.0.0.1:8000", False),
        ("http://192.168.1.7", False),
        ("http://[::1]:8000", False),
        ("http://workstation", False),
    ],
)
@pytest.mark.parametrize("name", ["API_URL", "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER"])
def test_credentials_do_not_leave_this_network_unencrypted_unasked(
    here: Installation, name: str, url: str, refused: bool
) -> None:
    given = ENOUGH | {name: url}
    if refused:
        assert "the worker would send credentials to " + url in " ".join(here.refusal(**given))
    assert here.read(**given | {"ALLOW_INSECURE_HTTP": "true" if refused else "false"})


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("TIMEOUT_STATUS", "0.01", "write a number of 0.1 or more"),
        ("MIN_FREE_GIB", "1e300", "write a number of 1000000 or less"),
        ("QUIET_HOURS", "8-18", "write hours such as 08:00-18:00 or Mon-Fri 08:00-18:00, separated by commas"),
    ],
)
def test_no_number_gets_through_that_nobody_means(here: Installation, name: str, value: str, told: str) -> None:
    [line] = here.refusal(**ENOUGH, **{name: value})
    assert line.startswith(f"{name} (is '{value}'): {told}")


@pytest.mark.parametrize("name", ["host", "container:worker"])
def test_jobs_never_get_the_hosts_own_network(here: Installation, name: str) -> None:
    [told] = here.refusal(**ENOUGH, JOB_NETWORK=name)
    assert told.startswith(f"JOB_NETWORK (is '{name}'): write bridge, none or the name of a network")


def test_blanks_beside_a_networks_name_are_none_of_it(here: Installation) -> None:
    assert here.read(**ENOUGH, JOB_NETWORK=" bridge ").job_network == "bridge"


def test_an_env_file_in_another_encoding_is_told(here: Installation) -> None:
    here.env_file.write_bytes("PASSWORD=süß".encode("latin-1"))
    with pytest.raises(SettingsError, match=r"cannot read .* as UTF-8 text"):
        here.read()


@pytest.mark.parametrize(
    "path",
    [r"C:\Users\ada\jobs", "D:/jobs", "c:", r"\\wsl$\Ubuntu\home\ada", r"\\wsl.localhost\Ubuntu", "//server/jobs"],
)
def test_a_path_of_windows_for_the_host_is_better_left_out(here: Installation, path: str) -> None:
    [told] = here.refusal(**ENOUGH, PATH_HOST_BASE=path)
    assert told == f"PATH_HOST_BASE (is {path!r}): leave it out: the worker finds it out, also on Windows"


@pytest.mark.parametrize("zone", ["Berlin", "Europe", "CEST+2", "../etc/passwd", "europe\\berlin"])
def test_what_is_no_time_zone_is_refused(here: Installation, zone: str) -> None:
    [told] = here.refusal(**ENOUGH, QUIET_HOURS_TZ=zone)
    assert told == f"QUIET_HOURS_TZ (is {zone!r}): write a time zone, such as Europe/Berlin"


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", "America/Argentina/Ushuaia"])
def test_a_time_zone_has_its_name_in_the_tz_database(here: Installation, zone: str) -> None:
    assert here.read(**ENOUGH, QUIET_HOURS_TZ=zone).quiet_hours_tz == zone
