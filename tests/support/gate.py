"""A gate between a client and a server on this machine, by TCP or by a Unix socket: open, or shut in several ways."""

import asyncio
import contextlib
import os
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from pathlib import Path

from tests.support.ports import reserved
from tests.support.waiting import PATIENCE_S

Address = int | Path
"""A port of 127.0.0.1, or a Unix socket."""

DOCKER_SOCKET = Path("/var/run/docker.sock")
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a close that sends RST
BLOCK = 65_536
_numbers = count(1)


class Gate:
    """Passes connections on to `upstream`; every way to shut it ends, or holds, those that are there already.

    `tries` counts the connections that have come since it was shut, `stalled` tells whether an answer is held up. An
    open gate can also refuse some requests by itself.
    """

    def __init__(self, upstream: Address, listen: Address = 0) -> None:
        self._upstream, self._listen = upstream, listen
        self._keeper: socket.socket | None = None
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._how = "open"
        self._answer = b""
        self._most: int | None = None
        self._before: tuple[bytes, Callable[[], threading.Event | None]] = (b"", lambda: None)
        self._refusals: dict[bytes, bytes] = {}
        self.tries = 0
        self.refused = 0
        self.stalled = False
        self._thread = threading.Thread(target=self._loop.run_forever, name="gate", daemon=True)
        self._thread.start()
        self.open()

    @property
    def port(self) -> int:
        assert isinstance(self._listen, int)
        return self._listen

    @property
    def path(self) -> Path:
        assert isinstance(self._listen, Path)
        return self._listen

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        """Let everything through, and what was held go on."""
        self._change("open")

    def close_port(self) -> None:
        """Nobody listens any more: connections are refused."""
        self._change("closed")

    def reset(self) -> None:
        """Connections are accepted and broken at once."""
        self._change("reset")

    def hold(self) -> None:
        """Connections are accepted, and no byte passes, on these or on those that are there already."""
        self._change("hold")

    def stall_after(self, size: int) -> None:
        """Of each answer on a new connection only so many bytes come through, and no more until `open`."""
        self._most = size
        self._change("stall")

    def refuse(self, text: bytes, status: str, body: str) -> None:
        """From now on answer requests with `text` in them so; `refused` counts those. All others go through."""
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._refusals[text] = f"{head}{body}".encode()

    def refuse_no_more(self) -> None:
        """Let all requests through again."""
        self._refusals.clear()

    def answer(self, status: str, body: str) -> None:
        """Each request on a new connection is answered so, by the gate itself."""
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n"
        self._answer = f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
        self._change("answer")

    def before(self, text: bytes, then: Callable[[], threading.Event | None]) -> None:
        """From now on call `then` before anything with `text` in it is passed on to the server.

        If it returns an event, that alone is held until the event is set.
        """
        self._before = (text, then)

    def close(self) -> None:
        """End it for good."""
        self.close_port()
        asyncio.run_coroutine_threadsafe(_end_tasks(), self._loop).result(PATIENCE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self._keeper is not None:
            self._keeper.close()
        if isinstance(self._listen, Path):
            self._listen.unlink(missing_ok=True)

    def _change(self, how: str) -> None:
        asyncio.run_coroutine_threadsafe(self._become(how), self._loop).result(PATIENCE_S)

    async def _become(self, how: str) -> None:
        self._how, self.tries, self.stalled = how, 0, False
        if how != "stall":
            self._most = None
        if how in ("closed", "reset", "answer"):
            for writer in self._writers:
                _break(writer)
        (self._flowing.clear if how == "hold" else self._flowing.set)()
        if how == "closed" and self._server is not None:
            for listener in self._server.sockets:
                self._loop.remove_reader(listener.fileno())
            await _some_rounds()  # what has just been accepted needs its server so long
            self._server.close()
            self._server = None
        elif how != "closed" and self._server is None:
            if isinstance(self._listen, Path):
                self._server = await asyncio.start_unix_server(self._serve, self._listen)
            else:
                self._keeper = self._keeper or reserved(self._listen)  # nobody else gets the port while it is closed
                self._listen = int(self._keeper.getsockname()[1])
                self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._listen)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tries += 1
        async with self._kept(writer):
            if self._how == "answer":
                await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer)
                await writer.drain()
            elif self._how in ("reset", "closed"):
                _break(writer)
            else:
                await self._flowing.wait()
                await self._pass_on(reader, writer, self._most)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int | None) -> None:
        if isinstance(self._upstream, Path):
            up_reader, up_writer = await asyncio.open_unix_connection(self._upstream)
        else:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        async with self._kept(up_writer):
            there = asyncio.ensure_future(self._pump(reader, up_writer, None, back=writer))
            await self._pump(up_reader, writer, most)  # until the server, or the gate, ends the connection
            there.cancel()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        most: int | None,
        *,
        back: asyncio.StreamWriter | None = None,
    ) -> None:
        """Pass on what comes; `back`: of requests, to where their answers go."""
        with contextlib.suppress(OSError):
            while block := await reader.read(BLOCK):
                await self._flowing.wait()
                text, then = self._before
                held = then() if back and text in block else None
                refusals = [answer for part, answer in self._refusals.items() if back and part in block]
                if back and refusals:
                    self.refused += 1
                    back.write(refusals[0])
                    await back.drain()
                    continue
                while held and not held.is_set():
                    await asyncio.sleep(0.02)
                if most is not None:
                    writer.write(block[:most])
                    block, most = block[most:], most - len(block[:most])
                    while block and self._most is not None:
                        self.stalled = True
                        await asyncio.sleep(0.02)
                    most = most if self._most is not None else None
                writer.write(block)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()

    @contextlib.asynccontextmanager
    async def _kept(self, writer: asyncio.StreamWriter) -> AsyncIterator[None]:
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                yield
        finally:
            self._writers.discard(writer)
            writer.close()


async def _end_tasks() -> None:
    await _some_rounds()  # a connection that has just come is closed by its own task, which is to begin first
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await _some_rounds()  # transports close their sockets in the next one


async def _some_rounds() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def free_socket() -> Path:
    """A path for a Unix socket that nobody has, whoever runs tests beside this process; short (unix(7): 108 bytes)."""
    return Path(f"/tmp/gate-{os.getpid()}-{next(_numbers)}.sock")


def _break(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


@contextlib.contextmanager
def running_gate(upstream: Address, listen: Address = 0) -> Iterator[Gate]:
    """A gate in front of `upstream`, open at first."""
    gate = Gate(upstream, listen)
    try:
        yield gate
    finally:
        gate.close()
