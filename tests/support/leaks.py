"""What no log may hold, written down as it is issued, and the search for it in all that the tests collect."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

from app.accounts import Accounts
from app.config import DEFAULT_ACCOUNTS
from app.state import Mock
from tests.support.platform import Platform


class Evidence:
    """A folder of logs of workers and histories of jobs, and the secrets of the mocks that were there meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secrets = {account.password for account in DEFAULT_ACCOUNTS}
        self.secrets |= {account.access_token for account in DEFAULT_ACCOUNTS if account.access_token}
        self._numbers = count(1)

    def file(self, name: str) -> Path:
        """A file of its own for a log."""
        return self.folder / f"{next(self._numbers):04}-{name}.log"

    def keep_history(self, platform: Platform) -> None:
        """Keep what the users of `platform` were told about their jobs."""
        history = {job.id: [asdict(update) for update in job.history] for job in platform.state.jobs.all()}
        self.file("history").write_text(json.dumps(history, ensure_ascii=False))

    def leaks(self) -> list[str]:
        """The lines of all files that hold a secret."""
        found = []
        for path in sorted(self.folder.iterdir()):
            for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
                if any(secret in line for secret in self.secrets):
                    found.append(f"{path.name}:{number}: {line}")
        return found

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Write down every token and signature that a mock issues, and what `job_fetcher` logs in this process."""
        issue_token, sign = Accounts._token, Mock.sign

        def noted_token(accounts: Accounts, *arguments: Any) -> str:
            self.secrets.add(token := issue_token(accounts, *arguments))
            return token

        def noted_signature(state: Mock, *parts: str) -> str:
            self.secrets.add(signature := sign(state, *parts))
            return signature

        handler = logging.FileHandler(self.file("in-process"))
        logger = logging.getLogger("job_fetcher")
        logger.addHandler(handler)
        try:
            with patch.object(Accounts, "_token", noted_token), patch.object(Mock, "sign", noted_signature):
                yield
        finally:
            logger.removeHandler(handler)
            handler.close()
