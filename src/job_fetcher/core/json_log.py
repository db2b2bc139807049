"""The log as JSON lines, for programs that collect logs (`LOG_FORMAT=json`).

Each line is an object with `time` (UTC, RFC 3339), `level`, `logger`, `message`, and where there is one `job` (its id)
and `exception` (a traceback).
"""

import re
from datetime import UTC, datetime
from logging import LogRecord
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from job_fetcher.core import logs

_JOB = re.compile(r"job (\S+): ")


class JsonLines(JsonFormatter):
    """Leaves out the same secrets as the text does."""

    def __init__(self, secrets: list[str]) -> None:
        super().__init__()
        self._secrets = [secret for secret in secrets if secret]

    def add_fields(self, log_data: dict[str, Any], record: LogRecord, message_dict: dict[str, Any]) -> None:
        """The fields of a line; `message_dict` has the traceback."""
        message = record.getMessage()
        log_data["time"] = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        log_data["level"], log_data["logger"] = record.levelname, record.name
        log_data["message"] = logs.redacted(message, self._secrets)
        if job := _JOB.match(message):
            log_data["job"] = logs.redacted(job[1], self._secrets)
        if message_dict.get("exc_info"):
            log_data["exception"] = logs.redacted(message_dict["exc_info"], self._secrets)
