"""Whose a job is, by its description: its number on its user's page, and the application."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LONGEST = 100
"""Characters of a name: whoever describes a job chooses them."""


@dataclass(frozen=True)
class Whose:
    """What a person calls a job. All of it may be missing: a description that is not valid has what it has.

    `user_job_id` is the number of the job on its user's page (`meta.job_id`), `application` its name and version, such
    as `decode/v0_10_1`, `image` the name of its image.
    """

    user_job_id: int | None = None
    application: str | None = None
    image: str | None = None

    @classmethod
    def of(cls, raw: Any) -> "Whose":
        """Whose the job with the description `raw` is, as it was pulled."""
        number = _part(raw, "meta").get("job_id")
        handler = _part(raw, "handler")
        image = plain(handler.get("image_url"))
        name, version = plain(handler.get("image_name")), plain(handler.get("image_version"))
        application = "/".join(filter(None, (name, version))) or None
        is_number = isinstance(number, int) and not isinstance(number, bool) and abs(number) < 1 << 53
        return cls(number if is_number else None, application, image)

    def __str__(self) -> str:
        """`user's job 2, decode/v0_10_1`; nothing, if nothing is known."""
        number = f"user's job {self.user_job_id}" if self.user_job_id is not None else None
        return ", ".join(filter(None, (number, self.application or self.image)))


def noted(raw: Any) -> str:
    """` (user's job 2, decode/v0_10_1)` for the log, with the blank before it; nothing, if nothing is known."""
    whose = str(Whose.of(raw))
    return f" ({whose})" if whose else ""


def plain(text: Any, longest: int = LONGEST) -> str | None:
    """`text` as one line of printable characters, `longest` at most; `None` if it is no text, or empty."""
    if not isinstance(text, str) or not text:
        return None
    shown = "".join(each if each.isprintable() else "\ufffd" for each in text[: longest + 1])
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def _part(raw: Any, name: str) -> Mapping[str, Any]:
    part = raw.get(name) if isinstance(raw, Mapping) else None
    return part if isinstance(part, Mapping) else {}
