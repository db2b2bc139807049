"""The settings: environment first, then `.env`, then the default. The only reader of the environment.

`Settings.read()` tells all that is wrong at once, by name, with the value (never a secret's) and what is expected.
"""

import os
import pwd
import re
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from socket import inet_aton, inet_ntoa
from typing import Annotated, Any
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from job_fetcher.errors import SettingsError

ENV_FILE = Path(".env")

TEN_DAYS_S = 864_000.0
"""Longer than anybody means by seconds, and short enough for what the system waits for at a time."""

_QUOTED = re.compile(r"""^(["']).*\1$""", re.DOTALL)
_COMMENTED = re.compile(r"\s#")


def _absolute(path: PurePosixPath) -> PurePosixPath:
    if not path.is_absolute():
        raise ValueError("an absolute path is expected, such as /data")
    return path


def _http_url(url: str) -> str:
    if not re.fullmatch(r"https?://[^/\s?#@]+(/[^\s?#@]*)?", url):
        raise ValueError("a URL is expected, such as https://api.example.org")
    return url.rstrip("/")


def _secret_file(path: Path) -> Path:
    try:
        secret = _read_secret(path)
    except OSError as error:
        raise ValueError(f"a file that can be read is expected ({error.strerror})") from None
    except UnicodeError:  # whose text has some of the secret
        raise ValueError("a file with text in UTF-8 is expected") from None
    if not secret:
        raise ValueError("the file is empty")
    return path


def _read_secret(path: Path) -> str:
    """The secret in a file, without the line break that editors and `echo` put behind it."""
    return path.read_text(encoding="utf-8").rstrip("\r\n")


def _token(token: SecretStr | None) -> SecretStr | None:
    if token is not None and not re.fullmatch(r"[!-~]+", token.get_secret_value()):
        raise ValueError("a token in one line is expected, without spaces and letters beyond ASCII")
    return token


def _network(name: str) -> str:
    if name == "host" or ":" in name:
        raise ValueError("bridge, none or the name of a network is expected; jobs do not get the host's own")
    return name


def _words(text: str) -> str:
    return ",".join(word.strip() for word in text.split(",") if word.strip())


def _is_near(url: str) -> bool:
    """Whether `url` is on this host or in a private network, as far as its name tells."""
    host = urlsplit(url).hostname or ""
    try:
        address = ip_address(_dotted(host))
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".local", ".lan", ".internal", ".home.arpa"))
    return address.is_private or address.is_loopback or address.is_link_local


def _dotted(host: str) -> str:
    """`134744072` → `8.8.8.8`: the other ways to write an IPv4 address are understood by the system's resolver, too."""
    try:
        return inet_ntoa(inet_aton(host))
    except (OSError, UnicodeError):
        return host


