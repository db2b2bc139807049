"""The end of a log as plain text: no escape sequences, no runs of unreadable characters, whole lines.

A terminal's escape sequences are those of ECMA-48, 5th edition, and of xterm ("XTerm Control Sequences").
"""

import os
import re
from pathlib import Path
from typing import BinaryIO

TAIL_BYTES = 16_384

_TEXT = r"[^\x07\x1b\x90\x98\x9c-\x9f\n]*"
_ESCAPE_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor movements
    rf"|(?:\x1b[PX\]^_]|[\x90\x98\x9d-\x9f]){_TEXT}(?:\x07|\x1b\\|\x9c|\Z)"  # OSC, DCS, …: a title, a hyperlink
    r"|\x1b[ -/]+[0-~]"  # a character set: ESC ( B
    r"|\x1b[0-Z\\-~]"  # two characters: ESC 7, ESC =, ESC c
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*\Z|\x1b[ -/]*\Z"  # one that the end of the log cuts off
)
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]+")
_UNREADABLE = re.compile("\ufffd{2,}")


def log_tail(container_log: Path, size: int = TAIL_BYTES) -> str:
    """The last `size` bytes of a log as text: whole lines, without escape sequences, of each progress bar the end.

    One line that is longer than `size` bytes is cut at its beginning. A log that cannot be read is empty: somebody has
    removed it, or the disk fails.
    """
    try:
        with container_log.open("rb") as file:
            return tail_of(file, size)
    except OSError:
        return ""


def tail_of(file: BinaryIO, size: int = TAIL_BYTES) -> str:
    """The same of an open file. Raises `OSError` if it cannot be read."""
    begin = max(0, os.fstat(file.fileno()).st_size - size)
    file.seek(max(0, begin - 1))  # the byte before tells whether a line begins here
    tail = file.read(size + 1)  # it may grow meanwhile
    if begin:
        tail = _from_a_line(tail)
    return clean(tail.decode(errors="replace"))


def _from_a_line(tail: bytes) -> bytes:
    """`tail` from its first whole line on; if there is none, from its first whole character on."""
    _, found, lines = tail.partition(b"\n")
    return lines if found and lines.strip() else tail[1:].lstrip(bytes(range(0x80, 0xC0)))


def clean(text: str) -> str:
    """`text` as a person reads it: printable characters, tabs and line breaks.

    Of a line that was overwritten (a progress bar's carriage returns), the last state that shows anything stays.
    """
    text = _ESCAPE_SEQUENCE.sub("", text)
    text = _UNREADABLE.sub("\ufffd", _UNPRINTABLE.sub("", text))
    return "\n".join(_last_state(line) for line in text.split("\n"))


def _last_state(line: str) -> str:
    states = [state for state in line.split("\r") if state.strip()]
    return states[-1] if states else ""
