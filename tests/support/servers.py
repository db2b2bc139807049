"""Web apps served for real, by uvicorn in a thread of the test's process."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

STOP_TIMEOUT_S = 60
DATE_INTERVAL_S = 1  # how often uvicorn renews its Date header


class _Server(uvicorn.Server):
    """Stops at once, and not at uvicorn's next tick, whatever hangs on its connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Tell the server, from another thread, to end."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.ready.set()
        while not self._stopping.is_set():
            await self.on_tick(0)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), DATE_INTERVAL_S)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Cut all connections, also those that a client has only just made: a test may end before its client does."""
        loop = asyncio.get_running_loop()
        for listener in sockets or []:
            loop.remove_reader(listener.fileno())
        await _some_rounds()  # what has been accepted becomes a connection, which needs its server so long
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _some_rounds()  # the transports close their sockets


async def _some_rounds() -> None:
    """Let the event loop do what it has begun."""
    for _ in range(10):
        await asyncio.sleep(0)


@contextlib.contextmanager
def serve(app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve an app and yield its base URL, `http://127.0.0.1:<port>`.

    A free port is taken unless one is given: a server that has stopped can come back on its port, with its app's state.
    Give the host `0.0.0.0` where containers are to reach it. Requests under way at the end are cut.
    """
    listener = socket.create_server((host, port))  # listens from here on: no client comes too early
    # asyncio does so for sockets of its own. Without, each answer takes 40 ms more: its body waits for an ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    # No idle connection is closed: on a machine that stands still for seconds, that met requests which had just begun.
    config = uvicorn.Config(
        app, log_level="critical", access_log=False, lifespan="off", server_header=False, timeout_keep_alive=3600
    )
    server = _Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), name="uvicorn", daemon=True)
    thread.start()
    try:
        while not server.ready.wait(timeout=0.1):
            if not thread.is_alive():
                raise RuntimeError("the server did not start")
        yield address
    finally:
        server.stop()
        thread.join(STOP_TIMEOUT_S)
        listener.close()
    if thread.is_alive():
        raise RuntimeError("the server did not stop")
