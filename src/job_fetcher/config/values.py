"""What the value of a setting may be: types that say what to write instead of everything else."""

import errno
import re
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from socket import inet_aton, inet_ntoa
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from job_fetcher.config import quiet_hours

GIB = 1 << 30
"""Bytes."""

TEN_DAYS_S = 864_000.0
"""Longer than anybody means, and short enough for the system's own timers."""

MAX_GIB = 1_000_000.0
"""More than any disk has."""


_WINDOWS_PATH = re.compile(r"[A-Za-z]:([\\/]|$)|\\|//")
"""`C:\\jobs`, `C:/jobs`, `\\\\wsl$\\Ubuntu\\jobs`, `//wsl$/…`. Git Bash's `/c/jobs` may be a folder of Linux, too."""


def _absolute(path: PurePosixPath) -> PurePosixPath:
    if not path.is_absolute():
        raise ValueError("write an absolute path, such as /data")
    if ":" in str(path):
        raise ValueError("write a path without colons, which Docker takes for separators")
    return path


def _host_path(text: Any) -> Any:
    """`None` for a path such as `./jobs`, which the platform's own Compose file sets: only Compose knows from where."""
    if isinstance(text, str) and _WINDOWS_PATH.match(text):
        raise ValueError("leave it out: the worker finds it out, also on Windows")
    return None if isinstance(text, str) and text.startswith("./") else text


def _http_url(url: str) -> str:
    if not _is_url(url, r"https?://[^/\s?#@\\]+(/[^\s?#@]*)?"):
        raise ValueError("write a URL, such as https://api.example.org")
    return url.rstrip("/")


def is_proxy(address: str) -> bool:
    """Whether requests could use a proxy at `address`: no SOCKS, and special characters percent-encoded."""
    url = address if "://" in address else f"http://{address}"
    return _is_url(url, r"(?i:https?)://([^/\s?#@\\]+@)?[^/\s?#@\\]+/?")


def _is_url(url: str, pattern: str) -> bool:
    try:
        return re.fullmatch(pattern, url) is not None and urlsplit(url).port != 0
    except ValueError:  # wrong brackets, or a wrong port
        return False


def _secret_file(path: Path) -> Path:
    try:
        secret = read_secret(path)
    except OSError as error:
        raise ValueError(f"write the path of a file that this user can read ({error.strerror})") from None
    except UnicodeError:  # its text would show some of the secret
        raise ValueError("write UTF-8 text into the file") from None
    if not secret:
        raise ValueError("the file is empty: write the secret into it")
    return path


def read_secret(path: Path) -> str:
    """The secret in a file, without the line break that editors and `echo` add."""
    if path.exists() and not path.is_file():  # reading a FIFO would wait for ever
        raise OSError(errno.EINVAL, "it is no regular file")
    return path.read_text(encoding="utf-8").rstrip("\r\n")


def _token(token: SecretStr | None) -> SecretStr | None:
    if token is not None and not re.fullmatch(r"[!-~]+", token.get_secret_value()):
        raise ValueError("write the token in one line, in ASCII and without spaces")
    return token


def _network(name: str) -> str:
    name = name.strip()
    if name == "host" or ":" in name:
        raise ValueError("write bridge, none or the name of a network; jobs do not get the host's own")
    return name


def _words(text: str) -> str:
    words = ",".join(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise ValueError("write at least one word")
    return words


def _hours(text: str) -> str:
    quiet_hours.parse(text)
    return text


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):  # OSError: "Europe", which is a folder
        raise ValueError("write a time zone, such as Europe/Berlin") from None
    return name


def is_near(url: str) -> bool:
    """Whether `url` is on this host or in a private network, judged by its name."""
    host = urlsplit(url).hostname or ""
    try:
        address = ip_address(_dotted(host))
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".local", ".lan", ".internal", ".home.arpa"))
    return address.is_private or address.is_loopback or address.is_link_local


def _dotted(host: str) -> str:
    """`134744072` → `8.8.8.8`: the system's resolver understands the other ways to write an IPv4 address, too."""
    try:
        return inet_ntoa(inet_aton(host))
    except (OSError, UnicodeError):
        return host


class LogLevel(StrEnum):
    """The levels of `logging`, by name."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"

    @classmethod
    def _missing_(cls, value: object) -> "LogLevel | None":
        """In lower case, too."""
        return cls.__members__.get(str(value).upper())


class LogFormat(StrEnum):
    """What a line of the log is."""

    TEXT = "text"
    JSON = "json"


AbsolutePath = Annotated[PurePosixPath, AfterValidator(_absolute)]
HostPath = Annotated[AbsolutePath | None, BeforeValidator(_host_path)]
SecretFile = Annotated[Path, AfterValidator(_secret_file)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Token = Annotated[SecretStr, AfterValidator(_token)]
Network = Annotated[str, AfterValidator(_network)]
Words = Annotated[str, AfterValidator(_words)]
Hours = Annotated[str, AfterValidator(_hours)]
Zone = Annotated[str, AfterValidator(_zone)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
