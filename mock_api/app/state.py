"""All that one mock knows, and how a request finds it."""

import hashlib
import hmac
import secrets
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from .accounts import Accounts
from .config import MockConfig
from .faults import FaultBoard
from .jobs import JobQueue
from .store import ObjectStore

MAX_RECORDED = 20_000


@dataclass
class RecordedRequest:
    """A request that arrived. `query` holds values only where none of them is a secret.

    `status` is `None` until an answer has begun, and for ever when the connection was cut before; `sent` counts the
    bytes of the answer's body.
    """

    time: float
    method: str
    path: str
    query: dict[str, list[str]]
    headers: list[str]
    range: str | None
    account: str | None
    status: int | None = None
    sent: int = 0


@dataclass
class Mock:
    """The state of one app, at `app.state.mock`. Every part has a lock of its own and may be used by any thread."""

    config: MockConfig
    accounts: Accounts = field(init=False)
    jobs: JobQueue = field(init=False)
    store: ObjectStore = field(init=False)
    faults: FaultBoard = field(init=False)
    requests: deque[RecordedRequest] = field(default_factory=lambda: deque(maxlen=MAX_RECORDED))
    settings_lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.accounts = Accounts(self.config.accounts, self.now)
        self.jobs = JobQueue(self.config, self.now)
        self.store = ObjectStore(self.config.store_dir, self.now)
        self.faults = FaultBoard(self.now)
        self._secret = secrets.token_bytes(32)

    def now(self) -> float:
        """Seconds since the epoch, on the mock's clock."""
        return self.config.clock() + self.config.clock_offset_s

    def sign(self, *parts: str) -> str:
        """Sign what a URL or a form allows."""
        return hmac.digest(self._secret, "\n".join(parts).encode(), hashlib.sha256).hex()

    def is_signed(self, signature: str, *parts: str) -> bool:
        return hmac.compare_digest(signature.encode(errors="replace"), self.sign(*parts).encode())


async def _mock_of(request: Request) -> Mock:  # async: FastAPI would send it to a thread otherwise
    mock: Mock = request.app.state.mock
    return mock


async def _base_url(request: Request) -> str:
    """The address by which this client reaches the mock, whatever it is called there."""
    return str(request.base_url).rstrip("/")


MockOf = Annotated[Mock, Depends(_mock_of)]
BaseUrl = Annotated[str, Depends(_base_url)]
