"""A job that has been pulled, in a folder of the test, and the steps that are done with it."""

from pathlib import Path
from typing import Any

from job_fetcher import steps
from job_fetcher.core.job import JobSpecs
from job_fetcher.workspace.ledger import Ledger
from tests.support.platform import Platform


class Stage:
    """A job in a folder of the test, and its steps."""

    def __init__(self, mock: Platform, folder: Path, *cmd: str, **job: Any) -> None:
        self.mock, self.folder, self.api = mock, folder, mock.api()
        self.id = mock.pulled(*cmd, **job)
        self.specs = JobSpecs.parse(mock.job(self.id).specs)
        self.files, self.parts, self.log = folder / "files", folder / "parts", folder / "container.log"
        for each in (self.files, self.parts):
            each.mkdir(exist_ok=True)
        self.log.write_bytes(b"the log\n")

    def download(self, **more: Any) -> dict[str, bytes]:
        steps.download_inputs(self.api, self.specs, self.files, self.parts, **more)
        assert list(self.parts.iterdir()) == []
        return {
            str(path.relative_to(self.files)): path.read_bytes() for path in self.files.rglob("*") if path.is_file()
        }

    def write(self, **contents: bytes) -> None:
        """Outputs, by path with `__` for a slash."""
        for name, content in contents.items():
            path = self.files / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def upload(self, **more: Any) -> list[str]:
        ledger = Ledger(self.folder / "ledger")
        return steps.upload_outputs(self.api, self.id, self.specs, self.files, self.log, ledger, **more)

    def sent(self) -> int:
        """How many files have been sent to the storage so far."""
        return len([each for each in self.mock.requests("POST") if each.path.startswith(("/store", "/s3"))])
