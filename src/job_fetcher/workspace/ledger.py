"""What has arrived of a job's uploads, on disk."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any


class Ledger:
    """What has arrived of a job's uploads: a file that only grows, a line for each.

    An entry is any JSON value. A last line that was cut by a crash is ignored.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: set[str] = set()
        with suppress(FileNotFoundError):
            *lines, cut = path.read_text(encoding="utf-8", errors="replace").split("\n")
            self._entries = set(lines)
            if cut:  # by a crash: the next entry is to have a line of its own
                self._append("\n")

    def __contains__(self, entry: Any) -> bool:
        return json.dumps(entry) in self._entries

    def add(self, entry: Any) -> None:
        """Write `entry` down, for every process that comes after this one; without it a file is only sent again."""
        self._append(json.dumps(entry) + "\n")

    def _append(self, text: str) -> None:
        """One write, at the end: threads do not mix their lines."""
        with suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write(text)
