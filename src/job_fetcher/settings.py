"""The settings: environment first, then `.env`, then the default. The only reader of the environment.

`Settings.read()` tells all that is wrong at once, by name, with the value (never a secret's) and what is expected.
"""

import os
import pwd
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from job_fetcher.errors import SettingsError

ENV_FILE = Path(".env")

_QUOTED = re.compile(r"""^(["']).*\1$""", re.DOTALL)
_COMMENTED = re.compile(r"\s#")


def _absolute(path: PurePosixPath) -> PurePosixPath:
    if not path.is_absolute():
        raise ValueError("an absolute path is expected, such as /data")
    return path


def _http_url(url: str) -> str:
    if not re.match(r"https?://[^/\s]+", url):
        raise ValueError("a URL is expected, such as https://api.example.org")
    return url.rstrip("/")


AbsolutePath = Annotated[PurePosixPath, AfterValidator(_absolute)]


class Settings(BaseSettings):
    """What the person who lends the machine can set. The description of each is the one in the README's table."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, env_file_encoding="utf-8", hide_input_in_errors=True
    )

    api_url: Annotated[str, AfterValidator(_http_url)] = Field(description="Address of the platform's API")
    access_token: SecretStr | None = Field(None, description="A fixed token, instead of the two below")
    username: str | None = Field(None, description="Your account on the platform")
    password: SecretStr | None = Field(None, description="Its password")
    path_base: AbsolutePath = Field(
        PurePosixPath("/data"), description="Folder of the jobs, as the worker sees it (in its container)"
    )
    path_host_base: AbsolutePath | None = Field(
        None, description="The same folder as the host sees it; found out when unset"
    )
    timeout_job: float = Field(30, gt=0, description="Seconds between two looks for a job")
    timeout_status: float = Field(30, gt=0, le=120, description="Seconds between two keep-alives, 120 at most")
    gpu_model: str | None = Field(None, description="Advertised instead of the name that the GPU's driver tells")
    gpu_archi: str | None = Field(None, description="Advertised instead of the architecture that the driver tells")

    aws_endpoint_url_cognito_identity_provider: str | None = Field(
        None, description="Address of the login service, instead of AWS's own (a mock's, or a proxy's)"
    )

    @model_validator(mode="after")
    def _has_credentials(self) -> "Settings":
        if self.access_token is None and (self.username is None or self.password is None):
            missing = [
                name for name, value in (("USERNAME", self.username), ("PASSWORD", self.password)) if value is None
            ]
            raise ValueError(f"credentials are missing: set ACCESS_TOKEN, or {' and '.join(missing)}")
        return self

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
        problems = _values_with_more_than_the_value(os.environ, set(cls.model_fields))
        settings = None
        try:
            settings = cls(_env_file=env_file)  # type: ignore[call-arg] # of BaseSettings
        except ValidationError as error:
            given = {name.lower(): value for name, value in os.environ.items()}
            problems |= {name: text for name, text in _problems(error, given).items() if name not in problems}
        if settings is None or problems:
            lines = "\n".join(f"  {text}" for text in problems.values())
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


def _values_with_more_than_the_value(environment: Mapping[str, str], fields: set[str]) -> dict[str, str]:
    """What `docker run --env-file` takes literally: quotes around a value, and a comment behind it."""
    problems = {}
    for name, value in environment.items():
        if name.lower() not in fields:
            continue
        if _QUOTED.match(value):
            what = "has quotes around its value"
        elif _COMMENTED.search(value):
            what = "has a comment behind its value"
        else:
            continue
        problems[name.lower()] = (
            f"{name}{_shown(name, value)} {what}: `docker run --env-file` takes it as part of the value; remove it"
        )
    return problems


def _problems(error: ValidationError, given: Mapping[str, str]) -> dict[str, str]:
    """One line for each setting that is wrong."""
    problems = {}
    for each in error.errors():
        name = str(each["loc"][0]).upper() if each["loc"] else ""
        message = each["msg"].removeprefix("Value error, ")
        if each["type"] == "missing":
            problems[name.lower()] = f"{name} is not set"
        elif name:
            problems[name.lower()] = f"{name}{_shown(name, given.get(name.lower()))}: {message}"
        else:
            problems[name] = message
    return problems


def _shown(name: str, value: str | None) -> str:
    """` (is 'value')`, without the value of a secret."""
    secret = "SecretStr" in str(Settings.model_fields[name.lower()].annotation)
    return "" if value is None or secret else f" (is {value!r})"
