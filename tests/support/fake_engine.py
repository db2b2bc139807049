"""A stand-in for the Docker engine, for tests that need none: as much of its API as the worker uses, over HTTP.

A container is a process of this machine, run as the test's own user; `/files` in its command is the job's folder. So
nothing is isolated, and whatever depends on a real container is tested with a real engine.
"""

import asyncio
import json
import os
import signal
import subprocess
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.support.servers import serve
from tests.support.waiting import wait_until

API = "1.41"
LOOK_S = 0.01
"""How often a request that waits for a container looks at it."""
NEVER = "0001-01-01T00:00:00Z"
"""The time of what has not happened yet."""


@dataclass
class FakeContainer:
    """A container by what its creation asked for; `process` is its command, once it was started."""

    id: str
    name: str
    config: dict[str, Any]
    log: Path
    process: "subprocess.Popen[bytes] | None" = None
    signals: list[signal.Signals] = field(default_factory=list)
    """What the engine has sent."""
    lines: list[tuple[float, bytes]] = field(default_factory=list)
    """What it has printed, and when, in seconds since the epoch: in place of its log."""
    started_at: str = NEVER
    finished_at: str = NEVER

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.config.get("Labels") or {})

    @property
    def command(self) -> list[str]:
        words = [*(self.config.get("Entrypoint") or []), *(self.config.get("Cmd") or [])]
        for bind in self.config["HostConfig"].get("Binds") or []:
            source, target, *_ = bind.split(":")
            words = [word.replace(target, source) for word in words]
        for mount in self.config["HostConfig"].get("Mounts") or []:
            words = [word.replace(mount["Target"], mount["Source"]) for word in words]
        return words

    @property
    def status(self) -> str:
        """As the engine names it. Who asks first after the end of the command gives it its time."""
        if self.process is None:
            return "created"
        if self.process.poll() is None:
            return "running"
        if self.finished_at.startswith("0001"):
            self.finished_at = _now()
        return "exited"

    @property
    def exit_code(self) -> int:
        code = self.process.poll() if self.process else None
        return 0 if code is None else code if code >= 0 else 128 - code

    def start(self) -> None:
        environment = dict(each.split("=", 1) for each in self.config.get("Env") or [])
        path = {"PATH": os.environ["PATH"]}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command, env=path | environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.log.parent, start_new_session=True,
            )  # fmt: skip
        self.started_at = _now()

    def restart(self) -> None:
        """As `docker restart`, at once."""
        self.kill(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()
        self.finished_at = NEVER
        self.start()

    def kill(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)


@dataclass
class FakeEngine:
    """`url` is the worker's DOCKER_HOST. `images`: names that can be pulled. `refusals`: answers instead of the usual.

    A refusal is a status and a message, for requests whose `METHOD /path` ends so (`POST /start`).
    """

    folder: Path
    url: str = ""
    images: set[str] = field(default_factory=lambda: {"image:latest"})
    workers_images: set[str] = field(default_factory=set)
    """Names of images with the label of the worker's own."""
    pulled: set[str] = field(default_factory=set)
    """What a search by name finds."""
    pull_lines: list[dict[str, str]] = field(default_factory=list)
    """What a pull streams, in place of its usual answer."""
    has_init: bool = True
    max_buffer_size: bool = False
    """The owner's default for `json-file` has this option, which `mode=blocking` excludes."""
    init_refused_by: int = 0
    """The status with which it refuses to create a container with an init: it looks for it then, as Podman does."""
    info: dict[str, Any] = field(default_factory=dict)
    """What `GET /info` says besides the usual, or in place of it."""
    version: dict[str, Any] = field(default_factory=dict)
    """As `info`, of `GET /version`."""
    warnings: list[str] = field(default_factory=list)
    """What a creation warns of."""
    created: list[dict[str, Any]] = field(default_factory=list)
    """What each creation asked for, also of containers that are gone."""
    tells_ends: bool = True
    """Whether its `wait` and its events say that a container has ended. An inspection does in any case."""
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)
    containers: dict[str, FakeContainer] = field(default_factory=dict)
    started_at: str = "2026-01-01T00:00:00.000000000Z"
    """Since when it has been running."""
    calls: list[str] = field(default_factory=list)
    """Method and path of each request, without the version."""

    def jobs(self) -> list[FakeContainer]:
        """The containers of jobs, in whatever state."""
        return [each for each in list(self.containers.values()) if each.labels.get("job-fetcher.job")]

    def restart(self) -> None:
        """Be another engine from now on, with the containers of the one before."""
        self.started_at = _now()

    def wait_for_call(self, end: str, what: str) -> None:
        """Wait until it was asked something whose path ends so."""
        wait_until(lambda: any(call.endswith(end) for call in list(self.calls)), what)

    async def answer(self, request: Request) -> Response:
        response = await self._answer(request)
        response.headers["Server"] = self._server()
        return response

    def _server(self) -> str:
        is_podman = any("Podman" in each["Name"] for each in self.version.get("Components") or ())
        return f"{'Libpod' if is_podman else 'Docker'}/{self.version.get('Version', '0-fake')} (linux)"

    async def _answer(self, request: Request) -> Response:
        path = "/" + request.path_params["path"]
        call = f"{request.method} {path}"
        self.calls.append(call)
        for end, (status, message) in list(self.refusals.items()):  # a test changes them meanwhile
            method, _, tail = end.partition(" ")
            if request.method == method and path.endswith(tail):
                return JSONResponse({"message": message}, status)
        match path.strip("/").split("/"):
            case ["_ping"]:
                return PlainTextResponse("OK")
            case ["version"]:
                return JSONResponse({"Version": "0-fake", "ApiVersion": API, "MinAPIVersion": "1.12"} | self.version)
            case ["info"]:
                return JSONResponse(self._info())
            case ["networks", name]:
                return JSONResponse({"Name": name, "Driver": "bridge", "Created": self.started_at})
            case ["events"]:
                return StreamingResponse(self._events(request.query_params))
            case ["images", *rest]:
                return self._image(request, rest)
            case ["containers", "json"]:
                return self._list(json.loads(request.query_params.get("filters", "{}")))
            case ["containers", "create"]:
                return self._create(request.query_params.get("name", ""), await request.json())
            case ["containers", name, *action]:
                found = self.containers.get(name)
                if found is None:
                    return JSONResponse({"message": f"No such container: {name}"}, 404)
                return await self._do(request, found, "".join(action))
        return JSONResponse({"message": f"the stand-in knows no {call}"}, 501)

    def _info(self) -> dict[str, Any]:
        return {
            "NCPU": 2, "MemTotal": 4 << 30, "Name": "fake", "DockerRootDir": str(self.folder),
            "SystemTime": _now(), "Swarm": {"LocalNodeState": "inactive"},
        } | self.info  # fmt: skip

    def _image(self, request: Request, rest: list[str]) -> Response:
        if rest == ["create"]:
            name = "{fromImage}:{tag}".format(**request.query_params)
            lines = self.pull_lines or [{"status": f"Status: Image is up to date for {name}"}]
            if name not in self.images and not self.pull_lines:
                return JSONResponse({"message": f"manifest for {name} not found: manifest unknown"}, 404)
            self.pulled.add(name)
            chunks = [json.dumps(line).encode() + b"\r\n" for line in lines]
            return StreamingResponse(iter(chunks), media_type="application/json")  # in chunks, as engines stream it
        if rest == ["json"]:
            filters = json.loads(request.query_params.get("filters", "{}"))
            by_name = self.pulled & set(filters.get("reference", ()))
            listed = self.workers_images if filters.get("label") else by_name if filters else self.images
            return JSONResponse([self._described(each) for each in sorted(listed)])
        name = "/".join(rest[:-1])
        name = name if ":" in name else f"{name}:latest"
        if name not in self.images:
            return JSONResponse({"message": f"No such image: {name}"}, 404)
        return JSONResponse(self._described(name) | {"Config": {}})

    def _described(self, name: str) -> dict[str, Any]:
        return {
            "Id": f"sha256:{uuid.uuid5(uuid.NAMESPACE_URL, name).hex * 2}",
            "RepoTags": [name],
            "RepoDigests": [],
            "Created": 0,
        }

    def _list(self, filters: dict[str, list[str]]) -> Response:
        wanted = [each.partition("=") for each in filters.get("label", [])]
        found = [
            {"Id": each.id, "State": each.status, "Names": [f"/{each.name}"], "Labels": each.labels, "Image": "image"}
            for each in self.containers.values()
            if all(each.labels.get(name, None if equals else ...) in ([value] if equals else [*each.labels.values()])
                   for name, equals, value in wanted)
        ]  # fmt: skip
        return JSONResponse(found)

    def _create(self, name: str, config: dict[str, Any]) -> Response:
        image = config["Image"] if ":" in config["Image"] else f"{config['Image']}:latest"
        if image not in self.images:
            return JSONResponse({"message": f"No such image: {image}"}, 404)
        for mount in config["HostConfig"].get("Mounts") or []:
            if not Path(mount["Source"]).exists():
                message = f"invalid mount config: bind source path does not exist: {mount['Source']}"
                return JSONResponse({"message": message}, 400)
        if self.max_buffer_size and config["HostConfig"].get("LogConfig", {}).get("Type") == "json-file":
            message = "logger: max-buffer-size option is only supported with 'mode=non-blocking'"
            return JSONResponse({"message": message}, 400)
        if config["HostConfig"].get("Init") and self.init_refused_by:
            message = 'container create: lookup init binary: exec: "catatonit": executable file not found in $PATH'
            return JSONResponse({"message": message}, self.init_refused_by)
        container = FakeContainer(uuid.uuid4().hex * 2, name, config, self.folder / f"{uuid.uuid4().hex}.log")
        container.log.touch()
        self.containers[container.id] = container
        self.created.append(config)
        return JSONResponse({"Id": container.id, "Warnings": self.warnings}, 201)

    async def _do(self, request: Request, container: FakeContainer, action: str) -> Response:
        match request.method, action:
            case "GET", "json":
                return JSONResponse(self._inspected(container))
            case "GET", "logs":
                return StreamingResponse(_frames(container, request), media_type="application/vnd.docker.raw-stream")
            case "POST", "start":
                init = container.config["HostConfig"].get("Init")
                if init and not self.has_init:
                    return JSONResponse({"message": 'exec: "/sbin/docker-init": no such file or directory'}, 400)
                try:
                    container.start()
                except FileNotFoundError as error:
                    if not init:
                        return JSONResponse({"message": f'exec: "{error.filename}": no such file or directory'}, 400)
            case "POST", "stop":
                container.signals.append(signal.SIGTERM)
                container.kill(signal.SIGTERM)
                await self._ended(container, float(request.query_params.get("t", 10)))
                container.kill(signal.SIGKILL)
                await self._ended(container)
            case "POST", "wait":
                await self._ended(container)
                await self._told()
                return JSONResponse({"StatusCode": container.exit_code})
            case "DELETE", "":
                container.kill(signal.SIGKILL)
                await self._ended(container)
                self.containers.pop(container.id, None)  # a second request has done so meanwhile
            case _:
                return JSONResponse({"message": f"the stand-in cannot {action} a container"}, 501)
        return Response(status_code=204)

    def _inspected(self, container: FakeContainer) -> dict[str, Any]:
        state = {
            "Status": container.status, "ExitCode": container.exit_code, "OOMKilled": False, "Error": "",
            "StartedAt": container.started_at, "FinishedAt": container.finished_at,
        }  # fmt: skip
        return {
            "Id": container.id, "Name": f"/{container.name}", "Image": "sha256:0", "State": state, "Mounts": [],
            "Config": {"Tty": False, "Labels": container.labels}, "HostConfig": container.config["HostConfig"],
        }  # fmt: skip

    async def _ended(self, container: FakeContainer, within_s: float = float("inf")) -> None:
        end = time.monotonic() + within_s
        while container.status == "running" and time.monotonic() < end:
            await asyncio.sleep(LOOK_S)

    async def _told(self) -> None:
        while not self.tells_ends:
            await asyncio.sleep(LOOK_S)

    async def _events(self, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """The events `kill` and `die` of one container."""
        [container] = json.loads(query["filters"])["container"]
        while (found := self.containers.get(container)) is not None:
            if found.status == "exited":
                if "until" not in query:
                    await self._told()
                for number in found.signals:
                    attributes = {"signal": str(int(number))}
                    event = {
                        "Type": "container",
                        "Action": "kill",
                        "Actor": {"ID": container, "Attributes": attributes},
                    }
                    yield json.dumps(event | {"timeNano": time.time_ns()}).encode() + b"\n"
                attributes = {"exitCode": str(found.exit_code)}
                event = {"Type": "container", "Action": "die", "Actor": {"ID": container, "Attributes": attributes}}
                yield json.dumps(event).encode() + b"\n"
                return
            await asyncio.sleep(LOOK_S)


def _frames(container: FakeContainer, request: Request) -> Iterator[bytes]:
    """The log as the engine streams it: a line each, or a piece of 16 KiB of a long one, as `json-file` keeps it."""
    asked = request.query_params
    since, until, tail = float(asked.get("since", 0)), float(asked.get("until", "inf")), asked.get("tail", "all")
    if not container.lines:
        return _blocks(_pieces(container.log), tail)
    chosen = [(at, line) for at, line in container.lines if since <= at <= until]
    if asked.get("timestamps") in ("1", "true", "True"):
        return _blocks([f"{datetime.fromtimestamp(at, UTC).isoformat()} ".encode() + line for at, line in chosen], tail)
    return _blocks([line for _, line in chosen], tail)


def _pieces(log: Path) -> Iterator[bytes]:
    with log.open("rb") as file:
        yield from iter(lambda: file.readline(1 << 14), b"")


def _blocks(pieces: Iterable[bytes], tail: str) -> Iterator[bytes]:
    """A frame for each piece, or for the last `tail` ones, and many frames at once."""
    block = bytearray()
    for each in pieces if tail == "all" else deque(pieces, int(tail)):
        block += b"\x01\0\0\0" + len(each).to_bytes(4, "big") + each
        if len(block) > 1 << 16:
            yield bytes(block)
            block.clear()
    yield bytes(block)


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


@contextmanager
def fake_engine(folder: Path) -> Iterator[FakeEngine]:
    """An engine that keeps the logs of its containers in `folder`, which it makes; their processes end with it."""
    folder.mkdir(exist_ok=True)
    engine = FakeEngine(folder)
    methods = ["GET", "POST", "DELETE"]
    routes = [
        Route("/v{version}/{path:path}", engine.answer, methods=methods),
        Route("/{path:path}", engine.answer, methods=methods),
    ]
    with serve(Starlette(routes=routes)) as address:
        engine.url = address.replace("http://", "tcp://")
        try:
            yield engine
        finally:
            for container in list(engine.containers.values()):
                container.kill(signal.SIGKILL)
                if container.process is not None:
                    container.process.wait()
