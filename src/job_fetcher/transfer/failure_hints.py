"""What a job's user asks next when a command has failed: what it wrote into a file, and which inputs were there."""

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from job_fetcher.core.job import JobSpecs, OutputType
from job_fetcher.core.log_text import tail_of
from job_fetcher.transfer.log_folder import LogFolder, is_text

MAX_INPUTS, MAX_NAME = 10, 80
"""Inputs that are named, and the characters of each name."""
MAX_FILES = 20
"""Files of a log folder that are looked at for a text, the newest first."""
_NO_INPUT = re.compile(
    r"(?i)no such file or directory|filenotfound|cannot open|can\'t open|could not open|unable to open|not readable"
    r"|permission denied|cannot find the file|file not found|does not exist"
)


def newest_log(specs: JobSpecs, files: Path) -> tuple[str, str]:
    """The path of the newest text of the job's log folder that says something, and its end; both empty without one.

    No link is followed, and nothing but regular files is opened.
    """
    name = (specs.handler.files_up or {}).get(OutputType.LOG)
    if name is None:
        return "", ""
    folder = LogFolder(files, name, specs.handler.files_down or {})
    with suppress(OSError):
        for each in folder.look()[:MAX_FILES]:
            with suppress(OSError), folder.open(each.path) as file:
                if is_text(file) and (tail := tail_of(file)).strip():
                    return each.path, tail
    return "", ""


def inputs_there(tail: str, inputs: Iterable[str]) -> str:
    """A sentence with the inputs that were there, if the end of a log says that a file was not; else nothing."""
    if not _NO_INPUT.search(tail):
        return ""
    names = sorted(inputs)
    if not names:
        return "The job has no inputs."
    shown = [f"'/files/{plain(name)}'" for name in names[:MAX_INPUTS]]
    more = len(names) - len(shown)
    return f"These inputs were there: {', '.join(shown)}{f' and {more} more' if more else ''}."


def plain(name: str) -> str:
    """A name for a sentence: its odd characters escaped, and cut after `MAX_NAME` characters."""
    text = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in name)
    return text if len(text) <= MAX_NAME else f"{text[:MAX_NAME]}…"
