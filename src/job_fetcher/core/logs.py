"""The worker's own log: one line each on standard error, without a secret."""

import logging
import re
import sys

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
        text = super().format(record)
        for secret in self._secrets:
            text = text.replace(secret, "…")
        text = _cut(text)
        return _escaped(without_secrets(text), but="\n")

    def formatMessage(self, record: logging.LogRecord) -> str:
        return _escaped(_cut(super().formatMessage(record)))


def without_secrets(text: str) -> str:
    """`text` without what looks like a token, a signature or the query of a URL."""
    return _BEARER.sub(r"\1…", _SIGNATURE.sub(r"\1…", _QUERY.sub("?…", text)))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… (cut)"


def _escaped(text: str, but: str = "") -> str:
    return "".join(each if each.isprintable() or each in but else ascii(each)[1:-1] for each in text)


def configure(secrets: list[str]) -> None:
    """Log to standard error from level INFO on; of other packages only warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(secrets))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("job_fetcher").setLevel(logging.INFO)
