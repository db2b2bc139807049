"""The settings: environment first, then `.env`, then the default. The only reader of the environment.

`Settings.read()` tells all that is wrong at once, by name, with the value (never a secret's) and what is expected.
"""

import os
import pwd
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.request import getproxies_environment

from dotenv.parser import parse_stream
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from job_fetcher.config import problems as setting_problems
from job_fetcher.config.values import (
    MAX_GIB,
    TEN_DAYS_S,
    AbsolutePath,
    Hours,
    HttpUrl,
    Network,
    Seconds,
    SecretFile,
    Token,
    Words,
    is_near,
    read_secret,
)
from job_fetcher.core.errors import SettingsError

ENV_FILE = Path(".env")


class Settings(BaseSettings):
    """What the person who lends the machine can set. The description of each is the one in the README's table."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True)

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
    timeout_status: Seconds = Field(30, ge=0.1, le=120, description="Seconds between two keep-alives, 120 at most")
    max_runtime: Seconds | None = Field(
        None, le=TEN_DAYS_S, description="Seconds after which a job is stopped; off when unset"
    )
    min_free_gib: float = Field(
        10,
        ge=0,
        le=MAX_GIB,
        allow_inf_nan=False,
        description="GiB of the disk that stay free: images of jobs are removed for it, and no job is taken",
    )
    gpu_model: str | None = Field(None, description="Advertised instead of the name that the GPU's driver tells")
    gpu_archi: str | None = Field(None, description="Advertised instead of the architecture that the driver tells")

    allowed_images: Words = Field(
        "*", description="Images that jobs may use: patterns such as `ghcr.io/decode/*`, separated by commas"
    )
    job_network: Network = Field("bridge", description="Network of jobs: `bridge`, `none`, or a network's name")
    transfers: int = Field(8, ge=1, le=64, description="Files that are on their way at the same time")
    memory_reserve_mib: int = Field(1024, ge=0, description="MiB of memory that jobs do not get")
    max_output_gib: float = Field(100, gt=0, le=MAX_GIB, allow_inf_nan=False, description="GiB that a job may upload")
    gpu_busy_mib: int | None = Field(
        None, ge=0, description="MiB of the GPU that other programs may hold while a job is asked for; any when unset"
    )
    quiet_hours: Hours | None = Field(
        None, description="Hours of the host without new jobs: `08:00-18:00`, or `Mon-Fri 08:00-18:00, Sat 10:00-14:00`"
    )
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
                    values[name] = read_secret(Path(file)) or None
        return values

    @field_validator("allow_insecure_http")
    @classmethod
    def _hides_credentials(cls, allowed: bool, info: ValidationInfo) -> bool:
        for url in filter(None, map(info.data.get, ("api_url", "aws_endpoint_url_cognito_identity_provider"))):
            if url.startswith("http://") and not is_near(url) and not allowed:
                raise ValueError(
                    f"credentials would be sent to {url} unencrypted; use https://, or set this to true if you mean it"
                )
        return allowed

    @field_validator("password")
    @classmethod
    def _has_credentials(cls, password: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        """Checked at the last of the three, so that it is told beside what else is wrong."""
        username = info.data.get("username")
        token = info.data.get("access_token", "refused")  # there, if it is none of what is wrong
        if token is None and (username is None or password is None):
            if username is None and password is None:
                raise _not_set("Neither USERNAME and PASSWORD nor ACCESS_TOKEN are set")
            raise _not_set("PASSWORD is not set" if password is None else "USERNAME is not set")
        return password

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the framework's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment before `.env`, but for a `USERNAME` that nobody meant: see `_DesktopUsername`.

        `read` gives what `.env` has as arguments: pydantic-settings would replace `$`s in it, and `docker run
        --env-file` does not.
        """
        return _DesktopUsername(settings_cls, env_settings, init_settings), env_settings, init_settings

    @classmethod
    def read(cls, env_file: Path | None = ENV_FILE) -> "Settings":
        """The settings of this process; `SettingsError` tells all that is wrong in one message."""
        fields, environment = set(cls.model_fields), _lower_case(os.environ)
        written = _lower_case(_written(env_file)) if env_file and env_file.is_file() else {}
        in_file = {name: value for name, value in written.items() if name in fields}
        commented = {name: value for name, value in in_file.items() if value.startswith("#")}
        given = in_file | environment
        secrets = {name for name, field in cls.model_fields.items() if "SecretStr" in str(field.annotation)}
        problems = (
            setting_problems.with_more_than_the_value(commented | environment, fields, secrets)
            | setting_problems.of_names(written | environment, fields)
            | setting_problems.of_proxies(getproxies_environment())
        )
        settings = None
        try:
            settings = cls(**in_file)  # type: ignore[arg-type] # text, which is parsed
        except ValidationError as error:
            problems = setting_problems.of_validation(error, given, secrets) | problems
        if settings is None or problems:
            told = sorted(problems, key=[*cls.model_fields, *problems].index)
            lines = "\n".join(f"  {problems[name]}" for name in told)
            raise SettingsError(f"The settings are not usable:\n{lines}")
        return settings


class _DesktopUsername(PydanticBaseSettingsSource):
    """`USERNAME` from `.env`, where the environment has only the one that every desktop session exports.

    That one equals the login name (under `sudo -E`, the one before it). It would otherwise replace the account's name
    that somebody wrote into `.env`.
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
        not_meant = (_login_name(), os.environ.get("SUDO_USER"))
        return {"username": written} if written and self._environment().get("username") in not_meant else {}


def _login_name() -> str | None:
    """The login name by the user database: `getpass.getuser` would believe `USERNAME` itself."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None


def _written(env_file: Path) -> dict[str, str | None]:
    """What stands in `.env`, without replacing `$`s; raises `SettingsError` if it cannot be read."""
    try:
        with env_file.open(encoding="utf-8") as stream:
            lines = list(parse_stream(stream))
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"The file {env_file} cannot be read as UTF-8 text: {error}") from None
    for each in lines:
        if each.error:
            raise SettingsError(
                f"The file {env_file} is not understood from line {each.original.line} on: NAME=value is expected, and"
                " a quote that is closed where one is opened"
            )
    return {each.key: each.value for each in lines if each.key}


def _lower_case(values: Mapping[str, str | None]) -> dict[str, str]:
    """Settings by the names of their fields; those without a value count as unset."""
    return {name.lower(): value for name, value in values.items() if value}


def _not_set(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("not_set", "{sentence}", {"sentence": sentence})
