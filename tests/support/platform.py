"""The platform for a test: the mock of the API, served by a thread of this process, with what it knows in reach."""

import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from typing import Any

from pydantic import SecretStr
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.app import create_app
from app.config import MockConfig
from app.faults import ArmedFault, Fault
from app.jobs import Job, JobGone, Offer, Status
from app.state import Mock, RecordedRequest
from app.store import input_key, output_prefix
from job_fetcher.platform.api import WorkerApi, user_pool
from job_fetcher.platform.auth import CognitoToken, FixedToken
from tests.support.servers import serve

TOKEN = "worker-fixed-token"
USERNAME = "worker"
PASSWORD = "Worker-password-1"
PATIENCE_S = 60.0
_REPORT = re.compile(r"log/(.+/)?job-report\.json")


class _Notifying:
    """Tells `changed` of everything that passes between a client and the app."""

    def __init__(self, app: ASGIApp, changed: threading.Condition) -> None:
        self._app, self._changed = app, changed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            await send(message)
            self._tell()

        try:
            await self._app(scope, receive, told)
        finally:
            self._tell()

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()


class Platform:
    """One mock: `url` is where workers find it, `state` all that it knows (any thread may look)."""

    def __init__(self, url: str, state: Mock, changed: threading.Condition) -> None:
        self.url, self.state, self._changed = url, state, changed
        self.cognito_url = f"{url}/cognito/"

    # What a worker has of it.

    def api(self, token: str = TOKEN) -> WorkerApi:
        return WorkerApi(self.url, FixedToken(SecretStr(token)))

    def cognito_token(self, username: str = USERNAME, password: str = PASSWORD) -> CognitoToken:
        return CognitoToken(username, SecretStr(password), lambda: user_pool(self.url), self.cognito_url)

    # What its users do.

    def submit(
        self,
        *cmd: str,
        image: str = "image",
        files: Mapping[str, bytes | str] | None = None,
        up: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        hardware: Mapping[str, Any] | None = None,
        group: str | None = None,
        **specs: Any,
    ) -> str:
        """Queue a job and return its id. `cmd` are its words (none: the image's own command).

        `files` are its inputs by path: bytes are stored under a file id of their own, a string is a file id as it is.
        `up` is `files_up`. `app` and `handler` replace what would be made of all this.
        """
        down = {}
        for path, content in (files or {}).items():
            down[path] = content if isinstance(content, str) else self.put_file(f"s3://bucket/user/{path}", content)
        app = {"cmd": list(cmd) or None, "env": dict(env) if env else None}
        handler = {"image_url": image, "files_down": down or None, "files_up": dict(up) if up else None}
        made = {"app": app, "handler": handler, "meta": {}, "hardware": dict(hardware or {})}
        return self.state.jobs.submit(made | specs, group)

    def pulled(self, *cmd: str, account: str = USERNAME, **job: Any) -> str:
        """Submit a job (see `submit`) and give it to `account` without asking: what most steps begin with."""
        group = uuid.uuid4().hex  # so that this job is the one that is given
        job_id = self.submit(*cmd, group=group, **job)
        given = self.state.jobs.pull(account, Offer(memory=2**40, cpu_cores=2**20, gpu_mem=2**40, groups=(group,)))
        assert list(given) == [job_id]
        return job_id

    def put_file(self, file_id: str, content: bytes, *, allowed: bool = True) -> str:
        """Store an input and return its id; not `allowed`: workers get a 403 for it."""
        self.state.store.put(input_key(file_id), content)
        self.state.store.refuse(input_key(file_id), not allowed)
        return file_id

    def cancel(self, job_id: str, *, heard: bool = False) -> None:
        """Delete the job. `heard`: a status has been answered with the one 404 already; 500 is what follows."""
        self.state.jobs.delete(job_id)
        if heard:
            with suppress(JobGone):
                self.state.jobs.update(job_id, self.job(job_id).holder or "", Status.RUNNING, None)

    def job(self, job_id: str) -> Job:
        return self.state.jobs.get(job_id)

    def statuses(self, job_id: str) -> list[str]:
        """The statuses that workers have sent, in order, repetitions (keep-alives) left out."""
        sent = [update.status.value for update in self.job(job_id).history if update.account][1:]
        return [status for before, status in zip([None, *sent], sent, strict=False) if status != before]

    def details(self, job_id: str) -> str:
        """The details of the job's last status."""
        return self.job(job_id).history[-1].runtime_details or ""

    def outputs(self, job_id: str, *, report: bool = False) -> dict[str, bytes]:
        """What has been uploaded, by `<type>/<path in the job folder>`, without the worker's report unless `report`."""
        prefix = output_prefix(job_id)
        keys = [each.key for each in self.state.store.under(prefix)]
        found = {key.removeprefix(prefix): self.state.store.read(key) for key in keys}  # a live log replaces its file
        return {key: found[key] for key in found if report or not _REPORT.fullmatch(key)}

    # What goes wrong, and what was seen of it.

    def fault(self, path: str = "*", method: str = "*", **what: Any) -> ArmedFault:
        """Arm a fault (see `app.faults.Fault`); `.matched` of what is returned counts."""
        return self.state.faults.add(Fault(path=path, method=method, **what))

    def heal(self) -> None:
        """End all faults."""
        self.state.faults.clear()

    def configure(self, **changes: Any) -> None:
        """Change settings of the mock (see `app.config.MockConfig`)."""
        for name, value in changes.items():
            setattr(self.state.config, name, value)

    def pass_time(self, seconds: float) -> None:
        """Let the mock's clock run ahead."""
        self.state.config.clock_offset_s += seconds

    def requests(self, method: str = "", path: str = "") -> list[RecordedRequest]:
        """The requests so far, of that method, whose path begins with `path` or contains it after a `*`."""
        return [
            each
            for each in list(self.state.requests)
            if each.method.startswith(method)
            and (path[1:] in each.path if path.startswith("*") else each.path.startswith(path))
        ]

    def settle(self) -> None:
        """Return when all is done that a client has sent which is gone: one that was killed a moment ago, say."""
        with suppress(OSError), closing(HTTPConnection(self.url.partition("//")[2], timeout=PATIENCE_S)) as own:
            own.request("GET", "/")  # comes later, is neither recorded nor hit by a fault
            own.getresponse().read()

    def wait_until(self, condition: Callable[[], bool], what: str = "", timeout_s: float = PATIENCE_S) -> None:
        """Wait for something about the mock to come true; `AssertionError` if it does not in `timeout_s`."""
        patience = threading.Event()
        timer = threading.Timer(timeout_s, patience.set)
        timer.daemon = True
        timer.start()
        try:
            with self._changed:
                while not condition():
                    assert not patience.is_set(), f"waited {timeout_s:g} s in vain for {what or condition}"
                    self._changed.wait(0.1)  # requests that hang pass nothing on, and still count
        finally:
            timer.cancel()

    def wait_for_status(self, job_id: str, *statuses: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait until the job has one of `statuses`, by default until it is over."""
        over = statuses or ("finished", "error")
        self.wait_until(lambda: self.job(job_id).status in over, f"job {job_id} to be {' or '.join(over)}", timeout_s)


@contextmanager
def running_platform(*, host: str = "127.0.0.1", port: int = 0, **config: Any) -> Iterator[Platform]:
    """A mock of its own with `config` (see `app.config.MockConfig`). Host `0.0.0.0`: containers reach it, too."""
    app = create_app(MockConfig(**config))
    changed = threading.Condition()
    with serve(_Notifying(app, changed), host=host, port=port) as url:
        try:
            yield Platform(url, app.state.mock, changed)
        finally:
            app.state.mock.faults.clear()
