"""The commands: they read arguments and settings, start the log, and turn errors into exit codes."""

import argparse
import gc
import io
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from job_fetcher.core.errors import Cancelled, SettingsError, WorkerError
from job_fetcher.worker import signals

if TYPE_CHECKING:
    from job_fetcher.config.settings import Settings

log = logging.getLogger(__name__)

NOT_WELL = 1
"""The exit code of a check that found something."""


def main() -> NoReturn:
    """`python -m job_fetcher`, which the image runs: the worker, or the command in the arguments."""
    parser = argparse.ArgumentParser(prog="job-fetcher", description="The DECODE OpenCloud worker.")
    commands = parser.add_subparsers(metavar="command", description="Without one, the worker runs.")
    commands.add_parser("run", help="run the worker (the default)").set_defaults(call=lambda _: _run())
    checking = commands.add_parser("check", help="check this machine: say what is wrong, and how to mend it")
    checking.add_argument(
        "--json", action="store_true", help="print a JSON list of objects with name, ok, text, seconds, limit"
    )
    checking.set_defaults(call=lambda options: _check(as_json=options.json))
    pausing = commands.add_parser("pause", help="take no new job, even after a restart; the job in hand goes on")
    pausing.set_defaults(call=lambda _: _pause(True))
    telling = commands.add_parser("status", help="say what the worker of this PATH_BASE is doing")
    telling.add_argument("--json", action="store_true", help="print what /status.json has (docs/monitoring.md)")
    telling.add_argument("--watch", action="store_true", help="go on showing it")
    telling.set_defaults(call=lambda options: _with_settings(partial(_status, options.json, options.watch)))
    commands.add_parser("resume", help="take jobs again").set_defaults(call=lambda _: _pause(False))
    caching = commands.add_parser("cache", help="list the inputs that are kept for the next job (CACHE_GIB)")
    caching.add_argument("--empty", action="store_true", help="remove them")
    caching.set_defaults(call=lambda options: _with_settings(partial(_cache, options.empty)))
    options = parser.parse_args()
    try:
        sys.exit(options.call(options) if hasattr(options, "call") else _run())
    except KeyboardInterrupt:  # not of the worker, which blocks its signals
        sys.exit(128 + signal.SIGINT)


def check() -> NoReturn:
    """`poetry run check`."""
    sys.argv.insert(1, "check")
    main()


def status() -> NoReturn:
    """`poetry run status`."""
    sys.argv.insert(1, "status")
    main()


def _status(as_json: bool, watch: bool, settings: "Settings") -> int:
    from job_fetcher.monitoring import terminal  # rich takes a while

    return terminal.show(settings.path_base, as_json=as_json, watch=watch)


def _run() -> int:
    """Run the worker until a signal or an error ends it; the exit code is that of the error (see `errors`)."""
    signals.block()
    gc.disable()  # until all is imported: nearly all of that stays, and to look for what does not takes a tenth of it
    os.umask(0o022)  # containers of any user read the files, whatever umask the worker inherited
    return _with_settings(_work)


def _work(settings: "Settings") -> int:
    from job_fetcher.monitoring import monitor
    from job_fetcher.worker import wiring
    from job_fetcher.worker.shutdown import Shutdown

    gc.freeze()
    gc.enable()
    shutdown = Shutdown()
    signals.handle(shutdown)
    monitor.start(settings)
    try:
        shutdown.ending.call(partial(wiring.worker, settings, shutdown), "start").run_forever()
    except Cancelled as reason:
        log.info("The worker ends before it has started: %s", reason)
    except WorkerError as error:
        log.error("%s", error)  # noqa: TRY400 - a sentence for a person, who has no use for a traceback
        return error.exit_code
    except Exception:
        log.exception("The worker ends: an unforeseen error")
        return 1
    return 0


def _check(*, as_json: bool) -> int:
    from job_fetcher.preflight import Preflight

    logging.getLogger("job_fetcher").setLevel(logging.ERROR)  # the lines below say what is wrong
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without ✓ shows a ?
    findings = []
    for each in Preflight().run():
        findings.append(each)
        if not as_json:
            mark = "!" if each.limit else "✓" if each.ok else "✗"
            line = f"{mark} {each.name:<18} {each.seconds:5.1f} s  {each.text}"
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
    print("The worker takes no new job until `resume`." if paused else "The worker takes jobs again.")  # noqa: T201
    return 0


def _cache(empty: bool, settings: "Settings") -> int:
    from job_fetcher.worker import wiring

    if problem := _problem_of(Path(settings.path_base, ".cache")):
        print(f"The cache cannot be read: {problem}. Run the command as the worker's user.", file=sys.stderr)  # noqa: T201
        return NOT_WELL
    cache = wiring.input_cache(settings)
    entries = sorted(cache.entries(), key=lambda entry: entry.used_at)
    for each in entries:
        used = datetime.fromtimestamp(each.used_at).isoformat(" ", "minutes")
        print(f"{each.version.size / 2**30:8.2f} GiB  last used {used}  {each.folder}")  # noqa: T201
    print(f"{sum(each.version.size for each in entries) / 2**30:8.2f} GiB in {len(entries)} inputs")  # noqa: T201
    if empty:
        cache.clear()
        left = cache.entries()
        print("The worker's user has to remove them." if left else "The cache is empty.")  # noqa: T201
        return NOT_WELL if left else 0
    return 0


def _problem_of(folder: Path) -> str:
    """Why this user cannot look into `folder`; empty if that works, or it does not exist."""
    try:
        list(folder.iterdir())
    except FileNotFoundError:
        return ""
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _with_settings(command: "Callable[[Settings], int]") -> int:
    """Run `command` with the settings; from here on the log hides their secrets."""
    from job_fetcher.config.settings import Settings
    from job_fetcher.config.values import LogFormat
    from job_fetcher.core import logs

    try:
        settings = Settings.read()
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - there is no log yet
        return error.exit_code
    logs.configure(settings.secrets, settings.log_level, as_json=settings.log_format is LogFormat.JSON)
    return command(settings)
