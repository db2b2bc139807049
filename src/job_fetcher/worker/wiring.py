"""From the settings to the objects: what the worker and its check are made of."""

import logging
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath

from job_fetcher.config.settings import Settings
from job_fetcher.core.errors import EngineError, EngineUnavailable, GpuError, JobFailed, SettingsError
from job_fetcher.core.events import Offered, tell
from job_fetcher.engine import client as engine
from job_fetcher.engine import desktop, engine_info, hardware, probe
from job_fetcher.engine.own_container import own_container
from job_fetcher.engine.product import Product
from job_fetcher.platform.api import WorkerApi, user_pool
from job_fetcher.platform.auth import CognitoToken, FixedToken, Token
from job_fetcher.worker.loop import Worker
from job_fetcher.worker.shutdown import Shutdown
from job_fetcher.workspace.input_cache import InputCache
from job_fetcher.workspace.workspace import Workspace

log = logging.getLogger(__name__)


def worker(settings: Settings, shutdown: Shutdown) -> Worker:
    """The worker that `settings` describe. Raises `WorkerError` if it could not work."""
    folders = workspace(settings)
    folders.prepare()
    client = engine.connect()
    try:
        engine.require_network(client, settings.job_network)
        on_host = host_base(settings, client)
        made = Worker(api(settings), client, folders, on_host, settings, shutdown)
        with suppress(JobFailed, engine.Missing):
            for each in limits(settings, client, on_host):
                log.warning("Jobs run, but %s", each)
    except EngineUnavailable as error:
        raise EngineError(f"The Docker engine went away while the worker started: {error}") from error
    tell(Offered(made.offer()))
    return made


def api(settings: Settings) -> WorkerApi:
    """The platform's API, as this account."""
    return WorkerApi(settings.api_url, token(settings))


def token(settings: Settings) -> Token:
    """The source of the API's tokens: a fixed one, or Cognito."""
    if settings.access_token is not None:
        return FixedToken(settings.access_token)
    assert settings.username is not None  # Settings has both or a token
    assert settings.password is not None
    return CognitoToken(
        settings.username,
        settings.password,
        partial(user_pool, settings.api_url),
        settings.aws_endpoint_url_cognito_identity_provider,
    )


def workspace(settings: Settings) -> Workspace:
    """The folders of this account's jobs."""
    account = "ACCESS_TOKEN" if settings.access_token is not None else settings.username
    return Workspace(Path(settings.path_base), owner=f"{account} at {settings.api_url}")


def input_cache(settings: Settings) -> InputCache:
    """The inputs of earlier jobs that are kept for the next one."""
    return workspace(settings).input_cache(settings.cache_bytes, settings.cache_max_age_s, settings.min_free)


def host_base(settings: Settings, client: engine.Client) -> PurePosixPath:
    """PATH_BASE as the engine's host sees it. Raises `SettingsError` if that is another folder.

    The mounts of the worker's own container tell for sure. A setting that differs from them may name a link on the
    host, or the engine may be another machine's. Outside of a container the engine may see other files: Docker from a
    snap, a service with PrivateTmp. In these cases the worker tries with a container.
    """
    configured = settings.path_host_base
    try:
        found = host_path(client, settings.path_base)
    except SettingsError:
        if configured is None:
            raise
        found = None
    on_host = configured or found
    assert on_host is not None
    here = Path(settings.path_base)
    try:
        if on_host != found or not (own_container() or probe.is_seen(client, on_host, here)):
            require_same_folder(settings, client, on_host)
    except (probe.ProbeFailed, OSError) as error:
        log.warning(
            "The worker assumes that PATH_BASE is %s of the host. It cannot check that with a container: %s",
            on_host,
            error,
        )
    return on_host


def require_same_folder(settings: Settings, client: engine.Client, on_host: PurePosixPath) -> None:
    """Raise `SettingsError` if `on_host` of the engine's host is not PATH_BASE. Raises `ProbeFailed`, `OSError`."""
    try:
        probe.same_folder(client, on_host, Path(settings.path_base))
    except SettingsError:
        if settings.path_host_base is None or not desktop.looks_foreign(on_host):
            raise
        raise SettingsError(
            f"PATH_HOST_BASE ({on_host}) is a path of Windows, which the Docker engine does not know. Leave it out: the"
            " worker finds it out"
        ) from None


def limits(settings: Settings, client: engine.Client, on_host: PurePosixPath) -> list[str]:
    """A sentence for each thing that does not hold on this engine, though jobs run, with the cure.

    `on_host` is PATH_BASE there. Whatever the engine does not tell is not among them.
    """
    info = engine_info.describe(client)
    with suppress(probe.ProbeFailed, EngineUnavailable, JobFailed, engine.Missing):
        info = info.with_warnings(probe.creation_warnings(client))
    found = info.limits
    if info.product is Product.DOCKER_DESKTOP:
        gpus = 0
        with suppress(GpuError):
            gpus = len(hardware.gpus())
        hours_without_zone = bool(settings.quiet_hours) and settings.quiet_hours_tz is None
        found += desktop.limits(on_host, hours_without_zone=hours_without_zone, gpus=gpus)
    return found


def host_path(client: engine.Client, path: PurePosixPath) -> PurePosixPath:
    """Where `path` of this process lies on the engine's host: the same path, or in a container the source of its mount.

    Raises `SettingsError` if this is a container and no folder of the host is mounted at `path`.
    """
    own_id = own_container()
    if own_id is None:
        return path
    try:
        with engine.translate_errors("inspect the worker's own container"):
            mounts = client.inspect_container(own_id)["Mounts"]
    except engine.Missing:
        if _runs_here(client):  # a container of another engine, and the jobs' engine inside of it
            return path
        raise SettingsError(
            "PATH_HOST_BASE is not set, and the worker cannot find it out: the engine does not know this container"
        ) from None
    by_depth = sorted(mounts, key=lambda mount: len(PurePosixPath(mount["Destination"]).parts), reverse=True)
    for mount in by_depth:
        with suppress(ValueError):
            return PurePosixPath(mount["Source"]) / path.relative_to(mount["Destination"])
    raise SettingsError(
        f"Nothing of the host is mounted at PATH_BASE ({path}): start the container with -v HOST:{path}"
    )


def _runs_here(client: engine.Client) -> bool:
    """Whether the engine sees the same files as this process: its own folder exists here."""
    with engine.translate_errors("describe the host"):
        return Path(client.info()["DockerRootDir"], "containers").is_dir()
