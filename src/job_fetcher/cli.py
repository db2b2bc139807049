"""The commands: arguments, the log, the objects; errors become exit codes."""

import argparse
import io
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from job_fetcher.core.errors import Cancelled, SettingsError, WorkerError
from job_fetcher.worker import signals

if TYPE_CHECKING:
    from job_fetcher.config.settings import Settings

log = logging.getLogger(__name__)

NOT_WELL = 1
"""The exit code of a check that has found something."""


def main() -> NoReturn:
    """`python -m job_fetcher`, which is what the image runs: the worker, or the command that is given."""
    parser = argparse.ArgumentParser(prog="job-fetcher", description="The DECODE OpenCloud worker.")
    commands = parser.add_subparsers(metavar="command", description="Without one, the worker runs.")
    commands.add_parser("run", help="run the worker (the default)").set_defaults(call=lambda _: _run())
    checking = commands.add_parser("check", help="tell what a start would get wrong, and how to mend it")
    checking.add_argument("--json", action="store_true", help="a list of objects: name, ok, text, seconds")
    checking.set_defaults(call=lambda options: _check(as_json=options.json))
    pausing = commands.add_parser("pause", help="take no new job, after a restart neither; the one in hand goes on")
    pausing.set_defaults(call=lambda _: _pause(True))
    commands.add_parser("resume", help="take jobs again").set_defaults(call=lambda _: _pause(False))
    options = parser.parse_args()
    try:
        sys.exit(options.call(options) if hasattr(options, "call") else _run())
    except KeyboardInterrupt:  # of another command than the worker, which holds its signals
        sys.exit(128 + signal.SIGINT)


def check() -> NoReturn:
    """`poetry run check`."""
    sys.argv.insert(1, "check")
    main()


def _run() -> int:
    """Run the worker until it is told to end; the exit code is that of the error that ended it (see `errors`)."""
    signals.block()
    os.umask(0o022)  # files are for containers of any user, whatever umask the worker was started with
    return _with_settings(_work)


def _work(settings: "Settings") -> int:
    from job_fetcher.worker import wiring
    from job_fetcher.worker.shutdown import Shutdown

    shutdown = Shutdown()
    signals.handle(shutdown)
    try:
        shutdown.ending.call(partial(wiring.worker, settings, shutdown), "start").run_forever()
    except Cancelled as reason:
        log.info("The worker ends before it has begun: %s", reason)
    except WorkerError as error:
        log.error("%s", error)  # noqa: TRY400 - a sentence for a person, who has no use for a traceback
        return error.exit_code
    except Exception:
        log.exception("The worker ends, since something unforeseen happened")
        return 1
    return 0


def _check(*, as_json: bool) -> int:
    from job_fetcher.preflight import Preflight

    logging.getLogger("job_fetcher").setLevel(logging.ERROR)  # what is found is told in lines
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that has no ✓ shows a ?
    findings = []
    for each in Preflight().run():
        findings.append(each)
        if not as_json:
            line = f"{'✓' if each.ok else '✗'} {each.name:<18} {each.seconds:5.1f} s  {each.text}"
            print(line, flush=True)  # noqa: T201
    if as_json:
        print(json.dumps([asdict(each) for each in findings], indent=2))  # noqa: T201
    return 0 if all(each.ok for each in findings) else NOT_WELL


def _pause(paused: bool) -> int:
    return _with_settings(partial(_set_paused, paused))


def _set_paused(paused: bool, settings: "Settings") -> int:
    from job_fetcher.worker import wiring

    workspace = wiring.workspace(settings)
    try:
        workspace.prepare()
        if paused:
            workspace.pause()
        else:
            workspace.resume()
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    except OSError as error:
        print(f"PATH_BASE ({settings.path_base}) cannot be written to: {error.strerror}", file=sys.stderr)  # noqa: T201
        return SettingsError.exit_code
    print("No new job is taken until `resume`." if paused else "Jobs are taken again.")  # noqa: T201
    return 0


def _with_settings(command: "Callable[[Settings], int]") -> int:
    """Read the settings, without whose secrets nothing is logged, and do `command` with them."""
    from job_fetcher.config.settings import Settings
    from job_fetcher.core import logs

    try:
        settings = Settings.read()
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - there is no log yet
        return error.exit_code
    logs.configure([secret.get_secret_value() for secret in (settings.password, settings.access_token) if secret])
    return command(settings)
