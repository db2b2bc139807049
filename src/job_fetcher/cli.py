"""The command: settings, log, the objects; errors become exit codes."""

import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from job_fetcher import signals
from job_fetcher.background import in_background
from job_fetcher.errors import Cancelled, SettingsError, WorkerError

if TYPE_CHECKING:
    from job_fetcher.orders import Orders
    from job_fetcher.settings import Settings
    from job_fetcher.worker import Worker

log = logging.getLogger(__name__)


def run() -> NoReturn:
    """Run the worker until it is told to end; the exit code is that of the error that ended it (see `errors`)."""
    signals.hold()
    os.umask(0o022)  # files are for containers of any user, whatever umask the worker was started with
    sys.exit(_main())


def _main() -> int:
    from job_fetcher import logs
    from job_fetcher.orders import Orders
    from job_fetcher.settings import Settings

    try:
        settings = Settings.read()
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - there is no log yet
        return error.exit_code
    logs.configure([secret.get_secret_value() for secret in (settings.password, settings.access_token) if secret])
    orders = Orders()
    signals.obey(orders)
    try:
        orders.ending.result_of(in_background(partial(_worker, settings, orders), "start")).run_forever()
    except Cancelled as reason:
        log.info("The worker ends before it has begun: %s", reason)
    except WorkerError as error:
        log.error("%s", error)  # noqa: TRY400 - a sentence for a person, who has no use for a traceback
        return error.exit_code
    except Exception:
        log.exception("The worker ends, since something unforeseen happened")
        return 1
    return 0


def _worker(settings: "Settings", orders: "Orders") -> "Worker":
    """The worker that `settings` describe; raises `WorkerError` if it could not work."""
    from job_fetcher import auth, engine, quiet_hours
    from job_fetcher.api import WorkerApi, user_pool
    from job_fetcher.worker import Options, Worker
    from job_fetcher.workspace import Workspace

    token: auth.Token
    if settings.access_token is not None:
        token, account = auth.FixedToken(settings.access_token), "ACCESS_TOKEN"
    else:
        assert settings.username is not None  # Settings has both or a token
        assert settings.password is not None
        account = settings.username
        token = auth.CognitoToken(
            settings.username,
            settings.password,
            partial(user_pool, settings.api_url),
            settings.aws_endpoint_url_cognito_identity_provider,
        )
    workspace = Workspace(Path(settings.path_base), owner=f"{account} at {settings.api_url}")
    workspace.prepare()
    client = engine.connect()
    return Worker(
        WorkerApi(settings.api_url, token),
        client,
        workspace,
        Options(
            host_base=settings.path_host_base or engine.host_path(client, settings.path_base),
            poll_interval_s=settings.timeout_job,
            keep_alive_interval_s=settings.timeout_status,
            gpu_model=settings.gpu_model,
            gpu_archi=settings.gpu_archi,
            max_runtime_s=settings.max_runtime,
            min_free=int(settings.min_free_gib * 2**30),
            max_output=int(settings.max_output_gib * 2**30),
            allowed_images=tuple(settings.allowed_images.split(",")),
            job_network=settings.job_network,
            transfers=settings.transfers,
            memory_reserve_mib=settings.memory_reserve_mib,
            gpu_busy_mib=settings.gpu_busy_mib,
            quiet_hours=quiet_hours.parse(settings.quiet_hours) if settings.quiet_hours else (),
        ),
        orders,
    )