AbsolutePath = Annotated[PurePosixPath, AfterValidator(_absolute)]
SecretFile = Annotated[Path, AfterValidator(_secret_file)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Token = Annotated[SecretStr, AfterValidator(_token)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """What the person who lends the machine can set. The description of each is the one in the README's table."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, env_file_encoding="utf-8", hide_input_in_errors=True
    )

    api_url: HttpUrl = Field(description="Address of the platform's API")
    access_token: Token | None = Field(None, description="A fixed token, instead of the two below")
    username: str | None = Field(None, description="Your account on the platform")
    password: SecretStr | None = Field(None, description="Its password", validate_default=True)
    access_token_file: SecretFile | None = Field(None, description="File with the token, e.g. a Docker secret")
    password_file: SecretFile | None = Field(None, description="File with the password, e.g. a Docker secret")
    path_base: AbsolutePath = Field(
        PurePosixPath("/data"), description="Folder of the jobs, as the worker sees it (in its container)"
    )
    path_host_base: AbsolutePath | None = Field(
        None, description="The same folder as the host sees it; found out when unset"
    )
    timeout_job: Seconds = Field(30, le=TEN_DAYS_S, description="Seconds between two looks for a job")
    timeout_status: Seconds = Field(30, le=120, description="Seconds between two keep-alives, 120 at most")
    max_runtime: Seconds | None = Field(
        None, le=TEN_DAYS_S, description="Seconds after which a job is stopped; off when unset"
    )
    min_free_gib: float = Field(
        10,
        ge=0,
        allow_inf_nan=False,
        description="GiB of the disk that stay free: images of jobs are removed for it, and no job is taken",
    )
    gpu_model: str | None = Field(None, description="Advertised instead of the name that the GPU's driver tells")
    gpu_archi: str | None = Field(None, description="Advertised instead of the architecture that the driver tells")

    allowed_images: Annotated[str, AfterValidator(_words)] = Field(
        "*", description="Images that jobs may use: patterns such as `ghcr.io/decode/*`, separated by commas"
    )
    job_network: Annotated[str, AfterValidator(_network)] = Field(
        "bridge", description="Network of jobs: `bridge`, `none`, or a network's name"
    )
    transfers: int = Field(8, ge=1, le=64, description="Files that are on their way at the same time")
    memory_reserve_mib: int = Field(1024, ge=0, description="MiB of memory that jobs do not get")
    max_output_gib: float = Field(100, gt=0, allow_inf_nan=False, description="GiB that a job may upload")
    aws_endpoint_url_cognito_identity_provider: HttpUrl | None = Field(
        None, description="Address of the login service, instead of AWS's own (a mock's, or a proxy's)"
    )

    allow_insecure_http: bool = Field(
        False, description="Send credentials over plain http:// beyond this network", validate_default=True
    )

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, values: dict[str, Any]) -> dict[str, Any]:
        """`PASSWORD` and `ACCESS_TOKEN` from their files; what is wrong with a file is told at its own setting."""
        for name in ("password", "access_token"):
            if (file := values.get(f"{name}_file")) and not values.get(name):
                with suppress(OSError, UnicodeError):
                    values[name] = _read_secret(Path(file)) or None
        return values

    @field_validator("allow_insecure_http")
    @classmethod
    def _hides_credentials(cls, allowed: bool, info: ValidationInfo) -> bool:
        for url in filter(None, map(info.data.get, ("api_url", "aws_endpoint_url_cognito_identity_provider"))):
            if url.startswith("http://") and not _is_near(url) and not allowed:
                raise ValueError(
                    f"credentials would be sent to {url} unencrypted; use https://, or set this to true if you mean it"
                )
        return allowed

    @field_validator("password")
    @classmethod
    def _has_credentials(cls, password: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        """Checked at the last of the three, so that it is told beside what else is wrong."""
        username = info.data.get("username")
        if info.data.get("access_token") is None and (username is None or password is None):
            if username is None and password is None:
                raise _not_set("Neither USERNAME and PASSWORD nor ACCESS_TOKEN are set")
            raise _not_set("PASSWORD is not set" if password is None else "USERNAME is not set")
        return password

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the framework's signature
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment before `.env`, but for a `USERNAME` that nobody meant: see `_DesktopUsername`."""
        return _DesktopUsername(settings_cls, env_settings, dotenv_settings), env_settings, dotenv_settings

    @classmethod
    def read(cls, env_file: Path | None = ENV_FILE) -> "Settings":
        """The settings of this process; `SettingsError` tells all that is wrong in one message."""
        try:
            given = _lower_case(dotenv_values(env_file) if env_file and env_file.is_file() else {})
        except (OSError, UnicodeError) as error:
            raise SettingsError(f"The file {env_file} cannot be read as UTF-8 text: {error}") from None
        given |= _lower_case(os.environ)
        problems = _values_with_more_than_the_value(_lower_case(os.environ), set(cls.model_fields))
        settings = None
        try:
            settings = cls(_env_file=env_file)  # type: ignore[call-arg] # of BaseSettings
        except ValidationError as error:
            problems = _problems(error, given) | problems
        if settings is None or problems:
            lines = "\n".join(f"  {problems[name]}" for name in cls.model_fields if name in problems)
            raise SettingsError(f"The settings are not usable:\n{lines}")
        return settings


class _DesktopUsername(PydanticBaseSettingsSource):
    """`USERNAME` from `.env`, where the environment has only the one that every desktop session exports.

    That one equals the login name. It would otherwise replace the account's name that somebody wrote into `.env`.
    """

    def __init__(
        self,
        settings_cls: type[BaseSettings],
        environment: PydanticBaseSettingsSource,
        env_file: PydanticBaseSettingsSource,
    ) -> None:
        super().__init__(settings_cls)
        self._environment, self._env_file = environment, env_file

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError  # pydantic-settings asks `__call__` for all fields at once

    def __call__(self) -> dict[str, Any]:
        written = self._env_file().get("username")
        return {"username": written} if written and self._environment().get("username") == _login_name() else {}


def _login_name() -> str | None:
    """The login name by the user database: `getpass.getuser` would believe `USERNAME` itself."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None


def _lower_case(values: Mapping[str, str | None]) -> dict[str, str]:
    """Settings by the names of their fields; those without a value count as unset."""
    return {name.lower(): value for name, value in values.items() if value}


def _not_set(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("not_set", "{sentence}", {"sentence": sentence})


def _values_with_more_than_the_value(environment: Mapping[str, str], fields: set[str]) -> dict[str, str]:
    """What `docker run --env-file` takes literally: quotes around a value, and a comment behind it."""
    problems = {}
    for name, value in environment.items():
        if name not in fields:
            continue
        if _QUOTED.match(value):
            what = "has quotes around its value"
        elif _COMMENTED.search(value):
            what = "has a comment behind its value"
        else:
            continue
        problems[name] = (
            f"{name.upper()}{_shown(name, value)} {what}:"
            " `docker run --env-file` takes it as part of the value; remove it"
        )
    return problems


_EXPECTED = {
    "float_parsing": "a number is expected, such as 30",
    "int_parsing": "a whole number is expected, such as 1024",
    "bool_parsing": "true or false is expected",
    "finite_number": "a number is expected, such as 30",
    "greater_than": "a number above {gt:g} is expected",
    "greater_than_equal": "a number of {ge:g} or more is expected",
    "less_than_equal": "a number of {le:g} or less is expected",
}
"""pydantic's kinds of errors, in words for a person who lends a machine; others have words of our own already."""


def _problems(error: ValidationError, given: Mapping[str, str]) -> dict[str, str]:
    """One line for each setting that is wrong."""
    problems = {}
    for each in error.errors():
        name = str(each["loc"][0])
        if each["type"] == "missing":
            problems[name] = f"{name.upper()} is not set"
        elif each["type"] == "not_set":
            problems["access_token"] = each["msg"]  # the place of all three: it has no problem of its own then
        else:
            expected = _EXPECTED.get(each["type"], each["msg"].removeprefix("Value error, "))
            problems[name] = f"{name.upper()}{_shown(name, given.get(name))}: {expected.format(**each.get('ctx', {}))}"
    return problems


def _shown(name: str, value: str | None) -> str:
    """` (is 'value')`, without the value of a secret."""
    secret = "SecretStr" in str(Settings.model_fields[name].annotation)
    return "" if value is None or secret else f" (is {value!r})"
