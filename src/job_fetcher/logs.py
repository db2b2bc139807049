"""The worker's own log: one line each on standard error, without a secret."""

import logging
import re
import sys

_QUERY = re.compile(r"(https?://[^\s?'\"]*|/[^\s?'\"]*)\?[^\s'\"]+")
_BEARER = re.compile(r"(?i)(bearer\s+)\S+")


class RedactingFormatter(logging.Formatter):
    """Leaves out known secrets, tokens, and the queries of URLs, in messages as in tracebacks."""

    def __init__(self, secrets: list[str]) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S")
        self._secrets = [secret for secret in secrets if secret]

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return _BEARER.sub(r"\1…", _QUERY.sub(r"\1?…", text))


def configure(secrets: list[str]) -> None:
    """Log to standard error from level INFO on; of other packages only warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(secrets))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("job_fetcher").setLevel(logging.INFO)
