"""The TCP connection behind a request. ASGI has no word for cutting one, so this reaches for uvicorn's own."""

import asyncio
from typing import Any

from starlette.types import Receive

CONNECTION = "mock_api.connection"  # where a request's scope holds it


class Connection:
    """The connection that a request came by, found through uvicorn's `receive`, a method of its request's cycle."""

    def __init__(self, receive: Receive) -> None:
        self._cycle: Any = getattr(receive, "__self__", None)

    @property
    def lost(self) -> bool:
        """Whether the client has left. Not seen while unread parts of a large body are in the way."""
        return self._cycle is not None and bool(self._cycle.disconnected)

    async def cut(self) -> None:
        """End the connection in the middle of whatever it is doing; what was sent before still arrives."""
        transport: asyncio.Transport = self._cycle.transport
        while transport.get_write_buffer_size() and not transport.is_closing():
            await asyncio.sleep(0.001)
        transport.abort()
        while not self._cycle.disconnected:  # uvicorn would answer 500 to a request that ends unanswered before that
            await asyncio.sleep(0)
