"""What can be set: at the start by `MockConfig` or the environment, later by `POST /_config`."""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

GIB = 1024**3

AccountState = Literal["confirmed", "unconfirmed", "new_password_required", "reset_required", "disabled"]
StorageForm = Literal["own", "s3"]
Environment = Literal["local", "cloud"]


class Account(BaseModel):
    """A person's account in the user pool.

    `approved`: in the group `workers`. `cloud`: in the group `cloud`, whose members get jobs for that environment
    only. `access_token`: a fixed token that never expires, for `ACCESS_TOKEN`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    username: str
    password: str
    approved: bool = True
    cloud: bool = False
    state: AccountState = "confirmed"
    access_token: str | None = None

    @property
    def environment(self) -> Environment:
        """The environment whose jobs this account gets."""
        return "cloud" if self.cloud else "local"


def _account(username: str, password: str, access_token: str | None = None, *, approved: bool = True) -> Account:
    return Account(username=username, password=password, access_token=access_token, approved=approved)


DEFAULT_ACCOUNTS = (
    _account("worker", "Worker-password-1", "worker-fixed-token"),
    _account("worker2", "Worker-password-2", "worker2-fixed-token"),
    _account("newcomer", "Newcomer-password-1", "newcomer-fixed-token", approved=False),
)


class MockConfig(BaseModel):
    """The settings of one mock. All but those under "at the start" may change while it runs."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    # At the start.
    accounts: tuple[Account, ...] = DEFAULT_ACCOUNTS
    store_dir: Path | None = None  # None: a temporary folder, removed with the app
    clock: Callable[[], float] = Field(default=time.time, exclude=True)  # seconds since the epoch

    # Which of the platform's two APIs answers at this address, and how the queue counts.
    api: Literal["workers", "users"] = "workers"
    reuse_ids: bool = False  # True: as on SQLite, the id of a deleted job is the next one's

    # Time and tokens.
    clock_offset_s: float = 0.0  # how far the mock's clock runs ahead: lets minutes pass at once
    expires_in: int = Field(default=3600, ge=0)  # seconds that an IdToken lives
    timeout_failure_s: float = Field(default=300.0, gt=0)  # silence after which a job is queued again
    max_retries: int = Field(default=2, ge=0)  # times that it is, before it fails

    # Storage.
    storage: StorageForm = "own"
    url_expires_in_s: float = 600.0
    own_ranges: bool = True  # False: the own store ignores `Range` and sends everything
    s3_max_bytes: int = 5 * GIB
    s3_kms: bool = False  # True: the ETag is not the MD5, as with KMS encryption
    s3_redirect: str | None = None  # "http://host:port": uploads by another address are sent there with a 307

    # The wire.
    latency_s: float = Field(default=0.0, ge=0)  # before each answer
    bandwidth: float | None = Field(default=None, gt=0)  # bytes per second, each connection, each way
    line: float | None = Field(default=None, gt=0)  # bytes per second, all connections together, each way


FIXED_AT_START = frozenset({"accounts", "store_dir", "clock"})


def config_from_environment(environment: Mapping[str, str] = os.environ) -> MockConfig:
    """Read `MOCK_<SETTING>` for each setting, e.g. `MOCK_STORAGE=s3`; `MOCK_ACCOUNTS` is a JSON list.

    Raises pydantic's `ValidationError` for a value that does not fit.
    """
    values: dict[str, Any] = {}
    for name in MockConfig.model_fields.keys() - {"clock"}:
        text = environment.get(f"MOCK_{name.upper()}")
        if text is not None:
            values[name] = json.loads(text) if name == "accounts" else text
    return MockConfig.model_validate(values)
