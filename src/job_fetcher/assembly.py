"""From the settings to the objects: what the worker and its check are made of."""

import logging
from functools import partial
from pathlib import Path, PurePosixPath

from job_fetcher import engine, probe, quiet_hours
from job_fetcher.api import WorkerApi, user_pool
from job_fetcher.auth import CognitoToken, FixedToken, Token
from job_fetcher.errors import EngineError, EngineUnavailable, SettingsError
from job_fetcher.orders import Orders
from job_fetcher.settings import Settings
from job_fetcher.transfer import GIB
from job_fetcher.worker import Options, Worker
from job_fetcher.workspace import Workspace

log = logging.getLogger(__name__)


def worker(settings: Settings, orders: Orders) -> Worker:
    """The worker that `settings` describe; raises `WorkerError` if it could not work."""
    folders = workspace(settings)
    folders.prepare()
    client = engine.connect()
    try:
        return Worker(api(settings), client, folders, _options(settings, client), orders)
    except EngineUnavailable as error:
        raise EngineError(f"The Docker engine went away while the worker started: {error}") from error


def _options(settings: Settings, client: engine.Client) -> Options:
    return Options(
        host_base=host_base(settings, client),
        poll_interval_s=settings.timeout_job,
        keep_alive_interval_s=settings.timeout_status,
        gpu_model=settings.gpu_model,
        gpu_archi=settings.gpu_archi,
        max_runtime_s=settings.max_runtime,
        min_free=int(settings.min_free_gib * GIB),
        max_output=int(settings.max_output_gib * GIB),
        allowed_images=tuple(settings.allowed_images.split(",")),
        job_network=settings.job_network,
        transfers=settings.transfers,
        memory_reserve_mib=settings.memory_reserve_mib,
        gpu_busy_mib=settings.gpu_busy_mib,
        quiet_hours=quiet_hours.parse(settings.quiet_hours) if settings.quiet_hours else (),
    )


def api(settings: Settings) -> WorkerApi:
    """The platform's API, as this account."""
    return WorkerApi(settings.api_url, token(settings))


def token(settings: Settings) -> Token:
    """Where the API's tokens come from."""
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


def host_base(settings: Settings, client: engine.Client) -> PurePosixPath:
    """PATH_BASE as the engine's host sees it. Raises `SettingsError` if PATH_HOST_BASE is another folder.

    A difference between what is set and what is mounted may be a link on the host, or the engine another machine's:
    then a container has to tell.
    """
    told = settings.path_host_base
    try:
        found = engine.host_path(client, settings.path_base)
    except SettingsError:
        if told is None:
            raise
        found = None
    if found is not None and told in (None, found):
        return found
    assert told is not None
    try:
        probe.same_folder(client, told, Path(settings.path_base))
    except probe.ProbeFailed as error:
        log.warning("PATH_HOST_BASE (%s) is believed, since no container can tell: %s", told, error)
    return told
