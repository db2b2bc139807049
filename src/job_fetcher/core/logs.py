"""The worker's own log on standard error, without a secret: a line for each event, or a JSON object."""

import logging
import re
import sys
from typing import TextIO

from job_fetcher.core.repeats import Repeats

LONGEST = 64 << 10
"""Characters of a record; whoever describes a job, or answers in a server's place, might else fill the log."""

_QUERY = re.compile(r"\?[^\s?'\"]+")
_SIGNATURE = re.compile(r"(?i)\b((?:x-amz-[a-z-]{1,40}|signature|token|policy)=)[^\s&'\"]+")
_BEARER = re.compile(r"(?i)(bearer\s+)\S+")


class RedactingFormatter(logging.Formatter):
    """Leaves out known secrets, tokens, and the queries of URLs, in messages as in tracebacks.

    What others have chosen (names of images and files, answers) cannot pass for a line of ours, nor steer a terminal.
    """

    def __init__(self, secrets: list[str]) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S")
        self._secrets = [secret for secret in secrets if secret]

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record), self._secrets)

    def formatMessage(self, record: logging.LogRecord) -> str:
        return _escaped(_cut(super().formatMessage(record)))


def redacted(text: str, secrets: list[str]) -> str:
    """`text` without `secrets` and what looks like some, not too long, and printable but for its line breaks."""
    for secret in secrets:
        text = text.replace(secret, "…")
    return _escaped(without_secrets(_cut(text)), but="\n")


def without_secrets(text: str) -> str:
    """`text` without what looks like a token, a signature or the query of a URL."""
    return _BEARER.sub(r"\1…", _SIGNATURE.sub(r"\1…", _QUERY.sub("?…", text)))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… (cut)"


def _escaped(text: str, but: str = "") -> str:
    return "".join(each if each.isprintable() or each in but else ascii(each)[1:-1] for each in text)


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what is standard error now: progress bars on a terminal replace it for a while."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def configure(secrets: list[str], level: str = "INFO", *, as_json: bool = False) -> None:
    """Log to standard error from `level` on; of other packages only warnings. Leaves out repetitions (`repeats`)."""
    handler = _StandardError()
    handler.setFormatter(_json_formatter(secrets) if as_json else RedactingFormatter(secrets))
    handler.addFilter(Repeats())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("job_fetcher").setLevel(level)


def _json_formatter(secrets: list[str]) -> logging.Formatter:
    from job_fetcher.core.json_log import JsonLines  # its package takes a while

    return JsonLines(secrets)
