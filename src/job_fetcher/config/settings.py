"""The settings: each is written once, here, with its name, type, default and description.

`python -m scripts.settings_docs --write` generates `.env.example` and the README's table from this file. The settings
stand in groups. Each room takes the group that it needs: `Settings`, which has them all, is one of each.
"""

from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import (
    BaseModel,
    Field,
    SecretStr,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from job_fetcher.config import reading
from job_fetcher.config.account import Account, Group
from job_fetcher.config.quiet_hours import QuietHours, parse
from job_fetcher.config.sources import DesktopUsername
from job_fetcher.config.values import (
    GIB,
    MAX_GIB,
    TEN_DAYS_S,
    AbsolutePath,
    HostPath,
    Hours,
    LogFormat,
    LogLevel,
    Network,
    Seconds,
    Words,
    Zone,
)

ENV_FILE = Path(".env")


class Folders(Group):
    """Where the jobs' folders lie."""

    path_base: AbsolutePath = Field(
        default=PurePosixPath("/data"), description="Folder for the jobs, as the worker sees it (in its container)"
    )
    path_host_base: HostPath = Field(
        default=None, description="The same folder, as the host sees it; unset, or `./…`: the worker finds it out"
    )


class Offer(Group):
    """What the worker advertises to the platform."""

    gpu_model: str | None = Field(
        default=None, description="Model to advertise, in place of the name that the driver reports"
    )
    gpu_archi: str | None = Field(default=None, description="Architecture to advertise, in place of the driver's")
    memory_reserve_mib: int = Field(default=1024, ge=0, description="MiB of memory that jobs do not get")
    job_groups: Words | None = Field(
        default=None,
        description="Groups of the platform, separated by commas: their jobs come first, then the jobs of all others",
    )

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of `JOB_GROUPS`."""
        return tuple(filter(None, map(str.strip, (self.job_groups or "").split(","))))


class Polling(Group):
    """When the worker asks for a job."""

    timeout_job: Seconds = Field(default=10, le=TEN_DAYS_S, description="Seconds between two requests for a job")
    min_free_gib: float = Field(
        default=10,
        ge=0,
        le=MAX_GIB,
        allow_inf_nan=False,
        description="GiB of the disk to keep free: below it, the worker removes images of jobs, and takes no job",
    )
    gpu_busy_mib: int | None = Field(
        default=None,
        ge=0,
        description="No new job while other programs hold more MiB of the GPU than this; unset: they do not matter",
    )
    quiet_hours: Hours | None = Field(
        default=None,
        description="No new job in these hours of the host: `08:00-18:00`, or `Mon-Fri 08:00-18:00, Sat 10:00-14:00`",
    )

    quiet_hours_tz: Zone | None = Field(
        default=None, description="Time zone of `QUIET_HOURS`, such as `Europe/Berlin`; unset: the host's own clock"
    )

    finish_behind: bool = Field(
        default=True, description="Ask for the next job while the outputs of the last one go up; 0: one job at a time"
    )

    @property
    def min_free(self) -> int:
        """Bytes of the disk to keep free."""
        return int(self.min_free_gib * GIB)

    @property
    def quiet(self) -> tuple[QuietHours, ...]:
        """The hours without new jobs."""
        return parse(self.quiet_hours) if self.quiet_hours else ()


class Reporting(Group):
    """How the worker reports a job's status."""

    timeout_status: Seconds = Field(
        default=10, ge=0.1, le=120, description="Seconds between two keep-alives of a job, at most 120"
    )
    status_hold: float = Field(
        default=0,
        ge=0,
        le=120,
        allow_inf_nan=False,
        description="Seconds that each status stays at the platform before the next one follows, at most 120",
    )

    log_interval: float = Field(
        default=60,
        ge=0,
        le=TEN_DAYS_S,
        allow_inf_nan=False,
        description="Seconds between two uploads of a running job's log; 0: when the command has ended",
    )


class Cache(Group):
    """Which inputs of earlier jobs stay for the next one."""

    cache_gib: float = Field(
        default=0,
        ge=0,
        le=MAX_GIB,
        allow_inf_nan=False,
        description="GiB of inputs to keep in `PATH_BASE` for the next job that is given the same files; 0: keep none",
    )
    cache_days: float = Field(
        default=7, gt=0, le=3650, allow_inf_nan=False, description="Days after which a kept input is removed"
    )

    @property
    def cache_bytes(self) -> int:
        """Bytes of inputs to keep."""
        return int(self.cache_gib * GIB)

    @property
    def cache_max_age_s(self) -> float:
        """Seconds after which a kept input is removed."""
        return self.cache_days * 86400


class JobLimits(Group):
    """What a job gets, and may do."""

    max_runtime: Seconds | None = Field(
        default=None, le=TEN_DAYS_S, description="Seconds after which the worker stops a job; unset: no limit"
    )
    allowed_images: Words = Field(
        default="*", description="Images that jobs may use: patterns such as `ghcr.io/decode/*`, separated by commas"
    )
    job_network: Network = Field(
        default="bridge", description="Network of jobs: `bridge`, `none`, or the name of a network"
    )
    transfers: int = Field(default=8, ge=1, le=64, description="Files that the worker transfers at the same time")
    max_output_gib: float = Field(
        default=100, gt=0, le=MAX_GIB, allow_inf_nan=False, description="GiB that a job may upload"
    )

    @property
    def max_output(self) -> int:
        """Bytes that a job may upload."""
        return int(self.max_output_gib * GIB)

    @property
    def image_patterns(self) -> tuple[str, ...]:
        """The patterns of `ALLOWED_IMAGES`."""
        return tuple(self.allowed_images.split(","))


class Watching(Group):
    """What the worker tells the owner of its machine."""

    status_port: int | None = Field(
        default=None,
        ge=1,
        le=65_535,
        description="Port of the worker's page and metrics, on this machine only, e.g. 17417; unset: none",
    )
    log_level: LogLevel = Field(
        default=LogLevel.INFO, description="What the log has at least: `DEBUG`, `INFO`, `WARNING` or `ERROR`"
    )
    log_format: LogFormat = Field(
        default=LogFormat.TEXT, description="The log's lines: `text`, or `json` for programs that collect logs"
    )


GROUPS: tuple[type[BaseModel], ...] = (Account, Folders, Offer, Polling, Reporting, JobLimits, Cache, Watching)
"""In the order of the README's table."""


class WorkerSettings(Cache, JobLimits, Reporting, Polling, Offer):
    """What the worker reads once it has its account and its folders; each setting has a default."""


class Settings(WorkerSettings, Watching, Folders, Account, BaseSettings):
    """All settings: from the environment, then from `.env`, then the default."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the framework's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment comes before `.env`, except for a `USERNAME` that nobody set: see `DesktopUsername`.

        `read` passes the values of `.env` as arguments. pydantic-settings would replace each `$` in them, and `docker
        run --env-file` does not.
        """
        return DesktopUsername(settings_cls, env_settings, init_settings), env_settings, init_settings

    @property
    def secrets(self) -> list[str]:
        """The values of all settings that are secrets, for the log to hide."""
        return [value.get_secret_value() for _, value in self if isinstance(value, SecretStr)]

    @classmethod
    def read(cls, env_file: Path | None = ENV_FILE) -> "Settings":
        """The settings of this process. Raises `SettingsError`, which names everything that is wrong."""
        return reading.read(cls, described(), env_file)


def described() -> dict[str, Any]:
    """Each setting's pydantic `FieldInfo` by its name in lower case, in the order of the README's table."""
    return {name: field for group in GROUPS for name, field in group.model_fields.items()}
