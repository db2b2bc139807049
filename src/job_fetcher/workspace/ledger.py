"""What has arrived of a job's uploads, on disk."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any


class Ledger:
    """The uploads of a job that have arrived: a file that only grows, one line for each.

    An entry is any JSON value. A reader ignores a last line that a crash has cut.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: set[str] = set()
        with suppress(OSError):  # no file yet, or a disk that does not work
            *lines, cut = path.read_text(encoding="utf-8", errors="replace").split("\n")
            self._entries = set(lines)
            if cut:  # by a crash: the next entry starts a new line
                self._append("\n")

    def __contains__(self, entry: Any) -> bool:
        return json.dumps(entry) in self._entries

    def add(self, entry: Any) -> None:
        """Record `entry` for this process and later ones. If that fails, the worker sends the file once more."""
        self._append(json.dumps(entry) + "\n")

    def _append(self, text: str) -> None:
        """Append by one write, so that threads do not mix their lines."""
        with suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write(text)
