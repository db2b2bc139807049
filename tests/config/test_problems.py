"""What looks like a setting, and is not what its writer means."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from job_fetcher.core.errors import SettingsError
from tests.support.installation import ENOUGH, Installation


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Installation:
    return Installation(monkeypatch, tmp_path / ".env")


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ('"https://x"', "has quotes around its value"),
        ("'https://x'", "has quotes around its value"),
        ("https://x # the API", "has a comment behind its value"),
        ("# the API", "has a comment behind its value"),
    ],
)
def test_quotes_and_comments_that_docker_leaves_in_a_value_are_recognised(
    here: Installation, value: str, what: str
) -> None:
    """P22."""
    [told] = here.refusal(**ENOUGH | {"API_URL": value})
    assert told == f"API_URL (is {value!r}) {what}: `docker run --env-file` takes it as part of the value. Remove it"


def test_a_comment_in_the_place_of_a_value_is_recognised_in_the_env_file_too(here: Installation) -> None:
    here.env_file.write_text("GPU_MODEL=# none\nGPU_ARCHI= # none\n")
    [told] = here.refusal(**ENOUGH)
    assert told.startswith("GPU_MODEL (is '# none') has a comment behind its value: ")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("PASSWORD=hush #1", "PASSWORD"),
        ("export PASSWORD = hush\t# of the account", "PASSWORD"),
        ("ACCESS_TOKEN=hush # until May", "ACCESS_TOKEN"),
        ("ACCESS_TOKEN=hush=x  #=y", "ACCESS_TOKEN"),
    ],
)
def test_a_comment_sign_inside_a_secret_of_the_env_file_is_reported_without_the_secret(
    here: Installation, line: str, name: str
) -> None:
    """python-dotenv would cut the secret there, and `docker run --env-file` would not."""
    here.env_file.write_text(f"USERNAME=ada\nPASSWORD=hush\n{line}\nGPU_MODEL=mine # in the cellar\n")
    [refusal] = here.refusal(API_URL="https://x")
    assert refusal.startswith(f"{name} has a comment behind its value: ")
    assert refusal.endswith(f"use {name}_FILE")
    assert "hush" not in refusal


@pytest.mark.parametrize("text", ["'hush #1'", '"hush #1"', "hush#1"])
def test_a_comment_sign_that_both_readers_keep_is_a_part_of_the_secret(here: Installation, text: str) -> None:
    here.env_file.write_text(f"API_URL=https://x\nUSERNAME=ada\nPASSWORD={text}\n")
    assert here.read().password == SecretStr(text.strip("'\""))


@pytest.mark.parametrize("password", ["hush ", " hush", "hush\xa0"])
def test_a_blank_that_nobody_sees_beside_a_password_is_told(here: Installation, tmp_path: Path, password: str) -> None:
    [told] = here.refusal(API_URL="https://x", USERNAME="ada", PASSWORD=password)
    assert told == (
        "PASSWORD has a blank before or behind its value: `docker run --env-file` takes it as part of the value."
        " Remove it. If it is part of the secret, use PASSWORD_FILE"
    )
    (tmp_path / "secret").write_text(password)
    assert here.read(PASSWORD="", PASSWORD_FILE=f"{tmp_path}/secret").password == SecretStr(password)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("QUIET_HOUR", "QUIET_HOURS"), ("GPU_BUSY_MB", "GPU_BUSY_MIB"), ("MAX_RUN_TIME", "MAX_RUNTIME")],
)
def test_a_setting_that_there_is_not_but_nearly_is_told(here: Installation, name: str, meant: str) -> None:
    told = [f"{name} is not a setting: do you mean {meant}?"]
    assert here.refusal(**ENOUGH, **{name: "1"}) == told
    here.set(**{name: ""})
    here.env_file.write_text(f"{name}=1\n")
    assert here.refusal() == told
    here.env_file.write_text(f"{name}=\n{meant}=\nPATH_BASES\nDOCKER_HOST=x\nHTTP_PROXY=x\nUSER=ada\n")
    assert here.read()


def test_an_env_file_with_a_quote_too_few_is_told_with_its_line(here: Installation) -> None:
    here.env_file.write_text('API_URL=https://x\nUSERNAME=ada\nPASSWORD="hush\n')
    with pytest.raises(SettingsError) as refused:
        here.read()
    assert str(refused.value) == (
        f"The worker cannot read {here.env_file} from line 3 on: write NAME=value, and close each quote on its line"
    )


@pytest.mark.parametrize(
    "address",
    ["socks5://proxy:1080", "htp://proxy", "http://ada:hu#sh@proxy", "http://ada:hu/sh@proxy", "http://ada:hush@h:0"],
)
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "http_proxy", "ALL_PROXY"])
def test_an_address_that_no_proxy_can_have_is_told_without_its_password(
    here: Installation, name: str, address: str
) -> None:
    [told] = here.refusal(**ENOUGH, **{name: address})
    assert told.startswith(f"{name.upper()}: write the address of an HTTP proxy, such as http://")
    assert "hu" not in told
    here.set(**{name: None})


def test_an_address_that_a_proxy_can_have_is_left_alone(here: Installation) -> None:
    """As is one that nobody asks: desktops set them all."""
    fine = {"HTTPS_PROXY": "http://ada:hu%23sh@proxy.example.org:3128/", "HTTP_PROXY": "proxy:3128"}
    assert here.read(**ENOUGH, **fine, ALL_PROXY="socks5://proxy:1080")


@pytest.mark.parametrize("url", ["https://ada:hush@host", "https://ada:hu/sh@host", "https://ada:hush@ho@st"])
def test_an_account_in_an_address_is_refused_and_not_shown(here: Installation, url: str) -> None:
    [told] = here.refusal(**ENOUGH | {"API_URL": url})
    assert told.startswith("API_URL (is 'https://…@")
    assert "hu" not in told
