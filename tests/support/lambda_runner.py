"""A program: one call of a handler of scripts/cloud, as AWS Lambda's runtime makes it.

Reads the call from standard input as JSON, prints the handler's answer as JSON, ends with 1 for an error, which it
prints in Lambda's words. `COMMAND` starts it, where docker cannot be imported.

At the signal SIGUSR1 the call has no more time (`TimeIsUp`), whatever `remaining_ms` it was given.

With `kill_at_each_step`, the call is made in a process that is killed at its first step on the file system or the
network, then again in one that is killed at the second, and so on, until one comes through. `"go on"`: each begins
where the one before it was killed. `"begin anew"`: after each kill the call is made once more, to its end, and what
that leaves must be the same every time; then the folder is put back to how it was.
"""

import json
import os
import shutil
import signal
import sys
import threading
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from scripts.cloud.handlers import Cloud

from job_fetcher import FixedToken, WorkerApi

COMMAND = (
    sys.executable,
    "-c",
    "import sys; sys.modules['docker'] = None; from tests.support.lambda_runner import main; sys.exit(main())",
)
STEPS = ("open", "os.", "fcntl.", "shutil.", "socket.", "subprocess.")


class Context:
    """Lambda's `context`, as far as the handlers use it."""

    def __init__(self, remaining_ms: int) -> None:
        self._remaining_ms = remaining_ms

    def get_remaining_time_in_millis(self) -> int:
        return self._remaining_ms


def end_the_time(*_: object) -> None:
    """Let the timer of `within` call now what it would call at the end of the time."""
    for timer in threading.enumerate():
        if isinstance(timer, threading.Timer):
            timer.function(*timer.args)


def invoke(call: dict[str, Any]) -> bool:
    """Make the call, print its answer in a line; whether it was none of Lambda's errors."""
    cloud = Cloud(WorkerApi(call["url"], FixedToken(SecretStr(call["token"]))), Path(call["base"]))
    handler = getattr(cloud, call["handler"])
    try:
        answer = handler(call["event"], Context(call["remaining_ms"]))
    except Exception as error:  # noqa: BLE001 - as Lambda does
        answer = {"errorType": type(error).__name__, "errorMessage": str(error)}
    assert threading.enumerate() == [threading.main_thread()], "a thread outlives the call"
    sys.stdout.write(json.dumps(answer, allow_nan=False) + "\n")
    sys.stdout.flush()
    return "errorType" not in answer


def is_killed(call: dict[str, Any], step: int) -> bool:
    """Make the call in a process that is killed at its `step` (0: at none); whether it has as many."""
    process = os.fork()
    if process == 0:
        steps = count(1)

        def at_each_step(event: str, _: object) -> None:
            if event.startswith(STEPS) and next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(at_each_step)
        os._exit(0 if invoke(call) else 1)
    _, status = os.waitpid(process, 0)
    assert status in (0, signal.SIGKILL), "the call itself failed"
    return status != 0


def main() -> int:
    call = json.load(sys.stdin)
    assert sys.modules["docker"] is None
    assert set(os.environ) <= {"LC_CTYPE"}, "Python itself sets this one (PEP 538), nobody sets any other"
    signal.signal(signal.SIGUSR1, end_the_time)
    if not call["kill_at_each_step"]:
        return 0 if invoke(call) else 1
    base = Path(call["base"])
    kept = base.with_name(f"{base.name}-kept")
    shutil.copytree(base, kept)
    left = []
    for step in count(1):
        if not is_killed(call, step):
            break
        if call["kill_at_each_step"] == "begin anew":
            is_killed(call, 0)
            left.append({str(path): path.read_bytes() for path in sorted(base.glob("*/files/**/*")) if path.is_file()})
            shutil.rmtree(base)
            shutil.copytree(kept, base)
    assert left == left[:1] * len(left)
    shutil.rmtree(kept)
    sys.stderr.write(f"{call['handler']} was killed {step - 1} times\n")
    return 0
